//! Why a store that wants room does not get it: what each reason means, what it is called, and what follows.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::inventory::GroupObstacle;
use super::plan::Extension;
use super::time::Moment;
use super::units::Bytes;

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
    /// Whether nothing that the store itself does can lead to an extension.
    pub(super) const fn waits_for_others(&self) -> bool {
        match self {
            Self::Disabled
            | Self::DryRun { .. }
            | Self::Group { .. }
            | Self::PoolFailed
            | Self::NeedsCheck
            | Self::Invalid
            | Self::MergeFailed
            | Self::NoRoom { .. }
            | Self::AtMaxSize { .. }
            | Self::AtGrowthPerHour { .. }
            | Self::AtUsefulSize { .. } => true,
            Self::Merging
            | Self::StateUnknown
            | Self::Suspended
            | Self::Late
            | Self::CoolingDown { .. }
            | Self::Busy
            | Self::Stuck => false,
        }
    }

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

impl Reason {
    pub(super) const fn ages(&self) -> bool {
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
    pub const LABELS: [&str; 24] = [
        "busy",
        "clustered",
        "cooling_down",
        "disabled",
        "dry_run",
        "duplicate_name",
        "exported",
        "growth_per_hour",
        "hidden",
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
            Self::Hidden => "hidden",
        }
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
            Self::Hidden => {
                "is not told of by LVM: is it another system's, or a disk left out of the devices file?"
            }
        }
    }
}
