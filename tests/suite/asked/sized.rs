//! Stores whose size is left to the guard: by how fast the origin is written to, and for how long.

use std::time::Duration;

use cowherd::model::action::{Action, Create, Reference, StoreSize};
use cowherd::model::quiesce::{Quiesce, QuiesceMode};
use cowherd::model::step::Step;
use cowherd::model::time::Moment;
use cowherd::model::units::{Bytes, Extents};
use cowherd::model::volume::VolumeKind;
use cowherd::model::writes::Written;

use crate::worlds;

use super::{Host, create, sized, volume};

/// The origins are written to at as many MiB a second.
pub(super) fn written(host: &mut Host, mib_per_second: u64) {
    let volumes = host.volumes.clone();
    for second in [0, 60] {
        let written = volumes.iter().map(|volume| Written {
            volume: volume.id.clone(),
            device: (253, 1),
            total: Bytes::mib(mib_per_second * second),
        });
        let now = Moment(Duration::from_secs(second));
        host.writes.note(written.collect(), now);
    }
}

fn sized_for(ttl_s: Option<u32>) -> Create {
    Create {
        size: Some(StoreSize::Auto),
        ttl_s,
        ..create()
    }
}

fn store_and_summary(host: &Host, wanted: Create) -> (Bytes, String) {
    let task = host
        .ask("origin", Action::Create(wanted))
        .expect("it is granted");
    let Step::Create(new) = task.step else {
        panic!("{:?}", task.step);
    };
    (new.store.expect("it is no thin one"), task.plan.summary)
}

/// All that a store of the origin can ever need.
const WHOLE: Bytes = Bytes::mib(404);
/// What is so, MiB a second, the life, what of the group is free in extents, the size, and what is said of it.
type Case = (&'static str, u64, Option<u32>, u64, Bytes, &'static str);
const SIZES: [Case; 8] = [
    (
        "rate and life",
        1,
        Some(100),
        100,
        Bytes::mib(100),
        "(for 100 s of writing 1 MiB a second)",
    ),
    ("extents", 1, Some(97), 100, Bytes::mib(100), "(for 97 s of"),
    (
        "an hour",
        1,
        Some(3600),
        400,
        WHOLE,
        "(for 1 h of writing 1 MiB a second, all that",
    ),
    (
        "at rest",
        0,
        Some(604_800),
        100,
        Bytes::mib(64),
        "(for 7 d of writing 0 B a second, which is little)",
    ),
    (
        "gone at once",
        9,
        Some(0),
        100,
        Bytes::mib(64),
        "which is little",
    ),
    ("no life given", 1, None, 400, WHOLE, "(for 1 d of"),
    (
        "half the room",
        9,
        Some(90),
        100,
        Bytes::mib(200),
        "(for 90 s of writing 9 MiB a second, more than half of what the group has left)",
    ),
    (
        "hardly any room",
        9,
        Some(90),
        11,
        Bytes::mib(40),
        "more than half of",
    ),
];

#[test]
fn a_store_holds_what_is_written_while_the_snapshot_lives() {
    // The origin has 400 MiB.
    for (case, mib_per_second, ttl_s, free, size, said) in SIZES {
        let mut host = Host::new();
        written(&mut host, mib_per_second);
        host.world.inventory.groups[0].free = Extents(free);
        let (found, summary) = store_and_summary(&host, sized_for(ttl_s));
        assert_eq!(found, size, "{case}: {summary}");
        assert!(summary.contains(said), "{case}: {summary}");
        let unsaid = Create {
            size: None,
            ..sized_for(ttl_s)
        };
        assert_eq!(
            store_and_summary(&host, unsaid).0,
            size,
            "{case}: without a size"
        );
    }
}

#[test]
fn a_store_is_a_tenth_of_its_origin_until_a_rate_is_known_and_says_so() {
    let host = Host::new();
    for size in [None, Some(StoreSize::Auto)] {
        let wanted = Create { size, ..create() };
        let (size, summary) = store_and_summary(&host, wanted);
        assert_eq!(size, Bytes::mib(40));
        assert!(
            summary.contains("(10 % of the origin: how fast it is written to has not"),
            "{summary}"
        );
    }
    let given = sized(StoreSize::Bytes(Bytes::mib(8).0));
    let summary = host
        .ask("origin", given)
        .expect("it is granted")
        .plan
        .summary;
    assert!(summary.ends_with("with a store of 8 MiB"), "{summary}");
}

#[test]
fn those_that_are_taken_together_share_the_room() {
    let mut host = Host::new();
    host.volumes
        .push(volume("second", 'q', VolumeKind::Thick, None));
    written(&mut host, 9);
    let wanted = Create {
        with: vec![Reference::Name(worlds::name("second"))],
        quiesce: Some(Quiesce {
            hooks: Vec::new(),
            mode: QuiesceMode::None,
        }),
        ..sized_for(Some(90))
    };
    let (size, summary) = store_and_summary(&host, wanted);
    assert_eq!(size, Bytes::mib(100), "{summary}");
}

#[test]
fn a_thin_snapshot_needs_no_store_and_auto_is_none() {
    let host = Host::new();
    let arguments = host.arguments("thin", Action::Create(sized_for(None)));
    assert!(!arguments.contains("--size"), "{arguments}");
}

#[test]
fn the_store_of_a_tiny_origin_is_one_that_lvm_can_use() {
    let mut host = Host::new();
    let group = &mut host.world.inventory.groups[0];
    group.extent = Bytes(128 << 10);
    group.free = Extents(1000);
    host.of("origin").size = Bytes::mib(1);
    written(&mut host, 1);
    assert_eq!(store_and_summary(&host, sized_for(None)).0, Bytes::mib(4));
}
