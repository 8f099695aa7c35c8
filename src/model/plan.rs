//! What is to be done, and why the rest is not done.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::inventory::GroupObstacle;
use super::names::{Resource, Target, VolumeId, VolumeName};
use super::relief::Relief;
use super::time::Moment;
use super::units::{Bytes, Extents};

/// The decision of one look: every store past its trigger is in one of the two lists.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// At most one per store, in the order in which they are to be carried out.
    pub extensions: Vec<Extension>,
    pub holds: Vec<Hold>,
    /// At most one per group.
    pub reliefs: Vec<Relief>,
    /// A relief that failed is due again after a while.
    pub relief_rests: bool,
}

/// Grow one store to one exact size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Extension {
    pub target: Target,
    pub name: VolumeName,
    pub extent: Bytes,
    /// LVM's size of the store when this was decided.
    pub from: Extents,
    pub to: Extents,
    /// What the kernel said the store could hold: it must still say so right before, and more after.
    pub kernel_total: Bytes,
    pub trigger: Trigger,
    /// What was wanted, when something capped it.
    pub capped: Option<Capped>,
}

/// What made an extension due.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// More than `threshold` percent is used.
    Threshold { percent: u64 },
    /// At this fill rate the store would be full before extensions can be trusted to finish.
    Rate { bytes_per_second: Bytes },
    /// Less than the configured headroom is free.
    Headroom { floor: Bytes },
}

/// A grant smaller than what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capped {
    pub wanted: Extents,
    pub by: Cap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cap {
    /// The volume group has no more, or keeps the rest as its reserve.
    GroupSpace,
    /// The configured largest size.
    MaxSize,
    /// What is configured for an hour.
    GrowthPerHour,
    /// lvextend refused more.
    Refusals,
    /// LVM or the kernel can use no more.
    UsefulSize,
}

/// A store that wants room and does not get it now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    pub target: Target,
    pub name: VolumeName,
    pub reason: Reason,
}

/// Why a store past its trigger is not extended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Out of the policy's reach: the policy does not cover this kind of store.
    Disabled,
    /// What would be done, were it not a dry run.
    DryRun {
        extension: Box<Extension>,
    },
    /// The volume group does not take changes from this host.
    Group {
        obstacle: GroupObstacle,
    },
    /// The kernel gave the pool up.
    PoolFailed,
    /// Pool metadata needs an offline check: the kernel silently refuses to grow it.
    NeedsCheck,
    /// The snapshot is lost: extending it wastes room.
    Invalid,
    Merging,
    MergeFailed,
    /// The kernel does not say how full the store is.
    StateUnknown,
    /// Somebody, not we, suspended the device.
    Suspended,
    /// The last look has not come back.
    Late,
    /// No extents are left beyond the reserve.
    NoRoom {
        free: Bytes,
        reserve: Bytes,
    },
    /// The configured largest size is reached.
    AtMaxSize {
        max: Bytes,
    },
    /// What is configured for an hour has been added within the last one.
    AtGrowthPerHour {
        limit: Bytes,
        until: Moment,
    },
    /// The largest size that LVM and the kernel can use is reached.
    AtUsefulSize {
        max: Bytes,
    },
    /// A failed extension is not repeated before this moment.
    CoolingDown {
        until: Moment,
        failures: u64,
    },
    /// An extension in this volume group is being carried out.
    Busy,
    /// It has been for much longer than it should: lvm hangs.
    Stuck,
}

impl Reason {
    /// Whether the host is short of room or of answers just now.
    #[must_use]
    pub const fn is_pressing(&self) -> bool {
        match self {
            Self::NoRoom { .. }
            | Self::AtMaxSize { .. }
            | Self::AtGrowthPerHour { .. }
            | Self::CoolingDown { .. }
            | Self::Busy
            | Self::Stuck
            | Self::Late
            | Self::Suspended
            | Self::StateUnknown
            | Self::PoolFailed
            | Self::NeedsCheck => true,
            Self::Disabled
            | Self::DryRun { .. }
            | Self::Group { .. }
            | Self::Invalid
            | Self::Merging
            | Self::MergeFailed
            | Self::AtUsefulSize { .. } => false,
        }
    }
}

impl Plan {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.extensions.is_empty() && self.holds.is_empty() && self.reliefs.is_empty()
    }

    /// Whether anything is said of a store of this volume.
    #[must_use]
    pub fn concerns(&self, volume: &VolumeId) -> bool {
        let mut extended = self.extensions.iter().map(|e| &e.target);
        let mut held = self.holds.iter().map(|hold| &hold.target);
        extended.any(|target| target.volume == *volume)
            || held.any(|target| target.volume == *volume)
    }

    /// Whether time alone can make this plan another one: something runs, or cools down.
    #[must_use]
    pub fn ages(&self) -> bool {
        !self.extensions.is_empty()
            || self.relief_rests
            || self.holds.iter().any(|hold| hold.reason.ages())
    }
}

impl Extension {
    #[must_use]
    pub fn added(&self) -> Bytes {
        self.to.saturating_sub(self.from).bytes(self.extent)
    }

    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.to.bytes(self.extent)
    }
}

impl Reason {
    const fn ages(&self) -> bool {
        match self {
            Self::AtGrowthPerHour { .. } | Self::CoolingDown { .. } | Self::Busy | Self::Stuck => {
                true
            }
            Self::Disabled
            | Self::DryRun { .. }
            | Self::Group { .. }
            | Self::PoolFailed
            | Self::NeedsCheck
            | Self::Invalid
            | Self::Merging
            | Self::MergeFailed
            | Self::StateUnknown
            | Self::Suspended
            | Self::Late
            | Self::NoRoom { .. }
            | Self::AtMaxSize { .. }
            | Self::AtUsefulSize { .. } => false,
        }
    }

    /// The value of the `reason` label: a fixed, small set.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::DryRun { .. } => "dry_run",
            Self::Group { obstacle } => obstacle.label(),
            Self::PoolFailed => "pool_failed",
            Self::NeedsCheck => "needs_check",
            Self::Invalid => "invalid",
            Self::Merging => "merging",
            Self::MergeFailed => "merge_failed",
            Self::StateUnknown => "state_unknown",
            Self::Suspended => "suspended",
            Self::Late => "late",
            Self::NoRoom { .. } => "no_room",
            Self::AtMaxSize { .. } => "max_size",
            Self::AtGrowthPerHour { .. } => "growth_per_hour",
            Self::AtUsefulSize { .. } => "useful_size",
            Self::CoolingDown { .. } => "cooling_down",
            Self::Busy => "busy",
            Self::Stuck => "stuck",
        }
    }

    /// Every label that `label` can give, for series that exist before they are needed.
    pub const LABELS: [&str; 23] = [
        "busy",
        "clustered",
        "cooling_down",
        "disabled",
        "dry_run",
        "duplicate_name",
        "exported",
        "growth_per_hour",
        "invalid",
        "late",
        "max_size",
        "merge_failed",
        "merging",
        "needs_check",
        "no_room",
        "partial",
        "pool_failed",
        "read_only",
        "shared",
        "state_unknown",
        "stuck",
        "suspended",
        "useful_size",
    ];
}

impl GroupObstacle {
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Shared => "shared",
            Self::Clustered => "clustered",
            Self::Partial => "partial",
            Self::ReadOnly => "read_only",
            Self::DuplicateName => "duplicate_name",
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threshold { percent } => write!(f, "more than {percent} % used"),
            Self::Rate { bytes_per_second } => write!(f, "filling at {bytes_per_second}/s"),
            Self::Headroom { floor } => write!(f, "less than {floor} free"),
        }
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GroupSpace => "what the volume group has left beyond its reserve",
            Self::MaxSize => "max_size",
            Self::GrowthPerHour => "growth_per_hour",
            Self::Refusals => "a smaller step, because lvextend refused the last",
            Self::UsefulSize => "the largest useful size",
        })
    }
}

impl fmt::Display for Reason {
    /// For people: what holds it back, and what to do where somebody can do something.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => write!(f, "extension is disabled by policy"),
            Self::DryRun { extension } => write!(
                f,
                "dry run: would extend by {} to {} ({})",
                extension.added(),
                extension.to_bytes(),
                extension.trigger
            ),
            Self::Group { obstacle } => write!(f, "the volume group {}", obstacle.says()),
            Self::PoolFailed => write!(f, "the kernel has failed the pool: repair it offline"),
            Self::NeedsCheck => {
                write!(
                    f,
                    "the pool needs a metadata check: deactivate it and run lvconvert --repair"
                )
            }
            Self::Invalid => write!(f, "the snapshot is invalid and cannot be saved: remove it"),
            Self::Merging => write!(f, "the snapshot is merging: its usage falls by itself"),
            Self::MergeFailed => write!(f, "the merge failed: the origin needs attention"),
            Self::StateUnknown => write!(f, "the kernel does not tell how full it is"),
            Self::Suspended => write!(f, "the device is suspended by somebody else"),
            Self::Late => write!(f, "the device does not answer: storage under it hangs"),
            Self::NoRoom { free, reserve } => write!(
                f,
                "the volume group has {free} free and keeps {reserve} in reserve: add a physical volume or free extents"
            ),
            Self::AtMaxSize { max } => write!(f, "it has reached max_size ({max})"),
            Self::AtGrowthPerHour { limit, .. } => {
                write!(
                    f,
                    "it has grown by growth_per_hour ({limit}) within an hour"
                )
            }
            Self::AtUsefulSize { max } => {
                write!(f, "it has reached the largest useful size ({max})")
            }
            Self::CoolingDown { failures: 0, .. } => {
                write!(f, "it changed a moment ago and is being read again")
            }
            Self::CoolingDown { failures, .. } => {
                write!(f, "cooling down after {failures} failed attempts in a row")
            }
            Self::Busy => write!(f, "another extension in this volume group is running"),
            Self::Stuck => write!(f, "an lvm command of ours in this volume group hangs"),
        }
    }
}

impl GroupObstacle {
    const fn says(self) -> &'static str {
        match self {
            Self::Exported => "is exported",
            Self::Shared => "is shared with other hosts",
            Self::Clustered => "is clustered",
            Self::Partial => "misses physical volumes",
            Self::ReadOnly => "is read-only",
            Self::DuplicateName => "has the same name as another one: rename one by its uuid",
        }
    }
}

/// How an extension ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub extension: Extension,
    pub took: Duration,
    pub lock_wait: Duration,
    /// lvextend was killed by somebody and left devices suspended, which have been resumed.
    pub mended: bool,
    pub end: End,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum End {
    /// The kernel reports more room than before.
    Extended {
        kernel_total: Bytes,
    },
    /// The store was no longer as planned: nothing was run.
    Changed {
        found: String,
    },
    Failed {
        failure: Failure,
        detail: String,
    },
}

/// The value of the `reason` label of failed extensions: a fixed, small set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The lock of the volume group was not to be had in time.
    Lock,
    /// lvextend could not be started.
    Spawn,
    /// lvextend said no and the store has not grown.
    Refused,
    /// lvextend said yes and the kernel has no more room than before.
    NoEffect,
    /// lvextend did not end in time.
    Timeout,
    /// The kernel's answer afterwards could not be read.
    Unverified,
    /// lvextend was killed and its devices could not be resumed.
    Killed,
}

impl Failure {
    /// Sorted by label.
    pub const ALL: [Self; 7] = [
        Self::Killed,
        Self::Lock,
        Self::NoEffect,
        Self::Refused,
        Self::Spawn,
        Self::Timeout,
        Self::Unverified,
    ];

    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Spawn => "spawn",
            Self::Refused => "refused",
            Self::NoEffect => "no_effect",
            Self::Timeout => "timeout",
            Self::Unverified => "unverified",
            Self::Killed => "killed",
        }
    }
}

impl Outcome {
    /// Of an extension that was never begun.
    #[must_use]
    pub fn not_started(extension: Extension, failure: Failure, detail: String) -> Self {
        Self {
            extension,
            took: Duration::ZERO,
            lock_wait: Duration::ZERO,
            mended: false,
            end: End::Failed { failure, detail },
        }
    }
}

impl Hold {
    /// Whether somebody ought to know: holds that end by themselves are routine.
    #[must_use]
    pub const fn needs_a_human(&self) -> bool {
        match self.reason {
            Reason::Disabled
            | Reason::DryRun { .. }
            | Reason::Merging
            | Reason::CoolingDown { .. }
            | Reason::Busy
            | Reason::AtUsefulSize { .. } => false,
            Reason::Group { .. }
            | Reason::PoolFailed
            | Reason::NeedsCheck
            | Reason::Invalid
            | Reason::MergeFailed
            | Reason::StateUnknown
            | Reason::Suspended
            | Reason::Late
            | Reason::Stuck
            | Reason::NoRoom { .. }
            | Reason::AtMaxSize { .. }
            | Reason::AtGrowthPerHour { .. } => true,
        }
    }

    /// What identifies the hold while it lasts, so that it is told once and not at each look.
    #[must_use]
    pub fn key(&self) -> (VolumeName, Resource, &'static str) {
        (self.name.clone(), self.target.resource, self.reason.label())
    }
}
