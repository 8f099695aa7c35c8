//! Every logical volume that somebody may name, as far as taking and removing snapshots needs to know it.

use serde::{Deserialize, Serialize};

use super::names::{Uuid, VolumeId, VolumeName};
use super::time::UnixSeconds;
use super::units::Bytes;

/// A volume that LVM shows: its hidden ones cannot be named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    pub id: VolumeId,
    pub name: VolumeName,
    pub kind: VolumeKind,
    /// LVM `lv_size`; of a copy-on-write snapshot the size of its store.
    pub size: Bytes,
    /// What it is a snapshot of, LVM `origin_uuid`. LVM forgets it of a thin snapshot whose origin is removed or merged.
    pub origin: Option<Uuid>,
    /// LVM `pool_lv_uuid`.
    pub pool: Option<Uuid>,
    /// LVM `lv_time`.
    pub created: Option<UnixSeconds>,
    /// LVM `lv_tags`.
    pub tags: Vec<String>,
    pub is_writable: bool,
    /// LVM activates it only when told to ignore this.
    pub skips_activation: bool,
    /// It is being merged into its origin, or will be.
    pub is_merging: bool,
    /// How often its device is open; nothing while it is inactive.
    pub opened: Option<u32>,
}

/// What the first letter of LVM's `lv_attr` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeKind {
    /// Linear, striped, mirrored or RAID: a classic snapshot can be taken of it.
    Thick,
    /// A classic, copy-on-write snapshot.
    Cow,
    /// A thin volume, or a thin snapshot of one.
    Thin,
    ThinPool,
    /// Anything else: nothing of it is touched.
    Other,
}

impl Volume {
    /// Whether it is a snapshot of anything, of either kind.
    #[must_use]
    pub fn is_snapshot(&self) -> bool {
        self.kind == VolumeKind::Cow || self.kind == VolumeKind::Thin && self.origin.is_some()
    }

    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|other| other == tag)
    }
}
