//! Reads the two clocks, and what a thread has used of a processor.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};

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
    Moment(span(clock_gettime(ClockId::Boottime)))
}

/// The processor time of this thread: what something costs, however long it waited.
pub(super) fn cpu_used() -> Duration {
    span(clock_gettime(ClockId::ThreadCPUTime))
}

fn span(time: Timespec) -> Duration {
    let secs = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(secs, nanos)
}

fn wall() -> UnixSeconds {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixSeconds(since.as_secs_f64())
}
