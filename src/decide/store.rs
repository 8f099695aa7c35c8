//! One view of pool data, pool metadata and COW stores: what all three have in common.

use std::iter::once_with;

use crate::model::inventory::{
    CowSnapshot, CowStatus, Inventory, Kernel, PoolStatus, ThinPool, VolumeGroup,
};
use crate::model::names::{Resource, Target, VolumeName};
use crate::model::policy::{Growth, Policy};
use crate::model::reason::Reason;
use crate::model::time::Moment;
use crate::model::units::{Bytes, Extents};

/// lvm2 `DM_THIN_MAX_METADATA_SIZE` is 255 * (2^14 - 64) sectors of 4 KiB blocks: 15.875 GiB. With
/// `crop_metadata = 1` LVM stays at 33161216 sectors; the smaller is safe under either setting.
const THIN_METADATA_MAX: Bytes = Bytes(33_161_216 * 512);

/// LVM keeps thin pool metadata at this many bytes per data chunk when it grows the data
/// (lvm2 `thin_manip.c`, `get_default_allocation_thin_pool_metadata`).
const METADATA_BYTES_PER_CHUNK: u64 = 64;

/// Something that can run full.
#[derive(Debug, Clone)]
pub struct Store<'a> {
    pub target: Target,
    pub name: &'a VolumeName,
    pub group: &'a VolumeGroup,
    pub tags: &'a [String],
    /// LVM's size.
    pub size: Extents,
    /// The kernel's numbers, when it gave any.
    pub fill: Option<Fill>,
    /// When it gave them.
    pub seen_at: Option<Moment>,
    /// More than this cannot be used.
    pub useful_max: Extents,
    /// The store that can never run full at this size, when that is known.
    pub never_full: Option<Bytes>,
    /// What makes any extension wrong.
    pub damage: Option<Reason>,
    /// Of the stores of one volume, the one that reports its damage.
    pub tells_damage: bool,
    /// What makes the numbers untrustworthy just now.
    pub silence: Option<Reason>,
    /// Extents that LVM takes along when this store grows to a size.
    pub along: Along,
}

/// Used and total, as the kernel counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    pub used: Bytes,
    pub total: Bytes,
}

/// What else grows when a store grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    Nothing,
    /// `lvol0_pmspare` follows the largest metadata device of the group.
    Spare {
        spare: Extents,
    },
    /// Pool metadata (and with it the spare) is kept at 64 bytes per chunk.
    Metadata {
        metadata: Extents,
        spare: Extents,
        chunk: Bytes,
    },
}

impl Fill {
    #[must_use]
    pub const fn free(self) -> Bytes {
        self.total.saturating_sub(self.used)
    }
}

impl Store<'_> {
    /// How the policy lets it grow.
    #[must_use]
    pub fn growth(&self, policy: &Policy) -> Growth {
        policy.growth(self.target.resource, self.name, self.tags)
    }

    /// Whole extents that the kernel has and LVM does not know of: on a disk that lost a write LVM has forgotten an
    /// extension, and one by others it may not have told yet. A size below the kernel's would take room away that
    /// is in use.
    #[must_use]
    pub fn ahead(&self) -> Extents {
        let kernel = self.fill.map_or(Bytes::ZERO, |fill| fill.total);
        kernel
            .extents_floor(self.group.extent)
            .saturating_sub(self.size)
    }

    /// The same with the size that the kernel has, where that is larger.
    #[must_use]
    pub fn as_in_the_kernel(&self) -> Self {
        Self {
            size: self.size.saturating_add(self.ahead()),
            ..self.clone()
        }
    }

    /// Extents that LVM takes from the group to bring this store to `size`, the store's own included.
    #[must_use]
    pub fn cost(&self, size: Extents) -> Extents {
        size.saturating_sub(self.size)
            .saturating_add(self.along.cost(size, self.group.extent))
    }
}

impl Along {
    fn cost(self, size: Extents, extent: Bytes) -> Extents {
        match self {
            Self::Nothing => Extents::ZERO,
            Self::Spare { spare } => size.saturating_sub(spare),
            Self::Metadata {
                metadata,
                spare,
                chunk,
            } => {
                let chunks = size.bytes(extent).0.div_ceil(chunk.0.max(1));
                let needed = Bytes(chunks).saturating_mul(METADATA_BYTES_PER_CHUNK);
                let needed = needed.min(THIN_METADATA_MAX).extents_ceil(extent);
                if needed <= metadata {
                    return Extents::ZERO;
                }
                needed
                    .saturating_sub(metadata)
                    .saturating_add(needed.saturating_sub(spare))
            }
        }
    }
}

/// Every store of the inventory whose volume group is known, pools first, sorted by name.
pub fn all(inventory: &Inventory) -> impl Iterator<Item = Store<'_>> {
    let pools = inventory.pools.iter();
    let snapshots = inventory.snapshots.iter();
    pools
        .flat_map(|pool| of_pool(inventory, pool))
        .chain(snapshots.filter_map(|snapshot| of_snapshot(inventory, snapshot)))
}

/// Data and metadata of one pool; nothing when its volume group is not known.
pub fn of_pool<'a>(
    inventory: &'a Inventory,
    pool: &'a ThinPool,
) -> impl Iterator<Item = Store<'a>> + use<'a> {
    let group = inventory.group(&pool.id.vg).into_iter();
    group.flat_map(move |group| {
        once_with(move || data(group, pool)).chain(once_with(move || metadata(group, pool)))
    })
}

/// The exception store of one snapshot; nothing when its volume group is not known.
#[must_use]
pub fn of_snapshot<'a>(inventory: &'a Inventory, snapshot: &'a CowSnapshot) -> Option<Store<'a>> {
    Some(cow(inventory.group(&snapshot.id.vg)?, snapshot))
}

fn data<'a>(group: &'a VolumeGroup, pool: &'a ThinPool) -> Store<'a> {
    let fill = pool
        .data_used()
        .zip(pool.data_total())
        .map(|(used, total)| Fill { used, total });
    let damage = pool_damage(pool);
    Store {
        target: Target {
            volume: pool.id.clone(),
            resource: Resource::Data,
        },
        name: &pool.name,
        group,
        tags: &pool.tags,
        size: pool.data,
        fill,
        seen_at: seen_at(&pool.kernel),
        useful_max: Extents(u64::from(u32::MAX)),
        never_full: Some(pool.virtual_size),
        tells_damage: damage == Some(Reason::PoolFailed),
        damage,
        silence: silence(&pool.kernel),
        along: Along::Metadata {
            metadata: pool.metadata,
            spare: group.pool_metadata_spare.extents_floor(group.extent),
            chunk: pool.chunk,
        },
    }
}

fn metadata<'a>(group: &'a VolumeGroup, pool: &'a ThinPool) -> Store<'a> {
    let fill = pool
        .metadata_used()
        .zip(pool.metadata_total())
        .map(|(used, total)| Fill { used, total });
    let damage = pool_damage(pool);
    Store {
        target: Target {
            volume: pool.id.clone(),
            resource: Resource::Metadata,
        },
        name: &pool.name,
        group,
        tags: &pool.tags,
        size: pool.metadata,
        fill,
        seen_at: seen_at(&pool.kernel),
        useful_max: THIN_METADATA_MAX.extents_floor(group.extent),
        never_full: None,
        tells_damage: damage == Some(Reason::NeedsCheck),
        damage,
        silence: silence(&pool.kernel),
        along: Along::Spare {
            spare: group.pool_metadata_spare.extents_floor(group.extent),
        },
    }
}

fn cow<'a>(group: &'a VolumeGroup, snapshot: &'a CowSnapshot) -> Store<'a> {
    let usage = snapshot.usage();
    let full = snapshot.full_size(group.extent);
    Store {
        target: Target {
            volume: snapshot.id.clone(),
            resource: Resource::Cow,
        },
        name: &snapshot.name,
        group,
        tags: &snapshot.tags,
        size: snapshot.size,
        fill: usage.map(|usage| Fill {
            used: usage.allocated.bytes(),
            total: usage.total.bytes(),
        }),
        seen_at: seen_at(&snapshot.kernel),
        useful_max: full,
        never_full: Some(full.bytes(group.extent)),
        damage: cow_damage(snapshot),
        tells_damage: !snapshot.merging,
        silence: silence(&snapshot.kernel),
        along: Along::Nothing,
    }
}

fn pool_damage(pool: &ThinPool) -> Option<Reason> {
    match pool.kernel.status()? {
        PoolStatus::Failed => Some(Reason::PoolFailed),
        PoolStatus::Working(usage) => usage.needs_check.then_some(Reason::NeedsCheck),
    }
}

fn cow_damage(snapshot: &CowSnapshot) -> Option<Reason> {
    if snapshot.merging {
        return Some(Reason::Merging);
    }
    match snapshot.kernel.status()? {
        CowStatus::Valid(_) => None,
        CowStatus::Merging(_) => Some(Reason::Merging),
        CowStatus::Invalid | CowStatus::Overflow => Some(Reason::Invalid),
        CowStatus::MergeFailed => Some(Reason::MergeFailed),
        CowStatus::Unknown => Some(Reason::StateUnknown),
    }
}

const fn seen_at<T>(kernel: &Kernel<T>) -> Option<Moment> {
    match kernel {
        Kernel::Known { at, .. } => Some(*at),
        Kernel::Inactive | Kernel::Unreadable { .. } | Kernel::Late { .. } => None,
    }
}

fn silence<T>(kernel: &Kernel<T>) -> Option<Reason> {
    match kernel {
        Kernel::Known {
            suspended: true, ..
        } => Some(Reason::Suspended),
        Kernel::Late { .. } => Some(Reason::Late),
        Kernel::Unreadable { .. } => Some(Reason::StateUnknown),
        // Nothing can fill an inactive one.
        Kernel::Known {
            suspended: false, ..
        }
        | Kernel::Inactive => None,
    }
}
