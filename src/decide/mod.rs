//! From what was seen to what is to be done: pure, total, sorted.
//!
//! No clock, no I/O, no log, no random order: the same input gives the same plan. Every store past
//! its trigger is in the plan, as an extension or as a hold with its reason, and an extension names
//! the exact size, so that `act` chooses nothing.

pub mod action;
mod amount;
pub mod audit;
pub mod cadence;
pub mod forecast;
pub mod overcommit;
pub mod quiesce;
pub mod relief;
mod room;
pub mod store;
mod trigger;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::history::History;
use crate::model::inventory::{CowStatus, Inventory, Kernel, PoolStatus, ThinPool};
use crate::model::names::{Resource, Uuid};
use crate::model::plan::{Extension, Hold, Plan, Trigger};
use crate::model::policy::Policy;
use crate::model::reason::Reason;
use crate::model::time::{Moment, UnixSeconds};
use crate::model::units::{Bytes, Extents, SECTOR_BYTES, Sectors, THIN_METADATA_BLOCK};

pub use trigger::threshold_percent;

use room::Room;
use store::Store;

/// Once it has LVM's lock, lvextend is asked to end after a minute; one that still runs then hangs. Not a
/// host's to choose: it follows from that minute.
const STUCK_AFTER: Duration = Duration::from_secs(65);

/// All that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    pub policy: &'a Policy,
    pub inventory: &'a Inventory,
    pub history: &'a History,
    /// Volume groups in which an extension is being carried out, since when.
    pub busy: &'a BTreeMap<Uuid, Moment>,
    pub now: Moment,
    /// For what people wrote down with a date, and for nothing else.
    pub wall: UnixSeconds,
}

impl Situation<'_> {
    /// How long an extension is taken to last.
    fn latency(&self) -> Duration {
        self.history.latency(&self.policy.history)
    }
}

/// A store past its trigger that nothing but room can hold back.
struct Candidate<'a> {
    store: Store<'a>,
    trigger: Trigger,
    /// Seconds until it is full at its present rate.
    secs_to_full: f64,
}

/// Decides about every store.
#[must_use]
pub fn plan(situation: &Situation<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut candidates = Vec::new();
    for store in store::all(situation.inventory) {
        match judge(situation, store) {
            Verdict::Fine => {}
            Verdict::Held(hold) => plan.holds.push(hold),
            Verdict::Wants(candidate) => candidates.push(candidate),
        }
    }
    candidates.sort_by(|a, b| {
        let key = |c: &Candidate<'_>| (c.store.target.resource, c.store.name.clone());
        let urgency = a.secs_to_full.total_cmp(&b.secs_to_full);
        a.store
            .target
            .resource
            .cmp(&b.store.target.resource)
            .then(urgency)
            .then(key(a).cmp(&key(b)))
    });
    if !candidates.is_empty() {
        let mut room = Room::of(situation);
        for candidate in &candidates {
            grant(situation, candidate, &mut room, &mut plan);
        }
    }
    plan.holds.sort_by_key(Hold::key);
    (plan.reliefs, plan.relief_rests) = relief::of(situation, &plan);
    plan
}

/// Brings the inventory to where it stands once `extension` has been carried out: LVM's sizes, the
/// group's free extents, and what the kernel has room for.
pub fn apply(inventory: &mut Inventory, extension: &Extension, kernel_total: Bytes) {
    let cost = store::all(inventory)
        .find(|store| store.target == extension.target)
        .map_or(Extents::ZERO, |store| store.cost(extension.to));
    let id = &extension.target.volume;
    if let Some(group) = inventory
        .groups
        .iter_mut()
        .find(|group| group.uuid == id.vg)
    {
        group.free = group.free.saturating_sub(cost);
    }
    if let Some(pool) = inventory.pools.iter_mut().find(|pool| pool.id == *id) {
        grow_pool(pool, extension, kernel_total);
    }
    if let Some(snapshot) = inventory
        .snapshots
        .iter_mut()
        .find(|snapshot| snapshot.id == *id)
    {
        snapshot.size = extension.to;
        if let Kernel::Known {
            status: CowStatus::Valid(usage),
            ..
        } = &mut snapshot.kernel
        {
            usage.total = Sectors(kernel_total.0 / SECTOR_BYTES);
        }
    }
}

fn grow_pool(pool: &mut ThinPool, extension: &Extension, kernel_total: Bytes) {
    let chunk = pool.chunk.0.max(1);
    let usage = match &mut pool.kernel {
        Kernel::Known {
            status: PoolStatus::Working(usage),
            ..
        } => Some(usage),
        Kernel::Known { .. }
        | Kernel::Inactive
        | Kernel::Unreadable { .. }
        | Kernel::Late { .. } => None,
    };
    match extension.target.resource {
        Resource::Metadata => {
            pool.metadata = extension.to;
            if let Some(usage) = usage {
                usage.metadata_total_blocks = kernel_total.0 / THIN_METADATA_BLOCK.0;
            }
        }
        Resource::Data | Resource::Cow => {
            pool.data = extension.to;
            if let Some(usage) = usage {
                usage.data_total_blocks = kernel_total.0 / chunk;
            }
        }
    }
}

/// Whether `plan` says of this store what would be decided now. What wants room is decided with the others.
#[must_use]
pub fn is_settled(situation: &Situation<'_>, plan: &Plan, store: Store<'_>) -> bool {
    let target = store.target.clone();
    match judge(situation, store) {
        Verdict::Fine => !plan.names(&target),
        Verdict::Held(hold) => plan.holds.contains(&hold),
        Verdict::Wants(_) => false,
    }
}

enum Verdict<'a> {
    Fine,
    Held(Hold),
    Wants(Candidate<'a>),
}

fn judge<'a>(situation: &Situation<'_>, store: Store<'a>) -> Verdict<'a> {
    let growth = &store.growth(situation.policy);
    let rate = situation.history.rate(&store.target);
    let due = store.fill.and_then(|fill| {
        trigger::of(
            &store,
            fill,
            growth,
            rate,
            situation.latency(),
            &situation.policy.timing,
        )
    });
    // Damage is told whatever the fill level: it does not get better by waiting for a trigger. So is
    // blindness: nobody knows whether the trigger has been passed.
    let Some(trigger) = due else {
        let damage = store.damage.clone().filter(|_| store.tells_damage);
        let blind = store
            .silence
            .clone()
            .filter(|_| store.fill.is_none() && store.damage.is_none());
        return match damage.or(blind) {
            Some(reason) => hold(&store, reason),
            None => Verdict::Fine,
        };
    };
    if let Some(reason) = obstacle(situation, &store) {
        return hold(&store, reason);
    }
    let secs_to_full = store
        .fill
        .map_or(0.0, |fill| fill.free().as_f64() / rate.as_f64().max(1.0));
    Verdict::Wants(Candidate {
        store,
        trigger,
        secs_to_full,
    })
}

fn hold<'a>(store: &Store<'_>, reason: Reason) -> Verdict<'a> {
    Verdict::Held(Hold {
        target: store.target.clone(),
        name: store.name.clone(),
        reason,
    })
}

/// What stands in the way of any extension of this store, the most telling reason first.
fn obstacle(situation: &Situation<'_>, store: &Store<'_>) -> Option<Reason> {
    let growth = &store.growth(situation.policy);
    if let Some(obstacle) = store.group.obstacle {
        return Some(Reason::Group { obstacle });
    }
    if let Some(damage) = &store.damage {
        return Some(damage.clone());
    }
    if !growth.enabled {
        return Some(Reason::Disabled);
    }
    if let Some(since) = situation.busy.get(&store.group.uuid) {
        let patience = STUCK_AFTER + situation.policy.timing.lock_wait;
        let is_stuck = situation.now.since(*since) > patience;
        return Some(if is_stuck {
            Reason::Stuck
        } else {
            Reason::Busy
        });
    }
    if let Some(silence) = &store.silence {
        return Some(silence.clone());
    }
    let size = store.size.saturating_add(store.ahead());
    if size >= store.useful_max {
        return Some(Reason::AtUsefulSize {
            max: store.useful_max.bytes(store.group.extent),
        });
    }
    let at_max = |max: &Bytes| size >= max.extents_floor(store.group.extent);
    if let Some(max) = growth.max_size.filter(at_max) {
        return Some(Reason::AtMaxSize { max });
    }
    let (left, until) = amount::left_this_hour(situation, store, growth)?;
    let limit = growth.growth_per_hour?;
    (left == Extents::ZERO).then_some(Reason::AtGrowthPerHour { limit, until })
}

fn grant(
    situation: &Situation<'_>,
    candidate: &Candidate<'_>,
    room: &mut Room<'_>,
    plan: &mut Plan,
) {
    let store = &candidate.store;
    let reason = match try_grant(situation, candidate, room) {
        Ok(extension) if situation.policy.dry_run => Reason::DryRun {
            extension: Box::new(extension),
        },
        Ok(extension) => {
            plan.extensions.push(extension);
            return;
        }
        Err(reason) => reason,
    };
    plan.holds.push(Hold {
        target: store.target.clone(),
        name: store.name.clone(),
        reason,
    });
}

fn try_grant(
    situation: &Situation<'_>,
    candidate: &Candidate<'_>,
    room: &mut Room<'_>,
) -> Result<Extension, Reason> {
    let store = &candidate.store;
    let growth = &store.growth(situation.policy);
    let cooling = situation
        .history
        .cooling(&store.target, situation.now, candidate.secs_to_full);
    if let Some(cooling) = cooling {
        return Err(Reason::CoolingDown {
            until: cooling.until,
            failures: cooling.failures,
        });
    }
    let grown = store.as_in_the_kernel();
    let wanted = amount::wanted(situation, &grown);
    let allowed = amount::allowed(&grown, growth, wanted);
    let left = amount::left_this_hour(situation, store, growth);
    let allowed = amount::within_an_hour(allowed, left.map(|(left, _)| left));
    let allowed = amount::after_refusals(allowed, situation.history.refusals(&store.target));
    let (granted, cap) = room.take(store, allowed)?;
    let fill = store.fill.ok_or(Reason::StateUnknown)?;
    Ok(Extension {
        target: store.target.clone(),
        name: store.name.clone(),
        extent: store.group.extent,
        from: store.size,
        to: grown.size.saturating_add(granted),
        kernel_total: fill.total,
        trigger: candidate.trigger,
        capped: amount::capped(wanted, allowed, granted, cap),
    })
}
