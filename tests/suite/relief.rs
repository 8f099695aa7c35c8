//! What is done for a group without room: the rungs, their order, and what none of them may do.

use std::time::Duration;

use cowherd::decide;
use cowherd::model::inventory::Kernel;
use cowherd::model::names::{Resource, Uuid};
use cowherd::model::plan::{Failure, Outcome};
use cowherd::model::relief::{Expendable, Hook, Ladder, Relief, Relieved, Rung, SpareDisk, Tag};
use cowherd::model::rule::{Rule, Selector};
use cowherd::model::time::{Moment, Now, UnixSeconds};
use cowherd::model::units::{Bytes, Extents};
use wildmatch::WildMatch;

use crate::worlds::{self, WALL, World, pool, snapshot, target, uuid, volume_id};

fn disk(letter: char) -> SpareDisk {
    SpareDisk {
        uuid: uuid(letter),
        device: format!("/dev/{letter}"),
        size: Bytes::mib(1024),
    }
}

fn hook(program: &str) -> Hook {
    Hook {
        program: program.to_owned(),
        arguments: Vec::new(),
    }
}

fn rule(group: &str, relief: Ladder) -> Rule {
    Rule {
        selector: Selector {
            volume_group: Some(WildMatch::new(group)),
            ..Selector::default()
        },
        relief,
        ..Rule::default()
    }
}

fn standby() -> Ladder {
    Ladder {
        standby: vec![uuid('x'), uuid('y'), uuid('z')],
        ..Ladder::default()
    }
}

fn guests() -> Ladder {
    Ladder {
        suspend: Some(hook("/suspend")),
        resume: Some(hook("/resume")),
        ..Ladder::default()
    }
}

/// A snapshot made at a time, of the group itself or of a pool in it.
fn expendable(letter: char, created: f64, tag: Tag, of_pool: Option<char>) -> Expendable {
    Expendable {
        id: volume_id(letter),
        name: worlds::name(&format!("snap-{letter}")),
        pool: of_pool.map(|pool| volume_id(pool).lv),
        created: Some(UnixSeconds(created)),
        tag,
    }
}

/// What a plan would do, in its words.
fn asked(world: &World) -> Vec<String> {
    let reliefs = world.plan().reliefs;
    reliefs.iter().map(Relief::to_string).collect()
}

fn end(world: &mut World, relief: Relief, error: Option<&str>) {
    let relieved = Relieved {
        relief,
        took: Duration::from_secs(1),
        error: error.map(str::to_owned),
    };
    world.history.reliefs.note_ended(&relieved, world.now);
}

/// Carries out what the plan asks for first.
fn carry_out(world: &mut World, error: Option<&str>) {
    let relief = world.plan().reliefs.remove(0);
    world.history.reliefs.note_begun(&relief, world.now);
    end(world, relief, error);
}

fn pass(world: &mut World, secs: u64) {
    world.now = world.now.after(Duration::from_secs(secs));
}

/// A pool at 90 % in a group without a free extent.
fn full() -> World {
    let mut world = World::new(vec![pool('p', 100, 90, 10)], vec![]);
    world.inventory.groups[0].free = Extents(0);
    world
}

const ADD_Y: &str =
    "add the standby disk /dev/y (1 GiB, yyyyyy-yyyy-yyyy-yyyy-yyyy-yyyy-yyyyyy) to vg";
const ADD_Z: &str =
    "add the standby disk /dev/z (1 GiB, zzzzzz-zzzz-zzzz-zzzz-zzzz-zzzz-zzzzzz) to vg";

#[test]
fn a_standby_disk_is_added_to_a_group_without_room_and_to_no_other() {
    let mut world = World::new(vec![], vec![snapshot('s', 100, 90)]);
    world.inventory.spare_disks = vec![disk('w'), disk('y'), disk('z')];
    world.policy.rules = vec![rule("vg", standby())];
    assert!(asked(&world).is_empty(), "there is room");
    let mut after = world.clone();
    let extension = world.plan().extensions.remove(0);
    let refused = Outcome::not_started(extension, Failure::Refused, String::new());
    let now = Now {
        moment: after.now,
        wall: WALL,
    };
    let policy = after.policy.history;
    after.history.note_outcome(&refused, now, &policy);
    pass(&mut after, 5);
    assert_eq!(after.history.refusals(&target('s', Resource::Cow)), 1);
    assert!(asked(&after).is_empty(), "a refusal is no lack of room");
    world.inventory.groups[0].free = Extents(3);
    assert_eq!(asked(&world), [ADD_Y], "what fits is not enough");
    world.inventory.groups[0].free = Extents(0);
    let mut after = world.clone();
    let relief = world.plan().reliefs.remove(0);
    decide::relief::apply(&mut after.inventory, &relief);
    let plan = after.plan();
    assert!(plan.holds.is_empty() && plan.reliefs.is_empty(), "{plan:?}");
    assert_eq!(plan.extensions[0].to, Extents(120));
    world.busy.insert(uuid('v'), world.now);
    assert!(asked(&world).is_empty(), "something runs in the group");
    world.busy.clear();
    world.policy.rules = vec![rule("other", standby())];
    assert!(asked(&world).is_empty());
}

#[test]
fn one_rung_runs_at_a_time_and_the_next_waits_until_it_is_seen_what_it_brought() {
    let mut world = full();
    world.inventory.spare_disks = vec![disk('y'), disk('z')];
    world.policy.rules = vec![rule("vg", standby())];
    let relief = world.plan().reliefs.remove(0);
    world.history.reliefs.note_begun(&relief, world.now);
    pass(&mut world, 300);
    assert!(asked(&world).is_empty(), "the first still runs");
    let mut hangs = world.clone();
    pass(&mut hangs, 400);
    assert_eq!(
        asked(&hangs),
        [ADD_Z],
        "one that hangs keeps nobody waiting"
    );
    end(&mut world, relief, Some("refused"));
    pass(&mut world, 1);
    assert!(asked(&world).is_empty());
    assert!(world.plan().ages(), "time alone brings the next");
    pass(&mut world, 5);
    assert_eq!(asked(&world), [ADD_Z], "the one that failed rests");
    carry_out(&mut world, Some("refused"));
    pass(&mut world, 24);
    assert_eq!(asked(&world), [ADD_Y]);
}

#[test]
fn disks_come_before_trimming_and_that_before_snapshots() {
    let mut world = full();
    world.inventory.spare_disks = vec![disk('y')];
    world.inventory.expendable = vec![expendable('a', 1.0, Tag::Expendable, None)];
    let ladder = Ladder {
        trim: Some(hook("/sbin/fstrim")),
        remove_snapshots: Some(true),
        ..standby()
    };
    world.policy.rules = vec![rule("vg", ladder)];
    for (expected, error) in [
        (ADD_Y, Some("refused")),
        ("trim vg: /sbin/fstrim", None),
        ("remove vg/snap-a (cowherd.expendable)", Some("in use")),
    ] {
        assert_eq!(asked(&world), [expected]);
        carry_out(&mut world, error);
        pass(&mut world, 6);
    }
    assert!(asked(&world).is_empty(), "all rest");
    pass(&mut world, 18);
    assert_eq!(asked(&world), [ADD_Y]);
    carry_out(&mut world, Some("refused"));
    pass(&mut world, 6);
    assert!(asked(&world).is_empty(), "a trim is not repeated so soon");
    pass(&mut world, 580);
    world.inventory.spare_disks.clear();
    assert_eq!(asked(&world), ["trim vg: /sbin/fstrim"]);
}

#[test]
fn a_group_whose_pools_have_room_is_not_trimmed_and_nobody_is_suspended() {
    let mut world = World::new(vec![pool('p', 100, 10, 10)], vec![snapshot('s', 100, 90)]);
    world.inventory.groups[0].free = Extents(0);
    world.fill_at(&target('s', Resource::Cow), Bytes::mib(100));
    let ladder = Ladder {
        trim: Some(hook("/sbin/fstrim")),
        ..guests()
    };
    world.policy.rules = vec![rule("vg", ladder)];
    assert!(!world.plan().holds.is_empty());
    assert!(asked(&world).is_empty());
}

#[test]
fn only_tagged_snapshots_go_and_those_that_expired_and_are_old_go_first() {
    let mut world = full();
    let expired = |ago: f64| Tag::Expires(UnixSeconds(WALL.0 - ago));
    world.inventory.expendable = vec![
        expendable('a', 300.0, Tag::Expendable, None),
        expendable('b', 200.0, Tag::Expendable, Some('p')),
        expendable('c', 100.0, Tag::Expendable, Some('q')),
        expendable('d', 900.0, expired(10.0), None),
        expendable('e', 999.0, expired(20.0), Some('p')),
        expendable('f', 1.0, expired(-10.0), None),
    ];
    let removing = Ladder {
        remove_snapshots: Some(true),
        ..Ladder::default()
    };
    let mut gone = Vec::new();
    world.policy.rules = vec![rule("vg", Ladder::default())];
    assert!(asked(&world).is_empty(), "nobody allowed it");
    world.policy.rules = vec![rule("vg", removing.clone())];
    while let Some(relief) = world.plan().reliefs.pop() {
        decide::relief::apply(&mut world.inventory, &relief);
        end(&mut world, relief.clone(), None);
        pass(&mut world, 6);
        if let Rung::Remove(snapshot) = relief.rung {
            gone.push(snapshot.name.lv.to_string());
        }
    }
    assert_eq!(gone, ["snap-e", "snap-d", "snap-b", "snap-a"]);
    let mut own = snapshot('z', 10, 10);
    own.origin_id = Some(volume_id('g'));
    world.inventory.snapshots.push(own);
    world.inventory.expendable = vec![expendable('g', 1.0, Tag::Expendable, Some('p'))];
    assert!(asked(&world).is_empty(), "it has a snapshot of its own");
    world.inventory.snapshots.clear();
    world.inventory.expendable = vec![expendable('h', 1.0, Tag::Expendable, None)];
    assert_eq!(asked(&world).len(), 1);
    // More than is kept for metadata, and less than a step.
    world.inventory.groups[0].free = Extents(10);
    let plan = world.plan();
    assert!(
        plan.holds.is_empty() && plan.extensions[0].capped.is_some(),
        "{plan:?}"
    );
    assert!(plan.reliefs.is_empty(), "a part is granted");
    world.inventory.groups[0].free = Extents(0);
    let never = Ladder {
        remove_snapshots: Some(false),
        ..removing
    };
    world.inventory.expendable = vec![expendable('h', 1.0, Tag::Expendable, None)];
    assert_eq!(asked(&world).len(), 1);
    world.policy.rules.push(rule("v?", never));
    assert!(asked(&world).is_empty(), "the later rule decides");
}

#[test]
fn no_snapshot_is_removed_to_save_itself() {
    let mut world = World::new(vec![], vec![snapshot('s', 100, 90)]);
    world.inventory.groups[0].free = Extents(0);
    world.inventory.expendable = vec![expendable('s', 1.0, Tag::Expendable, None)];
    let removing = Ladder {
        remove_snapshots: Some(true),
        ..Ladder::default()
    };
    world.policy.rules = vec![rule("vg", removing)];
    assert!(asked(&world).is_empty());
    world.inventory.snapshots.push(snapshot('t', 100, 90));
    assert_eq!(asked(&world), ["remove vg/snap-s (cowherd.expendable)"]);
}

#[test]
fn writers_are_suspended_before_the_pool_is_full_and_resumed_when_it_has_room() {
    let mut world = full();
    world.policy.rules = vec![rule("vg", guests())];
    // 40 MiB are free.
    world.fill_at(&target('p', Resource::Data), Bytes::mib(1));
    assert!(asked(&world).is_empty(), "it lasts for more than 30 s");
    let mut fast = full();
    fast.policy.rules.clone_from(&world.policy.rules);
    fast.fill_at(&target('p', Resource::Data), Bytes::mib(4));
    assert_eq!(asked(&fast), ["suspend who writes to vg: /suspend"]);
    let relief = fast.plan().reliefs.remove(0);
    let Rung::Suspend(call) = relief.rung else {
        panic!("{relief}");
    };
    let suspended: Vec<String> = call.pools.iter().map(ToString::to_string).collect();
    assert_eq!(suspended, ["pool-p"]);
    carry_out(&mut fast, None);
    assert!(asked(&fast).is_empty());
    pass(&mut fast, 31);
    assert_eq!(
        asked(&fast),
        ["suspend who writes to vg: /suspend"],
        "it goes on filling"
    );
    carry_out(&mut fast, Some("no answer"));
    fast.inventory.groups[0].free = Extents(1000);
    assert_eq!(asked(&fast), ["resume who was suspended for vg: /resume"]);
    carry_out(&mut fast, Some("no answer"));
    assert!(asked(&fast).is_empty());
    pass(&mut fast, 31);
    carry_out(&mut fast, None);
    pass(&mut fast, 1000);
    assert!(asked(&fast).is_empty(), "nobody is suspended any more");
    fast.history.reliefs.note_suspended(uuid('v'), fast.now);
    assert!(
        asked(&fast).is_empty(),
        "what a former guard left is looked at first"
    );
    assert!(fast.plan().relief_rests, "time alone brings it");
    pass(&mut fast, 6);
    assert_eq!(asked(&fast).len(), 1);
    fast.inventory.pools[0].kernel = Kernel::Inactive;
    assert!(asked(&fast).is_empty(), "nobody knows how full it is");
    assert!(fast.plan().relief_rests);
}

#[test]
fn who_is_suspended_is_not_resumed_while_the_pool_is_short() {
    let mut world = full();
    world.policy.rules = vec![rule("vg", guests())];
    let suspended: Uuid = uuid('v');
    world
        .history
        .reliefs
        .note_suspended(suspended, Moment::default());
    assert!(asked(&world).is_empty());
    world.inventory.groups[0].free = Extents(1000);
    assert_eq!(asked(&world).len(), 1);
}

#[test]
fn no_other_tag_is_taken_for_one_of_ours() {
    assert_eq!(Tag::parse("cowherd.expendable"), Some(Tag::Expendable));
    let at = Tag::Expires(UnixSeconds(1_800_000_000.0));
    assert_eq!(Tag::parse("cowherd.expires=1800000000"), Some(at));
    assert_eq!(Tag::parse(&at.text()), Some(at));
    for other in [
        "",
        "expendable",
        "cowherd.expendable2",
        "cowherd.expires=",
        "cowherd.expires=-1",
        "cowherd.expires=1e9",
        "cowherd.expires=99999999999999",
        "Cowherd.Expendable",
    ] {
        assert_eq!(Tag::parse(other), None, "{other}");
    }
}
