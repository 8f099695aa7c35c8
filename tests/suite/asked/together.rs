//! Snapshots of several volumes at one moment: all or none, each judged by itself, and all together.

use super::*;

use cowherd::model::quiesce::{Quiesce, QuiesceMode};

fn with(names: &[&str], wanted: Create) -> Action {
    let reference = |lv: &&str| Reference::Name(worlds::name(lv));
    Action::Create(Create {
        with: names.iter().map(reference).collect(),
        quiesce: Some(Quiesce {
            hooks: Vec::new(),
            mode: QuiesceMode::None,
        }),
        ..wanted
    })
}

#[test]
fn of_several_volumes_each_gets_a_snapshot_named_after_it() {
    let mut host = Host::new();
    let task = host
        .ask("origin", with(&["thin"], create()))
        .expect("granted");
    let names = |task: &Task| -> Vec<String> {
        let new = |task: &Task| {
            let Step::Create(new) = &task.step else {
                panic!("{task:?}");
            };
            new.name.to_string()
        };
        task.members().map(new).collect()
    };
    assert_eq!(
        names(&task),
        ["origin-20270115T080000Z", "thin-20270115T080000Z"]
    );
    assert!(
        task.plan.summary.ends_with("of vg/thin, all or none"),
        "{}",
        task.plan.summary
    );
    let daily = Create {
        name: Some(Name::parse("day").expect("a literal name")),
        ..create()
    };
    let task = host.ask("origin", with(&["thin"], daily)).expect("granted");
    assert_eq!(names(&task), ["origin-day", "thin-day"]);
    // One that is made up gives way for all of them.
    host.of("odd").name = worlds::name("thin-20270115T080000Z");
    let task = host
        .ask("origin", with(&["thin"], create()))
        .expect("granted");
    assert_eq!(
        names(&task),
        ["origin-20270115T080000Z-2", "thin-20270115T080000Z-2"]
    );
    let read: Task =
        serde_json::from_str(&serde_json::to_string(&task).expect("JSON")).expect("a task");
    assert_eq!(read, task);
}

#[test]
fn several_are_of_one_group_and_each_may_be_taken() {
    let mut host = Host::new();
    host.refuses(
        "origin",
        with(&["origin"], create()),
        Code::InvalidRequest,
        "named twice",
    );
    host.refuses(
        "origin",
        with(&["nowhere"], create()),
        Code::NotFound,
        "vg/nowhere",
    );
    host.refuses(
        "origin",
        with(&["pool-p"], create()),
        Code::WrongKind,
        "a thin pool",
    );
    host.refuses(
        "thin",
        with(&["vm-101-disk-0"], create()),
        Code::ForeignOwner,
        "Proxmox VE",
    );
    host.of("odd").id.vg = uuid('q');
    host.refuses(
        "origin",
        with(&["odd"], create()),
        Code::InvalidRequest,
        "another volume group",
    );
    let refusal = host
        .judge(&BACKUP, &act("thin", with(&["origin"], create())))
        .expect_err("not its");
    assert_eq!(refusal.code, Code::Forbidden);
    let unsaid = Action::Create(Create {
        with: vec![Reference::Name(worlds::name("thin"))],
        ..create()
    });
    host.refuses(
        "origin",
        unsaid,
        Code::InvalidRequest,
        "one after the other",
    );
    let many = vec!["thin"; 16];
    host.refuses(
        "origin",
        with(&many, create()),
        Code::InvalidRequest,
        "at most 15",
    );
}

#[test]
fn what_several_take_together_leaves_the_reserve() {
    let mut host = Host::new();
    let mut second = volume("second", 'b', VolumeKind::Thick, None);
    second.tags = Vec::new();
    host.volumes.push(second);
    // 40 MiB each, of 400 MiB that are free.
    host.world.policy.reserve.bytes = Bytes::mib(330);
    host.ask("origin", Action::Create(create()))
        .expect("one fits");
    host.refuses(
        "origin",
        with(&["second"], create()),
        Code::VgReserve,
        "it takes 80 MiB",
    );
    host.world.policy.reserve.bytes = Bytes::mib(320);
    host.ask("origin", with(&["second"], create()))
        .expect("both fit");
}

#[test]
fn a_body_names_volumes_by_texts() {
    let action = with(&["thin"], create());
    let Action::Create(wanted) = &action else {
        panic!("{action:?}");
    };
    let body = serde_json::to_value(wanted).expect("JSON");
    assert_eq!(body["with"], serde_json::json!(["vg/thin"]));
    assert_eq!(
        serde_json::from_value::<Create>(body).expect("a body"),
        *wanted
    );
}
