//! What was seen: volume groups, thin pools, COW snapshots, and what could not be read.
//!
//! LVM's metadata gives names and sizes, the kernel gives usage and state. Where the two can
//! disagree both are kept, because the disagreement is what somebody has to know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::{Name, Uuid, VolumeId, VolumeName};
use super::relief::{Expendable, SpareDisk};
use super::time::{Moment, UnixSeconds};
use super::units::{Bytes, Extents, Sectors, THIN_METADATA_BLOCK};

/// Everything that was seen, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    pub groups: Vec<VolumeGroup>,
    pub pools: Vec<ThinPool>,
    pub snapshots: Vec<CowSnapshot>,
    /// Physical volumes without a group.
    pub spare_disks: Vec<SpareDisk>,
    /// Snapshots of both kinds that somebody tagged to be removed when room is short.
    pub expendable: Vec<Expendable>,
    /// Only where somebody asked for them: guarding needs none.
    pub thin_volumes: Vec<ThinVolume>,
    /// Fields of the report that were not asked for: of another LVM than is known here.
    pub unknown_fields: u64,
    /// Volume groups left out because another one has the same name.
    pub duplicate_names: u64,
}

/// One volume group, as `lvm fullreport` tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeGroup {
    pub name: Name,
    pub uuid: Uuid,
    /// LVM `vg_size`.
    pub size: Bytes,
    /// LVM `vg_extent_size`.
    pub extent: Bytes,
    /// LVM `vg_free_count`, less the free extents of PVs that are missing or not allocatable.
    pub free: Extents,
    /// LVM `vg_missing_pv_count`.
    pub missing_pvs: u64,
    /// LVM `vg_mda_size`: the smallest metadata area.
    pub metadata_area_size: Bytes,
    /// LVM `vg_mda_free`.
    pub metadata_area_free: Bytes,
    /// Size of `lvol0_pmspare`, zero without one.
    pub pool_metadata_spare: Bytes,
    /// Why nothing in this group may be changed.
    pub obstacle: Option<GroupObstacle>,
}

/// A state of a volume group in which LVM refuses changes, or in which another host may own them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupObstacle {
    Exported,
    Shared,
    Clustered,
    Partial,
    ReadOnly,
    /// Another group has the same name.
    DuplicateName,
    /// LVM no longer tells of it, while the kernel has its devices.
    Hidden,
}

/// What LVM sums up over a group to tell whether thin volumes promise more than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThinSums {
    /// Of all thin volumes, snapshots included.
    pub virtual_size: Bytes,
    pub pools: Bytes,
}

/// A thin pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThinPool {
    pub id: VolumeId,
    pub name: VolumeName,
    /// Extents of the data device, LVM `lv_size`.
    pub data: Extents,
    /// Extents of the metadata device, LVM `lv_metadata_size`.
    pub metadata: Extents,
    /// LVM `chunk_size`.
    pub chunk: Bytes,
    /// LVM `lv_when_full`: `error` or `queue`.
    pub when_full: String,
    /// LVM `discards`.
    pub discards: String,
    /// Virtual sizes of all thin volumes, snapshots included, summed.
    pub virtual_size: Bytes,
    pub volumes: u64,
    pub snapshots: u64,
    pub oldest_snapshot: Option<UnixSeconds>,
    /// LVM `transaction_id`.
    pub transaction_id: Option<u64>,
    /// LVM `lv_tags`.
    pub tags: Vec<String>,
    pub kernel: Kernel<PoolStatus>,
}

/// A classic (copy-on-write) snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CowSnapshot {
    pub id: VolumeId,
    pub name: VolumeName,
    pub origin: String,
    /// The origin's device carries the status while the snapshot merges into it.
    pub origin_id: Option<VolumeId>,
    /// Size of the origin, LVM `origin_size`.
    pub origin_size: Bytes,
    /// Extents of the exception store, LVM `lv_size` of the snapshot.
    pub size: Extents,
    /// LVM `chunk_size`.
    pub chunk: Bytes,
    /// LVM `lv_time`.
    pub created: Option<UnixSeconds>,
    /// LVM `lv_merging`: it is being merged or will be once its origin is closed.
    pub merging: bool,
    /// LVM `lv_tags`.
    pub tags: Vec<String>,
    pub kernel: Kernel<CowStatus>,
}

/// A thin volume or thin snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThinVolume {
    pub id: VolumeId,
    pub name: VolumeName,
    /// Name of its pool, LVM `pool_lv`.
    pub pool: String,
    /// Name of what it is a snapshot of, LVM `origin`; empty for a volume of its own.
    pub origin: String,
    /// LVM `lv_size`.
    pub size: Bytes,
    /// LVM `lv_time`.
    pub created: Option<UnixSeconds>,
    /// What it maps in its pool (dm-thin.c, `thin_status`); nothing while it is inactive or the kernel does not tell.
    pub mapped: Option<Bytes>,
}

/// What the kernel said about a device, or why it said nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel<T> {
    /// The device is not active: nothing can fill it.
    Inactive,
    /// The last look succeeded.
    Known {
        at: Moment,
        suspended: bool,
        status: T,
    },
    /// The device exists and its status could not be read.
    Unreadable { why: String },
    /// A look has not come back: storage under the device hangs. The last known status, if there is one.
    Late { since: Moment, last: Option<T> },
}

/// `thin-pool` status of the kernel (dm-thin.c, `pool_status`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolStatus {
    /// The kernel gave the pool up: `Fail`, or a line with `Error`.
    Failed,
    Working(PoolUsage),
}

/// The numbers of a working pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolUsage {
    pub transaction_id: u64,
    pub metadata_used_blocks: u64,
    /// Without the reserve that the kernel hides (min of 16 MiB and 10 %).
    pub metadata_total_blocks: u64,
    pub data_used_blocks: u64,
    pub data_total_blocks: u64,
    pub mode: PoolMode,
    /// The *live* flag: it turns to error when `no_space_timeout` expires.
    pub errors_when_full: bool,
    pub needs_check: bool,
    /// In metadata blocks; absent on older kernels.
    pub metadata_low_water_blocks: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolMode {
    Writable,
    OutOfDataSpace,
    ReadOnly,
}

/// `snapshot` and `snapshot-merge` status of the kernel (dm-snap.c, `snapshot_status`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CowStatus {
    Valid(CowUsage),
    Merging(CowUsage),
    Invalid,
    MergeFailed,
    Overflow,
    /// The kernel said `Unknown`: the store cannot report its usage.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CowUsage {
    pub allocated: Sectors,
    pub total: Sectors,
    pub metadata: Sectors,
}

/// A device of LVM's, whatever its target: what mending needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    pub name: String,
    pub volume: VolumeId,
    /// The suffix of its uuid: `tpool`, `tdata`, `cow`, ... or nothing.
    pub layer: String,
    pub suspended: bool,
    pub inactive_table: bool,
}

impl Inventory {
    #[must_use]
    pub fn group(&self, uuid: &Uuid) -> Option<&VolumeGroup> {
        self.groups.iter().find(|group| group.uuid == *uuid)
    }

    #[must_use]
    pub fn thin_sums(&self, group: &VolumeGroup) -> ThinSums {
        let nothing = ThinSums {
            virtual_size: Bytes::ZERO,
            pools: Bytes::ZERO,
        };
        let pools = self.pools.iter().filter(|pool| pool.id.vg == group.uuid);
        pools.fold(nothing, |sums, pool| ThinSums {
            virtual_size: sums.virtual_size.saturating_add(pool.virtual_size),
            pools: sums.pools.saturating_add(pool.data.bytes(group.extent)),
        })
    }

    /// The volumes that the kernel does not answer for.
    pub fn late(&self) -> impl Iterator<Item = &VolumeName> {
        let pools = self.pools.iter();
        let pools = pools.filter(|pool| matches!(pool.kernel, Kernel::Late { .. }));
        let snapshots = self.snapshots.iter();
        let snapshots = snapshots.filter(|cow| matches!(cow.kernel, Kernel::Late { .. }));
        pools
            .map(|pool| &pool.name)
            .chain(snapshots.map(|cow| &cow.name))
    }

    /// Takes one group over from an earlier inventory, in place of what this one has of it.
    pub fn keep(&mut self, group: &VolumeGroup, earlier: &Self) {
        self.groups.retain(|other| other.uuid != group.uuid);
        self.pools.retain(|pool| pool.id.vg != group.uuid);
        self.snapshots
            .retain(|snapshot| snapshot.id.vg != group.uuid);
        self.expendable.retain(|e| e.id.vg != group.uuid);
        let expendable = earlier.expendable.iter();
        let expendable = expendable.filter(|e| e.id.vg == group.uuid);
        self.expendable.extend(expendable.cloned());
        self.thin_volumes.retain(|thin| thin.id.vg != group.uuid);
        let thin_volumes = earlier.thin_volumes.iter();
        let thin_volumes = thin_volumes.filter(|thin| thin.id.vg == group.uuid);
        self.thin_volumes.extend(thin_volumes.cloned());
        self.groups.push(group.clone());
        self.pools.extend(
            earlier
                .pools
                .iter()
                .filter(|p| p.id.vg == group.uuid)
                .cloned(),
        );
        self.snapshots.extend(
            earlier
                .snapshots
                .iter()
                .filter(|s| s.id.vg == group.uuid)
                .cloned(),
        );
        self.sort();
    }

    /// Takes the volumes over that an earlier inventory had and this one lacks, where their group is still there.
    pub fn keep_volumes(&mut self, earlier: &Self, is_kept: impl Fn(&VolumeId) -> bool) {
        let groups: Vec<&Uuid> = self.groups.iter().map(|group| &group.uuid).collect();
        let is_lost = |id: &VolumeId| groups.contains(&&id.vg) && is_kept(id);
        let pools = earlier.pools.iter().filter(|pool| is_lost(&pool.id));
        let snapshots = earlier.snapshots.iter().filter(|cow| is_lost(&cow.id));
        let lacks_pool = |pool: &&ThinPool| self.pools.iter().all(|other| other.id != pool.id);
        let lacks_cow = |cow: &&CowSnapshot| self.snapshots.iter().all(|other| other.id != cow.id);
        let pools: Vec<ThinPool> = pools.filter(lacks_pool).cloned().collect();
        let snapshots: Vec<CowSnapshot> = snapshots.filter(lacks_cow).cloned().collect();
        self.pools.extend(pools);
        self.snapshots.extend(snapshots);
        self.sort();
    }

    /// Until the kernel is asked again, thin volumes map what they did.
    pub fn keep_mapped(&mut self, earlier: &Self) {
        let mapped = earlier.thin_volumes.iter();
        let mapped = mapped.filter_map(|thin| Some((thin.id.clone(), thin.mapped?)));
        self.set_mapped(&mapped.collect());
    }

    /// Whatever is not in `mapped` is not known.
    pub fn set_mapped(&mut self, mapped: &BTreeMap<VolumeId, Bytes>) {
        for thin in &mut self.thin_volumes {
            thin.mapped = mapped.get(&thin.id).copied();
        }
    }

    /// By name, as everything that shows it expects.
    pub fn sort(&mut self) {
        self.groups.sort_by(|a, b| a.name.cmp(&b.name));
        self.pools.sort_by(|a, b| a.name.cmp(&b.name));
        self.snapshots.sort_by(|a, b| a.name.cmp(&b.name));
        self.thin_volumes.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

impl VolumeGroup {
    #[must_use]
    pub fn free_bytes(&self) -> Bytes {
        self.free.bytes(self.extent)
    }
}

impl<T> Kernel<T> {
    /// The latest status, also when it is old because the device hangs.
    #[must_use]
    pub const fn status(&self) -> Option<&T> {
        match self {
            Self::Known { status, .. } => Some(status),
            Self::Late { last, .. } => last.as_ref(),
            Self::Inactive | Self::Unreadable { .. } => None,
        }
    }

    #[must_use]
    pub const fn is_suspended(&self) -> bool {
        matches!(
            self,
            Self::Known {
                suspended: true,
                ..
            }
        )
    }
}

impl ThinPool {
    #[must_use]
    pub fn usage(&self) -> Option<&PoolUsage> {
        match self.kernel.status()? {
            PoolStatus::Working(usage) => Some(usage),
            PoolStatus::Failed => None,
        }
    }

    #[must_use]
    pub fn data_used(&self) -> Option<Bytes> {
        Some(Bytes(self.usage()?.data_used_blocks).saturating_mul(self.chunk.0))
    }

    #[must_use]
    pub fn data_total(&self) -> Option<Bytes> {
        Some(Bytes(self.usage()?.data_total_blocks).saturating_mul(self.chunk.0))
    }

    #[must_use]
    pub fn metadata_used(&self) -> Option<Bytes> {
        Some(THIN_METADATA_BLOCK.saturating_mul(self.usage()?.metadata_used_blocks))
    }

    #[must_use]
    pub fn metadata_total(&self) -> Option<Bytes> {
        Some(THIN_METADATA_BLOCK.saturating_mul(self.usage()?.metadata_total_blocks))
    }
}

impl CowSnapshot {
    #[must_use]
    pub fn usage(&self) -> Option<CowUsage> {
        match self.kernel.status()? {
            CowStatus::Valid(usage) | CowStatus::Merging(usage) => Some(*usage),
            CowStatus::Invalid
            | CowStatus::MergeFailed
            | CowStatus::Overflow
            | CowStatus::Unknown => None,
        }
    }

    /// The size at which its store can never overflow.
    #[must_use]
    pub fn full_size(&self, extent: Bytes) -> Extents {
        full_store(self.origin_size, self.chunk, extent)
    }
}

/// The size at which a store can hold every chunk of its origin and all its metadata, so
/// that it can never overflow (lvm2 `snapshot_manip.c`, `cow_max_extents`): one header
/// chunk, a chunk for each of the origin's, and a metadata chunk for each area of exceptions.
#[must_use]
pub fn full_store(origin: Bytes, chunk: Bytes, extent: Bytes) -> Extents {
    /// An exception in the persistent store takes 16 bytes (dm-snap-persistent.c).
    const EXCEPTION_BYTES: u64 = 16;
    let chunk = chunk.0.max(1);
    let per_area = (chunk / EXCEPTION_BYTES).max(1);
    let origin_chunks = origin.0.div_ceil(chunk);
    let areas = origin_chunks.saturating_add(per_area) / per_area;
    let chunks = origin_chunks.saturating_add(areas).saturating_add(1);
    Bytes(chunks).saturating_mul(chunk).extents_ceil(extent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot_of(origin_size: Bytes, chunk: Bytes) -> CowSnapshot {
        let name = |text| Name::parse(text).expect("a literal LVM name");
        let uuid = |c: &str| Uuid::parse(&c.repeat(32)).expect("a literal uuid");
        CowSnapshot {
            id: VolumeId {
                vg: uuid("v"),
                lv: uuid("s"),
            },
            name: VolumeName {
                vg: name("vg"),
                lv: name("snap"),
            },
            origin: "origin".into(),
            origin_id: None,
            origin_size,
            size: Extents(1),
            chunk,
            created: None,
            merging: false,
            tags: Vec::new(),
            kernel: Kernel::Inactive,
        }
    }

    #[test]
    fn a_store_that_cannot_overflow_matches_lvm() {
        let snapshot = snapshot_of(Bytes(100 * Bytes::GIB), Bytes(4096));
        assert_eq!(snapshot.full_size(Bytes::mib(4)), Extents(25_701));
    }
}
