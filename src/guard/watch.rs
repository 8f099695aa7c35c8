//! Which devices are watched, when each is due for a look, and what the last look said. No I/O.
//!
//! Devices share lanes: one for each thin pool and one for the COW stores of each group. A lane is looked
//! at by its own thread, so that storage that hangs costs its own lane only.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decide::Situation;
use crate::decide::cadence::{self, Due};
use crate::decide::store;
use crate::model::inventory::{CowStatus, Inventory, Kernel, PoolStatus};
use crate::model::names::{Uuid, VolumeId};
use crate::model::policy::Timing;
use crate::model::time::Moment;
use crate::observe::device_mapper::{DeviceStatus, Found, Look, Watched};

/// A look that has not come back after this is told as late: a status takes microseconds.
const LATE_AFTER: Duration = Duration::from_secs(2);
/// Devices due within this of each other are looked at together.
const TOGETHER: Duration = Duration::from_millis(2);

/// The devices that one thread looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    Pool(VolumeId),
    Snapshots(Uuid),
    /// Looked at outside any lane, by a command that looks once.
    Once,
}

type Key = (VolumeId, Watched);

#[derive(Debug)]
pub(super) struct Watchlist {
    timing: Timing,
    devices: BTreeMap<Key, Device>,
    /// Lanes with a look under way, since when.
    outstanding: BTreeMap<Lane, Moment>,
}

#[derive(Debug)]
struct Device {
    found: Found,
    due: Moment,
    cost: Duration,
    last: Option<Last>,
}

#[derive(Debug)]
enum Last {
    Seen { at: Moment, look: Look },
    Fault { why: String },
}

impl Lane {
    fn of(found: &Found) -> Self {
        match found.target {
            Watched::ThinPool => Self::Pool(found.volume.clone()),
            Watched::Snapshot | Watched::SnapshotMerge => Self::Snapshots(found.volume.vg.clone()),
        }
    }
}

impl Watchlist {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            devices: BTreeMap::new(),
            outstanding: BTreeMap::new(),
        }
    }

    /// Takes over the kernel's list; what is new is due at once.
    pub(super) fn set_devices(&mut self, found: Vec<Found>, now: Moment) {
        let mut before = std::mem::take(&mut self.devices);
        for found in found {
            let key = (found.volume.clone(), found.target);
            let device = before.remove(&key).unwrap_or(Device {
                found: found.clone(),
                due: now,
                cost: Duration::ZERO,
                last: None,
            });
            self.devices.insert(key, Device { found, ..device });
        }
    }

    /// A device that is gone says nothing about its volume any more.
    pub(super) fn deactivate_missing(&self, inventory: &mut Inventory) {
        let is_gone = |id: &VolumeId, target| !self.devices.contains_key(&(id.clone(), target));
        for pool in &mut inventory.pools {
            if is_gone(&pool.id, Watched::ThinPool) {
                pool.kernel = Kernel::Inactive;
            }
        }
        for snapshot in &mut inventory.snapshots {
            let merging = snapshot.origin_id.as_ref().filter(|_| snapshot.merging);
            let is_merging = merging.is_some_and(|id| !is_gone(id, Watched::SnapshotMerge));
            if is_gone(&snapshot.id, Watched::Snapshot) && !is_merging {
                snapshot.kernel = Kernel::Inactive;
            }
        }
    }

    /// Whether the kernel has a watched device of this group.
    pub(super) fn has_group(&self, group: &Uuid) -> bool {
        self.devices.keys().any(|(volume, _)| volume.vg == *group)
    }

    /// Whether every device could be read and every lane answers.
    pub(super) fn is_complete(&self, now: Moment) -> bool {
        let unreadable = |device: &Device| matches!(device.last, Some(Last::Fault { .. }));
        !self.devices.values().any(unreadable)
            && self
                .outstanding
                .values()
                .all(|since| now.since(*since) < LATE_AFTER)
    }

    pub(super) fn has_lane(&self, lane: &Lane) -> bool {
        self.devices
            .values()
            .any(|device| Lane::of(&device.found) == *lane)
    }

    pub(super) fn hurry_all(&mut self, now: Moment) {
        for device in self.devices.values_mut() {
            device.due = device.due.min(now);
        }
    }

    pub(super) fn lane_free(&mut self, lane: &Lane) {
        self.outstanding.remove(lane);
    }

    /// Whether this is another fault than the last look's.
    pub(super) fn is_new_fault(&self, found: &Found, error: &str) -> bool {
        let last = self
            .devices
            .get(&(found.volume.clone(), found.target))
            .map(|d| &d.last);
        !matches!(last, Some(Some(Last::Fault { why })) if why == error)
    }

    pub(super) fn looked(
        &mut self,
        found: &Found,
        look: Result<Look, String>,
        inventory: &mut Inventory,
        now: Moment,
    ) {
        let Some(device) = self.devices.get_mut(&(found.volume.clone(), found.target)) else {
            return;
        };
        // Until rescheduled: a store that LVM has not told of yet.
        device.due = now.after(self.timing.look_max);
        device.last = Some(match look {
            Ok(look) => {
                device.cost = look.took;
                Last::Seen { at: now, look }
            }
            Err(why) => Last::Fault { why },
        });
        fill_in_one(device, inventory);
    }

    /// Writes what the kernel said last into a fresh inventory.
    pub(super) fn fill_in(&self, inventory: &mut Inventory) {
        for device in self.devices.values() {
            fill_in_one(device, inventory);
        }
    }

    /// Marks the devices of lanes that do not answer.
    pub(super) fn note_late(&self, inventory: &mut Inventory, now: Moment) {
        for (lane, since) in &self.outstanding {
            if now.since(*since) < LATE_AFTER {
                continue;
            }
            for pool in inventory
                .pools
                .iter_mut()
                .filter(|pool| *lane == Lane::Pool(pool.id.clone()))
            {
                make_late(&mut pool.kernel, *since);
            }
            for snapshot in inventory
                .snapshots
                .iter_mut()
                .filter(|snapshot| *lane == Lane::Snapshots(snapshot.id.vg.clone()))
            {
                make_late(&mut snapshot.kernel, *since);
            }
        }
    }

    /// Sets when each device is due again, from what was seen.
    pub(super) fn reschedule(&mut self, situation: &Situation<'_>) {
        let mut dues: BTreeMap<VolumeId, Due> = BTreeMap::new();
        for store in store::all(situation.inventory) {
            let due = cadence::due(situation, &store);
            dues.entry(store.target.volume)
                .and_modify(|shortest| *shortest = shortest.shorter(due))
                .or_insert(due);
        }
        let due_of = |device: &Device| dues.get(&device.found.volume).copied();
        let costs = self
            .devices
            .values()
            .filter_map(|device| Some((device.cost, due_of(device)?.plausible)));
        let stretch = cadence::stretch(&self.timing, costs);
        for device in self.devices.values_mut() {
            if let (Some(Last::Seen { at, .. }), Some(due)) = (&device.last, due_of(device)) {
                device.due = at.after(cadence::wait(&self.timing, due, stretch));
            }
        }
    }

    /// What is to be looked at now, by lane; lanes that have not answered yet are left alone.
    pub(super) fn take_due(&mut self, now: Moment) -> BTreeMap<Lane, Vec<Found>> {
        let soon = now.after(TOGETHER);
        let mut due: BTreeMap<Lane, Vec<Found>> = BTreeMap::new();
        for device in self.devices.values() {
            let lane = Lane::of(&device.found);
            if device.due <= soon && !self.outstanding.contains_key(&lane) {
                due.entry(lane).or_default().push(device.found.clone());
            }
        }
        for lane in due.keys() {
            self.outstanding.insert(lane.clone(), now);
        }
        due
    }

    /// The next moment at which `take_due` or `note_late` has something to do.
    pub(super) fn next_wake(&self, now: Moment) -> Option<Moment> {
        let looks = self
            .devices
            .values()
            .filter(|device| !self.outstanding.contains_key(&Lane::of(&device.found)))
            .map(|device| device.due);
        // What is late already has been told: it must not keep the loop awake.
        let lates = self
            .outstanding
            .values()
            .map(|since| since.after(LATE_AFTER));
        looks.chain(lates.filter(|late| *late > now)).min()
    }
}

fn fill_in_one(device: &Device, inventory: &mut Inventory) {
    let Some(last) = &device.last else { return };
    let id = &device.found.volume;
    match device.found.target {
        Watched::ThinPool => {
            if let Some(pool) = inventory.pools.iter_mut().find(|pool| pool.id == *id) {
                pool.kernel = kernel_of(last, pool_status);
            }
        }
        Watched::Snapshot => {
            if let Some(snapshot) = inventory.snapshots.iter_mut().find(|s| s.id == *id) {
                snapshot.kernel = kernel_of(last, cow_status);
            }
        }
        Watched::SnapshotMerge => {
            let merging = |s: &&mut _| is_merging_into(s, id);
            if let Some(snapshot) = inventory.snapshots.iter_mut().find(merging) {
                snapshot.kernel = kernel_of(last, cow_status);
            }
        }
    }
}

fn is_merging_into(snapshot: &crate::model::inventory::CowSnapshot, origin: &VolumeId) -> bool {
    snapshot.merging && snapshot.origin_id.as_ref() == Some(origin)
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

fn make_late<T: Clone>(kernel: &mut Kernel<T>, since: Moment) {
    match kernel {
        Kernel::Known { .. } | Kernel::Unreadable { .. } => {
            *kernel = Kernel::Late {
                since,
                last: kernel.status().cloned(),
            };
        }
        Kernel::Inactive | Kernel::Late { .. } => {}
    }
}
