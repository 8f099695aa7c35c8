//! What `cowherd snapshot` says and exits with when the guard refuses, fails, babbles or is not there.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use cowherd::model::refusal::Code;
use serde_json::{Value, json};

use super::fake_guard::{Does, FakeGuard, Told, answer, cowherd, folder, job, problem};

const ACTIVATE: [&str; 3] = ["snapshot", "activate", "vg0/snap"];
const LIST: [&str; 2] = ["snapshot", "list"];

#[test]
fn a_wrong_command_line_is_exit_code_2_and_asks_nothing() {
    let cases = [
        "create",
        "create vg0",
        "create vg0/home --size 8q",
        "create vg0/home --size=-1",
        "create vg0/home --size +100%FREE",
        "create vg0/home --ttl never",
        "create vg0/home --type fat",
        "create vg0/home --name a/b",
        "create vg0/home --wait --no-wait",
        "create vg0/home --wait=soon",
        "create vg0/home --idempotency-key=a%20b",
        "create vg0/home --yes",
        "extend vg0/snap",
        "extend vg0/snap --size 15%",
        "merge vg0/--config",
        "remove",
        "expire vg0/snap",
        "expire vg0/snap --expendable --no-expendable",
        "expire vg0/snap --ttl 0d",
        "list --vg a/b",
        "list --timeout 0s",
        "frobnicate vg0/snap",
    ];
    for line in cases {
        let guard = FakeGuard::answering(200, &Value::Null);
        let words: Vec<&str> = std::iter::once("snapshot").chain(line.split(' ')).collect();
        let told = guard.told(&words);
        assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{line}");
        assert!(guard.asked().is_empty(), "{line}");
    }
}

#[test]
fn a_size_that_is_none_is_told_with_what_is_one() {
    let told = Told::of(&mut cowherd(&[
        "snapshot", "extend", "vg0/s", "--size", "10M,5",
    ]));
    let line = "error: invalid value '10M,5' for '--size <SIZE>': expected a size such as 10GiB, 1.5 TiB or a \
                number of bytes, from 1 byte to less than 8 EiB\n";
    assert!(told.err.starts_with(line), "{}", told.err);
}

#[test]
fn every_refusal_has_its_exit_code_and_one_line() {
    for code in Code::ALL {
        let guard = FakeGuard::that(vec![problem(code.status(), code.label(), "why\nso\u{1b}")]);
        let exit = match code.status() {
            503 | 504 => 4,
            500.. => 1,
            _ => 3,
        };
        let line = format!("cowherd: vg0/snap: {}: why so \n", code.label());
        // Where there is too much to do it is asked again, for that long.
        let told = |words: &[&str]| guard.told(&[words, &["--timeout=1s"]].concat());
        // Whether a change was refused with these is not known.
        if ![Code::Timeout, Code::GuardUnavailable].contains(&code) {
            told(&ACTIVATE).is(exit, "", &line);
        }
        told(&LIST).is(exit, "", &line.replace("vg0/snap: ", ""));
        let told = told(&["jobs", "x", "--json"]);
        let body: Value = serde_json::from_str(&told.out).expect("the problem is shown");
        assert_eq!(
            (told.code, body["code"].as_str()),
            (Some(exit), Some(code.label()))
        );
    }
}

#[test]
fn a_refusal_of_a_later_guard_is_told_all_the_same() {
    let guard = FakeGuard::that(vec![problem(451, "not_here", "lawyers")]);
    guard
        .told(&ACTIVATE)
        .is(3, "", "cowherd: vg0/snap: not_here: lawyers\n");
    let guard = FakeGuard::answering(409, &json!({"code": "busy", "title": "In use"}));
    guard
        .told(&ACTIVATE)
        .is(3, "", "cowherd: vg0/snap: busy: In use\n");
}

#[test]
fn a_status_without_a_reason_is_told() {
    for (status, exit) in [(404, 3), (500, 1), (503, 4), (302, 1)] {
        let guard = FakeGuard::that(vec![Does::Answer(status, "<html>".to_owned())]);
        let line = format!("cowherd: the guard answers {status} without a reason\n");
        guard.told(&LIST).is(exit, "", &line);
        guard
            .told(&["snapshot", "list", "--json"])
            .is(exit, "", &line);
    }
}

#[test]
fn a_job_that_failed_exits_as_its_reason_does() {
    for (code, exit) in [
        (Code::Busy, 3),
        (Code::LvmFailed, 1),
        (Code::Interrupted, 1),
        // The guard was reached: it says so.
        (Code::Timeout, 1),
        (Code::GuardUnavailable, 1),
        (Code::JournalUnavailable, 1),
    ] {
        let mut failed = job("activate", "failed");
        failed["error"] = json!({"code": code, "detail": "the device is\nopen"});
        let guard = FakeGuard::answering(200, &failed);
        let line = format!("cowherd: vg0/snap: {}: the device is open\n", code.label());
        guard.told(&ACTIVATE).is(exit, "", &line);
    }
    let guard = FakeGuard::answering(200, &job("activate", "interrupted"));
    let line =
        "cowherd: vg0/snap: job 01J0000000000000000000000A has failed and does not say why\n";
    guard.told(&ACTIVATE).is(1, "", line);
}

#[test]
fn an_answer_that_is_no_answer_is_told() {
    let list = |bytes: &[u8]| FakeGuard::that(vec![Does::Bytes(bytes.to_vec())]).told(&LIST);
    for garbage in [
        &b""[..],
        b"\0\xff\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]",
        b"SSH-2.0-x\r\n",
    ] {
        let told = list(garbage);
        assert_eq!(told.code, Some(4), "{told:?}");
        assert!(
            told.err.contains("/api.sock: its answer cannot be read: "),
            "{told:?}"
        );
        assert_eq!(told.err.lines().count(), 1, "{told:?}");
    }
    for body in ["", "{}", "[{}]", "[1", "\u{fe0f}", "null", "[[[[[["] {
        let guard = FakeGuard::that(vec![Does::Answer(200, body.to_owned())]);
        let told = guard.told(&LIST);
        assert_eq!(told.code, Some(1), "{body}: {told:?}");
        assert!(
            told.err
                .starts_with("cowherd: the guard's answer is not understood: "),
            "{told:?}"
        );
    }
}

#[test]
fn names_that_are_none_are_not_shown() {
    let mut foreign = job("activate", "succeeded");
    foreign["target"]["lv"] = json!("\u{1b}[2J");
    let told = FakeGuard::answering(200, &foreign).told(&ACTIVATE);
    assert_eq!((told.code, told.out.as_str()), (Some(1), ""));
    assert!(!told.err.contains('\u{1b}'), "{}", told.err);
}

#[test]
fn a_change_whose_answer_is_lost_may_be_repeated_with_its_key() {
    let guard = FakeGuard::that(vec![Does::Bytes(Vec::new())]);
    let told = guard.told(&ACTIVATE);
    let asked = guard.asked_once();
    let key = asked.header("idempotency-key").expect("a change has one");
    let line = format!(
        "cowherd: vg0/snap: whether it was done is not known: repeat it with --idempotency-key {key}: "
    );
    assert!(told.err.starts_with(&line), "{}", told.err);
    assert_eq!(told.code, Some(4));
}

#[test]
fn a_change_that_the_guard_does_not_answer_for_may_be_repeated_with_its_key() {
    let bare = |status| Does::Answer(status, "<html>".to_owned());
    let without = |status| format!("the guard answers {status} without a reason");
    let refusal = |code: Code| problem(code.status(), code.label(), "why");
    for (step, cause) in [
        (refusal(Code::Timeout), "timeout: why".to_owned()),
        (
            refusal(Code::GuardUnavailable),
            "guard_unavailable: why".to_owned(),
        ),
        (bare(503), without(503)),
        (bare(504), without(504)),
    ] {
        let guard = FakeGuard::that(vec![step]);
        let told = guard.told(&ACTIVATE);
        let asked = guard.asked_once();
        let key = asked.header("idempotency-key").expect("a change has one");
        let line = format!(
            "cowherd: vg0/snap: whether it was done is not known: repeat it with --idempotency-key {key}: {cause}\n"
        );
        told.is(4, "", &line);
    }
    // What would not be done twice has no key to repeat it with.
    let guard = FakeGuard::that(vec![refusal(Code::Timeout)]);
    guard
        .told(&["snapshot", "activate", "vg0/snap", "--dry-run"])
        .is(4, "", "cowherd: vg0/snap: timeout: why\n");
}

#[test]
fn an_answer_larger_than_the_limit_is_not_read() {
    let begun = Instant::now();
    let guard = FakeGuard::that(vec![Does::Mebibytes(80)]);
    let told = guard.told(&LIST);
    let line = format!(
        "cowherd: {}: its answer is larger than 64 MiB\n",
        guard.socket()
    );
    told.is(1, "", &line);
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_large_answer_is_read() {
    let guard = FakeGuard::that(vec![Does::Answer(
        200,
        format!("[{}]", " ".repeat(16 << 20)),
    )]);
    guard.told(&LIST).is(0, "no snapshots\n", "");
}

#[test]
fn a_silent_guard_is_waited_for_as_long_as_asked() {
    let guard = FakeGuard::that(vec![Does::Nothing]);
    let begun = Instant::now();
    let told = guard.told(&["snapshot", "list", "--timeout=1s"]);
    let line = format!("cowherd: {}: no answer within 1 s\n", guard.socket());
    told.is(4, "", &line);
    assert!(
        (1..20).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );

    let told = guard.told(&["snapshot", "activate", "vg0/snap", "--timeout=1s"]);
    assert!(
        told.err.ends_with(": no answer within 2 s\n"),
        "{}",
        told.err
    );
    assert_eq!(told.code, Some(4));
}

#[test]
fn a_guard_that_is_not_there_is_told() {
    let folder = folder("absent");
    let socket = folder.join("api.sock");
    let shown = socket.display().to_string();
    let line = format!(
        "cowherd: nothing answers at {shown}: is cowherd running? see systemctl status cowherd\n"
    );
    let list = || Told::of(&mut cowherd(&["snapshot", "list", "--socket", &shown]));
    list().is(4, "", &line);
    // Whoever listened is gone.
    drop(UnixListener::bind(&socket).expect("a socket can be made"));
    list().is(4, "", &line);
    let change = Told::of(&mut cowherd(&[
        "snapshot", "remove", "vg0/a", "--socket", &shown,
    ]));
    change.is(4, "", &line.replace("cowherd: n", "cowherd: vg0/a: n"));
    std::fs::remove_dir_all(&folder).expect("it was made above");
}

#[test]
fn a_socket_that_may_not_be_opened_is_told() {
    let guard = FakeGuard::answering(200, &json!([]));
    let socket = guard.socket();
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o000)).expect("it is ours");
    let mut command = guard.command(&LIST);
    let folder = folder("denied");
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("it is ours");
    if rustix::process::getuid().is_root() {
        // Nobody may not reach what was built below somebody's home.
        let copy = folder.join("cowherd");
        std::fs::copy(env!("CARGO_BIN_EXE_cowherd"), &copy).expect("it was built");
        command = Command::new(copy);
        command
            .args(LIST)
            .args(["--socket", &socket])
            .uid(65_534)
            .gid(65_534);
    }
    let line = format!(
        "cowherd: {socket}: you may not open it: run as root or as a member of its group\n"
    );
    let told = Told::of(&mut command);
    // Whoever is not root could not end the guard.
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o600)).expect("it is ours");
    told.is(4, "", &line);
    std::fs::remove_dir_all(&folder).expect("it was made above");
}

#[test]
fn a_guard_that_answers_before_it_was_asked_is_none_the_worse() {
    let early = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
    FakeGuard::that(vec![Does::Bytes(early.to_vec())])
        .told(&LIST)
        .is(0, "no snapshots\n", "");
    let chunked =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n";
    FakeGuard::that(vec![Does::Bytes(chunked.to_vec()), answer(200, &json!([]))])
        .told(&LIST)
        .is(0, "no snapshots\n", "");
}
