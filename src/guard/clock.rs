//! Reads the two clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::model::time::{Moment, Now, UnixSeconds};

/// Both clocks, read one after the other.
#[must_use]
pub fn now() -> Now {
    Now {
        moment: moment(),
        wall: wall(),
    }
}

pub(super) fn moment() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Moment(Duration::new(secs, nanos))
}

fn wall() -> UnixSeconds {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixSeconds(since.as_secs_f64())
}
