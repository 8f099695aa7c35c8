//! What callers want done in a group: it is theirs once nothing else is at work in it, and they are told whether
//! what they knew of it still holds.

use std::time::Duration;

use cowherd::guard::{Grant, Input, Order};
use cowherd::model::names::Uuid;
use cowherd::model::plan::{End, Extension, Outcome};
use cowherd::model::time::Moment;

use crate::one_host::{Host, MINUTE};
use crate::worlds::{World, snapshot};

fn host(percent: u64) -> Host {
    Host::of(&World::new(vec![], vec![snapshot('s', 16, percent)])).started()
}

fn group(host: &Host) -> Uuid {
    host.inventory.groups[0].uuid.clone()
}

fn wish(host: &mut Host, number: u64, known: Moment) {
    let group = group(host);
    host.feed(Input::Wish {
        group,
        number,
        known,
    });
}

fn waive(host: &mut Host, number: u64) {
    let (group, name) = (group(host), host.inventory.groups[0].name.clone());
    host.feed(Input::Waived {
        group,
        name,
        number,
    });
}

fn grants(host: &Host) -> Vec<Grant> {
    let grant = |order: &Order| {
        if let Order::Grant(grant) = order {
            Some(*grant)
        } else {
            None
        }
    };
    host.orders.iter().filter_map(grant).collect()
}

const fn untouched(number: u64) -> Grant {
    Grant {
        number,
        is_untouched: true,
    }
}

const fn touched(number: u64) -> Grant {
    Grant {
        number,
        is_untouched: false,
    }
}

#[test]
fn a_group_is_given_to_one_after_the_other() {
    let mut host = host(10);
    let now = host.now.moment;
    wish(&mut host, 1, now);
    assert_eq!(grants(&host), [untouched(1)]);
    let before = host.now.moment;
    wish(&mut host, 2, before);
    host.run(MINUTE);
    assert_eq!(grants(&host), [untouched(1)], "it is the first one's");
    waive(&mut host, 1);
    assert_eq!(
        grants(&host),
        [untouched(1), touched(2)],
        "what the first one did the second has not seen"
    );
    waive(&mut host, 2);
    host.pass(Duration::from_secs(1));
    let now = host.now.moment;
    wish(&mut host, 3, now);
    assert_eq!(grants(&host).last(), Some(&untouched(3)));
}

#[test]
fn a_report_of_the_guards_own_does_not_make_old_knowledge_new() {
    let mut host = host(10);
    let known = host.now.moment;
    wish(&mut host, 1, known);
    waive(&mut host, 1);
    host.run(MINUTE * 20);
    assert!(host.reports() > 1);
    wish(&mut host, 2, known);
    assert_eq!(grants(&host).last(), Some(&touched(2)));
}

#[test]
fn a_change_by_others_counts_too() {
    let mut host = host(10);
    let known = host.now.moment;
    host.feed(Input::MetadataChanged);
    wish(&mut host, 1, known);
    assert_eq!(grants(&host), [touched(1)]);
    waive(&mut host, 1);
    host.pass(Duration::from_secs(1));
    let now = host.now.moment;
    wish(&mut host, 2, now);
    assert_eq!(grants(&host).last(), Some(&untouched(2)));
}

#[test]
fn an_extension_goes_first_and_counts_as_a_change() {
    let mut host = host(10);
    host.fill('s', 95);
    host.run(MINUTE);
    let extension: Extension = host.extensions()[0].clone();
    let known = host.now.moment;
    wish(&mut host, 1, known);
    host.run(MINUTE / 10);
    assert!(grants(&host).is_empty(), "it is being extended");
    host.fill('s', 10);
    host.feed(Input::Carried(Outcome {
        extension,
        took: Duration::from_secs(1),
        lock_wait: Duration::ZERO,
        mended: false,
        unnoted: None,
        end: End::Changed {
            found: "gone".to_owned(),
        },
    }));
    host.run(MINUTE / 10);
    assert_eq!(grants(&host), [touched(1)]);
}
