//! When to look at a device again: soon enough that nothing can pass its trigger unseen, and no
//! more often than the budget allows while nothing fills.

use std::time::Duration;

use crate::model::names::Resource;
use crate::model::plan::Plan;
use crate::model::policy::Timing;
use crate::model::units::Bytes;

use super::Situation;
use super::store::{Fill, Store};
use super::trigger;

/// How long a look may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Half the time in which the store could reach its trigger if a writer showed up now.
    pub plausible: Duration,
    /// The same at the rate it fills already: this one is never stretched.
    pub measured: Duration,
}

/// How much may still be written before the nearest trigger at this rate; past it, before the store is full.
fn distance(situation: &Situation<'_>, store: &Store<'_>, fill: Fill, rate: Bytes) -> Bytes {
    let growth = &store.growth(situation.policy);
    let timing = &situation.policy.timing;
    let percent = trigger::threshold_percent(store, growth);
    let needed = trigger::needed_for(rate, situation.latency(), timing);
    let at_threshold = Bytes(fill.total.0 / 100 * percent);
    let at_free = fill.total.saturating_sub(growth.headroom.max(needed));
    match at_threshold.min(at_free).saturating_sub(fill.used) {
        Bytes::ZERO => fill.free(),
        distance => distance,
    }
}

impl Due {
    /// The sooner of each.
    #[must_use]
    pub fn shorter(self, other: Self) -> Self {
        Self {
            plausible: self.plausible.min(other.plausible),
            measured: self.measured.min(other.measured),
        }
    }
}

/// What waits for others is looked at no more often than is of use to whoever watches it fill.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(1);

/// The next look at one store, given what was decided last. A store that cannot be helped is looked at seldom.
#[must_use]
pub fn due(situation: &Situation<'_>, plan: &Plan, store: &Store<'_>) -> Due {
    let timing = &situation.policy.timing;
    let helpful = |fill: &Fill| store.damage.is_none() && fill.free() > Bytes::ZERO;
    let Some(fill) = store.fill.filter(helpful) else {
        return Due {
            plausible: timing.look_max,
            measured: timing.look_max,
        };
    };
    if situation.busy.contains_key(&store.target.volume.vg) {
        let busy = timing.look_busy.clamp(timing.look_min, timing.look_max);
        return Due {
            plausible: busy,
            measured: busy,
        };
    }
    let rate = situation.history.rate(&store.target);
    let distance = distance(situation, store, fill, rate);
    let soonest = if plan.leaves_to_others(&store.target) {
        LEFT_TO_OTHERS.clamp(timing.look_min, timing.look_max)
    } else {
        timing.look_min
    };
    let half_time = |rate: Bytes| {
        let secs = distance.as_f64() / rate.as_f64().max(1.0) / 2.0;
        Duration::try_from_secs_f64(secs)
            .unwrap_or(timing.look_max)
            .clamp(soonest, timing.look_max)
    };
    Due {
        plausible: half_time(plausible(store, timing).max(rate)),
        measured: half_time(rate),
    }
}

fn plausible(store: &Store<'_>, timing: &Timing) -> Bytes {
    match store.target.resource {
        Resource::Data | Resource::Cow => timing.plausible_rate,
        Resource::Metadata => Bytes(timing.plausible_rate.0 / timing.metadata_slower.max(1)),
    }
}

/// What a look costs the guard, in times what it costs the thread that looks: what it said is taken in by
/// another one. Measured in an emulated guest: 2.2. A constant, because it belongs to this program and not to a host.
const LOOK_COSTS: u32 = 2;

/// The factor by which plausible waits are stretched to keep looking within its budget. `costs` are
/// pairs of how long one status request takes and how often it would be made.
#[must_use]
pub fn stretch(timing: &Timing, costs: impl Iterator<Item = (Duration, Duration)>) -> f64 {
    let share: f64 = costs
        .map(|(cost, every)| {
            (cost * LOOK_COSTS).as_secs_f64() / every.as_secs_f64().max(f64::EPSILON)
        })
        .sum();
    let budget = f64::from(u32::try_from(timing.look_budget_permille).unwrap_or(u32::MAX)) / 1000.0;
    if budget <= 0.0 {
        1.0
    } else {
        (share / budget).max(1.0)
    }
}

/// The wait after stretching.
#[must_use]
pub fn wait(timing: &Timing, due: Due, stretch: f64) -> Duration {
    let stretched = due.plausible.as_secs_f64() * stretch;
    let stretched = Duration::try_from_secs_f64(stretched).unwrap_or(timing.look_max);
    stretched
        .min(due.measured)
        .clamp(timing.look_min, timing.look_max)
}
