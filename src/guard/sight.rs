//! Where a device's volume stands in the inventory, and how what its device said is written there.

use crate::decide::store::{self, Store};
use crate::model::inventory::{CowSnapshot, CowStatus, Inventory, Kernel, PoolStatus};
use crate::model::names::VolumeId;
use crate::model::time::Moment;
use crate::observe::device_mapper::{DeviceStatus, Found, Look, Watched};

/// What the last look at a device gave.
#[derive(Debug)]
pub(super) enum Last {
    Seen { at: Moment, look: Look },
    Fault { why: String },
}

/// A number that is larger when more of a device's store is used.
pub(super) fn filled(look: &Look) -> u64 {
    match &look.status {
        DeviceStatus::Pool(PoolStatus::Working(usage)) => usage.data_used_blocks,
        DeviceStatus::Cow(CowStatus::Valid(usage)) => usage.allocated.0,
        DeviceStatus::Pool(_) | DeviceStatus::Cow(_) => 0,
    }
}

/// The place of a device's volume among the pools or the snapshots. `hint` is where it was found
/// before: it still stands there unless LVM has been asked since.
pub(super) fn place(found: &Found, hint: usize, inventory: &Inventory) -> Option<usize> {
    let id = &found.volume;
    match found.target {
        Watched::ThinPool => position(&inventory.pools, hint, |pool| pool.id == *id),
        Watched::Snapshot => position(&inventory.snapshots, hint, |s| s.id == *id),
        Watched::SnapshotMerge => position(&inventory.snapshots, hint, |s| is_merging_into(s, id)),
    }
}

fn position<T>(all: &[T], hint: usize, is_it: impl Fn(&T) -> bool) -> Option<usize> {
    if all.get(hint).is_some_and(&is_it) {
        Some(hint)
    } else {
        all.iter().position(is_it)
    }
}

fn is_merging_into(snapshot: &CowSnapshot, origin: &VolumeId) -> bool {
    snapshot.merging && snapshot.origin_id.as_ref() == Some(origin)
}

/// The stores of the volume at this place.
pub(super) fn stores(
    target: Watched,
    place: usize,
    inventory: &Inventory,
) -> impl Iterator<Item = Store<'_>> {
    let (pool, snapshot) = match target {
        Watched::ThinPool => (inventory.pools.get(place), None),
        Watched::Snapshot | Watched::SnapshotMerge => (None, inventory.snapshots.get(place)),
    };
    let of_pool = pool.into_iter().flat_map(|p| store::of_pool(inventory, p));
    of_pool.chain(snapshot.and_then(|s| store::of_snapshot(inventory, s)))
}

/// Writes what a device said last to the volume at this place. Whether it is other than before.
pub(super) fn write(target: Watched, last: &Last, place: usize, inventory: &mut Inventory) -> bool {
    match target {
        Watched::ThinPool => inventory
            .pools
            .get_mut(place)
            .is_some_and(|pool| replace(&mut pool.kernel, kernel_of(last, pool_status))),
        Watched::Snapshot | Watched::SnapshotMerge => inventory
            .snapshots
            .get_mut(place)
            .is_some_and(|snapshot| replace(&mut snapshot.kernel, kernel_of(last, cow_status))),
    }
}

/// Whether the two differ in more than the time.
fn replace<T: PartialEq>(kernel: &mut Kernel<T>, new: Kernel<T>) -> bool {
    let mut old = std::mem::replace(kernel, new);
    if let (Kernel::Known { at, .. }, Kernel::Known { at: later, .. }) = (&mut old, &*kernel) {
        *at = *later;
    }
    old != *kernel
}

fn kernel_of<T>(last: &Last, pick: impl FnOnce(&DeviceStatus) -> Option<T>) -> Kernel<T> {
    match last {
        Last::Fault { why } => Kernel::Unreadable { why: why.clone() },
        Last::Seen { at, look } => match pick(&look.status) {
            Some(status) => Kernel::Known {
                at: *at,
                suspended: look.suspended,
                status,
            },
            None => Kernel::Unreadable {
                why: "the status of another target".to_owned(),
            },
        },
    }
}

fn pool_status(status: &DeviceStatus) -> Option<PoolStatus> {
    match status {
        DeviceStatus::Pool(status) => Some(status.clone()),
        DeviceStatus::Cow(_) => None,
    }
}

fn cow_status(status: &DeviceStatus) -> Option<CowStatus> {
    match status {
        DeviceStatus::Cow(status) => Some(status.clone()),
        DeviceStatus::Pool(_) => None,
    }
}

/// Turns what is known of a device that does not answer old. Whether it was not yet.
pub(super) fn make_late<T: Clone>(kernel: &mut Kernel<T>, since: Moment) -> bool {
    match kernel {
        Kernel::Known { .. } | Kernel::Unreadable { .. } => {
            *kernel = Kernel::Late {
                since,
                last: kernel.status().cloned(),
            };
            true
        }
        Kernel::Inactive | Kernel::Late { .. } => false,
    }
}
