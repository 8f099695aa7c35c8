//! Decisions: when, how much, who first, and why not.

use std::time::Duration;

use cowherd::model::inventory::{CowStatus, GroupObstacle, Kernel, PoolStatus};
use cowherd::model::names::Resource;
use cowherd::model::plan::{Cap, Capped, Extension, Hold, Plan, Trigger};
use cowherd::model::reason::Reason;
use cowherd::model::time::Moment;
use cowherd::model::units::{Bytes, Extents};
use proptest::prelude::{Strategy, any, prop, proptest};
use proptest::{prop_assert, prop_assert_eq};

use crate::worlds::{EXTENT, World, group, pool, set_status, snapshot, target, usage_of};

fn only(plan: &Plan) -> &Extension {
    assert_eq!(
        (plan.extensions.len(), plan.holds.len()),
        (1, 0),
        "{plan:#?}"
    );
    &plan.extensions[0]
}

fn held(plan: &Plan) -> Vec<&'static str> {
    assert!(plan.extensions.is_empty(), "{plan:#?}");
    plan.holds.iter().map(|hold| hold.reason.label()).collect()
}

#[test]
fn nothing_is_planned_below_the_trigger() {
    let world = World::new(vec![pool('p', 128, 80, 50)], vec![snapshot('s', 16, 80)]);
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn data_past_the_threshold_grows_by_the_configured_share() {
    let extension = World::new(vec![pool('p', 128, 81, 10)], vec![]).plan();
    let extension = only(&extension);
    assert_eq!(extension.target, target('p', Resource::Data));
    assert_eq!(
        (extension.from, extension.to),
        (Extents(128), Extents(128 + 26))
    );
    assert_eq!(extension.trigger, Trigger::Threshold { percent: 80 });
    assert_eq!(extension.capped, None);
}

#[test]
fn growth_brings_usage_down_to_the_threshold_as_lvm_does() {
    let mut world = World::new(vec![], vec![snapshot('s', 100, 99)]);
    world.policy.snapshot.threshold_percent = 50;
    // ceil(99 * 100 / 50) - 100 = 98 percent of 100 extents.
    assert_eq!(only(&world.plan()).to, Extents(198));
}

#[test]
fn metadata_grows_by_one_percent_more() {
    let world = World::new(vec![pool('p', 128, 10, 90)], vec![]);
    let plan = world.plan();
    assert_eq!(only(&plan).target.resource, Resource::Metadata);
    assert_eq!(only(&plan).to, Extents(10 + 3));
}

#[test]
fn small_metadata_has_lvms_lower_threshold() {
    let mut world = World::new(vec![pool('p', 128, 10, 76)], vec![]);
    assert_eq!(world.plan(), Plan::default(), "40 MiB: 80 percent");
    world.inventory.pools[0].metadata = Extents(2);
    assert_eq!(
        only(&world.plan()).trigger,
        Trigger::Threshold { percent: 75 },
        "8 MiB"
    );
}

#[test]
fn a_fast_writer_is_met_before_any_threshold() {
    let mut world = World::new(vec![], vec![snapshot('s', 16, 20)]);
    world.fill_at(&target('s', Resource::Cow), Bytes::mib(40));
    world.inventory.groups[0].free = Extents(10_000);
    let plan = world.plan();
    assert!(
        matches!(only(&plan).trigger, Trigger::Rate { .. }),
        "{plan:#?}"
    );
    assert!(
        only(&plan).added() >= Bytes::mib(40 * 59),
        "room for the horizon: {plan:#?}"
    );
}

#[test]
fn a_snapshot_that_cannot_overflow_is_left_alone() {
    let mut world = World::new(vec![], vec![snapshot('s', 16, 50)]);
    world.inventory.snapshots[0].origin_size = Bytes::mib(60);
    world.fill_at(&target('s', Resource::Cow), Bytes::mib(100));
    assert_eq!(world.plan(), Plan::default());
    world.inventory.snapshots[0] = snapshot('s', 16, 95);
    world.inventory.snapshots[0].origin_size = Bytes::mib(60);
    assert_eq!(held(&world.plan()), ["useful_size"]);
}

#[test]
fn headroom_is_a_trigger_of_its_own() {
    let mut world = World::new(vec![], vec![snapshot('s', 16, 10)]);
    world.policy.snapshot.headroom = Bytes::mib(100);
    let plan = world.plan();
    assert_eq!(
        only(&plan).trigger,
        Trigger::Headroom {
            floor: Bytes::mib(100)
        }
    );
    world.apply(&plan);
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn what_lvm_has_forgotten_of_a_store_is_not_taken_from_the_kernel() {
    // 28 extents in the kernel, of which LVM knows 16.
    let mut world = World::new(vec![], vec![snapshot('s', 28, 90)]);
    world.inventory.snapshots[0].size = Extents(16);
    let plan = world.plan();
    assert_eq!(
        (only(&plan).from, only(&plan).to),
        (Extents(16), Extents(28 + 6))
    );
    for (free, expected) in [
        (17, Ok(Extents(33))),
        (13, Ok(Extents(29))),
        (12, Err("no_room")),
    ] {
        world.inventory.groups[0] = group(free);
        let plan = world.plan();
        match expected {
            Ok(to) => assert_eq!(only(&plan).to, to, "{free} extents free"),
            Err(reason) => assert_eq!(held(&plan), [reason], "{free} extents free"),
        }
    }
    world.policy.snapshot.max_size = Some(Bytes::mib(28 * 4));
    assert_eq!(held(&world.plan()), ["max_size"]);
}

#[test]
fn a_full_group_gives_what_is_left_then_holds() {
    let mut world = World::new(vec![], vec![snapshot('s', 100, 90)]);
    world.inventory.groups[0].free = Extents(3);
    let plan = world.plan();
    assert_eq!(only(&plan).to, Extents(103));
    let capped = Capped {
        wanted: Extents(20),
        by: Cap::GroupSpace,
    };
    assert_eq!(only(&plan).capped, Some(capped));
    world.apply(&plan);
    assert_eq!(held(&world.plan()), ["no_room"]);
}

#[test]
fn the_reserve_is_never_touched() {
    let mut world = World::new(vec![], vec![snapshot('s', 100, 90)]);
    world.policy.reserve.bytes = Bytes::mib(4 * 95);
    let plan = world.plan();
    assert_eq!(only(&plan).to, Extents(105));
    world.apply(&plan);
    let free = Extents(95).bytes(EXTENT);
    assert_eq!(
        world.plan().holds[0].reason,
        Reason::NoRoom {
            free,
            reserve: free
        }
    );
}

#[test]
fn metadata_comes_first_and_its_next_step_is_kept_from_data() {
    let mut world = World::new(vec![pool('p', 128, 90, 90)], vec![snapshot('s', 100, 90)]);
    world.inventory.groups[0].free = Extents(12);
    let plan = world.plan();
    let order: Vec<Resource> = plan.extensions.iter().map(|e| e.target.resource).collect();
    assert_eq!(order, [Resource::Metadata, Resource::Data], "{plan:#?}");
    assert_eq!(plan.extensions[1].to, Extents(128 + 9));
    assert_eq!(plan.holds[0].reason.label(), "no_room");
    let mut calm = World::new(vec![pool('p', 128, 90, 50)], vec![]);
    calm.inventory.groups[0].free = Extents(12);
    assert_eq!(
        only(&calm.plan()).to,
        Extents(128 + 9),
        "3 extents are kept for metadata"
    );
}

#[test]
fn growth_per_hour_caps_and_holds_until_the_hour_is_over() {
    let mut world = World::new(vec![], vec![snapshot('s', 100, 90)]);
    world.policy.snapshot.growth_per_hour = Some(Bytes::mib(4 * 7));
    let plan = world.plan();
    assert_eq!(only(&plan).to, Extents(107));
    assert_eq!(
        only(&plan).capped.map(|capped| capped.by),
        Some(Cap::GrowthPerHour)
    );
    world.succeed(&plan);
    assert_eq!(held(&world.plan()), ["growth_per_hour"]);
    world.now = world.now.after(Duration::from_secs(3599));
    assert_eq!(held(&world.plan()), ["growth_per_hour"]);
    world.now = world.now.after(Duration::from_secs(1));
    assert_eq!(only(&world.plan()).to, Extents(114));
}

#[test]
fn max_size_caps_and_then_holds() {
    let mut world = World::new(vec![], vec![snapshot('s', 100, 90)]);
    world.policy.snapshot.max_size = Some(Bytes::mib(4 * 107));
    let plan = world.plan();
    assert_eq!(only(&plan).to, Extents(107));
    assert_eq!(
        only(&plan).capped.map(|capped| capped.by),
        Some(Cap::MaxSize)
    );
    world.apply(&plan);
    assert_eq!(held(&world.plan()), ["max_size"]);
}

#[test]
fn metadata_stops_at_the_largest_size_that_the_kernel_can_use() {
    let mut world = World::new(vec![pool('p', 100_000, 10, 90)], vec![]);
    world.inventory.groups[0].free = Extents(100_000);
    world.inventory.pools[0].metadata = Extents(4047);
    assert_eq!(only(&world.plan()).to, Extents(4048), "15.8125 GiB");
    world.inventory.pools[0].metadata = Extents(4048);
    assert_eq!(held(&world.plan()), ["useful_size"]);
}

#[test]
fn damage_is_held_whatever_the_fill_level() {
    let mut sick = pool('p', 128, 10, 10);
    usage_of(&mut sick).needs_check = true;
    assert_eq!(
        held(&World::new(vec![sick], vec![]).plan()),
        ["needs_check"]
    );
    let mut dead = pool('p', 128, 10, 10);
    dead.kernel = Kernel::Known {
        at: Moment::default(),
        suspended: false,
        status: PoolStatus::Failed,
    };
    assert_eq!(
        held(&World::new(vec![dead], vec![]).plan()),
        ["pool_failed"]
    );
    for (status, label) in [
        (CowStatus::Invalid, "invalid"),
        (CowStatus::Overflow, "invalid"),
        (CowStatus::MergeFailed, "merge_failed"),
        (CowStatus::Unknown, "state_unknown"),
    ] {
        let mut lost = snapshot('s', 16, 10);
        set_status(&mut lost, status);
        assert_eq!(held(&World::new(vec![], vec![lost]).plan()), [label]);
    }
}

#[test]
fn a_sick_pool_past_its_triggers_is_never_extended() {
    let mut sick = pool('p', 128, 95, 95);
    usage_of(&mut sick).needs_check = true;
    assert_eq!(
        held(&World::new(vec![sick], vec![]).plan()),
        ["needs_check", "needs_check"]
    );
}

#[test]
fn a_merging_snapshot_is_not_extended() {
    let mut merging = snapshot('s', 16, 95);
    merging.merging = true;
    assert_eq!(held(&World::new(vec![], vec![merging]).plan()), ["merging"]);
}

#[test]
fn groups_that_take_no_changes_hold_their_volumes() {
    for (obstacle, label) in [
        (GroupObstacle::Exported, "exported"),
        (GroupObstacle::Shared, "shared"),
        (GroupObstacle::Clustered, "clustered"),
        (GroupObstacle::Partial, "partial"),
    ] {
        let mut world = World::new(vec![], vec![snapshot('s', 16, 95)]);
        world.inventory.groups[0].obstacle = Some(obstacle);
        assert_eq!(held(&world.plan()), [label]);
    }
}

#[test]
fn a_disabled_kind_is_held_and_a_busy_group_waits() {
    let mut world = World::new(vec![], vec![snapshot('s', 16, 95)]);
    let since = world.now;
    world.busy.insert(group(0).uuid, since);
    assert_eq!(held(&world.plan()), ["busy"]);
    world.now = since.after(Duration::from_secs(76));
    assert_eq!(held(&world.plan()), ["stuck"]);
    // An lvextend that may wait longer for the lock may end later.
    world.policy.timing.lock_wait = Duration::from_secs(15);
    assert_eq!(held(&world.plan()), ["busy"]);
    world.policy.snapshot.enabled = false;
    assert_eq!(held(&world.plan()), ["disabled"]);
}

#[test]
fn silent_and_suspended_devices_are_held() {
    let mut frozen = snapshot('s', 16, 95);
    if let Kernel::Known { suspended, .. } = &mut frozen.kernel {
        *suspended = true;
    }
    assert_eq!(
        held(&World::new(vec![], vec![frozen]).plan()),
        ["suspended"]
    );
    let mut late = snapshot('s', 16, 95);
    let last = late.kernel.status().cloned();
    late.kernel = Kernel::Late {
        since: Moment::default(),
        last,
    };
    assert_eq!(held(&World::new(vec![], vec![late]).plan()), ["late"]);
}

#[test]
fn a_dry_run_plans_the_same_and_holds_it() {
    let mut world = World::new(vec![], vec![snapshot('s', 16, 95)]);
    let plan = world.plan();
    world.policy.dry_run = true;
    let dry = world.plan();
    assert!(dry.extensions.is_empty());
    let extension = Box::new(only(&plan).clone());
    assert_eq!(dry.holds[0].reason, Reason::DryRun { extension });
}

#[test]
fn a_whole_plan_looks_as_reviewed() {
    let mut world = World::new(
        vec![pool('p', 128, 90, 90), pool('q', 64, 99, 10)],
        vec![snapshot('s', 16, 85), snapshot('t', 16, 50)],
    );
    usage_of(&mut world.inventory.pools[1]).needs_check = true;
    let plan = world.plan();
    let mut lines: Vec<String> = plan
        .extensions
        .iter()
        .map(|e| {
            let what = e.target.resource.label();
            format!(
                "{} {what} {} -> {}: {}",
                e.name, e.from.0, e.to.0, e.trigger
            )
        })
        .collect();
    lines.extend(
        plan.holds
            .iter()
            .map(|h| format!("{} held: {}", h.name, h.reason)),
    );
    assert_eq!(
        lines,
        [
            "vg/pool-p metadata 10 -> 13: more than 80 % used",
            "vg/pool-p data 128 -> 154: more than 80 % used",
            "vg/snap-s cow 16 -> 20: more than 80 % used",
            "vg/pool-q held: the pool needs a metadata check: deactivate it and run lvconvert --repair",
            "vg/pool-q held: the pool needs a metadata check: deactivate it and run lvconvert --repair",
        ]
    );
}

/// Any world of two pools and two snapshots, with rates.
fn worlds() -> impl Strategy<Value = World> {
    let pools = prop::collection::vec((1..5000_u64, 0..=100_u64, 0..=100_u64), 0..3);
    let snapshots = prop::collection::vec((1..5000_u64, 0..=100_u64), 0..3);
    let group = (0..20_000_u64, 0..200_u64, any::<bool>());
    let policy = (1..=99_u64, 1..=300_u64, 0..3000_u64);
    let rates = prop::collection::vec(0..500_u64, 6);
    (pools, snapshots, group, policy, rates).prop_map(
        |(pools, snapshots, (free, reserve, spare), (threshold, percent, headroom), rates)| {
            let pools = ['p', 'q', 'r'].into_iter().zip(pools);
            let snapshots = ['s', 't', 'u'].into_iter().zip(snapshots);
            let mut world = World::new(
                pools
                    .map(|(letter, (size, data, meta))| pool(letter, size, data, meta))
                    .collect(),
                snapshots
                    .map(|(letter, (size, share))| snapshot(letter, size, share))
                    .collect(),
            );
            world.inventory.groups[0].free = Extents(free);
            if !spare {
                world.inventory.groups[0].pool_metadata_spare = Bytes::ZERO;
            }
            world.policy.reserve.bytes = Bytes::mib(4 * reserve);
            for growth in [
                &mut world.policy.data,
                &mut world.policy.metadata,
                &mut world.policy.snapshot,
            ] {
                growth.threshold_percent = threshold;
                growth.extend_percent = percent;
            }
            world.policy.snapshot.headroom = Bytes::mib(headroom);
            for (letter, rate) in ['p', 'q', 's', 't'].into_iter().zip(rates) {
                let resource = if letter < 's' {
                    Resource::Data
                } else {
                    Resource::Cow
                };
                world.fill_at(&target(letter, resource), Bytes::mib(rate));
            }
            world
        },
    )
}

proptest! {
    #[test]
    fn the_same_world_gives_the_same_plan(world in worlds()) {
        prop_assert_eq!(world.plan(), world.clone().plan());
    }

    #[test]
    fn nothing_ever_shrinks(world in worlds()) {
        for extension in world.plan().extensions {
            prop_assert!(extension.to > extension.from, "{:?}", extension);
        }
    }

    #[test]
    fn grants_never_exceed_what_is_free_beyond_the_reserve(mut world in worlds()) {
        let reserve = world.policy.reserve.of(world.inventory.groups[0].size).extents_ceil(EXTENT);
        let before = world.inventory.groups[0].free;
        let plan = world.plan();
        world.apply(&plan);
        let spent = before.saturating_sub(world.inventory.groups[0].free);
        prop_assert!(spent <= before.saturating_sub(reserve), "{:?} of {:?}", spent, before);
    }

    #[test]
    fn carrying_a_plan_out_leaves_nothing_to_do(mut world in worlds()) {
        let plan = world.plan();
        world.apply(&plan);
        let again = world.plan();
        // What was cut short for want of room, or got none, may still be past its trigger: what was kept for the
        // next step of metadata is another amount once metadata has grown, and the difference is theirs.
        let is_cut = |e: &Extension| plan.extensions.iter().any(|p| p.target == e.target && p.capped.is_some());
        let is_starved = |e: &Extension| {
            let is_it = |h: &Hold| h.target == e.target && matches!(h.reason, Reason::NoRoom { .. });
            plan.holds.iter().any(is_it)
        };
        let more: Vec<_> = again.extensions.iter().filter(|e| !is_cut(e) && !is_starved(e)).collect();
        prop_assert!(more.is_empty(), "{:#?} after {:#?}", more, plan.extensions);
    }

    #[test]
    fn more_usage_never_means_a_smaller_extension(
        size in 1..5000_u64, less in 0..=100_u64, more in 0..=100_u64, threshold in 1..=99_u64
    ) {
        let (less, more) = (less.min(more), less.max(more));
        let grant = |percent| {
            let mut world = World::new(vec![], vec![snapshot('s', size, percent)]);
            world.inventory.groups[0].free = Extents(1 << 30);
            world.policy.snapshot.threshold_percent = threshold;
            world.plan().extensions.first().map_or(Bytes::ZERO, Extension::added)
        };
        prop_assert!(grant(less) <= grant(more));
    }

    #[test]
    fn every_store_past_its_threshold_is_in_the_plan(world in worlds()) {
        let plan = world.plan();
        for snapshot in &world.inventory.snapshots {
            let usage = snapshot.usage().expect("made valid");
            if usage.allocated.0 * 100 > usage.total.0 * world.policy.snapshot.threshold_percent {
                let named = plan.extensions.iter().any(|e| e.target.volume == snapshot.id)
                    || plan.holds.iter().any(|h| h.target.volume == snapshot.id);
                prop_assert!(named, "{} is missing", snapshot.name);
            }
        }
    }
}
