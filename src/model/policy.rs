//! When and by how much volumes are extended: the checked policy.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::inventory::VolumeGroup;
use super::names::{Name, Resource, VolumeName};
use super::relief::Ladder;
use super::rule::Rule;
use super::units::Bytes;

/// What the guard may do. Built by `config`, which has checked every range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Decide and report, change nothing.
    pub dry_run: bool,
    pub data: Growth,
    pub metadata: Growth,
    pub snapshot: Growth,
    pub reserve: Reserve,
    pub timing: Timing,
    pub history: HistoryPolicy,
    /// What differs for some volumes.
    pub rules: Vec<Rule>,
}

/// What is told beyond what guarding needs to know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collectors {
    /// Each thin volume by itself: four series each.
    pub thin_volumes: bool,
}

/// How one kind of store grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    pub enabled: bool,
    /// Extend when more than this share is used. 1 to 99.
    pub threshold_percent: u64,
    /// Grow by at least this share of the present size. 1 to 1000.
    pub extend_percent: u64,
    /// Grow by at least this much; zero for no such floor.
    pub extend_min: Bytes,
    /// Extend when less than this is free; zero for no such floor.
    pub headroom: Bytes,
    /// Never grow beyond this.
    pub max_size: Option<Bytes>,
    /// Add no more than this within an hour.
    pub growth_per_hour: Option<Bytes>,
}

/// Free space of each volume group that automatic extension leaves alone: the larger of the two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserve {
    pub bytes: Bytes,
    /// Of the size of the volume group. 0 to 100.
    pub percent: u64,
}

/// The guard's sense of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// An extension should last this long at the present fill rate.
    pub horizon: Duration,
    /// Extend when what is free lasts less than this many extensions take.
    pub safety_factor: u64,
    /// A writer that shows up between two looks is assumed to be no faster than this, per second.
    pub plausible_rate: Bytes,
    /// Pool metadata fills as many times more slowly. At least 1.
    pub metadata_slower: u64,
    pub look_min: Duration,
    pub look_max: Duration,
    /// The wait while the group is being extended: nothing more can be done for its volumes meanwhile.
    pub look_busy: Duration,
    /// The share of one core that looking may take, in thousandths, while nothing fills.
    pub look_budget_permille: u64,
    /// The share of one core that feeling for writes may take, in thousandths.
    pub pulse_budget_permille: u32,
    /// LVM's metadata is read again after this long even when nothing seems to have changed.
    pub report_every: Duration,
    /// Devices that come and go are noticed after this at the latest.
    pub count_every: Duration,
    /// How long an extension waits for LVM's lock of its group before it has failed.
    pub lock_wait: Duration,
    /// A look that has not come back after this is told as late.
    pub late_after: Duration,
}

/// What is made of what happened before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPolicy {
    /// Time constant of the average that follows a writer that has just started.
    pub fast_average: Duration,
    /// Time constant of the average that remembers one that pauses. Not below `fast_average`.
    pub slow_average: Duration,
    /// How long an extension is taken to last before one has been measured.
    pub first_latency: Duration,
    /// A failed extension is repeated after this, then after twice as long, and so on.
    pub retry_first: Duration,
    /// At the latest after this. Not below `retry_first`.
    pub retry_max: Duration,
    /// A volume that changed under us is left alone until LVM has been asked again.
    pub changed_pause: Duration,
}

impl Policy {
    /// How a store of this volume grows.
    #[must_use]
    pub fn growth(&self, resource: Resource, volume: &VolumeName, tags: &[String]) -> Growth {
        let base = match resource {
            Resource::Data => self.data,
            Resource::Metadata => self.metadata,
            Resource::Cow => self.snapshot,
        };
        self.rules
            .iter()
            .filter(|rule| rule.selector.selects(volume, tags))
            .fold(base, |growth, rule| rule.change(resource).over(growth))
    }

    /// What helps a group that has no room.
    #[must_use]
    pub fn ladder(&self, group: &Name) -> Ladder {
        self.rules
            .iter()
            .filter(|rule| rule.selector.selects_group(group))
            .fold(Ladder::default(), |base, rule| rule.relief.over(base))
    }

    /// What is left of a group's free space.
    #[must_use]
    pub fn reserve(&self, group: &VolumeGroup) -> Bytes {
        self.rules
            .iter()
            .filter(|rule| rule.selector.selects_group(&group.name))
            .fold(self.reserve, |reserve, rule| rule.reserve.over(reserve))
            .of(group.size)
    }
}

impl Reserve {
    #[must_use]
    pub fn of(&self, group_size: Bytes) -> Bytes {
        self.bytes.max(group_size.percent_ceil(self.percent))
    }
}
