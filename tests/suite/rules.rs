//! Rules: what differs for some volumes.

use std::time::Duration;

use cowherd::decide;
use cowherd::model::names::Resource;
use cowherd::model::plan::{Failure, Outcome};
use cowherd::model::relief::SpareDisk;
use cowherd::model::rule::{Change, ReserveChange, Rule, Selector};
use cowherd::model::time::{Now, UnixSeconds};
use cowherd::model::units::{Bytes, Extents};
use wildmatch::WildMatch;

use crate::worlds::{self, World, snapshot};

#[test]
fn the_last_rule_that_speaks_of_a_key_decides() {
    let mut world = World::new(vec![], vec![snapshot('s', 100, 60), snapshot('t', 100, 60)]);
    let by = |selector: Selector, snapshot: Change| Rule {
        selector,
        data: Change::default(),
        metadata: Change::default(),
        snapshot,
        reserve: ReserveChange::default(),
        standby: Vec::new(),
    };
    let named = |pattern: &str| Selector {
        name: Some(WildMatch::new(pattern)),
        ..Selector::default()
    };
    let tagged = Selector {
        tag: Some("scratch".to_owned()),
        ..Selector::default()
    };
    let early = Change {
        threshold_percent: Some(50),
        extend_percent: Some(30),
        ..Change::default()
    };
    let never = Change {
        enabled: Some(false),
        ..Change::default()
    };
    assert!(world.plan().is_empty());
    world.policy.rules = vec![by(named("snap-*"), early), by(tagged, never)];
    world.inventory.snapshots[1].tags = vec!["gold".to_owned(), "scratch".to_owned()];
    let mut plan = world.plan();
    let extended = plan.extensions.remove(0);
    assert_eq!(extended.name, world.inventory.snapshots[0].name);
    assert_eq!(extended.to, Extents(130));
    assert_eq!(plan.holds[0].reason.label(), "disabled");
}

#[test]
fn a_group_may_have_a_reserve_of_its_own() {
    let mut world = World::new(vec![], vec![snapshot('s', 100, 90)]);
    world.policy.reserve.bytes = Bytes::mib(4 * 95);
    world.policy.rules = vec![Rule {
        selector: Selector {
            volume_group: Some(WildMatch::new("v?")),
            ..Selector::default()
        },
        data: Change::default(),
        metadata: Change::default(),
        snapshot: Change::default(),
        reserve: ReserveChange {
            bytes: Some(Bytes::mib(4 * 90)),
            percent: None,
        },
        standby: Vec::new(),
    }];
    assert_eq!(world.plan().extensions[0].to, Extents(110));
}

#[test]
fn a_standby_disk_is_added_to_a_group_without_room_and_to_no_other() {
    let uuid = |letter: char| worlds::uuid(letter);
    let disk = |letter: char| SpareDisk {
        uuid: uuid(letter),
        device: format!("/dev/{letter}"),
        size: Bytes::mib(1024),
    };
    let mut world = World::new(vec![], vec![snapshot('s', 100, 90)]);
    let rule = |pattern: &str| Rule {
        selector: Selector {
            volume_group: Some(WildMatch::new(pattern)),
            ..Selector::default()
        },
        data: Change::default(),
        metadata: Change::default(),
        snapshot: Change::default(),
        reserve: ReserveChange::default(),
        standby: vec![uuid('x'), uuid('y'), uuid('z')],
    };
    world.inventory.spare_disks = vec![disk('w'), disk('y'), disk('z')];
    world.policy.rules = vec![rule("vg")];
    let asked = |world: &World| {
        let reliefs = world.plan().reliefs;
        reliefs
            .iter()
            .map(|relief| relief.disk.device.clone())
            .collect::<Vec<_>>()
    };
    assert!(asked(&world).is_empty(), "there is room");
    let target = worlds::target('s', Resource::Cow);
    let refused = Outcome::not_started(
        world.plan().extensions.remove(0),
        Failure::Refused,
        String::new(),
    );
    let mut after = world.clone();
    let now = Now {
        moment: after.now,
        wall: UnixSeconds(0.0),
    };
    after
        .history
        .note_outcome(&refused, now, &after.policy.history);
    after.now = after.now.after(Duration::from_secs(5));
    assert_eq!(after.history.refusals(&target), 1);
    assert!(asked(&after).is_empty(), "a refusal is no lack of room");
    world.inventory.groups[0].free = Extents(3);
    assert_eq!(asked(&world), ["/dev/y"], "what fits is not enough");
    world.inventory.groups[0].free = Extents(0);
    assert_eq!(asked(&world), ["/dev/y"]);
    world.history.note_relieved(&uuid('y'), world.now);
    assert_eq!(asked(&world), ["/dev/z"], "one that failed rests");
    world.history.note_relieved(&uuid('z'), world.now);
    assert!(asked(&world).is_empty());
    assert!(world.plan().ages(), "time alone brings the next");
    world.now = world.now.after(Duration::from_secs(60));
    assert_eq!(asked(&world), ["/dev/y"]);
    let relief = world.plan().reliefs.remove(0);
    let mut after = world.clone();
    decide::relief::apply(&mut after.inventory, &relief);
    let plan = after.plan();
    assert!(plan.holds.is_empty() && plan.reliefs.is_empty(), "{plan:?}");
    assert_eq!(plan.extensions[0].to, Extents(120));
    world.busy.insert(worlds::uuid('v'), world.now);
    assert!(asked(&world).is_empty(), "something runs in the group");
    world.busy.clear();
    world.policy.rules = vec![rule("other")];
    assert!(asked(&world).is_empty());
}
