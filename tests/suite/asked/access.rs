//! Who may have anything done, to what, and what shows that it was done.

use proptest::prelude::{any, prop, proptest};

use super::*;

#[test]
fn who_is_not_named_may_nothing_and_learns_nothing() {
    let mut host = Host::new();
    let take = act("thin", Action::Create(create()));
    host.judge(&BACKUP, &take).expect("its rule says so");
    for name in ["origin", "nowhere"] {
        let refusal = host
            .judge(&BACKUP, &act(name, Action::Create(create())))
            .expect_err("not its");
        assert_eq!(refusal.code, Code::Forbidden);
        assert!(
            refusal.detail.contains("user 34 may not create vg/"),
            "{}",
            refusal.detail
        );
    }
    let refusal = host
        .judge(&BACKUP, &act("nightly", merge(false)))
        .expect_err("another verb");
    assert_eq!(refusal.code, Code::Forbidden);
    let refusal = host
        .judge(&Caller::Peer { uid: 35, gid: 34 }, &take)
        .expect_err("another user");
    assert_eq!(refusal.code, Code::Forbidden);
    host.refuses(
        "nowhere",
        Action::Remove,
        Code::NotFound,
        "there is no volume vg/nowhere",
    );
    host.access.verbs = vec![Verb::Remove];
    let refusal = host.judge(&ROOT, &take).expect_err("nobody may");
    assert!(
        refusal.detail.contains("not among `actions`"),
        "{}",
        refusal.detail
    );
    let refusal = host.judge(&BACKUP, &take).expect_err("nobody may");
    assert_eq!(refusal.code, Code::Forbidden);
}

#[test]
fn nobody_is_root_over_the_network_and_grants_are_for_whom_they_name() {
    let mut host = Host::new();
    let take = act("thin", Action::Create(create()));
    let id = TokenId::parse("0").expect("an id");
    let token = Caller::Token { id: id.clone() };
    let name = "0".to_owned();
    let certificate = Caller::Certificate { name: name.clone() };
    let address = [127, 0, 0, 1].into();
    let others = [&token, &certificate, &Caller::Stranger { address }];
    for caller in others {
        assert!(!host.access.knows(caller), "{caller}");
        assert!(!host.access.allows_all(caller, Verb::Create), "{caller}");
        let refusal = host.judge(caller, &take).expect_err("nobody lets it");
        assert_eq!(refusal.code, Code::Forbidden, "{caller}");
    }
    for (who, allowed) in [
        (Who::Token(id), &token),
        (Who::Certificate(name), &certificate),
        (Who::User(0), &ROOT),
    ] {
        host.access.grants[0].who = who;
        host.judge(allowed, &take).expect("its grant says so");
        for caller in others.into_iter().filter(|caller| *caller != allowed) {
            assert!(host.judge(caller, &take).is_err(), "{caller} for {allowed}");
        }
    }
}

#[test]
fn what_was_made_anew_is_not_what_was_meant() {
    let host = Host::new();
    let mut remove = act("nightly", Action::Remove);
    remove.if_match = Some(uuid('q'));
    let refusal = host.judge(&ROOT, &remove).expect_err("another uuid");
    assert_eq!(refusal.code, Code::PreconditionFailed);
    remove.if_match = Some(uuid('n'));
    host.judge(&ROOT, &remove).expect("the very one");
    remove.target = Reference::Uuid(uuid('n'));
    host.judge(&ROOT, &remove).expect("by its uuid");
}

#[test]
fn nothing_is_changed_where_nothing_may_be() {
    let mut host = Host::new();
    host.world.policy.dry_run = true;
    host.refuses("nightly", Action::Remove, Code::Forbidden, "dry_run");
    let mut plan = act("nightly", Action::Remove);
    plan.dry_run = true;
    host.judge(&ROOT, &plan).expect("a plan changes nothing");
    host.world.policy.dry_run = false;
    host.world.inventory.groups[0].obstacle = Some(GroupObstacle::Exported);
    host.refuses("nightly", Action::Remove, Code::VgObstacle, "is exported");
    host.world.inventory.groups.clear();
    host.refuses(
        "nightly",
        Action::Remove,
        Code::VgObstacle,
        "does not tell of volume group vg",
    );
}

#[test]
fn who_chooses_a_snapshots_name_gains_no_right_to_its_origin() {
    let mut host = Host::new();
    host.access.grants = vec![Grant {
        who: Who::User(34),
        verbs: vec![Verb::Merge],
        volumes: vec![WildMatch::new("vg/night*")],
        hooks: Vec::new(),
    }];
    let wanted = act("nightly", merge(false));
    let refusal = host
        .judge(&BACKUP, &wanted)
        .expect_err("vg/thin is not its");
    assert_eq!(refusal.code, Code::Forbidden, "{}", refusal.detail);
    host.access.grants[0]
        .volumes
        .push(WildMatch::new("vg/thin"));
    host.judge(&BACKUP, &wanted).expect("both are its");
}

#[test]
fn a_thin_snapshot_that_lost_its_origin_is_whole() {
    let mut host = Host::new();
    let mut task = host.ask("thin", named("new")).expect("granted");
    task.mark("01JOB");
    let Step::Create(new) = task.step.clone() else {
        panic!("{task:?}");
    };
    assert!(new.tags.contains(&"cowherd.job=01JOB".to_owned()));
    let mut made = volume("new", 'h', VolumeKind::Thin, None);
    made.tags.clone_from(&new.tags);
    host.volumes.push(made.clone());
    assert_eq!(snapshot::half_made(&task, &host.volumes), None);
    let done = Some(Done::Made(Box::new(made.clone())));
    assert_eq!(snapshot::reached(&task, &host.volumes), done);
    // One of the same name that another job made is not it.
    host.of("new").tags.retain(|tag| !tag.contains("job"));
    assert_eq!(snapshot::reached(&task, &host.volumes), None);
    assert!(!snapshot::is_protected_since(&task, &made));
    made.tags.push("cowherd.protected".to_owned());
    assert!(snapshot::is_protected_since(&task, &made));
}

#[test]
fn what_a_step_led_to_is_told_from_what_is_there() {
    let mut host = Host::new();
    let task = host.ask("origin", named("new")).expect("granted");
    assert_eq!(snapshot::reached(&task, &host.volumes), None);
    // lvcreate makes a volume first and turns it into a snapshot then.
    let Step::Create(new) = &task.step else {
        panic!("{task:?}");
    };
    let mut half = volume("new", 'h', VolumeKind::Thick, None);
    half.tags.clone_from(&new.tags);
    host.volumes.push(half);
    assert_eq!(snapshot::reached(&task, &host.volumes), None);
    assert!(snapshot::half_made(&task, &host.volumes).is_some());
    let made = host.of("new");
    (made.kind, made.origin) = (VolumeKind::Cow, Some(uuid('o')));
    let made = made.clone();
    assert_eq!(snapshot::half_made(&task, &host.volumes), None);
    assert_eq!(
        snapshot::reached(&task, &host.volumes),
        Some(Done::Made(Box::new(made)))
    );
    // One of the same name that others made is not it, and not ours to remove.
    host.of("new").tags.clear();
    assert_eq!(snapshot::reached(&task, &host.volumes), None);
    assert_eq!(snapshot::half_made(&task, &host.volumes), None);

    let task = host.ask("nightly", merge(false)).expect("granted");
    host.of("nightly").is_merging = true;
    assert_eq!(snapshot::reached(&task, &host.volumes), Some(Done::Merging));
    host.volumes
        .retain(|volume| volume.name.lv.as_str() != "nightly");
    assert_eq!(snapshot::reached(&task, &host.volumes), Some(Done::Whole));
}

proptest! {
    /// Whatever a request says, it becomes one argument each, after the options.
    #[test]
    fn nothing_in_a_request_is_an_option(tags in prop::collection::vec("[A-Za-z0-9_+.-]{1,20}", 0..4), ttl: u32, size: u64, name in "[A-Za-z0-9+_.-]{1,40}") {
        let host = Host::new();
        let Ok(name) = Name::parse(&name) else {
            return Ok(());
        };
        let wanted = Create { name: Some(name), tags, ttl_s: Some(ttl), size: Some(StoreSize::Bytes(size)), ..create() };
        if let Ok(task) = host.ask("origin", Action::Create(wanted)) {
            let arguments = snapshot::arguments(&task).expect("a command");
            let end = arguments.iter().position(|word| word == "--").expect("the end of the options");
            assert_eq!(arguments[end + 1..], ["vg/origin"]);
        }
    }

    #[test]
    fn any_target_is_found_or_not(vg in "[a-z0-9]{1,4}", lv in "[a-z0-9]{1,9}", uid in any::<u32>()) {
        let host = Host::new();
        let target = VolumeName { vg: Name::parse(&vg).expect("plain"), lv: Name::parse(&lv).expect("plain") };
        let act = Act { target: Reference::Name(target), ..act("thin", Action::Remove) };
        let refusal = host.judge(&Caller::Peer { uid, gid: 0 }, &act).expect_err("no snapshot of ours");
        assert!(!refusal.detail.is_empty());
    }
}
