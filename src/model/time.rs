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
