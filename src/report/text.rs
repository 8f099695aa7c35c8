//! Numbers as people read them: short, with their unit, and of even width.
//!
//! Three significant digits are enough to act on; what needs more has the metrics.

use std::time::Duration;

use crate::model::time::UnixSeconds;
use crate::model::units::Bytes;

/// Shown where there is nothing to say.
pub(super) const NOTHING: &str = "-";

/// A forecast further ahead says nothing: the rate will not last.
const FORECAST_SECS_MAX: f64 = 100.0 * DAY_SECS;

/// Slower than this is the average of a store at rest wearing off.
const RATE_MIN: f64 = 1.0;

const MINUTE_SECS: f64 = 60.0;
const HOUR_SECS: f64 = 3600.0;
const DAY_SECS: f64 = 86_400.0;

const YEAR_10000: f64 = 253_402_300_800.0;

/// At most eight characters: `97.3 MiB`.
pub(super) fn size(bytes: Bytes) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes.as_f64();
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// `5 MiB/s`, with a sign while it drains.
pub(super) fn rate(bytes_per_second: f64) -> String {
    if bytes_per_second.abs() < RATE_MIN || bytes_per_second.is_nan() {
        return NOTHING.to_owned();
    }
    let sign = if bytes_per_second < 0.0 { "-" } else { "" };
    format!(
        "{sign}{}/s",
        size(Bytes::from_f64_ceil(bytes_per_second.abs()))
    )
}

/// Cut, not rounded: what is nearly full does not show as full.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.1} %", (ratio * 1000.0).floor() / 10.0)
}

/// Of what is in percent already, and cut the same.
pub(super) fn of_hundred(percent: f64) -> String {
    format!("{:.1} %", (percent * 10.0).floor() / 10.0)
}

/// How long until a store is full.
pub(super) fn forecast(secs: Option<f64>) -> String {
    match secs {
        Some(secs) if secs <= FORECAST_SECS_MAX => span(secs),
        Some(_) | None => NOTHING.to_owned(),
    }
}

/// `19 s`, `3.5 min`, `2 h`, `12 d`.
pub(super) fn span(secs: f64) -> String {
    let (value, unit) = match secs {
        secs if secs < MINUTE_SECS => (secs.floor(), "s"),
        secs if secs < HOUR_SECS => (secs / MINUTE_SECS, "min"),
        secs if secs < DAY_SECS => (secs / HOUR_SECS, "h"),
        secs => (secs / DAY_SECS, "d"),
    };
    format!("{} {unit}", three_digits(value))
}

pub(super) fn ago(span_back: Duration) -> String {
    format!("{} ago", span(span_back.as_secs_f64()))
}

/// How long something took or lasts; the clock may have been set meanwhile.
pub(super) fn between(from: UnixSeconds, to: UnixSeconds) -> String {
    span((to.0 - from.0).max(0.0))
}

/// `2026-11-20 23:26:38`, in UTC. Nothing for what no calendar of four digits has.
pub(super) fn date(at: UnixSeconds) -> String {
    if !(0.0..YEAR_10000).contains(&at.0) {
        return NOTHING.to_owned();
    }
    let secs = Duration::from_secs_f64(at.0).as_secs();
    let (days, rest) = (secs / 86_400, secs % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of the Gregorian calendar, by the days since 1970: years are counted from March on, so that
/// the day that some years have more is their last (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// Text from outside, in one line that cannot steer a terminal.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn three_digits(value: f64) -> String {
    let text = match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => return format!("{value:.0}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_at_most_eight_characters() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (Bytes::KIB * 1024 - 1, "1 MiB"),
            (Bytes::MIB * 973 / 10, "97.3 MiB"),
            (Bytes::MIB * 1000, "1000 MiB"),
            (Bytes::GIB * 3 / 2, "1.5 GiB"),
            (u64::MAX, "16 EiB"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(size(Bytes(bytes)), shown, "{bytes}");
            assert!(shown.len() <= 8, "{shown}");
        }
    }

    #[test]
    fn rates_show_draining_and_hide_rest() {
        assert_eq!(rate(5.0 * 1024.0 * 1024.0), "5 MiB/s");
        assert_eq!(rate(-2048.0), "-2 KiB/s");
        for rest in [0.0, 0.3, -0.3, f64::NAN] {
            assert_eq!(rate(rest), NOTHING, "{rest}");
        }
    }

    #[test]
    fn spans_use_the_largest_unit() {
        let cases = [
            (0.4, "0 s"),
            (59.9, "59 s"),
            (90.0, "1.5 min"),
            (7200.0, "2 h"),
            (1e6, "11.6 d"),
        ];
        for (secs, shown) in cases {
            assert_eq!(span(secs), shown);
        }
    }

    #[test]
    fn a_forecast_beyond_reason_is_none() {
        assert_eq!(forecast(Some(f64::INFINITY)), NOTHING);
        assert_eq!(forecast(Some(1e9)), NOTHING);
        assert_eq!(forecast(None), NOTHING);
        assert_eq!(forecast(Some(19.0)), "19 s");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0.0, "1970-01-01 00:00:00"),
            (951_782_399.9, "2000-02-28 23:59:59"),
            (951_782_400.0, "2000-02-29 00:00:00"),
            (1_790_000_000.25, "2026-09-21 14:13:20"),
            (4_107_542_400.0, "2100-03-01 00:00:00"),
            (253_402_300_799.0, "9999-12-31 23:59:59"),
            (253_402_300_800.0, NOTHING),
            (-1.0, NOTHING),
            (f64::INFINITY, NOTHING),
            (f64::NAN, NOTHING),
        ];
        for (secs, shown) in cases {
            assert_eq!(date(UnixSeconds(secs)), shown, "{secs}");
        }
    }

    #[test]
    fn nearly_full_is_not_shown_as_full() {
        assert_eq!(percent(0.99999), "99.9 %");
        assert_eq!(percent(1.0), "100.0 %");
        assert_eq!(of_hundred(99.999), "99.9 %");
        for tenths in 0..=1000 {
            let percent = f64::from(tenths) / 10.0;
            assert_eq!(of_hundred(percent), format!("{percent:.1} %"));
        }
    }
}
