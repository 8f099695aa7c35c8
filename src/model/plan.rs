//! What is to be done, and why the rest is not done.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::{Resource, Target, VolumeName};
use super::reason::Reason;
use super::relief::Relief;
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

impl Plan {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.extensions.is_empty() && self.holds.is_empty() && self.reliefs.is_empty()
    }

    /// Whether anything is said of this store.
    #[must_use]
    pub fn names(&self, target: &Target) -> bool {
        let extended = self.extensions.iter().map(|e| &e.target);
        let held = self.holds.iter().map(|hold| &hold.target);
        extended.chain(held).any(|named| named == target)
    }

    /// Whether it depends on the room that a group has, and so on every store of it.
    #[must_use]
    pub fn weighs_room(&self) -> bool {
        let weighs =
            |hold: &Hold| matches!(hold.reason, Reason::NoRoom { .. } | Reason::DryRun { .. });
        !self.extensions.is_empty() || self.holds.iter().any(weighs)
    }

    /// Whether this store is held until others do something about it.
    #[must_use]
    pub fn leaves_to_others(&self, target: &Target) -> bool {
        let mut holds = self.holds.iter().filter(|hold| hold.target == *target);
        holds.any(|hold| hold.reason.waits_for_others())
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

/// How an extension ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub extension: Extension,
    pub took: Duration,
    pub lock_wait: Duration,
    /// lvextend was killed by somebody and left devices suspended, which have been resumed.
    pub mended: bool,
    /// Why it could not be noted for a successor.
    pub unnoted: Option<String>,
    pub end: End,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum End {
    /// The kernel reports more room than before.
    Extended {
        kernel_total: Bytes,
    },
    /// The store is no longer as planned, or its device was taken away: nothing is claimed.
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
            unnoted: None,
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
