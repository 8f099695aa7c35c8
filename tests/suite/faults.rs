//! A host that misbehaves, seen by the real engine: devices and reports that do not answer, volumes that are
//! others by now, pools in every state that was captured. What the engine orders is what is asserted.

use std::time::Duration;

use cowherd::config::Config;
use cowherd::guard::{Input, Order};
use cowherd::model::inventory::{Inventory, Kernel, PoolMode};
use cowherd::model::names::Resource;
use cowherd::model::plan::{Failure, Outcome};

use crate::one_host::{Host, MINUTE, STEP};
use crate::worlds::{self, World, pool, snapshot, usage_of};

#[test]
fn a_pool_that_ran_out_is_extended_in_whatever_way_it_says_so() {
    for (state, extended) in [
        ("out-of-data-space-queue", "vg0/pool data"),
        ("out-of-data-space-error", "vg0/pool data"),
        ("metadata-full", "vg0/pool metadata"),
    ] {
        let host = Host::captured(state).started();
        assert_eq!(host.extended(), [extended], "{state}");
    }
}

#[test]
fn what_no_extension_can_save_is_held_and_told() {
    for (state, held) in [
        ("needs-check", "needs_check"),
        ("pool-fail", "pool_failed"),
        ("cow-one-invalid", "invalid"),
    ] {
        let mut host = Host::captured(state).started();
        host.run(MINUTE * 10);
        assert!(host.extended().is_empty(), "{state}");
        assert!(host.held().contains(&held), "{state}: {:?}", host.held());
        assert!(host.complaints("holding") >= 1, "{state}");
    }
}

#[test]
fn a_pool_that_is_switched_off_is_no_fault() {
    let mut host = Host::captured("thin-inactive").started();
    host.run(MINUTE * 10);
    assert_eq!(host.inventory.pools.len(), 1);
    assert!(host.extended().is_empty() && host.held().is_empty());
    assert_eq!(host.complaints(""), 0);
}

#[test]
fn what_others_suspended_is_told_and_left_alone_until_they_resume_it() {
    let world = World::new(vec![], vec![snapshot('s', 16, 95)]);
    let mut host = Host::of(&world);
    let id = worlds::volume_id('s');
    host.seen.get_mut(&id).expect("it is there").0 = true;
    let mut host = host.started();
    host.run(MINUTE * 5);
    assert_eq!(host.held(), ["suspended"]);
    assert!(host.extended().is_empty());
    assert_eq!(host.complaints("holding"), 1, "told once");
    host.seen.get_mut(&id).expect("it is there").0 = false;
    host.run(MINUTE);
    assert_eq!(host.extended(), ["vg/snap-s cow"]);
}

#[test]
fn a_report_that_never_comes_back_is_not_asked_for_again_and_nobody_waits_for_it() {
    let mut host = Host::of(&World::new(vec![], vec![snapshot('s', 16, 10)])).started();
    host.report_hangs = true;
    host.feed(Input::MetadataChanged);
    let before = host.reports();
    host.run(MINUTE * 10);
    assert_eq!(host.reports(), before, "one hangs already");
    assert_eq!(host.complaints("lvm does not answer"), 1);
    host.fill('s', 95);
    host.run(MINUTE);
    assert_eq!(host.extended(), ["vg/snap-s cow"]);
}

#[test]
fn a_report_that_fails_takes_nothing_of_what_is_known() {
    let mut host = Host::of(&World::new(vec![], vec![snapshot('s', 16, 10)])).started();
    host.report_hangs = true;
    host.feed(Input::MetadataChanged);
    for result in [
        Err("no JSON".to_owned()),
        Ok(Inventory::default()),
        // The group, and of its volumes nothing that could be read.
        Ok(World::new(vec![], vec![]).inventory),
    ] {
        host.feed(Input::Reported {
            result,
            is_complete: false,
            faults: Vec::new(),
            took: STEP,
        });
        assert_eq!(host.engine.view(host.now).inventory.snapshots.len(), 1);
    }
    host.fill('s', 95);
    host.run(MINUTE);
    assert_eq!(host.extended(), ["vg/snap-s cow"]);
}

#[test]
fn a_pool_that_does_not_answer_is_late_and_the_others_are_guarded() {
    let world = World::new(vec![pool('p', 128, 10, 10)], vec![snapshot('s', 16, 10)]);
    let mut host = Host::of(&world).started();
    host.silent.insert(worlds::volume_id('p'));
    host.run(MINUTE);
    let view = host.engine.view(host.now);
    let late = &view.inventory.pools[0].kernel;
    assert!(matches!(late, Kernel::Late { .. }), "{late:?}");
    assert_eq!(host.complaints("does not answer for it"), 1);
    assert!(view.inventory.snapshots[0].usage().is_some());
    host.fill('s', 95);
    let from = host.now.moment;
    while host.extended().is_empty() && host.now.moment.since(from) < MINUTE {
        host.run(STEP);
    }
    assert_eq!(host.extended(), ["vg/snap-s cow"]);
    let look_max = Config::default().policy.timing.look_max;
    assert!(host.now.moment.since(from) <= look_max + STEP * 10);
}

#[test]
fn while_devices_cannot_be_listed_the_known_ones_are_guarded() {
    let mut host = Host::of(&World::new(vec![], vec![snapshot('s', 16, 10)])).started();
    for _ in 0..20 {
        host.feed(Input::ListFailed {
            error: "open /dev/mapper/control: ENOENT".to_owned(),
        });
        host.run(Duration::from_millis(500));
    }
    assert_eq!(host.complaints("cannot list devices"), 1, "told once");
    host.fill('s', 95);
    host.run(MINUTE);
    assert_eq!(host.extended(), ["vg/snap-s cow"]);
}

#[test]
fn a_look_that_fails_now_and_then_is_repeated_and_what_it_hides_is_held() {
    let mut host = Host::of(&World::new(vec![], vec![snapshot('s', 16, 10)])).started();
    for _ in 0..5 {
        host.seen.clear();
        host.run(MINUTE);
        assert_eq!(host.held(), ["state_unknown"]);
        host.fill('s', 10);
        host.run(MINUTE);
        assert!(host.held().is_empty());
    }
    assert!(host.extended().is_empty());
    assert_eq!(host.complaints("cannot read a device"), 5, "once each time");
}

#[test]
fn a_device_that_is_another_by_now_is_described_anew_and_judged_by_its_own_size() {
    let mut world = World::new(vec![], vec![snapshot('s', 16, 79)]);
    let mut host = Host::of(&world).started();
    let name = world.inventory.snapshots[0].name.clone();
    // The same name and number, another uuid: the old one is gone.
    host.seen.clear();
    host.run(MINUTE);
    let rescans = |order: &&Order| matches!(order, Order::Rescan);
    assert_eq!(host.orders.iter().filter(rescans).count(), 1);
    assert!(host.reports() >= 2);
    world.inventory.snapshots = vec![snapshot('t', 8, 95)];
    world.inventory.snapshots[0].name = name.clone();
    let other = Host::of(&world);
    (host.inventory, host.found, host.seen) = (other.inventory, other.found, other.seen);
    host.list();
    host.run(MINUTE / 10);
    let extensions = host.extensions();
    let told: Vec<_> = extensions.iter().map(|e| (&e.target, e.from.0)).collect();
    assert_eq!(told, [(&worlds::target('t', Resource::Cow), 8)]);
    assert_eq!(extensions[0].name, name);
}

#[test]
fn a_group_that_lvm_hides_is_watched_and_held_until_it_tells_of_it_again() {
    let mut host = Host::of(&World::new(vec![], vec![snapshot('s', 16, 10)])).started();
    let told = std::mem::take(&mut host.inventory);
    host.feed(Input::MetadataChanged);
    host.fill('s', 95);
    host.run(MINUTE * 10);
    assert!(host.extended().is_empty());
    assert_eq!(host.held(), ["hidden"]);
    assert_eq!(host.complaints("does not tell of a volume group"), 1);
    host.inventory = told;
    host.run(MINUTE);
    assert_eq!(host.extended(), ["vg/snap-s cow"]);
}

#[test]
fn what_is_nearly_full_when_the_guard_starts_is_extended_by_its_first_look() {
    let mut host = Host::of(&World::new(vec![pool('p', 128, 99, 10)], vec![]));
    let began = host.now.moment;
    host.list();
    assert_eq!(host.extended(), ["vg/pool-p data"]);
    assert!(host.now.moment.since(began) < STEP * 10);
}

#[test]
fn a_pool_without_room_for_metadata_gets_it_even_when_it_is_read_only() {
    let mut full = pool('p', 128, 10, 100);
    usage_of(&mut full).mode = PoolMode::ReadOnly;
    let host = Host::of(&World::new(vec![full], vec![])).started();
    assert_eq!(host.extended(), ["vg/pool-p metadata"]);
}

#[test]
fn a_guard_that_is_told_to_stop_begins_nothing_and_knows_what_still_runs() {
    let world = World::new(vec![], vec![snapshot('s', 16, 95)]);
    let mut host = Host::of(&world).started();
    assert_eq!(host.extended().len(), 1);
    host.engine.stop();
    assert!(host.engine.is_busy());
    let extension = host.extensions()[0].clone();
    let detail = "it was told to end".to_owned();
    let ended = Outcome::not_started(extension, Failure::Refused, detail);
    host.feed(Input::Carried(ended));
    assert!(!host.engine.is_busy());
    host.run(MINUTE * 5);
    assert_eq!(host.extended().len(), 1, "no new one");
}

#[test]
fn after_a_pause_of_the_whole_host_everything_is_looked_at_at_once() {
    let cows = ['s', 't', 'u'].map(|letter| snapshot(letter, 16, 10));
    let mut host = Host::of(&World::new(vec![], cows.into())).started();
    host.run(MINUTE * 10);
    host.fill('t', 95);
    let before = host.looks;
    host.pass(MINUTE * 480);
    host.feed(Input::Tick);
    assert!(host.looks >= before + 3);
    assert_eq!(host.extended(), ["vg/snap-t cow"]);
}
