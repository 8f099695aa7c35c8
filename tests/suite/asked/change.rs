//! What may be done to a snapshot that is there.

use super::*;

#[test]
fn what_others_made_is_theirs() {
    let mut host = Host::new();
    for action in [
        Action::Remove,
        merge(true),
        Action::Activate,
        Action::Deactivate,
        label(true),
    ] {
        host.refuses("theirs", action, Code::ForeignOwner, "it was not made here");
    }
    host.refuses(
        "vm-101-disk-0",
        Action::Create(create()),
        Code::ForeignOwner,
        "qm snapshot",
    );
    for name in [
        "snap_vm-101-disk-0_day",
        "del-vm-1-disk-0",
        "base-7-disk-1",
        "vm-9-state-x",
    ] {
        host.of("nightly").name = worlds::name(name);
        host.refuses(
            name,
            Action::Remove,
            Code::ForeignOwner,
            "Proxmox VE manages it",
        );
        host.of(name).name = worlds::name("nightly");
    }
    host.of("nightly").tags.push("pve-vm-101".to_owned());
    host.refuses("nightly", Action::Remove, Code::ForeignOwner, "Proxmox VE");
    // Room is given to anybody's.
    host.of("snap-s").tags.clear();
    host.ask("snap-s", extend(60))
        .expect("more room harms nobody");
}

#[test]
fn what_is_protected_or_in_use_stays() {
    let mut host = Host::new();
    host.of("nightly").tags.push("cowherd.protected".to_owned());
    host.refuses(
        "nightly",
        Action::Remove,
        Code::Protected,
        "protect --off vg/nightly",
    );
    host.refuses(
        "nightly",
        merge(false),
        Code::Protected,
        "vg/nightly: it is protected",
    );
    host.of("thin").tags.push("cowherd.protected".to_owned());
    host.refuses(
        "weekly",
        merge(false),
        Code::Protected,
        "vg/thin is protected",
    );
    host.of("weekly").opened = Some(2);
    host.refuses("weekly", Action::Remove, Code::Busy, "open 2 times");
    host.refuses("weekly", Action::Deactivate, Code::Busy, "open 2 times");
    host.of("snap-s").opened = Some(1);
    host.refuses("snap-s", merge(true), Code::Busy, "vg/snap-s is in use");
}

#[test]
fn a_store_is_extended_to_a_size_and_never_shrunk() {
    let host = Host::new();
    let arguments = host.arguments("snap-s", extend(61));
    assert!(arguments.starts_with("lvextend -An "), "{arguments}");
    assert!(
        arguments.ends_with("--size 67108864b -- vg/snap-s"),
        "{arguments}"
    );
    let task = host.ask("snap-s", extend(40)).expect("nothing to do");
    assert_eq!(
        (task.step.clone(), snapshot::arguments(&task)),
        (Step::Nothing, None)
    );
    host.refuses("snap-s", extend(0), Code::InvalidSize, "");
    host.refuses(
        "snap-s",
        extend(36),
        Code::InvalidSize,
        "nothing is ever shrunk",
    );
    host.refuses(
        "snap-s",
        extend(90_000),
        Code::InvalidSize,
        "LVM ever uses for it",
    );
}

#[test]
fn only_a_valid_snapshot_is_extended_or_merged() {
    let mut host = Host::new();
    worlds::set_status(&mut host.world.inventory.snapshots[0], CowStatus::Invalid);
    host.refuses(
        "snap-s",
        extend(80),
        Code::InvalidSnapshot,
        "what it held is lost",
    );
    host.refuses("snap-s", merge(false), Code::InvalidSnapshot, "remove it");
    let task = host.ask("snap-s", Action::Remove).expect("it is of no use");
    assert!(!task.plan.needs_confirmation);
    host.of("snap-s").is_merging = true;
    for action in [extend(80), merge(false), Action::Remove] {
        host.refuses("snap-s", action, Code::Merging, "merged");
    }
    host.of("origin").is_merging = true;
    host.refuses("origin", Action::Create(create()), Code::Merging, "merged");
    host.refuses("spare", merge(false), Code::Merging, "vg/origin");
    host.refuses("thin", extend(80), Code::WrongKind, "copy-on-write");
}

#[test]
fn a_thin_snapshot_is_switched_and_a_classic_one_is_not() {
    let mut host = Host::new();
    host.of("nightly").opened = None;
    let arguments = host.arguments("nightly", Action::Activate);
    assert!(
        arguments.ends_with("--activate y --ignoreactivationskip -- vg/nightly"),
        "{arguments}"
    );
    let task = host
        .ask("nightly", Action::Deactivate)
        .expect("it is inactive");
    assert_eq!(task.step, Step::Nothing);
    let arguments = host.arguments("weekly", Action::Deactivate);
    assert!(
        arguments.ends_with("--activate n -- vg/weekly"),
        "{arguments}"
    );
    host.refuses(
        "snap-s",
        Action::Activate,
        Code::WrongKind,
        "as its origin is",
    );
    host.refuses("thin", Action::Activate, Code::WrongKind, "no snapshot");
}

#[test]
fn a_merge_tells_what_it_loses_and_wants_to_be_confirmed() {
    let mut host = Host::new();
    let task = host.ask("nightly", merge(false)).expect("it may be merged");
    assert!(task.plan.needs_confirmation);
    assert_eq!(
        task.plan.loses,
        [
            "everything written to vg/thin since vg/nightly was taken",
            "the snapshot vg/nightly itself",
            "the tie of vg/weekly to its origin",
            "the tie of vg/theirs to its origin",
        ]
    );
    host.of("origin").opened = Some(1);
    host.refuses("snap-s", merge(false), Code::Busy, "vg/origin is in use");
    let task = host
        .ask("snap-s", merge(true))
        .expect("when it is next activated");
    assert!(
        task.plan.summary.ends_with("when it is next activated"),
        "{}",
        task.plan.summary
    );
    host.of("nightly").origin = None;
    host.refuses(
        "nightly",
        merge(true),
        Code::WrongKind,
        "nothing to merge into",
    );
    host.refuses("origin", merge(true), Code::WrongKind, "no snapshot");
}

#[test]
fn the_last_snapshot_is_removed_only_when_that_is_confirmed() {
    let mut host = Host::new();
    let confirmed = |host: &Host| {
        host.ask("spare", Action::Remove)
            .expect("ours")
            .plan
            .needs_confirmation
    };
    assert!(!confirmed(&host));
    host.volumes
        .retain(|volume| volume.name.lv.as_str() != "snap-s");
    assert!(confirmed(&host));
    for (tag, needed) in [
        ("cowherd.expires=1800000001", true),
        ("cowherd.expires=1800000000", false),
        ("cowherd.expendable", false),
    ] {
        host.of("spare").tags.push(tag.to_owned());
        assert_eq!(confirmed(&host), needed, "{tag}");
        host.of("spare").tags.pop();
    }
    let arguments = host.arguments("spare", Action::Remove);
    let select = r#"--select lv_uuid="zzzzzz-zzzz-zzzz-zzzz-zzzz-zzzz-zzzzzz" && lv_tags={"cowherd"} -- vg/spare"#;
    assert!(arguments.ends_with(select), "{arguments}");
}

#[test]
fn labels_are_tags_of_ours() {
    let mut host = Host::new();
    let tags =
        |host: &Host, wanted: Label| host.ask("spare", Action::Label(wanted)).expect("ours").step;
    assert_eq!(
        tags(
            &host,
            Label {
                protected: Some(true),
                ttl_s: Some(10),
                ..Label::default()
            }
        ),
        Step::Tag {
            add: vec![
                "cowherd.protected".to_owned(),
                "cowherd.expires=1800000010".to_owned()
            ],
            delete: Vec::new()
        }
    );
    host.of("spare").tags.extend([
        "cowherd.protected".to_owned(),
        "cowherd.expires=7".to_owned(),
    ]);
    assert_eq!(
        tags(
            &host,
            Label {
                protected: Some(false),
                ttl_s: Some(0),
                ..Label::default()
            }
        ),
        Step::Tag {
            add: Vec::new(),
            delete: vec![
                "cowherd.protected".to_owned(),
                "cowherd.expires=7".to_owned()
            ]
        }
    );
    assert_eq!(
        tags(
            &host,
            Label {
                protected: Some(true),
                ..Label::default()
            }
        ),
        Step::Nothing
    );
    host.refuses("thin", label(true), Code::WrongKind, "no snapshot");
}
