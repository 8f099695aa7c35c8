//! Counters and histograms of the guard's own work, as values that can be sent to the front.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::Verb;
use super::names::{Name, VolumeName};
use super::refusal::Code;
use super::time::UnixSeconds;
use super::units::Bytes;

/// What the guard did since it started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub polls: BTreeMap<Wake, u64>,
    pub poll_failures: u64,
    pub poll_last_success: Option<UnixSeconds>,
    pub poll_duration: Histogram,
    pub collectors: BTreeMap<Collector, CollectorRun>,
    pub commands: BTreeMap<String, CommandRuns>,
    pub lock_wait: Histogram,
    pub lock_timeouts: u64,
    pub dm_events: BTreeMap<String, u64>,
    pub dm_event_last: Option<UnixSeconds>,
    pub dm_event_listener_up: bool,
    /// Fields in LVM's reports that were not asked for.
    pub lvm_unknown_fields: u64,
    /// Volumes that LVM's own autoextension covers.
    pub extended_by_dmeventd: BTreeSet<VolumeName>,
    pub extend_duration: Histogram,
    /// Extensions wanted and not attempted, counted once each time a hold begins.
    pub suppressed: BTreeMap<String, u64>,
    pub log_messages: BTreeMap<String, u64>,
    pub log_messages_dropped: u64,
    pub mended: u64,
    /// By group and rung.
    pub reliefs: BTreeMap<Name, BTreeMap<String, Attempts>>,
    pub lifeboat: Lifeboat,
    /// What callers had done; nothing where nobody can ask.
    pub actions: Option<Actions>,
}

/// What became of what callers asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Actions {
    /// Jobs that have ended.
    pub ended: BTreeMap<Verb, Attempts>,
    /// Jobs that wait for their turn.
    pub queued: u64,
    pub running: u64,
    pub refusals: BTreeMap<Code, u64>,
    /// Of each snapshot for which applications were held still.
    pub held: Histogram,
    /// Hooks that may not have let go.
    pub stuck: u64,
}

/// One thing that happens to what callers ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    Queued,
    Begun,
    Ended {
        verb: Verb,
        /// It had begun.
        was_running: bool,
        has_failed: bool,
        held: Option<Duration>,
    },
    Refused(Code),
    /// A hook may not have let go.
    Stuck,
}

/// Where guard and lvm live: in a root of their own in memory, or on the host's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifeboat {
    pub is_aboard: bool,
    /// What was copied there.
    pub size: Bytes,
    /// The host's files have changed and could not be copied again.
    pub is_stale: bool,
    pub renewals: u64,
    /// The guard's memory cannot be paged out.
    pub is_memory_locked: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    pub done: u64,
    pub failed: u64,
}

/// What made the guard look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wake {
    Timer,
    DmEvent,
    Manual,
}

/// A source of what is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Collector {
    Dm,
    Lvm,
    /// What each thin volume maps; only where it is asked for.
    ThinVolumes,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CollectorRun {
    pub success: bool,
    pub took: Duration,
    pub last_success: Option<UnixSeconds>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CommandRuns {
    pub runs: u64,
    pub failures: BTreeMap<String, u64>,
    pub duration: Histogram,
}

/// Counts by upper bound, in seconds, not cumulative; the bounds are `Histogram::BOUNDS_SECS`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    counts: [u64; Histogram::BOUNDS_SECS.len() + 1],
    sum_secs: f64,
}

impl Actions {
    pub fn note(&mut self, happening: Happening) {
        match happening {
            Happening::Queued => self.queued += 1,
            Happening::Begun => {
                self.queued = self.queued.saturating_sub(1);
                self.running += 1;
            }
            Happening::Ended {
                verb,
                was_running,
                has_failed,
                held,
            } => {
                let left = if was_running {
                    &mut self.running
                } else {
                    &mut self.queued
                };
                *left = left.saturating_sub(1);
                let attempts = self.ended.entry(verb).or_default();
                attempts.done += u64::from(!has_failed);
                attempts.failed += u64::from(has_failed);
                if let Some(held) = held {
                    self.held.note(held);
                }
            }
            Happening::Refused(code) => *self.refusals.entry(code).or_default() += 1,
            Happening::Stuck => self.stuck += 1,
        }
    }
}

impl Wake {
    pub const ALL: [Self; 3] = [Self::Timer, Self::DmEvent, Self::Manual];

    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Timer => "timer",
            Self::DmEvent => "dm_event",
            Self::Manual => "manual",
        }
    }
}

impl Collector {
    pub const ALL: [Self; 3] = [Self::Dm, Self::Lvm, Self::ThinVolumes];
    /// Those that guarding needs.
    pub const NEEDED: [Self; 2] = [Self::Dm, Self::Lvm];

    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Dm => "dm",
            Self::Lvm => "lvm",
            Self::ThinVolumes => "thin_volumes",
        }
    }
}

impl Histogram {
    /// From one status ioctl (tens of microseconds) to a command behind a lock held for a minute.
    /// None is a whole number: Prometheus 3 would rewrite the label.
    pub const BOUNDS_SECS: [f64; 11] = [
        0.0001, 0.0005, 0.0025, 0.01, 0.05, 0.25, 0.5, 1.5, 5.5, 15.5, 60.5,
    ];

    pub fn note(&mut self, took: Duration) {
        let secs = took.as_secs_f64();
        let slot = Self::BOUNDS_SECS.iter().position(|bound| secs <= *bound);
        self.counts[slot.unwrap_or(Self::BOUNDS_SECS.len())] += 1;
        self.sum_secs += secs;
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    #[must_use]
    pub const fn sum_secs(&self) -> f64 {
        self.sum_secs
    }

    /// Upper bound and how many were no longer than it, without the last, infinite one.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        Self::BOUNDS_SECS
            .iter()
            .zip(&self.counts)
            .scan(0, |total, (bound, count)| {
                *total += count;
                Some((*bound, *total))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_duration_once() {
        let mut histogram = Histogram::default();
        for millis in [0, 10, 11, 100_000] {
            histogram.note(Duration::from_millis(millis));
        }
        assert_eq!(histogram.count(), 4);
        let within: Vec<u64> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(within, [1, 1, 1, 2, 3, 3, 3, 3, 3, 3, 3]);
    }
}
