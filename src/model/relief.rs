//! What helps a volume group that has no room left: the rungs of a ladder, each of them there only where a rule
//! says so.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::{Name, Uuid, VolumeId, VolumeName};
use super::time::UnixSeconds;
use super::units::Bytes;

/// The LVM tag of a snapshot that may be removed when its group has no room.
pub const EXPENDABLE_TAG: &str = "cowherd.expendable";
/// The LVM tag of a snapshot that may be removed from a time on, in seconds since 1970: this, and the number.
pub const EXPIRES_TAG: &str = "cowherd.expires=";

/// What rules say of a group's relief.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    /// Physical volumes without a group, in the order in which they are to be added.
    pub standby: Vec<Uuid>,
    /// Frees room in pools: fstrim on the host, or in guests.
    pub trim: Option<Hook>,
    /// Whether snapshots with one of the tags may be removed.
    pub remove_snapshots: Option<bool>,
    /// Stops who writes to pools that are about to be full.
    pub suspend: Option<Hook>,
    /// Lets them go on once there is room.
    pub resume: Option<Hook>,
}

/// A program of the administrator's and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// An absolute path.
    pub program: String,
    pub arguments: Vec<String>,
}

/// A physical volume that belongs to no group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpareDisk {
    pub uuid: Uuid,
    /// LVM `pv_name`.
    pub device: String,
    pub size: Bytes,
}

/// A snapshot with one of the tags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expendable {
    pub id: VolumeId,
    pub name: VolumeName,
    /// Of a thin one: removing it gives its pool room, and the group none.
    pub pool: Option<Uuid>,
    pub created: Option<UnixSeconds>,
    pub tag: Tag,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Tag {
    Expendable,
    Expires(UnixSeconds),
}

/// One thing to be done for one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relief {
    pub group: Name,
    pub group_uuid: Uuid,
    pub rung: Rung,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Rung {
    Disk(SpareDisk),
    Trim(HookCall),
    Remove(Expendable),
    Suspend(HookCall),
    Resume(HookCall),
}

/// A hook, and the pools that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookCall {
    pub hook: Hook,
    pub pools: Vec<Name>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relieved {
    pub relief: Relief,
    pub took: Duration,
    pub error: Option<String>,
}

impl Tag {
    /// What one of a volume's tags says, if it is one of ours.
    #[must_use]
    pub fn parse(tag: &str) -> Option<Self> {
        if tag == EXPENDABLE_TAG {
            return Some(Self::Expendable);
        }
        let seconds: u32 = tag.strip_prefix(EXPIRES_TAG)?.parse().ok()?;
        Some(Self::Expires(UnixSeconds(seconds.into())))
    }

    /// As LVM has it.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Expendable => EXPENDABLE_TAG.to_owned(),
            Self::Expires(at) => format!("{EXPIRES_TAG}{:.0}", at.0),
        }
    }
}

impl Ladder {
    /// What this one says over what another one says.
    #[must_use]
    pub fn over(&self, base: Self) -> Self {
        let mut standby = base.standby;
        standby.extend(self.standby.iter().cloned());
        Self {
            standby,
            trim: self.trim.clone().or(base.trim),
            remove_snapshots: self.remove_snapshots.or(base.remove_snapshots),
            suspend: self.suspend.clone().or(base.suspend),
            resume: self.resume.clone().or(base.resume),
        }
    }
}

impl Rung {
    /// The values of the `rung` label, in the ladder's order.
    pub const LABELS: [&str; 5] = ["standby_disk", "trim", "snapshot", "suspend", "resume"];

    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Disk(_) => "standby_disk",
            Self::Trim(_) => "trim",
            Self::Remove(_) => "snapshot",
            Self::Suspend(_) => "suspend",
            Self::Resume(_) => "resume",
        }
    }

    /// Whether LVM changes the group, so that nothing else may at the same time.
    #[must_use]
    pub const fn is_by_lvm(&self) -> bool {
        match self {
            Self::Disk(_) | Self::Remove(_) => true,
            Self::Trim(_) | Self::Suspend(_) | Self::Resume(_) => false,
        }
    }
}

impl Relief {
    /// What is not to be tried again at once when it has just been.
    #[must_use]
    pub fn key(&self) -> String {
        match &self.rung {
            Rung::Disk(disk) => disk.uuid.as_str().to_owned(),
            Rung::Remove(snapshot) => snapshot.id.lv.as_str().to_owned(),
            rung @ (Rung::Trim(_) | Rung::Suspend(_) | Rung::Resume(_)) => {
                format!("{} {}", self.group_uuid.as_str(), rung.label())
            }
        }
    }
}

impl fmt::Display for Relief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = &self.group;
        match &self.rung {
            Rung::Disk(SpareDisk { uuid, device, size }) => {
                let uuid = uuid.lvm_form();
                write!(
                    f,
                    "add the standby disk {device} ({size}, {uuid}) to {group}"
                )
            }
            Rung::Remove(snapshot) => {
                write!(f, "remove {} ({})", snapshot.name, snapshot.tag.text())
            }
            Rung::Trim(call) => write!(f, "trim {group}: {call}"),
            Rung::Suspend(call) => write!(f, "suspend who writes to {group}: {call}"),
            Rung::Resume(call) => write!(f, "resume who was suspended for {group}: {call}"),
        }
    }
}

impl fmt::Display for HookCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hook.program)?;
        for argument in &self.hook.arguments {
            write!(f, " {argument}")?;
        }
        Ok(())
    }
}
