//! Which devices are watched, when each is due for a look, and what the last look said. No I/O.
//!
//! Devices share lanes: one for each thin pool and one for the COW stores of each group. A lane is looked
//! at by its own thread, so that storage that hangs costs its own lane only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::Situation;
use crate::decide::cadence::{self, Due};
use crate::decide::store::Store;
use crate::model::inventory::{Inventory, Kernel};
use crate::model::names::{Uuid, VolumeId};
use crate::model::plan::Plan;
use crate::model::policy::Timing;
use crate::model::time::Moment;
use crate::observe::device_mapper::{Found, Look, Watched};

use super::cost::Cost;
use super::pulses::AGAIN;
use super::sight::{self, Last};

/// Devices due within this of each other are looked at together. Next to `look_min_ms` it is nothing.
const TOGETHER: Duration = Duration::from_millis(2);
/// A device is looked at together with one that is due when only this part of its own wait is left:
/// to wake two threads costs more than to look. A larger part looks more often than asked for.
const RIPE_PART: u32 = 8;
/// What is calm is in no hurry: all of it is looked at together.
const RIPE_WHEN_CALM: u32 = 2;

/// The devices that one thread looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    Pool(VolumeId),
    Snapshots(Uuid),
    /// Looked at outside any lane, by a command that looks once.
    Once,
}

/// Pulses as frequent as this stand in for looks. It is no key, but what `pulse_budget_permille` buys a machine that
/// is very slow: an emulated one feels a dozen stores once a second, any other twenty times.
const PULSE_SUFFICES: Duration = Duration::from_secs(2);
/// Where there are too many volumes for that, pulses must not come much later than looks would.
const HARDLY_LATER: u32 = 2;
/// What nobody writes to is looked at as many times more seldom. No more than that: should writes not be counted,
/// who writes a tenth as fast as `plausible_rate` is noticed by looks alone in time.
const RARER_WHEN_CALM: u32 = 16;
/// Something may have filled a store in the very moment in which nobody felt.
const NUMB_FOR: Duration = Duration::from_secs(600);
/// Who writes in bursts is taken to go on for this long.
const STIRS_FOR: Duration = Duration::from_secs(1);

type Key = (VolumeId, Watched);

#[derive(Debug)]
pub(super) struct Watchlist {
    timing: Timing,
    devices: BTreeMap<Key, Device>,
    /// Of all devices: asked for at each look.
    lanes: BTreeSet<Lane>,
    /// Lanes with a look under way, since when.
    outstanding: BTreeMap<Lane, Moment>,
    /// How often it is felt which devices are written to; nothing where that cannot be.
    pulse: Option<Duration>,
}

#[derive(Debug)]
struct Device {
    found: Found,
    lane: Lane,
    due: Moment,
    /// From here on it is looked at together with one that is due.
    ripe: Moment,
    cost: Cost,
    /// How soon its stores ask for a look; nothing before LVM has told of them.
    wants: Option<Due>,
    /// When it was last felt that something was written to it.
    stirred: Moment,
    feeling: Feeling,
    /// Where its volume stands in the inventory.
    place: Option<usize>,
    last: Option<Last>,
}

/// Whether pulses tell when something is written to a device. The kernel may not count, and its own word for
/// that (`queue/iostats`) is wrong in some versions: so what looks say is held against it.
#[derive(Debug, Clone, Copy)]
enum Feeling {
    Trusted,
    /// Its store was fuller at the second look than at the first, and nothing had stirred by then.
    Doubted {
        first: Moment,
        second: Moment,
    },
    /// It fills and nothing stirs: only looks tell, until pulses are given another chance.
    Numb {
        until: Moment,
    },
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
            lanes: BTreeSet::new(),
            outstanding: BTreeMap::new(),
            pulse: None,
        }
    }

    /// Takes over the kernel's list; what is new is due at once.
    pub(super) fn set_devices(&mut self, found: Vec<Found>, now: Moment) {
        let mut before = std::mem::take(&mut self.devices);
        for found in found {
            let key = (found.volume.clone(), found.target);
            let device = before.remove(&key).unwrap_or_else(|| Device {
                lane: Lane::of(&found),
                found: found.clone(),
                due: now,
                ripe: now,
                cost: Cost::default(),
                wants: None,
                stirred: now,
                feeling: Feeling::Trusted,
                place: None,
                last: None,
            });
            self.devices.insert(key, Device { found, ..device });
        }
        let lanes = self.devices.values().map(|device| device.lane.clone());
        self.lanes = lanes.collect();
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

    /// Whether the kernel has a watched device of this volume.
    pub(super) fn has_volume(&self, volume: &VolumeId) -> bool {
        self.devices.keys().any(|(id, _)| id == volume)
    }

    /// Whether every device could be read and every lane answers.
    pub(super) fn is_complete(&self, now: Moment) -> bool {
        let unreadable = |device: &Device| matches!(device.last, Some(Last::Fault { .. }));
        !self.devices.values().any(unreadable)
            && self
                .outstanding
                .values()
                .all(|since| now.since(*since) < self.timing.late_after)
    }

    pub(super) fn has_lane(&self, lane: &Lane) -> bool {
        self.lanes.contains(lane)
    }

    pub(super) fn hurry_all(&mut self, now: Moment) {
        for device in self.devices.values_mut() {
            device.due = device.due.min(now);
            device.ripe = device.ripe.min(now);
        }
    }

    /// Something is being written to these: whoever writes may be about to fill them. Those to which nothing was
    /// written until the pulse before.
    pub(super) fn stirred<'a>(
        &mut self,
        devices: &'a [Found],
        every: Duration,
        now: Moment,
    ) -> Vec<&'a Found> {
        self.pulse = Some(every);
        let mut were_still = Vec::new();
        for found in devices {
            let key = (found.volume.clone(), found.target);
            let Some(device) = self.devices.get_mut(&key) else {
                continue;
            };
            if now.since(device.stirred) > every * 2 + AGAIN {
                were_still.push(found);
            }
            device.stirred = now;
            if let (Some(Last::Seen { at, .. }), Some(wants)) = (&device.last, device.wants) {
                device.due = device.due.min(at.after(wants.plausible).max(now));
                device.ripe = device.ripe.min(device.due);
            }
        }
        were_still
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

    /// Takes in one look. Whether it said something new of a volume that LVM has told of.
    pub(super) fn looked(
        &mut self,
        found: &Found,
        look: Result<Look, String>,
        cost: Duration,
        inventory: &mut Inventory,
        now: Moment,
    ) -> bool {
        let Some(device) = self.devices.get_mut(&(found.volume.clone(), found.target)) else {
            return false;
        };
        // Until rescheduled: a store that LVM has not told of yet.
        device.due = now.after(self.timing.look_max);
        device.ripe = device.due;
        device.cost.note(cost);
        if let Ok(look) = &look {
            device.note_feeling(look, self.pulse.unwrap_or_default(), now);
        }
        device.last = Some(match look {
            Ok(look) => Last::Seen { at: now, look },
            Err(why) => Last::Fault { why },
        });
        device.fill_in(inventory)
    }

    /// Writes what the kernel said last into a fresh inventory.
    pub(super) fn fill_in(&mut self, inventory: &mut Inventory) {
        for device in self.devices.values_mut() {
            device.fill_in(inventory);
        }
    }

    /// The stores on a device that has just been looked at.
    pub(super) fn stores<'a>(
        &self,
        found: &Found,
        inventory: &'a Inventory,
    ) -> impl Iterator<Item = Store<'a>> + use<'a> {
        let device = self.devices.get(&(found.volume.clone(), found.target));
        let place = device.and_then(|device| device.place);
        let target = found.target;
        place
            .into_iter()
            .flat_map(move |place| sight::stores(target, place, inventory))
    }

    /// Marks the devices of lanes that do not answer. Whether any did until now.
    pub(super) fn note_late(&self, inventory: &mut Inventory, now: Moment) -> bool {
        let mut is_news = false;
        for (lane, since) in &self.outstanding {
            if now.since(*since) < self.timing.late_after {
                continue;
            }
            for pool in &mut inventory.pools {
                if *lane == Lane::Pool(pool.id.clone()) {
                    is_news |= sight::make_late(&mut pool.kernel, *since);
                }
            }
            for snapshot in &mut inventory.snapshots {
                if *lane == Lane::Snapshots(snapshot.id.vg.clone()) {
                    is_news |= sight::make_late(&mut snapshot.kernel, *since);
                }
            }
        }
        is_news
    }

    /// Sets when each device that was seen since then is due again, from what was seen and what was decided last.
    pub(super) fn reschedule(&mut self, situation: &Situation<'_>, plan: &Plan, since: Moment) {
        for device in self.devices.values_mut().filter(|d| d.was_seen(since)) {
            device.wants = device
                .place
                .into_iter()
                .flat_map(|at| sight::stores(device.found.target, at, situation.inventory))
                .map(|store| cadence::due(situation, plan, &store))
                .reduce(Due::shorter);
        }
        let usual = cadence::stretch(&self.timing, costs(self.devices.values()));
        let now = situation.now;
        let calm: Vec<bool> = self
            .devices
            .values()
            .map(|device| self.is_calm(device, usual, now))
            .collect();
        let devices = self.devices.values().zip(&calm);
        let busy = devices.filter_map(|(device, is_calm)| (!is_calm).then_some(device));
        let stretch = cadence::stretch(&self.timing, costs(busy));
        for (device, is_calm) in self.devices.values_mut().zip(calm) {
            let (Some(Last::Seen { at, .. }), Some(wants)) = (&device.last, device.wants) else {
                continue;
            };
            if *at < since {
                continue;
            }
            let (wait, part) = if is_calm {
                let longest = wants
                    .measured
                    .clamp(self.timing.look_min, self.timing.look_max);
                let wait = cadence::wait(&self.timing, wants, usual) * RARER_WHEN_CALM;
                (wait.min(longest), RIPE_WHEN_CALM)
            } else {
                (cadence::wait(&self.timing, wants, stretch), RIPE_PART)
            };
            let early = (wait / part).min(wait.saturating_sub(self.timing.look_min));
            device.due = at.after(wait);
            device.ripe = at.after(wait.saturating_sub(early));
        }
    }

    /// Whether nobody writes to it, and whoever begins to would be noticed soon, or hardly later than by looks alone,
    /// which are stretched as much as `usual` when there are only those.
    fn is_calm(&self, device: &Device, usual: f64, now: Moment) -> bool {
        let (Some(every), Some(wants)) = (self.pulse, device.wants) else {
            return false;
        };
        if matches!(device.feeling, Feeling::Numb { until } if now < until) {
            return false;
        }
        let by_looks = cadence::wait(&self.timing, wants, usual);
        every <= PULSE_SUFFICES.max(by_looks * HARDLY_LATER)
            && now.since(device.stirred) > STIRS_FOR.max(every * 2)
    }

    /// What is to be looked at now, by lane; lanes that have not answered yet are left alone.
    pub(super) fn take_due(&mut self, now: Moment) -> BTreeMap<Lane, Vec<Found>> {
        let soon = now.after(TOGETHER);
        let mut due: BTreeMap<Lane, Vec<Found>> = BTreeMap::new();
        if self.free_devices().any(|device| device.due <= soon) {
            for device in self.free_devices().filter(|device| device.ripe <= soon) {
                let lane = due.entry(device.lane.clone()).or_default();
                lane.push(device.found.clone());
            }
        }
        for lane in due.keys() {
            self.outstanding.insert(lane.clone(), now);
        }
        due
    }

    /// The devices of lanes that answer.
    fn free_devices(&self) -> impl Iterator<Item = &Device> {
        self.devices
            .values()
            .filter(|device| !self.outstanding.contains_key(&device.lane))
    }

    /// The next moment at which `take_due` or `note_late` has something to do.
    pub(super) fn next_wake(&self, now: Moment) -> Option<Moment> {
        let looks = self.free_devices().map(|device| device.due);
        // What is late already has been told: it must not keep the loop awake.
        let lates = self
            .outstanding
            .values()
            .map(|since| since.after(self.timing.late_after));
        looks.chain(lates.filter(|late| *late > now)).min()
    }
}

/// Pairs of what a look at each takes and how often it would be made.
fn costs<'a>(
    devices: impl Iterator<Item = &'a Device>,
) -> impl Iterator<Item = (Duration, Duration)> {
    devices.filter_map(|device| {
        let every = device.wants?.plausible;
        Some((device.cost.each(), every.saturating_sub(every / RIPE_PART)))
    })
}

impl Device {
    /// Holds a look against what was felt, with time for the pulse that would tell.
    fn note_feeling(&mut self, look: &Look, every: Duration, now: Moment) {
        let Some(Last::Seen { at, look: before }) = &self.last else {
            return;
        };
        let is_fuller = sight::filled(look) > sight::filled(before);
        self.feeling = match self.feeling {
            Feeling::Trusted if is_fuller && self.stirred < *at => Feeling::Doubted {
                first: *at,
                second: now,
            },
            Feeling::Doubted { first, .. } if self.stirred >= first => Feeling::Trusted,
            Feeling::Doubted { second, .. } if now.since(second) > every * 2 + AGAIN => {
                Feeling::Numb {
                    until: now.after(NUMB_FOR),
                }
            }
            Feeling::Numb { until } if now >= until => Feeling::Trusted,
            feeling @ (Feeling::Trusted | Feeling::Doubted { .. } | Feeling::Numb { .. }) => {
                feeling
            }
        };
    }

    fn was_seen(&self, since: Moment) -> bool {
        matches!(&self.last, Some(Last::Seen { at, .. }) if *at >= since)
    }

    /// Whether the inventory said otherwise.
    fn fill_in(&mut self, inventory: &mut Inventory) -> bool {
        self.place = sight::place(&self.found, self.place.unwrap_or_default(), inventory);
        let (Some(place), Some(last)) = (self.place, &self.last) else {
            return false;
        };
        sight::write(self.found.target, last, place, inventory)
    }
}
