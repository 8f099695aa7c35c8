//! When a store is looked at, when it is extended, and when it will be full: properties of any store.

use std::sync::Arc;
use std::time::Duration;

use cowherd::decide::cadence::{self, Due};
use cowherd::decide::{forecast, store};
use cowherd::model::inventory::{CowStatus, CowUsage};
use cowherd::model::names::Resource;
use cowherd::model::plan::Plan;
use cowherd::model::policy::Timing;
use cowherd::model::units::{Bytes, Extents, Sectors};
use cowherd::report::metrics;
use proptest::prelude::{Strategy, prop, proptest};
use proptest::{prop_assert, prop_assert_eq, prop_assume};

use crate::common::{Herd, NOW};
use crate::worlds::{EXTENT, World, set_status, snapshot, target, volume_id};

/// Of a second; a little less, so that rounding to sectors and floats does not decide.
const NEARLY: f64 = 0.999;

/// One snapshot in a group with room for all.
#[derive(Debug, Clone)]
struct Case {
    world: World,
    total: u64,
    used: u64,
}

/// A store of any size and usage, with any threshold, headroom and writer.
fn cases() -> impl Strategy<Value = Case> {
    let store = (1..5000_u64, 0..=10_000_u64);
    let policy = (1..=99_u64, 0..3000_u64, 1..=100_u64);
    (store, policy, 0..500_u64).prop_map(
        |((extents, used), (threshold, headroom, safety), rate)| {
            let mut world = World::new(vec![], vec![snapshot('s', extents, 0)]);
            world.inventory.groups[0].free = Extents(1 << 30);
            world.policy.snapshot.threshold_percent = threshold;
            world.policy.snapshot.headroom = Bytes::mib(headroom);
            world.policy.timing.safety_factor = safety;
            world.fill_at(&target('s', Resource::Cow), Bytes::mib(rate));
            let total = Extents(extents).bytes(EXTENT).0 / 512;
            Case {
                world,
                total,
                used: total * used / 10_000,
            }
            .with_used(total * used / 10_000)
        },
    )
}

impl Case {
    fn with_used(mut self, used: u64) -> Self {
        self.used = used.min(self.total);
        let usage = CowUsage {
            allocated: Sectors(self.used),
            total: Sectors(self.total),
            metadata: Sectors(16),
        };
        set_status(
            &mut self.world.inventory.snapshots[0],
            CowStatus::Valid(usage),
        );
        self
    }

    /// After a writer of this rate has written for as long.
    fn after(self, rate: Bytes, span: Duration) -> Self {
        let written = Bytes::from_f64_ceil(rate.as_f64() * span.as_secs_f64() * NEARLY);
        let used = self.used.saturating_add(written.0 / 512);
        self.with_used(used)
    }

    /// Whether a plan says something of it.
    fn is_past_a_trigger(&self) -> bool {
        !self.world.plan().is_empty()
    }

    fn due(&self) -> Due {
        self.due_after(&Plan::default())
    }

    /// With what was decided last.
    fn due_after(&self, plan: &Plan) -> Due {
        let store = store::all(&self.world.inventory).next();
        let store = store.expect("there is one");
        cadence::due(&self.world.situation(), plan, &store)
    }

    fn wait(&self, stretch: f64) -> Duration {
        cadence::wait(self.timing(), self.due(), stretch)
    }

    fn timing(&self) -> &Timing {
        &self.world.policy.timing
    }

    fn rate(&self) -> Bytes {
        self.world.history.rate(&target('s', Resource::Cow))
    }

    /// Whether a writer of this rate that starts now needs at least two waits to get anywhere.
    fn is_seen_half_way(&self, rate: Bytes, wait: Duration) -> bool {
        if wait <= self.timing().look_min {
            return true;
        }
        let later = self.clone().after(rate, wait * 2);
        if self.is_past_a_trigger() {
            later.used < later.total || self.used == self.total
        } else {
            !later.is_past_a_trigger()
        }
    }
}

proptest! {
    #[test]
    fn a_look_comes_before_half_the_way_to_the_trigger_at_the_plausible_rate(case in cases()) {
        let rate = case.timing().plausible_rate.max(case.rate());
        prop_assert!(case.is_seen_half_way(rate, case.wait(1.0)), "{:?}", case.due());
    }

    #[test]
    fn however_short_the_budget_a_look_comes_before_half_the_way_at_the_measured_rate(
        case in cases(), stretch in 1.0..10_000.0_f64
    ) {
        prop_assert!(case.is_seen_half_way(case.rate(), case.wait(stretch)), "{:?}", case.due());
    }

    #[test]
    fn no_wait_leaves_its_bounds(case in cases(), stretch in 1.0..10_000.0_f64) {
        let timing = case.timing();
        for wait in [case.wait(1.0), case.wait(stretch)] {
            prop_assert!((timing.look_min..=timing.look_max).contains(&wait), "{:?}", wait);
        }
    }

    #[test]
    fn what_only_others_can_help_is_looked_at_once_a_second_at_most(mut case in cases()) {
        case.world.inventory.groups[0].free = Extents(0);
        let plan = case.world.plan();
        prop_assume!(!plan.is_empty() && case.used < case.total);
        let (due, usually) = (case.due_after(&plan), case.due());
        prop_assert_eq!(due.plausible, usually.plausible.max(Duration::from_secs(1)));
        prop_assert_eq!(due.measured, usually.measured.max(Duration::from_secs(1)));
    }

    #[test]
    fn more_usage_never_means_a_later_look(case in cases(), more in 0..=10_000_u64) {
        let fuller = case.clone().with_used(case.used + case.total * more / 10_000);
        // A full store can only be waited for.
        prop_assume!(fuller.used < fuller.total);
        // Past its trigger what matters is the end: half the way there may be longer than it was to
        // the trigger.
        if case.is_past_a_trigger() == fuller.is_past_a_trigger() {
            prop_assert!(fuller.wait(1.0) <= case.wait(1.0), "{:?} {:?}", case.due(), fuller.due());
        }
    }

    #[test]
    fn what_cannot_be_helped_is_looked_at_calmly(case in cases(), stretch in 1.0..10_000.0_f64) {
        let full = case.clone().with_used(case.total);
        prop_assert_eq!(full.wait(stretch), case.timing().look_max);
        let calm = case.timing().look_busy;
        prop_assume!(case.used < case.total);
        let mut busy = case;
        busy.world.busy.insert(volume_id('s').vg, NOW.moment);
        prop_assert_eq!(busy.wait(stretch), calm);
    }

    #[test]
    fn a_faster_writer_never_means_a_later_trigger(case in cases(), more in 0..500_u64) {
        let mut faster = case.clone();
        let rate = case.rate().saturating_add(Bytes::mib(more));
        faster.world.history = World::new(vec![], vec![]).history;
        faster.world.fill_at(&target('s', Resource::Cow), rate);
        prop_assert!(faster.rate() >= case.rate() || more == 0);
        prop_assert!(faster.is_past_a_trigger() || !case.is_past_a_trigger() || more == 0);
    }

    #[test]
    fn what_is_granted_whole_lasts_for_the_horizon_and_clears_every_trigger(case in cases()) {
        let mut world = case.world.clone();
        let plan = world.plan();
        let whole = plan.extensions.iter().find(|extension| extension.capped.is_none());
        if let Some(extension) = whole {
            let rate = case.rate().as_f64();
            let horizon = Bytes::from_f64_ceil(rate * case.timing().horizon.as_secs_f64());
            let enough = world.inventory.snapshots[0].full_size(EXTENT).bytes(EXTENT);
            let room = enough.saturating_sub(extension.from.bytes(EXTENT));
            prop_assert!(extension.added() >= horizon.min(room), "{:?}", extension);
            world.apply(&plan);
            prop_assert!(world.plan().is_empty(), "{:?} after {:?}", world.plan(), extension);
        }
    }

    #[test]
    fn what_is_looked_at_more_often_than_at_the_least_stays_within_the_budget(
        stores in prop::collection::vec((1..5000_u64, 20..=5000_u64), 1..500), permille in 1..=100_u64
    ) {
        let timing = Timing { look_budget_permille: permille, ..World::new(vec![], vec![]).policy.timing };
        let micros = Duration::from_micros;
        let asked = stores.iter().map(|(cost, every)| (micros(*cost), micros(1000 * *every)));
        let stretch = cadence::stretch(&timing, asked.clone());
        let spent: f64 = asked
            .map(|(cost, plausible)| (cost, cadence::wait(&timing, idle(&timing, plausible), stretch)))
            .filter(|(_, wait)| *wait < timing.look_max)
            .map(|(cost, wait)| cost.div_duration_f64(wait))
            .sum();
        // The thread that looks is half of what looking costs.
        let budget = Duration::from_millis(permille).as_secs_f64() / 2.0;
        prop_assert!(spent <= budget * 1.001, "{} of {}", spent, budget);
    }

    #[test]
    fn the_forecast_is_monotone_in_rate_and_room(
        slow in 1.0..1e9_f64, faster in 0.0..1e9_f64, little in 0..1_u64 << 40, more in 0..1_u64 << 40
    ) {
        let forecast = |rate, room| forecast_of(rate, Bytes(room)).expect("it is always told");
        prop_assert!(forecast(slow + faster, little) <= forecast(slow, little));
        prop_assert!(forecast(slow, little + more) >= forecast(slow, little));
        prop_assert!(forecast(slow, little) >= NOW.wall.0, "a timestamp, not a span");
    }

    #[test]
    fn a_store_that_does_not_fill_is_never_full(rate in -1e9..=0.0_f64, room in 0..1_u64 << 40) {
        prop_assert_eq!(forecast_of(rate, Bytes(room)), Some(f64::INFINITY));
    }

    #[test]
    fn more_free_space_never_means_less_growth(case in cases(), free in 0..10_000_u64, more in 0..10_000_u64) {
        let growable = |free| {
            let mut world = case.world.clone();
            world.inventory.groups[0].free = Extents(free);
            let store = store::all(&world.inventory).next().expect("there is one");
            forecast::growable(&world.situation(), &store)
        };
        prop_assert!(growable(free) <= growable(free + more));
    }
}

/// Nothing has been measured.
fn idle(timing: &Timing, plausible: Duration) -> Due {
    Due {
        plausible,
        measured: timing.look_max,
    }
}

/// What is exported for a pool with room to grow and a rate.
fn forecast_of(rate: f64, room: Bytes) -> Option<f64> {
    let mut herd = Herd::small();
    let store = herd.store_of("pool0", Resource::Data);
    store.fill_bytes_per_second = rate;
    store.growable = room;
    let text =
        metrics::render(&Arc::new(herd.view), metrics::Format::Text).expect("it can be told");
    let series = "cowherd_thin_pool_forecast_full_timestamp_seconds{vg=\"vg0\",lv=\"pool0\",resource=\"data\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.and_then(|value| value.parse().ok())
}
