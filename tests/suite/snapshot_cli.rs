//! `cowherd snapshot` and `cowherd jobs` as somebody types them: what the guard is asked, and what is told of its
//! answers. What goes wrong is in `snapshot_cli_faults`, what takes a while in `snapshot_cli_waits`.

use std::time::{SystemTime, UNIX_EPOCH};

use cowherd::model::action::{Job, Planned, VolumeView};
use cowherd::model::time::UnixSeconds;
use cowherd::report::{jobs, snapshots};
use serde_json::{Value, json};

use super::fake_guard::{Does, FakeGuard, answer, job, problem};
use super::metrics::golden;

fn done(verb: &str, result: &Value) -> Value {
    let mut job = job(verb, "succeeded");
    job["result"] = result.clone();
    job
}

fn plain() -> Value {
    json!({"snapshot": null, "deferred": false, "unchanged": false})
}

fn view(name: &str, kind: &str, changes: &Value) -> Value {
    let mut view = json!({"uuid": "u", "vg": "vg0", "name": name, "type": kind, "size_bytes": 1_610_612_736_u64,
        "state": "active", "read_only": false, "origin": {"uuid": "o", "name": "home"}, "pool": null,
        "used_percent": null, "merged_percent": null, "created": null, "expires": null, "expendable": false,
        "protected": false, "skip_activation": false, "owner": "cowherd", "open": false, "tags": []});
    for (key, value) in changes.as_object().expect("an object") {
        assert!(view.get(key).is_some(), "{key}");
        view[key] = value.clone();
    }
    view
}

/// Words of the command line, the first line of the request, its body.
type Asks = (&'static str, &'static str, Value);

fn creations() -> Vec<Asks> {
    let create = |given: &Value| {
        let mut body = json!({"name": null, "type": "auto", "size": null, "read_only": false, "activate": false,
            "ttl_s": null, "expendable": false, "protected": false, "tags": [], "quiesce": null, "with": []});
        for (key, value) in given.as_object().expect("an object") {
            body[key] = value.clone();
        }
        body
    };
    let home = "POST /api/v1/volumes/vg0%2Fhome/snapshots?wait=1 HTTP/1.1";
    vec![
        ("create vg0/home", home, create(&json!({}))),
        (
            "create /dev/vg0/home --name a+b --type thick --size 10GiB --ttl 7d --expendable --protect --read-only \
             --activate --tag one --tag two",
            home,
            create(
                &json!({"name": "a+b", "type": "thick", "size": {"bytes": 10_737_418_240_u64}, "read_only": true,
                "activate": true, "ttl_s": 604_800, "expendable": true, "protected": true, "tags": ["one", "two"]}),
            ),
        ),
        (
            "create vg0/home --hook mysql-main --hook app",
            home,
            create(&json!({"quiesce": {"hooks": ["mysql-main", "app"], "mode": "required"}})),
        ),
        (
            "create vg0/home vg0/log /dev/vg0/tmp --no-quiesce",
            home,
            create(
                &json!({"quiesce": {"hooks": [], "mode": "none"}, "with": ["vg0/log", "vg0/tmp"]}),
            ),
        ),
        (
            "create vg0/home --best-effort --hook app",
            home,
            create(&json!({"quiesce": {"hooks": ["app"], "mode": "best_effort"}})),
        ),
        (
            "create HeDn2l-9XRh-aBcD-1234-wxyZ-0aA1-b2C3d4 --type thin --size 15%",
            "POST /api/v1/volumes/HeDn2l-9XRh-aBcD-1234-wxyZ-0aA1-b2C3d4/snapshots?wait=1 HTTP/1.1",
            create(&json!({"type": "thin", "size": {"percent_of_origin": 15}})),
        ),
    ]
}

fn changes() -> Vec<Asks> {
    let nothing = Value::Null;
    vec![
        (
            "extend vg+0/snap --size 20GiB",
            "POST /api/v1/snapshots/vg%2B0%2Fsnap/extend?wait=1 HTTP/1.1",
            json!({"size_bytes": 21_474_836_480_u64}),
        ),
        (
            "activate vg0/snap",
            "POST /api/v1/snapshots/vg0%2Fsnap/activate?wait=1 HTTP/1.1",
            nothing.clone(),
        ),
        (
            "deactivate vg0/snap --no-wait",
            "POST /api/v1/snapshots/vg0%2Fsnap/deactivate HTTP/1.1",
            nothing.clone(),
        ),
        (
            "merge vg0/snap",
            "POST /api/v1/snapshots/vg0%2Fsnap/merge?wait=1 HTTP/1.1",
            json!({"allow_deferred": false}),
        ),
        (
            "merge vg0/snap --allow-deferred --wait",
            "POST /api/v1/snapshots/vg0%2Fsnap/merge?wait=1 HTTP/1.1",
            json!({"allow_deferred": true}),
        ),
        (
            "remove vg0/snap",
            "DELETE /api/v1/snapshots/vg0%2Fsnap?wait=1 HTTP/1.1",
            nothing,
        ),
    ]
}

fn labels() -> Vec<Asks> {
    let label = |line, given: Value| {
        let mut body = json!({"protected": null, "expendable": null, "ttl_s": null});
        for (key, value) in given.as_object().expect("an object") {
            body[key] = value.clone();
        }
        let first = "PATCH /api/v1/snapshots/vg0%2Fsnap?wait=1 HTTP/1.1";
        (line, first, body)
    };
    vec![
        label("protect vg0/snap", json!({"protected": true})),
        label("protect vg0/snap --off", json!({"protected": false})),
        label("expire vg0/snap --ttl 90min", json!({"ttl_s": 5400})),
        label("expire vg0/snap --ttl never", json!({"ttl_s": 0})),
        label("expire vg0/snap --expendable", json!({"expendable": true})),
        label(
            "expire vg0/snap --no-expendable --ttl 1w",
            json!({"expendable": false, "ttl_s": 604_800}),
        ),
    ]
}

fn words(line: &'static str) -> Vec<&'static str> {
    std::iter::once("snapshot")
        .chain(line.split_whitespace())
        .collect()
}

#[test]
fn each_command_asks_for_what_it_says() {
    let all = [creations(), changes(), labels()].concat();
    for (line, first, body) in all {
        let guard = FakeGuard::answering(200, &done("activate", &plain()));
        let told = guard.told(&words(line));
        told.is(0, "activated vg0/snap\n", "");
        let asked = guard.asked_once();
        assert_eq!(asked.line(), first, "{line}");
        assert_eq!(asked.header("host"), Some("localhost"), "{line}");
        assert_eq!(asked.header("confirm"), None, "{line}");
        let key = asked.header("idempotency-key").expect("a change has a key");
        assert!(
            key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{key}"
        );
        if body.is_null() {
            assert_eq!(asked.body, "", "{line}");
            assert_eq!(asked.header("content-type"), None, "{line}");
        } else {
            assert_eq!(asked.json(), body, "{line}");
            assert_eq!(
                asked.header("content-type"),
                Some("application/json"),
                "{line}"
            );
        }
    }
}

#[test]
fn a_request_is_these_bytes() {
    let guard = FakeGuard::answering(200, &done("extend", &plain()));
    let told = guard.told(&words(
        "extend vg0/snap --size 1KiB --idempotency-key nightly_2026-11",
    ));
    told.is(0, "extended vg0/snap\n", "");
    let asked = guard.asked_once();
    let head = "POST /api/v1/snapshots/vg0%2Fsnap/extend?wait=1 HTTP/1.1\r\nhost: localhost\r\n\
                accept: application/json\r\ncontent-type: application/json\r\n\
                idempotency-key: nightly_2026-11\r\ncontent-length: 19";
    assert_eq!(
        (asked.head.as_str(), asked.body.as_str()),
        (head, "{\"size_bytes\":1024}")
    );
}

#[test]
fn keys_are_never_the_same() {
    let guard = FakeGuard::answering(200, &done("activate", &plain()));
    for _ in 0..3 {
        guard.told(&words("activate vg0/snap"));
    }
    let asked = guard.asked();
    let mut keys: Vec<_> = asked
        .iter()
        .map(|asked| asked.header("idempotency-key"))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 3);
}

#[test]
fn what_was_done_is_told_in_a_line() {
    let made = json!({"snapshot": {"vg": "vg0", "lv": "home-1", "uuid": "n"}, "deferred": false, "unchanged": false});
    let held = json!({"snapshot": {"vg": "vg0", "lv": "home-1", "uuid": "n"}, "deferred": false, "unchanged": false,
        "consistency": "application", "remark": null, "held_ms": 312});
    let both = json!({"snapshots": [{"vg": "vg0", "lv": "home-1", "uuid": "n"}, {"vg": "vg0", "lv": "log-1", "uuid": "m"}]});
    let lost = json!({"snapshot": {"vg": "vg0", "lv": "home-1", "uuid": "n"}, "deferred": false, "unchanged": false,
        "consistency": "crash", "remark": "hook app did not hold: it died", "held_ms": 10_000});
    let deferred = json!({"snapshot": null, "deferred": true, "unchanged": false});
    let unchanged = json!({"snapshot": null, "deferred": false, "unchanged": true});
    let cases = [
        ("create", &made, "created vg0/home-1\n"),
        (
            "create",
            &held,
            "created vg0/home-1 (application-consistent, held for 312 ms)\n",
        ),
        ("create", &both, "created vg0/home-1, vg0/log-1\n"),
        (
            "create",
            &lost,
            "created vg0/home-1 (crash-consistent only, held for 10000 ms; hook app did not hold: it died)\n",
        ),
        ("extend", &plain(), "extended vg0/snap\n"),
        ("deactivate", &plain(), "deactivated vg0/snap\n"),
        ("merge", &plain(), "merged vg0/snap\n"),
        (
            "merge",
            &deferred,
            "vg0/snap will be merged when its origin is next activated\n",
        ),
        ("remove", &plain(), "removed vg0/snap\n"),
        ("label", &plain(), "labelled vg0/snap\n"),
        ("extend", &unchanged, "vg0/snap: nothing to do\n"),
        ("activate", &Value::Null, "activated vg0/snap\n"),
    ];
    for (verb, result, line) in cases {
        let guard = FakeGuard::answering(200, &done(verb, result));
        guard.told(&words("activate vg0/snap")).is(0, line, "");
    }
}

#[test]
fn json_is_the_answer_word_for_word() {
    let given = done("remove", &plain()).to_string().replace(',', " ,\n  ");
    let guard = FakeGuard::that(vec![Does::Answer(200, format!("{given}\n\n"))]);
    guard
        .told(&words("remove vg0/snap --json"))
        .is(0, &format!("{given}\n"), "");

    let list = format!("[ {} ]", view("snap", "cow", &json!({"tags": ["späm"]})));
    let guard = FakeGuard::that(vec![Does::Answer(200, list.clone())]);
    guard
        .told(&words("list --json"))
        .is(0, &format!("{list}\n"), "");
}

#[test]
fn a_dry_run_shows_the_plan_and_does_not_ask_twice() {
    let plan = json!({"summary": "remove vg0/snap", "loses": ["the snapshot of vg0/home of 2 h ago", "a\u{1b}b"],
        "needs_confirmation": true});
    let guard = FakeGuard::answering(200, &plan);
    guard.told(&words("remove vg0/snap --dry-run")).is(
        0,
        "remove vg0/snap\n  lost: the snapshot of vg0/home of 2 h ago\n  lost: a b\n  to be confirmed, or given --yes\n",
        "",
    );
    let line = "DELETE /api/v1/snapshots/vg0%2Fsnap?dry_run=true HTTP/1.1";
    assert_eq!(guard.asked_once().line(), line);
    let told = guard.told(&words("merge vg0/snap --dry-run --json --no-wait"));
    told.is(0, &format!("{plan}\n"), "");
}

#[test]
fn several_are_removed_each_by_itself() {
    let guard = FakeGuard::that(vec![
        answer(200, &done("remove", &plain())),
        problem(409, "protected", "somebody has protected it"),
        answer(200, &done("remove", &plain())),
    ]);
    let told = guard.told(&words("remove vg0/a vg0/b vg0/c"));
    let line = "cowherd: vg0/b: protected: somebody has protected it\n";
    told.is(1, "removed vg0/snap\nremoved vg0/snap\n", line);
    let lines: Vec<String> = guard
        .asked()
        .iter()
        .map(|asked| asked.line().to_owned())
        .collect();
    let expected = ["a", "b", "c"]
        .map(|name| format!("DELETE /api/v1/snapshots/vg0%2F{name}?wait=1 HTTP/1.1"));
    assert_eq!(lines, expected);
}

#[test]
fn several_answers_are_one_array() {
    let gone = done("remove", &plain());
    let guard = FakeGuard::that(vec![answer(200, &gone), Does::Bytes(Vec::new())]);
    let told = guard.told(&words("remove vg0/a vg0/b --json"));
    assert_eq!((told.code, told.out), (Some(1), format!("[{gone},null]\n")));
    assert!(
        told.err
            .starts_with("cowherd: vg0/b: whether it was done is not known"),
        "{}",
        told.err
    );
}

#[test]
fn one_key_is_for_one_snapshot() {
    let guard = FakeGuard::answering(200, &Value::Null);
    let told = guard.told(&words("remove vg0/a vg0/b --idempotency-key k"));
    told.is(
        2,
        "",
        "cowherd: --idempotency-key is for one snapshot at a time\n",
    );
    assert!(guard.asked().is_empty());
}

#[test]
fn lists_are_asked_for_by_group_and_origin() {
    let guard = FakeGuard::answering(200, &json!([]));
    let cases = [
        ("list", "GET /api/v1/snapshots HTTP/1.1"),
        ("list --vg vg+0", "GET /api/v1/snapshots?vg=vg%2B0 HTTP/1.1"),
        (
            "list --origin vg0/home",
            "GET /api/v1/snapshots?origin=vg0%2Fhome HTTP/1.1",
        ),
        (
            "list --vg vg0 --origin vg0/home",
            "GET /api/v1/snapshots?vg=vg0&origin=vg0%2Fhome HTTP/1.1",
        ),
    ];
    for (line, first) in cases {
        guard.told(&words(line)).is(0, "no snapshots\n", "");
        let asked = guard.asked().pop().expect("it was asked");
        assert_eq!(asked.line(), first);
        assert_eq!(asked.header("idempotency-key"), None);
    }
}

#[test]
fn ages_are_told_from_now_on() {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let times = json!({"created": now - 7260, "expires": now + 2 * 86_400 + 3600});
    let guard = FakeGuard::answering(200, &json!([view("snap", "cow", &times)]));
    let told = guard.told(&words("list"));
    let row = "vg0/snap  home    thick  1.5 GiB     -  active  2.02 h  in 2.04 d  cowherd\n";
    assert!(told.out.ends_with(row), "{}", told.out);
}

#[test]
fn the_list_of_every_kind_of_snapshot_is_as_reviewed() {
    let hour = 3600.0;
    let now = UnixSeconds(1_790_000_000.0);
    let all = json!([
        view(
            "zz-merging",
            "cow",
            &json!({"state": "merging", "merged_percent": 42.05, "open": true})
        ),
        view(
            "deferred",
            "thin",
            &json!({"state": "merge_deferred", "owner": "foreign"})
        ),
        view(
            "home-20260921",
            "cow",
            &json!({"used_percent": 4.19, "created": now.0 - 2.0 * hour,
            "expires": now.0 + 166.0 * hour, "expendable": true, "protected": true, "read_only": true, "open": true})
        ),
        view(
            "lost",
            "cow",
            &json!({"state": "invalid", "used_percent": 100.0, "expires": now.0 - 1.0})
        ),
        view(
            "vm-101-state",
            "thin",
            &json!({"state": "inactive", "owner": "pve", "created": now.0 + 5.0})
        ),
        view(
            "orphan",
            "thin",
            &json!({"origin": {"uuid": "HeDn2l-9XRh", "name": null}})
        ),
        view("alone", "thin", &json!({"origin": null, "vg": "vg-first"})),
    ]);
    let all: Vec<VolumeView> = serde_json::from_value(all).expect("views");
    golden(
        "tests/suite/golden/snapshots.txt",
        &snapshots::list(&all, now),
    );
}

#[test]
fn the_list_of_every_kind_of_job_is_as_reviewed() {
    let now = UnixSeconds(1_790_000_090.5);
    let with = |verb: &str, state: &str, id: char, changes: Value| {
        let mut job = job(verb, state);
        job["id"] = json!(format!("01J0000000000000000000000{id}"));
        for (key, value) in changes.as_object().expect("an object") {
            job[key] = value.clone();
        }
        job
    };
    let made = json!({"snapshot": {"vg": "vg0", "lv": "home-1", "uuid": "n"}, "deferred": false, "unchanged": false});
    let all = json!([
        with(
            "create",
            "succeeded",
            'A',
            json!({"ended": 1_790_000_001.25, "result": made})
        ),
        with(
            "remove",
            "failed",
            'B',
            json!({"ended": 1_790_000_003.0,
            "error": {"code": "busy", "detail": "it is in use\u{1b}[2J"}})
        ),
        with(
            "merge",
            "running",
            'C',
            json!({"progress": {"phase": "merging", "percent": 12.55}})
        ),
        with(
            "extend",
            "interrupted",
            'D',
            json!({"error": {"code": "interrupted", "detail": "the guard ended"}})
        ),
        with("label", "queued", 'E', json!({})),
        with(
            "activate",
            "succeeded",
            'F',
            json!({"ended": 1_790_000_000.5})
        ),
    ]);
    let all: Vec<Job> = serde_json::from_value(all).expect("jobs");
    golden("tests/suite/golden/jobs.txt", &jobs::list(&all, now));
}

#[test]
fn jobs_are_shown_all_or_one() {
    let one = job("merge", "running");
    let guard = FakeGuard::answering(200, &json!([one]));
    let told = guard.told(&["jobs"]);
    assert!(
        told.out
            .contains("01J0000000000000000000000A  merge  vg0/snap  running"),
        "{}",
        told.out
    );
    assert_eq!(guard.asked_once().line(), "GET /api/v1/jobs HTTP/1.1");

    let guard = FakeGuard::answering(200, &one);
    assert_eq!(guard.told(&["jobs", "a/b?c"]).out.lines().count(), 2);
    assert_eq!(
        guard.asked_once().line(),
        "GET /api/v1/jobs/a%2Fb%3Fc HTTP/1.1"
    );
    guard
        .told(&["jobs", "x", "--json"])
        .is(0, &format!("{one}\n"), "");

    FakeGuard::answering(200, &json!([]))
        .told(&["jobs"])
        .is(0, "no jobs\n", "");
}

#[test]
fn a_plan_is_a_line_and_one_for_each_loss() {
    let plan = Planned {
        summary: "merge vg0/snap".to_owned(),
        loses: vec!["what was written to vg0/home since".to_owned()],
        needs_confirmation: true,
    };
    let text = "merge vg0/snap\n  lost: what was written to vg0/home since\n";
    assert_eq!(snapshots::plan(&plan), text);
}
