//! Rules: what differs for some volumes.

use cowherd::model::relief::Ladder;
use cowherd::model::rule::{Change, ReserveChange, Rule, Selector};
use cowherd::model::units::{Bytes, Extents};
use wildmatch::WildMatch;

use crate::worlds::{World, snapshot};

#[test]
fn the_last_rule_that_speaks_of_a_key_decides() {
    let mut world = World::new(vec![], vec![snapshot('s', 100, 60), snapshot('t', 100, 60)]);
    let by = |selector: Selector, snapshot: Change| Rule {
        selector,
        data: Change::default(),
        metadata: Change::default(),
        snapshot,
        reserve: ReserveChange::default(),
        relief: Ladder::default(),
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
        relief: Ladder::default(),
    }];
    assert_eq!(world.plan().extensions[0].to, Extents(110));
}
