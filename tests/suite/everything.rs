//! One view with everything in it that can be told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cowherd::model::action::Verb;
use cowherd::model::history::Record;
use cowherd::model::inventory::{CowStatus, GroupObstacle, Kernel, PoolMode, PoolStatus};
use cowherd::model::names::{Resource, VolumeName};
use cowherd::model::plan::{Cap, Capped, Failure};
use cowherd::model::reason::Reason;
use cowherd::model::refusal::Code;
use cowherd::model::tally::{
    Actions, Attempts, Collector, CollectorRun, CommandRuns, Histogram, Lifeboat, Tally, Wake,
};
use cowherd::model::time::{Moment, Now, UnixSeconds};
use cowherd::model::units::{Bytes, Extents};
use cowherd::model::view::{Event, View};

use super::common::{Herd, NOW, known, name, valid, working};

/// Pools and snapshots in every state, every kind of hold on show, failures, events.
pub(crate) fn everything() -> View {
    let mut herd = Herd::new();
    herd.group("pve", None);
    herd.group("Odd_+.-name", Some(GroupObstacle::Partial));
    pools(&mut herd);
    snapshots(&mut herd);
    work(&mut herd);
    thin_volumes(&mut herd);
    let by_both = herd.view.inventory.pools[0].name.clone();
    herd.view.tally = Tally {
        extended_by_dmeventd: [by_both].into(),
        ..tally()
    };
    herd.view.inventory.duplicate_names = 1;
    herd.view.events = events().into_iter().map(Arc::new).collect();
    herd.view
}

fn pools(herd: &mut Herd) {
    herd.pool("pve", "data", known(working(6800, PoolMode::Writable)));
    herd.pool("pve", "drained", known(working(0, PoolMode::Writable)));
    herd.pool(
        "pve",
        "full",
        known(working(8000, PoolMode::OutOfDataSpace)),
    );
    let mut sick = working(4000, PoolMode::ReadOnly);
    if let PoolStatus::Working(usage) = &mut sick {
        usage.needs_check = true;
        usage.transaction_id = 8;
    }
    herd.pool("pve", "sick", known(sick));
    herd.pool("pve", "failed", known(PoolStatus::Failed));
    let late = Kernel::Late {
        since: NOW.moment,
        last: Some(working(10, PoolMode::Writable)),
    };
    herd.pool("pve", "hangs", late);
    let asleep = herd.pool("pve", "asleep", Kernel::Inactive);
    asleep.oldest_snapshot = None;
    asleep.transaction_id = None;
    let why = "device-mapper: <nothing>\u{1b}[2J".to_owned();
    herd.pool("Odd_+.-name", "lost", Kernel::Unreadable { why });
    // All of its volumes fit: it can never run full.
    herd.pool("pve", "roomy", known(working(7999, PoolMode::Writable)))
        .virtual_size = Bytes::mib(500);
}

fn thin_volumes(herd: &mut Herd) {
    herd.thin_volume("pve", "vm-100-disk-0", "data");
    let snapshot = herd.thin_volume("pve", "snap_vm-100", "data");
    "vm-100-disk-0".clone_into(&mut snapshot.origin);
    snapshot.mapped = None;
    snapshot.created = None;
}

fn snapshots(herd: &mut Herd) {
    herd.snapshot("pve", "s-active", known(valid(100_000)));
    let frozen = Kernel::Known {
        at: NOW.moment,
        suspended: true,
        status: valid(8),
    };
    herd.snapshot("pve", "s-frozen", frozen);
    herd.snapshot("pve", "s-invalid", known(CowStatus::Invalid));
    herd.snapshot("pve", "s-overflow", known(CowStatus::Overflow));
    herd.snapshot("pve", "s-merge-failed", known(CowStatus::MergeFailed));
    herd.snapshot("pve", "s-unknown", known(CowStatus::Unknown))
        .created = None;
    herd.snapshot("pve", "s-merging", known(valid(50_000)))
        .merging = true;
    herd.snapshot("pve", "s-asleep", Kernel::Inactive);
    herd.snapshot(
        "pve",
        "s-late",
        Kernel::Late {
            since: NOW.moment,
            last: None,
        },
    );
    let odd = herd.snapshot("Odd_+.-name", "s+_.-", known(valid(204_800)));
    "quoted \"and\\\nbroken".clone_into(&mut odd.origin);
    // As large as it can ever need to be.
    herd.snapshot("pve", "s-whole", known(valid(1))).origin_size = Bytes::mib(50);
}

/// What the guard does, did, and does not do.
fn work(herd: &mut Herd) {
    let busy = herd.store_of("data", Resource::Data);
    busy.fill_bytes_per_second = 5_242_880.0;
    busy.growable = Bytes::mib(512);
    busy.record = Record {
        attempts: 5,
        failures: [(Failure::Refused, 1), (Failure::Timeout, 1)].into(),
        failures_in_a_row: 0,
        added: Bytes::mib(384),
        last_success: Some(UnixSeconds(1_799_999_990.5)),
    };
    herd.store_of("data", Resource::Metadata)
        .fill_bytes_per_second = 400.0;
    herd.store_of("drained", Resource::Data)
        .fill_bytes_per_second = -1_048_576.0;
    herd.store_of("full", Resource::Data).growable = Bytes::ZERO;
    herd.store_of("s-active", Resource::Cow)
        .fill_bytes_per_second = 10_000.0;
    herd.store_of("s-whole", Resource::Cow)
        .fill_bytes_per_second = 10_000.0;
    let failing = herd.store_of("full", Resource::Data);
    failing.record.attempts = 3;
    failing.record.failures = [(Failure::NoEffect, 3)].into();
    failing.record.failures_in_a_row = 3;

    let mut capped = herd.extension("data", Resource::Data);
    capped.capped = Some(Capped {
        wanted: Extents(64),
        by: Cap::GroupSpace,
    });
    herd.view.plan.extensions.push(capped);
    let room = Reason::NoRoom {
        free: Bytes::mib(4),
        reserve: Bytes(Bytes::GIB),
    };
    herd.hold("full", Resource::Data, room);
    herd.hold("sick", Resource::Metadata, Reason::NeedsCheck);
    herd.hold("failed", Resource::Data, Reason::PoolFailed);
    herd.hold("s-invalid", Resource::Cow, Reason::Invalid);
    herd.hold("s-merging", Resource::Cow, Reason::Merging);
    let obstacle = GroupObstacle::Partial;
    herd.hold("s+_.-", Resource::Cow, Reason::Group { obstacle });
}

fn millis(all: &[u64]) -> Histogram {
    let mut histogram = Histogram::default();
    for millis in all {
        histogram.note(Duration::from_millis(*millis));
    }
    histogram
}

fn actions() -> Actions {
    Actions {
        ended: [
            (Verb::Create, Attempts { done: 9, failed: 1 }),
            (Verb::Merge, Attempts { done: 1, failed: 0 }),
        ]
        .into(),
        queued: 2,
        running: 1,
        refusals: [(Code::Protected, 3), (Code::VgReserve, 1)].into(),
        held: millis(&[312, 1700]),
        stuck: 1,
    }
}

fn tally() -> Tally {
    let reliefs = Attempts { done: 1, failed: 2 };
    let text = |pairs: &[(&str, u64)]| {
        pairs
            .iter()
            .map(|(label, count)| ((*label).to_owned(), *count))
            .collect()
    };
    let run = |success, last_success| CollectorRun {
        success,
        took: Duration::from_millis(20),
        last_success,
    };
    let once = CommandRuns {
        runs: 1,
        ..CommandRuns::default()
    };
    Tally {
        reliefs: [(name("pve"), [("standby_disk".to_owned(), reliefs)].into())].into(),
        polls: [(Wake::Timer, 100), (Wake::DmEvent, 3)].into(),
        poll_failures: 2,
        poll_last_success: Some(UnixSeconds(1_800_000_000.0)),
        poll_duration: millis(&[0, 0, 3]),
        collectors: [
            (Collector::Dm, run(true, Some(NOW.wall))),
            (Collector::Lvm, run(false, None)),
            (Collector::ThinVolumes, run(true, Some(NOW.wall))),
        ]
        .into(),
        commands: [
            (
                "lvextend".to_owned(),
                CommandRuns {
                    runs: 5,
                    failures: text(&[("refused", 1), ("timeout", 1)]),
                    duration: millis(&[600, 700, 800, 900, 70_000]),
                },
            ),
            ("lvs".to_owned(), once),
        ]
        .into(),
        lock_wait: millis(&[1, 2000]),
        lock_timeouts: 1,
        dm_events: text(&[("thin-pool", 9)]),
        dm_event_last: Some(UnixSeconds(1_799_999_999.0)),
        dm_event_listener_up: true,
        lvm_unknown_fields: 3,
        extended_by_dmeventd: BTreeSet::new(),
        extend_duration: millis(&[650, 750]),
        suppressed: text(&[("no_room", 2)]),
        log_messages: text(&[("info", 12), ("warn", 3)]),
        log_messages_dropped: 1,
        mended: 1,
        lifeboat: Lifeboat {
            is_aboard: true,
            size: Bytes::mib(12),
            is_stale: false,
            renewals: 1,
            is_memory_locked: true,
        },
        actions: Some(actions()),
    }
}

fn events() -> Vec<Event> {
    let event = |secs, volume: Option<(&str, &str)>, resource, text: &str| Event {
        at: Now {
            moment: Moment(Duration::from_secs(secs)),
            wall: NOW.wall,
        },
        volume: volume.map(|(vg, lv)| VolumeName {
            vg: name(vg),
            lv: name(lv),
        }),
        resource,
        text: text.to_owned(),
    };
    vec![
        event(
            4000,
            None,
            None,
            "cannot read LVM's metadata: <b>no</b> & \"none\"",
        ),
        event(
            4998,
            Some(("pve", "data")),
            Some(Resource::Data),
            "extended: by 128 MiB",
        ),
    ]
}
