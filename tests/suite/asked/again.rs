//! What is decided right before it is done: what was accepted, for the same volumes, or nothing.

use super::*;

use cowherd::decide::action::judge_again;
use cowherd::model::quiesce::{Quiesce, QuiesceMode};

impl Host {
    fn again(&self, caller: &Caller, act: &Act, accepted: &Task) -> Result<Task, Refusal> {
        let site = Site {
            policy: &self.world.policy,
            access: &self.access,
            inventory: &self.world.inventory,
            volumes: &self.volumes,
            writes: &self.writes,
            now: UnixSeconds(WALL.0 + 60.0),
        };
        judge_again(&site, caller, act, accepted)
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.of(from).name = worlds::name(to);
    }

    #[track_caller]
    fn refuses_again(&self, act: &Act, accepted: &Task, code: Code, said: &str) {
        let refusal = self.again(&ROOT, act, accepted).expect_err("not any more");
        assert_eq!(refusal.code, code, "{}", refusal.detail);
        assert!(refusal.detail.contains(said), "{}", refusal.detail);
    }
}

/// Snapshots of this one, too.
fn and(other: &str) -> Action {
    Action::Create(Create {
        with: vec![Reference::Name(worlds::name(other))],
        quiesce: Some(Quiesce {
            hooks: Vec::new(),
            mode: QuiesceMode::None,
        }),
        ..create()
    })
}

fn accepted(host: &Host, act: &Act) -> Task {
    host.judge(&ROOT, act).expect("it is granted")
}

#[test]
fn what_was_confirmed_for_one_volume_is_done_to_no_other() {
    for action in [
        merge(false),
        Action::Remove,
        label(true),
        Action::Deactivate,
    ] {
        let mut host = Host::new();
        let by_name = act("nightly", action.clone());
        let by_uuid = Act {
            target: Reference::Uuid(uuid('n')),
            ..by_name.clone()
        };
        let task = accepted(&host, &by_name);
        assert_eq!(host.again(&ROOT, &by_name, &task).as_ref(), Ok(&task));
        host.rename("nightly", "bad");
        host.rename("weekly", "nightly");
        let said = "vg/nightly is another volume by now";
        host.refuses_again(&by_name, &task, Code::PreconditionFailed, said);
        host.refuses_again(&by_uuid, &task, Code::PreconditionFailed, said);
    }
}

#[test]
fn a_snapshot_is_taken_of_the_volumes_it_was_asked_for() {
    let mut host = Host::new();
    let of_two = act("thin", and("origin"));
    let of_one = act("origin", named("new"));
    let (two, one) = (accepted(&host, &of_two), accepted(&host, &of_one));
    assert_eq!(host.again(&ROOT, &of_two, &two).as_ref(), Ok(&two));
    host.of("origin").id = volume_id('k');
    let said = "vg/origin is another volume by now";
    host.refuses_again(&of_two, &two, Code::PreconditionFailed, said);
    host.refuses_again(&of_one, &one, Code::PreconditionFailed, said);
}

#[test]
fn what_has_become_the_last_snapshot_wants_to_be_confirmed_after_all() {
    let mut host = Host::new();
    let wanted = act("spare", Action::Remove);
    let task = accepted(&host, &wanted);
    assert!(!task.plan.needs_confirmation);
    host.volumes
        .retain(|volume| volume.name.lv.as_str() != "snap-s");
    host.refuses_again(
        &wanted,
        &task,
        Code::ConfirmationRequired,
        "wants to be confirmed; ask for it again",
    );
    // What was confirmed is.
    let confirmed = accepted(&host, &wanted);
    host.again(&ROOT, &wanted, &confirmed)
        .expect("it was confirmed");
}

#[test]
fn what_was_so_already_and_is_not_any_more_is_done() {
    let mut host = Host::new();
    host.of("spare").tags.push("cowherd.protected".to_owned());
    let wanted = act("spare", label(true));
    let task = accepted(&host, &wanted);
    assert_eq!(task.step, Step::Nothing);
    host.of("spare").tags.pop();
    let now = host.again(&ROOT, &wanted, &task).expect("granted");
    let add = vec!["cowherd.protected".to_owned()];
    let delete = Vec::new();
    assert_eq!(now.step, Step::Tag { add, delete });
}

#[test]
fn a_time_counts_from_when_it_was_accepted() {
    let mut host = Host::new();
    let wanted = act(
        "spare",
        Action::Label(Label {
            ttl_s: Some(10),
            ..Label::default()
        }),
    );
    let task = accepted(&host, &wanted);
    host.of("spare").tags.push("cowherd.expires=7".to_owned());
    let now = host.again(&ROOT, &wanted, &task).expect("granted");
    assert_eq!(
        now.step,
        Step::Tag {
            add: vec!["cowherd.expires=1800000010".to_owned()],
            delete: vec!["cowherd.expires=7".to_owned()],
        }
    );
}

#[test]
fn stores_that_were_promised_leave_the_reserve_alone() {
    let mut host = Host::new();
    let mut other = volume("second", 'q', VolumeKind::Thick, None);
    other.size = Bytes::mib(400);
    host.volumes.push(other);
    sized::written(&mut host, 4);
    host.world.inventory.groups[0].free = Extents(200);
    let wanted = act("origin", and("second"));
    let task = accepted(&host, &wanted);
    host.again(&ROOT, &wanted, &task).expect("there is room");
    // Each was promised a quarter of 200 extents. By now it would be a quarter of 90.
    host.world.inventory.groups[0].free = Extents(90);
    accepted(&host, &wanted);
    let refusal = host.again(&ROOT, &wanted, &task).expect_err("no room");
    assert_eq!(refusal.code, Code::VgReserve, "{}", refusal.detail);
}
