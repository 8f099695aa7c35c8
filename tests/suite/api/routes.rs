//! Every route answers as it is documented, and asks the guard for nothing but what was asked for.

use std::time::{Duration, Instant};

use cowherd::model::action::{
    Act, Action, Caller, Create, Extend, JobState, Label, Merge, Question, Reference, SnapshotKind,
    StoreSize,
};
use cowherd::model::names::Uuid;
use cowherd::model::quiesce::{Quiesce, QuiesceMode};
use cowherd::model::refusal::{Code, Refusal};

use super::super::served::PROMPT;
use super::{
    Api, JOB, ORIGIN, SNAPSHOT, Script, assert_problem, job, json, name, new, text, usual,
};

const V: &str = "/api/v1/volumes/vg0%2Fvm101";
const S: &str = "/api/v1/snapshots/vg0%2Fs1";

fn named(lv: &str) -> Reference {
    let (vg, lv) = (name("vg0"), name(lv));
    Reference::Name(cowherd::model::names::VolumeName { vg, lv })
}

fn act(lv: &str, action: Action) -> Act {
    Act {
        target: named(lv),
        action,
        key: Some("k1".to_owned()),
        if_match: None,
        dry_run: false,
        confirm: None,
    }
}

fn uuids(api: &Api, path: &str) -> Vec<String> {
    let answer = api.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    let list = json(&answer);
    let list = list.as_array().expect("a list").iter();
    list.map(|volume| volume["uuid"].as_str().expect("a text").to_owned())
        .collect()
}

#[test]
fn what_needs_no_guard_is_answered() {
    let api = Api::start();
    let version = api.get("/api/v1/version");
    assert_eq!(version.status, 200);
    assert_eq!(json(&version)["api"], "v1");
    assert_eq!(version.header("cache-control"), Some("no-store"));
    assert_eq!(json(&api.get("/api/v1/openapi.json"))["openapi"], "3.1.0");
    assert_eq!(api.questions(), []);
}

#[test]
fn volumes_are_listed_by_group_kind_and_origin() {
    let api = Api::start();
    let orphan = SNAPSHOT.replace('5', "7");
    let gone = ORIGIN.replace('1', "9");
    for (path, expected) in [
        ("/api/v1/volumes?vg=vg0", vec![ORIGIN, SNAPSHOT]),
        ("/api/v1/volumes?type=cow", vec![SNAPSHOT]),
        ("/api/v1/volumes?type=thin&vg=vg0", vec![]),
        ("/api/v1/snapshots", vec![SNAPSHOT, &orphan]),
        ("/api/v1/snapshots?vg=vg1", vec![&orphan]),
        ("/api/v1/snapshots?origin=vg0%2Fvm101", vec![SNAPSHOT]),
        ("/api/v1/snapshots?origin=vg0/vm101", vec![SNAPSHOT]),
        (&format!("/api/v1/snapshots?origin={gone}"), vec![&orphan]),
        (&format!("{V}/snapshots"), vec![SNAPSHOT]),
        ("/api/v1/volumes/vg1%2Fvm101/snapshots", vec![]),
    ] {
        assert_eq!(uuids(&api, path), expected, "{path}");
    }
    assert_eq!(uuids(&api, "/api/v1/volumes").len(), 4);
    assert!(
        api.questions()
            .iter()
            .all(|question| *question == Question::Volumes)
    );
}

#[test]
fn a_volume_has_its_uuid_as_entity_tag() {
    let api = Api::start();
    for (path, uuid) in [
        (V.to_owned(), ORIGIN),
        (format!("/api/v1/volumes/{ORIGIN}"), ORIGIN),
        (
            format!("/api/v1/volumes/{}", ORIGIN.replace('-', "")),
            ORIGIN,
        ),
        (S.to_owned(), SNAPSHOT),
        (format!("/api/v1/volumes/{SNAPSHOT}"), SNAPSHOT),
    ] {
        let answer = api.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(json(&answer)["uuid"], uuid, "{path}");
        let tag = format!("\"{uuid}\"");
        assert_eq!(answer.header("etag"), Some(tag.as_str()), "{path}");
    }
    let head = api.request(&format!("HEAD {S}"), &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn what_is_not_there_is_not_found() {
    let api = Api::start();
    for path in [
        "/api/v1/volumes/vg0%2Fnone",
        "/api/v1/volumes/vg0%2Fnone/snapshots",
        "/api/v1/snapshots/vg0%2Fnone",
        // It is no snapshot.
        "/api/v1/snapshots/vg0%2Fvm101",
        "/api/v1/jobs/01JD4M7Q2ZK8V5T3X9W6R1B0ND",
        "/api/v1/jobs/x",
    ] {
        assert_problem(path, &api.get(path), Code::NotFound);
    }
}

#[test]
fn jobs_are_shown() {
    let api = Api::start();
    assert_eq!(json(&api.get("/api/v1/jobs"))[0]["id"], JOB);
    let one = json(&api.get(&format!("/api/v1/jobs/{JOB}")));
    assert_eq!(
        (&one["id"], &one["state"]),
        (&JOB.into(), &"succeeded".into())
    );
    assert_eq!(
        api.questions(),
        [Question::Jobs, Question::Job(JOB.to_owned())]
    );
}

/// Line and body of each change, and what it comes to.
fn changes() -> Vec<(String, &'static str, Act)> {
    let whole = r#"{"name": "n1", "type": "thick", "size": {"percent_of_origin": 15}, "read_only": true,
        "activate": true, "ttl_s": 60, "expendable": true, "protected": true, "tags": ["a"],
        "quiesce": {"hooks": ["mysql-main", "app"], "mode": "best_effort"}, "with": ["vg0/log"]}"#;
    let created = Create {
        name: Some(name("n1")),
        kind: SnapshotKind::Thick,
        size: Some(StoreSize::PercentOfOrigin(15)),
        read_only: true,
        activate: true,
        ttl_s: Some(60),
        expendable: true,
        protected: true,
        tags: vec!["a".to_owned()],
        quiesce: Some(Quiesce {
            hooks: vec![name("mysql-main"), name("app")],
            mode: QuiesceMode::BestEffort,
        }),
        with: vec![named("log")],
    };
    let label = r#"{"protected": false, "expendable": null, "ttl_s": 0}"#;
    let labelled = Label {
        protected: Some(false),
        expendable: None,
        ttl_s: Some(0),
    };
    let deferred = Merge {
        allow_deferred: true,
    };
    let size_bytes = 1 << 30;
    let create = |body, wanted| {
        let line = format!("POST {V}/snapshots");
        (line, body, act("vm101", Action::Create(wanted)))
    };
    let post = |path, body, action| (format!("POST {S}/{path}"), body, act("s1", action));
    vec![
        create("{}", Create::default()),
        create(whole, created),
        post("activate", "", Action::Activate),
        post("deactivate", "", Action::Deactivate),
        post(
            "extend",
            r#"{"size_bytes": 1073741824}"#,
            Action::Extend(Extend { size_bytes }),
        ),
        post("merge", "", Action::Merge(Merge::default())),
        post(
            "merge",
            r#"{"allow_deferred": true}"#,
            Action::Merge(deferred),
        ),
        (
            format!("PATCH {S}"),
            label,
            act("s1", Action::Label(labelled)),
        ),
        (format!("DELETE {S}"), "", act("s1", Action::Remove)),
    ]
}

#[test]
fn every_change_reaches_the_guard_as_it_was_asked_for() {
    let api = Api::start();
    for (line, body, expected) in changes() {
        let answer = api.change(&line, body);
        assert_eq!(answer.status, 202, "{line}: {}", answer.body);
        let location = format!("/api/v1/jobs/{JOB}");
        assert_eq!(answer.header("location"), Some(location.as_str()), "{line}");
        assert_eq!(answer.header("retry-after"), Some("1"), "{line}");
        assert_eq!(json(&answer)["id"], JOB, "{line}");
        assert_eq!(api.acts().pop(), Some(expected), "{line}");
    }
    let asked = api.asked.lock().expect("nobody panics");
    let first = asked.first().expect("a question");
    assert_eq!(first.line, format!("POST {V}/snapshots"));
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    assert_eq!(first.caller, Caller::Peer { uid, gid });
}

#[test]
fn headers_and_query_say_how() {
    let api = Api::start();
    let tag = format!("If-Match: \"{SNAPSHOT}\"");
    let headers = [tag.as_str(), "Confirm: t0ken"];
    let answer = api.request(&format!("DELETE {S}?dry_run=true"), &headers, "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(json(&answer)["needs_confirmation"], true);
    let expected = Act {
        key: None,
        if_match: Uuid::parse(SNAPSHOT).ok(),
        dry_run: true,
        confirm: Some("t0ken".to_owned()),
        ..act("s1", Action::Remove)
    };
    assert_eq!(api.acts(), [expected]);
}

#[test]
fn a_confirmation_is_asked_for_what_it_confirms() {
    let api = Api::start();
    let deferred = Merge {
        allow_deferred: true,
    };
    for (body, action) in [
        (
            r#"{"action": "remove", "target": "vg0/s1"}"#,
            Action::Remove,
        ),
        (
            r#"{"action": "merge", "target": "vg0/s1"}"#,
            Action::Merge(Merge::default()),
        ),
        (
            r#"{"merge": {"allow_deferred": true}, "target": "vg0/s1", "action": "merge"}"#,
            Action::Merge(deferred),
        ),
    ] {
        let headers = ["Content-Type: application/json; charset=utf-8"];
        let answer = api.request("POST /api/v1/confirmations", &headers, body);
        assert_eq!(answer.status, 201, "{}", answer.body);
        assert_eq!(json(&answer)["token"], "t0ken");
        let expected = Act {
            key: None,
            ..act("s1", action)
        };
        assert_eq!(api.questions().pop(), Some(Question::Confirm(expected)));
    }
}

/// The job is running when it is asked for the first times, and then it has ended.
fn ends_as(state: JobState, is_new: bool) -> Script {
    let mut looks = 0;
    Box::new(move |question| match question {
        Question::Act(_) => Some(Ok(new(job(JobState::Queued), is_new))),
        Question::Job(_) => {
            looks += 1;
            let state = if looks > 2 { state } else { JobState::Running };
            Some(Ok(new(job(state), true)))
        }
        Question::Volumes
        | Question::Jobs
        | Question::Confirm(_)
        | Question::Admit(_)
        | Question::Refused(_) => Some(usual(question)),
    })
}

#[test]
fn whoever_waits_is_told_the_end() {
    let create = format!("POST {V}/snapshots?wait=30");
    let api = Api::with(ends_as(JobState::Succeeded, true));
    let made = api.change(&create, "{}");
    assert_eq!(
        (made.status, &json(&made)["state"]),
        (201, &"succeeded".into())
    );
    let location = format!("/api/v1/snapshots/{SNAPSHOT}");
    assert_eq!(made.header("location"), Some(location.as_str()));

    let api = Api::with(ends_as(JobState::Succeeded, true));
    let removed = api.change(&format!("DELETE {S}?wait=30"), "");
    assert_eq!((removed.status, removed.header("location")), (200, None));

    let api = Api::with(ends_as(JobState::Failed, true));
    let failed = api.change(&create, "{}");
    assert_problem("a failed job", &failed, Code::PoolTooFull);
    assert_eq!(json(&failed)["instance"], format!("/api/v1/jobs/{JOB}"));

    // It has ended, and nobody says why.
    let api = Api::with(ends_as(JobState::Interrupted, true));
    assert_problem("no reason", &api.change(&create, "{}"), Code::Internal);
}

#[test]
fn whoever_has_waited_in_vain_is_told_where_to_look() {
    let api = Api::with(ends_as(JobState::Running, true));
    let began = Instant::now();
    let answer = api.change(&format!("POST {S}/merge?wait=1"), "");
    let took = began.elapsed();
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert!(answer.header("location").is_some());
    assert_eq!(json(&answer)["state"], "running");
    assert!(took >= Duration::from_secs(1) && took < PROMPT, "{took:?}");

    // A guard that dies meanwhile has accepted it.
    let silent = |question: &Question| {
        let gone = || Refusal::new(Code::GuardUnavailable, "it is gone");
        let is_meant = matches!(question, Question::Job(_));
        Some(if is_meant {
            Err(gone())
        } else {
            usual(question)
        })
    };
    let api = Api::with(Box::new(silent));
    let answer = api.change(&format!("POST {S}/merge?wait=1"), "");
    assert_eq!(
        (answer.status, &json(&answer)["state"]),
        (202, &"queued".into())
    );
}

#[test]
fn a_repeated_request_is_told_its_job() {
    let api = Api::with(ends_as(JobState::Succeeded, false));
    let create = format!("POST {V}/snapshots");
    let answer = api.change(&create, "{}");
    assert_eq!(
        (answer.status, &json(&answer)["state"]),
        (200, &"queued".into())
    );
    let answer = api.change(&format!("{create}?wait=10"), "{}");
    assert_eq!(
        (answer.status, &json(&answer)["state"]),
        (200, &"succeeded".into())
    );
}

#[test]
fn what_the_guard_refuses_is_a_problem() {
    for code in Code::ALL {
        let refuse = move |_: &Question| Some(Err(Refusal::new(code, "it is so")));
        let api = Api::with(Box::new(refuse));
        let answer = api.change(&format!("DELETE {S}"), "");
        assert_problem("a refusal", &answer, code);
        assert_eq!(json(&answer)["detail"], "it is so");
        let later = code.is_retryable().then_some("1");
        assert_eq!(answer.header("retry-after"), later, "{code:?}");
    }
}

#[test]
fn an_answer_to_another_question_is_an_error() {
    let api = Api::with(Box::new(|_| Some(usual(&Question::Jobs))));
    for line in [
        format!("GET {V}"),
        "GET /api/v1/volumes".to_owned(),
        format!("DELETE {S}"),
    ] {
        assert_problem(&line, &api.request(&line, &[], ""), Code::Internal);
    }
}

#[test]
fn several_requests_share_a_connection() {
    use std::io::{Read, Write};
    let api = Api::start();
    let kept = text("GET /api/v1/version", &[], "").replace("Connection: close\r\n", "");
    let last = text("GET /api/v1/jobs", &[], "");
    let mut stream = api.connect();
    let all = [kept.as_str(), &kept, &last].concat();
    stream.write_all(all.as_bytes()).expect("the front reads");
    let mut told = String::new();
    stream.read_to_string(&mut told).expect("it ends");
    assert_eq!(told.matches("HTTP/1.1 200 OK").count(), 3, "{told}");
}
