//! What must hold in every world, whatever fails.

use std::collections::BTreeMap;
use std::time::Duration;

use cowherd::model::inventory::PoolMode;
use cowherd::model::names::{Resource, Target};
use cowherd::model::plan::Plan;
use cowherd::model::policy::{Growth, Policy};
use cowherd::model::time::Moment;
use cowherd::model::units::Bytes;
use cowherd::model::view::View;

use super::host::{Cow, Host, Pool};
use crate::worlds::{self, CHUNK, EXTENT, METADATA_BLOCK};

/// After trouble: the longest pause between two attempts, a report, and the extensions of every store.
const RECOVERED: Duration = Duration::from_secs(150);
/// A command takes no longer when nothing is wrong.
const COMMAND: Duration = Duration::from_secs(1);
/// From a change by others to a report that tells of it.
const TOLD: Duration = Duration::from_secs(5);
/// Past its trigger for longer than this beyond a look, a store is in the plan.
const PLANNED: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Checks {
    /// Whatever is lost until then may be lost.
    excused_until: Moment,
    /// When somebody else last changed the group.
    others_at: Moment,
    reported_at: Moment,
    /// Stores past their thresholds of which no plan says anything, since when.
    past: BTreeMap<(char, Resource), Moment>,
    /// As they were at the last step.
    last: Vec<Truth>,
}

const MIB: f64 = 1_048_576.0;

/// One store as it is.
#[derive(Debug)]
struct Truth {
    letter: char,
    resource: Resource,
    rate: f64,
    total: u64,
    used: u64,
    /// LVM's size, in bytes.
    size: u64,
    is_lost: bool,
}

impl Checks {
    pub(super) fn new(host: &Host) -> Self {
        Self {
            // The guard starts, and what it finds may be full already.
            excused_until: host.now.after(RECOVERED),
            others_at: host.now,
            reported_at: Moment::default(),
            past: BTreeMap::new(),
            last: truths(host),
        }
    }

    /// Something is wrong until then.
    pub(super) fn excuse(&mut self, until: Moment) {
        self.excused_until = self.excused_until.max(until.after(RECOVERED));
    }

    pub(super) fn someone_else(&mut self, now: Moment) {
        self.others_at = now;
    }

    pub(super) fn reported(&mut self, now: Moment) {
        self.reported_at = now;
    }

    /// Nothing shrinks, no extent is given twice, and nothing is lost without need.
    pub(super) fn follow(&mut self, after: &Host, policy: &Policy) -> Result<(), String> {
        if after.accounted() != after.extents {
            let accounted = after.accounted();
            return Err(format!(
                "{accounted} of {} extents are accounted for",
                after.extents
            ));
        }
        let now = truths(after);
        for store in &now {
            let is_it = |was: &&Truth| (was.letter, was.resource) == (store.letter, store.resource);
            let Some(was) = self.last.iter().find(is_it) else {
                continue;
            };
            if store.size < was.size || store.total < was.total {
                return Err(format!("{:?} of {} shrank", store.resource, store.letter));
            }
            if store.is_lost && !was.is_lost {
                self.lost(store, after, policy)?;
            }
        }
        self.last = now;
        Ok(())
    }

    /// A store was lost: there must be a reason that no guard could have helped.
    fn lost(&self, store: &Truth, host: &Host, policy: &Policy) -> Result<(), String> {
        let growth = store.growth(policy);
        let stores = host.pools.len() * 2 + host.cows.len();
        let others = u32::try_from(stores).unwrap_or(u32::MAX);
        let at_trigger = Bytes(store.total / 100 * (100 - growth.threshold_percent)).as_f64();
        let reach = (COMMAND * 2 * others + policy.timing.look_min * 10).as_secs_f64();
        let wanted = store.rate * policy.timing.horizon.as_secs_f64();
        let wanted = wanted + Bytes(store.size).as_f64() * 0.7;
        let reserve = policy.reserve.of(Bytes(host.extents * EXTENT.0));
        let room = Bytes(host.free * EXTENT.0).saturating_sub(reserve).as_f64();
        let is_excused = host.now < self.excused_until
            || host.now.since(self.others_at) < RECOVERED
            || store.rate * reach >= at_trigger
            || room < wanted * Bytes(u64::from(others)).as_f64()
            || growth.growth_per_hour.is_some()
            || growth
                .max_size
                .is_some_and(|max| Bytes(store.size + EXTENT.0) > max);
        if is_excused {
            return Ok(());
        }
        Err(format!(
            "{:?} of {} was lost: {} of {} used, {:.1} MiB/s, {:.0} MiB of room",
            store.resource,
            store.letter,
            Bytes(store.used),
            Bytes(store.total),
            store.rate / MIB,
            room / MIB,
        ))
    }

    /// After a command of ours: it left the reserve alone, unless somebody took from it unseen.
    pub(super) fn carried(&self, free: u64, host: &Host, policy: &Policy) -> Result<(), String> {
        let size = Bytes(host.extents * EXTENT.0);
        let reserve = policy.reserve.of(size).extents_ceil(EXTENT).0;
        let knew = self.reported_at > self.others_at.after(TOLD);
        if host.free < free && host.free < reserve && knew {
            let left = host.free;
            return Err(format!(
                "{left} extents are left, {reserve} are the reserve"
            ));
        }
        Ok(())
    }

    /// Whatever is past its threshold for long is in the plan, extended or held for a reason.
    pub(super) fn published(
        &mut self,
        host: &Host,
        view: &View,
        is_blind: bool,
    ) -> Result<(), String> {
        let now = host.now;
        let mut past = BTreeMap::new();
        for store in truths(host) {
            let growth = store.growth(&view.policy);
            let limit = u128::from(store.total) * u128::from(growth.threshold_percent);
            let is_past = u128::from(store.used) * 100 > limit && !store.is_lost;
            if !is_past || is_blind || store.is_in(&view.plan) {
                continue;
            }
            let key = (store.letter, store.resource);
            let since = self.past.get(&key).copied().unwrap_or(now);
            past.insert(key, since);
            if now.since(since) > PLANNED + view.policy.timing.look_max {
                return Err(format!(
                    "{:?} of {} is past its trigger and not planned",
                    store.resource, store.letter
                ));
            }
        }
        self.past = past;
        Ok(())
    }
}

impl Truth {
    fn is_in(&self, plan: &Plan) -> bool {
        plan.names(&Target {
            volume: worlds::volume_id(self.letter),
            resource: self.resource,
        })
    }

    fn growth(&self, policy: &Policy) -> Growth {
        let kind = match self.resource {
            Resource::Data | Resource::Metadata => "pool",
            Resource::Cow => "snap",
        };
        let name = worlds::name(&format!("{kind}-{}", self.letter));
        policy.growth(self.resource, &name, &[])
    }
}

fn truths(host: &Host) -> Vec<Truth> {
    let pools = host
        .pools
        .iter()
        .flat_map(|pool| [data(pool), metadata(pool)]);
    pools.chain(host.cows.iter().map(cow)).collect()
}

fn data(pool: &Pool) -> Truth {
    Truth {
        letter: pool.letter,
        resource: Resource::Data,
        rate: Bytes(pool.rate).as_f64(),
        total: pool.total(),
        used: pool.used,
        size: pool.data * EXTENT.0,
        is_lost: pool.failed && pool.mode == PoolMode::OutOfDataSpace,
    }
}

fn metadata(pool: &Pool) -> Truth {
    let chunks = Bytes(pool.rate / CHUNK.0 * pool.blocks_per_thousand).as_f64() / 1000.0;
    Truth {
        letter: pool.letter,
        resource: Resource::Metadata,
        rate: chunks * Bytes(METADATA_BLOCK).as_f64(),
        total: pool.metadata_total() * METADATA_BLOCK,
        used: pool.metadata_used() * METADATA_BLOCK,
        size: pool.metadata * EXTENT.0,
        is_lost: pool.mode == PoolMode::ReadOnly,
    }
}

fn cow(cow: &Cow) -> Truth {
    Truth {
        letter: cow.letter,
        resource: Resource::Cow,
        rate: Bytes(cow.rate).as_f64(),
        total: cow.total(),
        used: cow.used(),
        size: cow.size * EXTENT.0,
        is_lost: cow.invalid,
    }
}
