//! Points in time as the guard counts them. The clocks themselves are read in the shells only.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time since boot, suspend included (`CLOCK_BOOTTIME`): it never steps, whatever is done to the wall clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub Duration);

/// Wall time in seconds since 1970, for people and metrics only: no decision reads it.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixSeconds(pub f64);

/// Both clocks, read together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Now {
    pub moment: Moment,
    pub wall: UnixSeconds,
}

impl Moment {
    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span))
    }
}

impl Now {
    /// The wall time at which `moment` was or will be.
    #[must_use]
    pub fn wall_at(&self, moment: Moment) -> UnixSeconds {
        let ahead = moment.0.as_secs_f64() - self.moment.0.as_secs_f64();
        UnixSeconds(self.wall.0 + ahead)
    }
}

impl UnixSeconds {
    /// Exact until the year 285616.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "what is not exact is far beyond any calendar"
    )]
    pub const fn whole(seconds: u64) -> Self {
        Self(seconds as f64)
    }

    /// As it stands in names: `20261122T184500Z`.
    #[must_use]
    pub fn compact_utc(self) -> String {
        let seconds = Duration::try_from_secs_f64(self.0)
            .unwrap_or_default()
            .as_secs();
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Years that begin in March: a leap day is the last of its year.
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_a_name_is_that_of_the_calendar() {
        for (seconds, text) in [
            (0.0, "19700101T000000Z"),
            (951_782_399.9, "20000228T235959Z"),
            (951_782_400.0, "20000229T000000Z"),
            (951_868_800.0, "20000301T000000Z"),
            (1_735_689_599.0, "20241231T235959Z"),
            (1_795_373_100.0, "20261122T184500Z"),
            (4_107_542_400.0, "21000301T000000Z"),
            (f64::NAN, "19700101T000000Z"),
        ] {
            assert_eq!(UnixSeconds(seconds).compact_utc(), text);
        }
    }
}
