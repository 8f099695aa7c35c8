//! What is done for a volume group that has no room left, where its rules say so: one rung of the ladder after
//! the other, each only once the one before it is spent or rests.
//!
//! A disk is added only when LVM says that it is a physical volume without a group. A snapshot is removed only
//! with a tag that somebody gave it for that: what has expired before what is expendable, the oldest first.

use std::collections::BTreeSet;

use crate::model::inventory::{Inventory, VolumeGroup};
use crate::model::names::{Name, Resource, Uuid, VolumeId};
use crate::model::plan::{Cap, Plan};
use crate::model::reason::Reason;
use crate::model::relief::{Expendable, HookCall, Ladder, Relief, Rung, Tag};
use crate::model::reliefs::Reliefs;
use crate::model::time::UnixSeconds;
use crate::model::units::Extents;

use super::Situation;
use super::store;

/// Whoever writes is suspended when a pool that cannot be extended will be full within as many seconds: a hook
/// that asks a hypervisor takes a few of them.
const SUSPEND_BEFORE_SECS: f64 = 30.0;

/// What there is to be done; and whether something else is due once time has passed.
pub(super) fn of(situation: &Situation<'_>, plan: &Plan) -> (Vec<Relief>, bool) {
    let mut is_waiting = false;
    let mut reliefs = Vec::new();
    for group in &situation.inventory.groups {
        let ladder = situation.policy.ladder(&group.name);
        if group.obstacle.is_some() || ladder == Ladder::default() {
            continue;
        }
        let short = Shortage::of(situation, plan, group);
        let help = Help {
            reliefs: &situation.history.reliefs,
            situation,
            group,
            short: &short,
        };
        let is_free = !situation.busy.contains_key(&group.uuid);
        if short.is_any && is_free {
            let settles = help.reliefs.settles(&group.uuid, situation.now);
            let next = help.climb(&ladder, &mut is_waiting);
            is_waiting |= settles;
            reliefs.extend(next.filter(|_| !settles));
        }
        reliefs.extend(help.writers(&ladder, &mut is_waiting));
    }
    (reliefs, is_waiting)
}

/// What is short of room in a group.
struct Shortage {
    /// Something got nothing, or less than it wants.
    is_any: bool,
    /// Volumes of which a store got nothing.
    held: BTreeSet<VolumeId>,
    /// The pools among them.
    pools: BTreeSet<Uuid>,
    names: Vec<Name>,
    /// The same, about to be full.
    is_pressing: bool,
}

impl Shortage {
    fn of(situation: &Situation<'_>, plan: &Plan, group: &VolumeGroup) -> Self {
        let is_capped = plan.extensions.iter().any(|extension| {
            let cap = extension.capped.as_ref().map(|capped| capped.by);
            extension.target.volume.vg == group.uuid && cap == Some(Cap::GroupSpace)
        });
        let mut short = Self {
            is_any: is_capped,
            held: BTreeSet::new(),
            pools: BTreeSet::new(),
            names: Vec::new(),
            is_pressing: false,
        };
        for hold in &plan.holds {
            let is_of_group = hold.target.volume.vg == group.uuid;
            if !is_of_group || !matches!(hold.reason, Reason::NoRoom { .. }) {
                continue;
            }
            short.is_any = true;
            short.held.insert(hold.target.volume.clone());
            if hold.target.resource == Resource::Cow {
                continue;
            }
            if short.pools.insert(hold.target.volume.lv.clone()) {
                short.names.push(hold.name.lv.clone());
            }
            let rate = situation.history.rate(&hold.target).as_f64();
            let store = store::all(situation.inventory).find(|store| store.target == hold.target);
            let free = store.and_then(|store| Some(store.fill?.free().as_f64()));
            short.is_pressing |= free.is_some_and(|free| free < rate * SUSPEND_BEFORE_SECS);
        }
        short
    }
}

/// One group that needs help.
struct Help<'a> {
    reliefs: &'a Reliefs,
    situation: &'a Situation<'a>,
    group: &'a VolumeGroup,
    short: &'a Shortage,
}

impl Help<'_> {
    /// The first rung that is there and does not rest.
    fn climb(&self, ladder: &Ladder, is_waiting: &mut bool) -> Option<Relief> {
        let spares = &self.situation.inventory.spare_disks;
        let disks = ladder
            .standby
            .iter()
            .filter_map(|uuid| spares.iter().find(|disk| disk.uuid == *uuid))
            .cloned()
            .map(Rung::Disk);
        let is_pool_short = !self.short.names.is_empty();
        let trim = ladder.trim.as_ref().filter(|_| is_pool_short);
        let trim = trim.map(|hook| {
            Rung::Trim(HookCall {
                hook: hook.clone(),
                pools: self.short.names.clone(),
            })
        });
        let removable = if ladder.remove_snapshots == Some(true) {
            self.removable()
        } else {
            Vec::new()
        };
        let removals = removable.into_iter().cloned().map(Rung::Remove);
        disks
            .chain(trim)
            .chain(removals)
            .map(|rung| self.relief(rung))
            .find(|relief| self.is_ready(relief, is_waiting))
    }

    fn relief(&self, rung: Rung) -> Relief {
        Relief {
            group: self.group.name.clone(),
            group_uuid: self.group.uuid.clone(),
            rung,
        }
    }

    fn is_ready(&self, relief: &Relief, is_waiting: &mut bool) -> bool {
        let rests = self.reliefs.rests(relief, self.situation.now);
        *is_waiting |= rests;
        !rests
    }

    /// Snapshots that give the group room, or a pool that is short of it, in the order in which they are to go.
    fn removable(&self) -> Vec<&Expendable> {
        let wall = self.situation.wall;
        let is_due = |snapshot: &&Expendable| match snapshot.tag {
            Tag::Expendable => true,
            Tag::Expires(at) => at.0 <= wall.0,
        };
        // What got something lasts for a while, and none is removed to save itself.
        let helps = |snapshot: &&Expendable| {
            let pool = snapshot.pool.as_ref();
            snapshot.id.vg == self.group.uuid
                && self.short.held.iter().any(|held| *held != snapshot.id)
                && pool.is_none_or(|pool| self.short.pools.contains(pool))
        };
        let inventory = self.situation.inventory;
        // LVM would remove those with it, tagged or not.
        let has_own = |snapshot: &&Expendable| {
            let mut all = inventory.snapshots.iter();
            all.any(|cow| cow.origin_id.as_ref() == Some(&snapshot.id))
        };
        let expendable = inventory.expendable.iter().filter(|one| !has_own(one));
        let mut removable: Vec<_> = expendable.filter(is_due).filter(helps).collect();
        removable.sort_by(|a, b| {
            let (former, latter) = (order(a), order(b));
            let by_rank = former.0.cmp(&latter.0);
            let by_time = former.1.total_cmp(&latter.1);
            by_rank.then(by_time).then(a.name.cmp(&b.name))
        });
        removable
    }

    /// Suspends who writes to what is about to be full; lets them go on as soon as nothing is short.
    fn writers(&self, ladder: &Ladder, is_waiting: &mut bool) -> Option<Relief> {
        let is_suspended = self.reliefs.has_suspended(&self.group.uuid);
        let call = |hook: &Option<_>| {
            let hook = hook.clone()?;
            let pools = self.short.names.clone();
            Some(HookCall { hook, pools })
        };
        let rung = if self.short.is_pressing {
            call(&ladder.suspend).map(Rung::Suspend)
        } else if is_suspended && self.short.pools.is_empty() {
            let is_seen = self.is_seen();
            *is_waiting |= !is_seen;
            call(&ladder.resume).filter(|_| is_seen).map(Rung::Resume)
        } else {
            None
        };
        let relief = self.relief(rung?);
        self.is_ready(&relief, is_waiting).then_some(relief)
    }

    /// Whether the kernel has told how full the pools are: right after a start nothing is short, because nothing is
    /// known.
    fn is_seen(&self) -> bool {
        let group = &self.group.uuid;
        let mut pools = self.situation.inventory.pools.iter();
        let is_seen = pools.any(|pool| pool.id.vg == *group && pool.kernel.status().is_some());
        is_seen && !self.reliefs.settles(group, self.situation.now)
    }
}

/// Expired ones first, by when they did; then by age. A volume of unknown age is young.
const fn order(snapshot: &Expendable) -> (u8, f64) {
    match (snapshot.tag, snapshot.created) {
        (Tag::Expires(UnixSeconds(at)), _) => (0, at),
        (Tag::Expendable, Some(UnixSeconds(created))) => (1, created),
        (Tag::Expendable, None) => (2, 0.0),
    }
}

/// Brings the inventory to where it stands once this has been done, as nearly as can be told before LVM is asked:
/// what LVM keeps of a disk for itself is less than an extent, unless somebody wanted more.
pub fn apply(inventory: &mut Inventory, relief: &Relief) {
    match &relief.rung {
        Rung::Disk(disk) => {
            let spares = &mut inventory.spare_disks;
            spares.retain(|spare| spare.uuid != disk.uuid);
            let groups = &mut inventory.groups;
            let group = groups.iter_mut().find(|g| g.uuid == relief.group_uuid);
            if let Some(group) = group {
                let added = disk.size.extents_floor(group.extent);
                let added = added.saturating_sub(Extents(1));
                group.free = group.free.saturating_add(added);
            }
        }
        Rung::Remove(snapshot) => {
            inventory.expendable.retain(|e| e.id != snapshot.id);
        }
        Rung::Trim(_) | Rung::Suspend(_) | Rung::Resume(_) => {}
    }
}
