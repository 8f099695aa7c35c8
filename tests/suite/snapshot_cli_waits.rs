//! What `cowherd snapshot` does while something takes a while, and before it destroys anything.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::json;

use super::fake_guard::{Does, FakeGuard, answer, job, problem};

const MERGE: [&str; 3] = ["snapshot", "merge", "vg0/snap"];

fn running(percent: f64) -> Does {
    let mut job = job("merge", "running");
    job["progress"] = json!({"phase": "merging", "percent": percent});
    answer(202, &job)
}

fn merged() -> Does {
    answer(200, &job("merge", "succeeded"))
}

fn required() -> Does {
    problem(428, "confirmation_required", "it overwrites vg0/home")
}

fn confirmation() -> Does {
    let plan = json!({"summary": "merge vg0/snap", "loses": ["what was written to vg0/home since"],
        "needs_confirmation": true});
    answer(
        201,
        &json!({"token": "t0k3n", "expires": 1_790_000_120.0, "plan": plan}),
    )
}

fn lines(guard: &FakeGuard) -> Vec<String> {
    guard
        .asked()
        .iter()
        .map(|asked| asked.line().to_owned())
        .collect()
}

#[test]
fn a_job_is_waited_for_until_it_has_ended() {
    let guard = FakeGuard::that(vec![running(1.0), running(50.0), running(99.0), merged()]);
    guard.told(&MERGE).is(0, "merged vg0/snap\n", "");
    let look = "GET /api/v1/jobs/01J0000000000000000000000A HTTP/1.1";
    let first = "POST /api/v1/snapshots/vg0%2Fsnap/merge?wait=1 HTTP/1.1";
    assert_eq!(lines(&guard), [first, look, look, look]);
}

#[test]
fn a_guard_that_is_asked_too_much_is_asked_again_until_the_time_is_over() {
    let busy = || problem(429, "rate_limited", "too many requests wait for lvm");
    let guard = FakeGuard::that(vec![busy(), busy(), merged()]);
    guard.told(&MERGE).is(0, "merged vg0/snap\n", "");
    let asked = guard.asked();
    assert_eq!(asked.len(), 3);
    let (first, last) = (&asked[0], &asked[2]);
    assert_eq!((&first.head, &first.body), (&last.head, &last.body));

    let guard = FakeGuard::that(vec![busy()]);
    let told = guard.told(&["snapshot", "merge", "vg0/snap", "--timeout=1s"]);
    told.is(
        3,
        "",
        "cowherd: vg0/snap: rate_limited: too many requests wait for lvm\n",
    );
    assert!(guard.asked().len() > 1);
}

#[test]
fn json_is_the_last_answer() {
    let guard = FakeGuard::that(vec![running(1.0), merged()]);
    let told = guard.told(&["snapshot", "merge", "vg0/snap", "--json"]);
    told.is(0, &format!("{}\n", job("merge", "succeeded")), "");
}

#[test]
fn a_job_that_fails_meanwhile_is_told() {
    let mut failed = job("merge", "failed");
    failed["error"] = json!({"code": "lvm_failed", "detail": "no space"});
    let guard = FakeGuard::that(vec![running(1.0), answer(200, &failed)]);
    guard
        .told(&MERGE)
        .is(1, "", "cowherd: vg0/snap: lvm_failed: no space\n");
}

#[test]
fn whoever_does_not_wait_is_told_the_job() {
    let guard = FakeGuard::that(vec![running(1.0)]);
    let told = guard.told(&["snapshot", "merge", "vg0/snap", "--no-wait"]);
    let id = "01J0000000000000000000000A";
    told.is(
        0,
        &format!("job {id} is running: see cowherd jobs {id}\n"),
        "",
    );
    assert_eq!(
        lines(&guard),
        ["POST /api/v1/snapshots/vg0%2Fsnap/merge HTTP/1.1"]
    );
}

#[test]
fn a_job_is_waited_for_no_longer_than_asked() {
    let guard = FakeGuard::that(vec![running(1.0)]);
    let begun = Instant::now();
    let told = guard.told(&["snapshot", "merge", "vg0/snap", "--wait=1s"]);
    let id = "01J0000000000000000000000A";
    told.is(
        5,
        "",
        &format!("cowherd: vg0/snap: still running: see cowherd jobs {id}\n"),
    );
    assert!(
        (1..20).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_guard_that_is_started_anew_meanwhile_is_asked_again() {
    let gone = Does::Bytes(Vec::new());
    let starting = problem(503, "guard_unavailable", "it starts");
    let guard = FakeGuard::that(vec![running(1.0), gone, starting, running(2.0), merged()]);
    guard.told(&MERGE).is(0, "merged vg0/snap\n", "");
    assert_eq!(guard.asked().len(), 5);
}

#[test]
fn a_job_that_nobody_knows_any_more_is_told() {
    let guard = FakeGuard::that(vec![running(1.0), problem(404, "not_found", "no such job")]);
    let line = "cowherd: vg0/snap: how it ended is not known: see cowherd jobs 01J0000000000000000000000A: \
                not_found: no such job\n";
    guard.told(&MERGE).is(1, "", line);
}

#[test]
fn what_destroys_is_not_done_unasked() {
    let guard = FakeGuard::that(vec![required(), confirmation(), merged()]);
    let line = "cowherd: vg0/snap: to be confirmed, and there is no terminal to ask on: see --dry-run, then give --yes\n";
    guard.told(&MERGE).is(3, "", line);
    assert_eq!(guard.asked().len(), 1);
}

#[test]
fn yes_confirms_the_plan_and_shows_it() {
    let guard = FakeGuard::that(vec![required(), confirmation(), running(1.0), merged()]);
    let told = guard.told(&["snapshot", "merge", "vg0/snap", "--allow-deferred", "--yes"]);
    let plan = "merge vg0/snap\n  lost: what was written to vg0/home since\n";
    told.is(0, "merged vg0/snap\n", plan);
    let asked = guard.asked();
    assert_eq!(asked[1].line(), "POST /api/v1/confirmations HTTP/1.1");
    let body = json!({"action": "merge", "target": "vg0/snap", "merge": {"allow_deferred": true}});
    assert_eq!(asked[1].json(), body);
    assert_eq!(asked[2].line(), asked[0].line());
    assert_eq!(asked[2].body, asked[0].body);
    let confirms: Vec<_> = asked.iter().map(|asked| asked.header("confirm")).collect();
    assert_eq!(confirms, [None, None, Some("t0k3n"), None]);
    let key = |at: usize| asked[at].header("idempotency-key").expect("a POST has one");
    assert_eq!(key(0), key(2));
    assert_ne!(key(0), key(1));
}

#[test]
fn a_removal_is_confirmed_with_its_target_alone() {
    let gone = answer(200, &job("remove", "succeeded"));
    let guard = FakeGuard::that(vec![required(), confirmation(), gone]);
    let told = guard.told(&["snapshot", "remove", "vg0/snap", "-y"]);
    assert_eq!(
        (told.code, told.out.as_str()),
        (Some(0), "removed vg0/snap\n")
    );
    assert_eq!(
        guard.asked()[1].json(),
        json!({"action": "remove", "target": "vg0/snap"})
    );
}

#[test]
fn a_confirmation_that_is_refused_ends_it() {
    let invalid = problem(403, "confirmation_invalid", "vg0/snap has changed");
    let guard = FakeGuard::that(vec![required(), confirmation(), invalid]);
    let told = guard.told(&["snapshot", "merge", "vg0/snap", "--yes"]);
    assert_eq!(told.code, Some(3));
    assert!(
        told.err
            .ends_with("cowherd: vg0/snap: confirmation_invalid: vg0/snap has changed\n")
    );

    let guard = FakeGuard::that(vec![required(), problem(403, "forbidden", "not yours")]);
    let told = guard.told(&["snapshot", "merge", "vg0/snap", "--yes"]);
    told.is(3, "", "cowherd: vg0/snap: forbidden: not yours\n");
}

#[test]
fn what_cannot_be_confirmed_is_refused() {
    let guard = FakeGuard::that(vec![required()]);
    let told = guard.told(&["snapshot", "activate", "vg0/snap"]);
    told.is(
        3,
        "",
        "cowherd: vg0/snap: confirmation_required: it overwrites vg0/home\n",
    );
}

#[test]
fn somebody_before_a_terminal_is_asked() {
    for (typed, code, requests) in [
        ("y\n", 0, 3),
        ("YES\n", 0, 3),
        ("n\n", 1, 2),
        ("\n", 1, 2),
        ("yeah\n", 1, 2),
    ] {
        let guard = FakeGuard::that(vec![required(), confirmation(), merged()]);
        let (found, shown) = at_a_terminal(&guard, &MERGE, "[y/N] ", typed);
        assert_eq!(found, Some(code), "{typed:?}: {shown}");
        assert_eq!(guard.asked().len(), requests, "{typed:?}: {shown}");
        let question = "merge vg0/snap\r\n  lost: what was written to vg0/home since\r\nmerge vg0/snap? [y/N] ";
        assert!(shown.contains(question), "{shown}");
        if code == 0 {
            assert!(shown.ends_with("merged vg0/snap\r\n"), "{shown}");
        } else {
            assert!(
                shown.ends_with("cowherd: vg0/snap: not confirmed: nothing was done\r\n"),
                "{shown}"
            );
        }
    }
}

#[test]
fn somebody_before_a_terminal_sees_how_far_it_is() {
    let guard = FakeGuard::that(vec![running(12.0), running(50.0), running(75.0), merged()]);
    let (code, shown) = at_a_terminal(&guard, &MERGE, "", "");
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("vg0/snap: merging ["), "{shown:?}");
    assert!(shown.contains(" 12 %"), "{shown:?}");
    assert!(shown.ends_with("merged vg0/snap\r\n"), "{shown:?}");
}

/// Types `typed` once `prompt` is shown. Returns the exit code, and all that was shown.
fn at_a_terminal(
    guard: &FakeGuard,
    arguments: &[&str],
    prompt: &str,
    typed: &str,
) -> (Option<i32>, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal can be made");
    grantpt(&master).expect("it is ours");
    unlockpt(&master).expect("it is ours");
    let name = ptsname(&master, Vec::new()).expect("it has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let terminal = rustix::fs::open(name, flags, Mode::empty()).expect("it is ours");
    let terminal_for = || Stdio::from(terminal.try_clone().expect("it is open"));
    let mut command = guard.command(arguments);
    command
        .stdin(terminal_for())
        .stdout(terminal_for())
        .stderr(terminal_for());
    let mut child = command.env("TERM", "xterm").spawn().expect("it was built");
    drop((command, terminal));
    let (mut master, mut shown) = (File::from(master), Vec::new());
    let mut chunk = [0; 1024];
    let mut has_typed = typed.is_empty();
    let begun = Instant::now();
    // Linux ends a terminal that nobody has open with EIO.
    while let Ok(length @ 1..) = master.read(&mut chunk) {
        shown.extend_from_slice(&chunk[..length]);
        if !has_typed && String::from_utf8_lossy(&shown).ends_with(prompt) {
            master.write_all(typed.as_bytes()).expect("it is open");
            has_typed = true;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not end");
    }
    let code = child.wait().expect("it was started").code();
    (code, String::from_utf8_lossy(&shown).into_owned())
}
