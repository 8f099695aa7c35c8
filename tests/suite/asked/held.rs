//! Who holds still while a snapshot is taken: which hooks may be named, what becomes of real programs, and what that
//! makes of the snapshot.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cowherd::act::lease::Leases;
use cowherd::act::quiesce::{Scope, ask, run_down};
use cowherd::decide::quiesce::{Worth, goes_on, held_ms, may_stay, worth};
use cowherd::model::quiesce::{
    Consistency, HookEnd, HookKind, HookRun, Quiesce, QuiesceHook, QuiesceMode,
};
use cowherd::model::relief::Hook;

use super::*;

/// Far beyond what a script takes.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

fn lone(text: &str) -> Name {
    Name::parse(text).expect("a literal name")
}

fn shell(script: &str) -> Hook {
    Hook {
        program: "/bin/sh".to_owned(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
    }
}

fn hook(name: &str, kind: HookKind) -> QuiesceHook {
    QuiesceHook {
        name: lone(name),
        kind,
        ready: LONG,
        max_hold: LONG,
        identity: None,
    }
}

fn holding(script: &str) -> QuiesceHook {
    let command = shell(script);
    hook("held", HookKind::Hold { command })
}

/// A folder with leases and what hooks write.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = format!("cowherd-held-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).expect("the temporary folder is writable");
        Self { folder }
    }

    fn scope(&self) -> Scope {
        Scope {
            host: None,
            leases: self.leases(),
            job: "J1".to_owned(),
            group: lone("vg"),
            volumes: "vg/origin".to_owned(),
            now: WALL,
        }
    }

    fn leases(&self) -> Leases {
        Leases::beside(&self.folder.join("journal.jsonl"))
    }

    fn leases_left(&self) -> usize {
        let entries = fs::read_dir(self.folder.join("leases"));
        entries.map_or(0, Iterator::count)
    }

    /// `before` and `after` say so in a file.
    fn pair(&self, before: &str, after: &str) -> QuiesceHook {
        let note = self.note().display().to_string();
        let before = format!("echo before $COWHERD_JOB $COWHERD_VOLUMES >> {note}; {before}");
        let after = format!("echo after $COWHERD_HOOK $COWHERD_VG >> {note}; {after}");
        let kind = HookKind::Pair {
            before: shell(&before),
            after: shell(&after),
        };
        hook("pair", kind)
    }

    fn note(&self) -> PathBuf {
        self.folder.join("note")
    }

    fn noted(&self) -> Vec<String> {
        let text = fs::read_to_string(self.note()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What stays is in the temporary folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn why(end: &HookEnd) -> &str {
    match end {
        HookEnd::Held => "",
        HookEnd::Unready(why) | HookEnd::Lost(why) => why,
    }
}

#[track_caller]
fn ends(hook: &QuiesceHook, is_ready: bool, said: &str) -> HookRun {
    let place = Place::new();
    let asked = ask(&place.scope(), hook);
    assert_eq!(asked.is_ready(), is_ready, "{asked:?}");
    let run = asked.release().run;
    assert!(why(&run.end).contains(said), "{run:?}");
    run
}

#[test]
fn a_hook_holds_from_ready_until_it_is_released() {
    let place = Place::new();
    let note = place.note().display().to_string();
    let script = format!("echo READY; cat; echo released >> {note}");
    let asked = ask(&place.scope(), &holding(&script));
    assert!(asked.is_ready() && asked.still_holds() && place.noted().is_empty());
    let released = asked.release();
    assert_eq!(released.run.end, HookEnd::Held, "{released:?}");
    assert_eq!(place.noted(), ["released"]);
    let (from, to) = released.span.expect("it held");
    assert!(from < to);
}

#[test]
fn a_hook_that_is_dropped_lets_go() {
    let place = Place::new();
    let note = place.note().display().to_string();
    let script = format!("echo READY; cat; echo released >> {note}");
    drop(ask(&place.scope(), &holding(&script)));
    wait_for("it has let go", || place.noted() == ["released"]);
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "{what}: not within {LONG:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_hook_that_does_not_get_ready_says_why() {
    let unready = |run: HookRun| matches!(run.end, HookEnd::Unready(_));
    let failed = holding("echo 'server is gone' >&2; exit 3");
    assert!(unready(ends(
        &failed,
        false,
        "exit status 3: server is gone"
    )));
    let silent = holding("exit 0");
    assert!(unready(ends(&silent, false, "it ended without READY")));
    let late = QuiesceHook {
        ready: SHORT,
        ..holding("echo NEARLY; cat")
    };
    assert!(unready(ends(&late, false, "it did not say READY within")));
    let command = Hook {
        program: "/nowhere/hook".to_owned(),
        arguments: Vec::new(),
    };
    let missing = hook("held", HookKind::Hold { command });
    assert!(unready(ends(&missing, false, "find /nowhere/hook")));
}

#[test]
fn a_hook_that_ends_while_it_should_hold_is_lost() {
    let place = Place::new();
    let asked = ask(&place.scope(), &holding("echo READY; exit 0"));
    assert!(asked.is_ready());
    wait_for("it has ended", || !asked.still_holds());
    let run = asked.release().run;
    assert!(matches!(run.end, HookEnd::Lost(_)), "{run:?}");
    // One that finds out at the end that it did not hold says so by its exit.
    let run = ends(
        &holding("echo READY; cat; echo 'lost it' >&2; exit 1"),
        true,
        "lost it",
    );
    assert!(matches!(run.end, HookEnd::Lost(_)), "{run:?}");
}

#[test]
fn a_hook_that_is_held_for_too_long_is_let_go_by_itself() {
    let place = Place::new();
    let note = place.note().display().to_string();
    let script = format!(
        "trap 'echo asked >> {note}; exit 0' TERM; echo READY; while :; do sleep 0.05; done"
    );
    let deadline = QuiesceHook {
        max_hold: SHORT,
        ..holding(&script)
    };
    let asked = ask(&place.scope(), &deadline);
    assert!(asked.is_ready());
    wait_for("it was asked to end", || place.noted() == ["asked"]);
    assert!(!asked.still_holds());
    let run = asked.release().run;
    assert!(matches!(run.end, HookEnd::Lost(_)), "{run:?}");
}

#[test]
fn a_pair_is_run_around_and_leaves_no_lease() {
    let place = Place::new();
    let asked = ask(&place.scope(), &place.pair("true", "true"));
    assert!(asked.is_ready());
    assert_eq!(place.noted(), ["before J1 vg/origin"]);
    assert_eq!(place.leases_left(), 1);
    let run = asked.release().run;
    assert_eq!((run.end, run.stuck), (HookEnd::Held, None));
    assert_eq!(place.noted(), ["before J1 vg/origin", "after pair vg"]);
    assert_eq!(place.leases_left(), 0);
}

#[test]
fn after_is_run_when_before_failed_or_was_late() {
    for (before, said) in [
        ("echo no >&2; exit 1", "exit status 1: no"),
        ("sleep 600", "was stopped"),
    ] {
        let place = Place::new();
        let pair = QuiesceHook {
            ready: if before == "sleep 600" { SHORT } else { LONG },
            ..place.pair(before, "true")
        };
        let asked = ask(&place.scope(), &pair);
        assert!(!asked.is_ready());
        let run = asked.release().run;
        assert!(why(&run.end).contains(said), "{run:?}");
        assert_eq!(place.noted().len(), 2, "{:?}", place.noted());
        assert_eq!(place.leases_left(), 0);
    }
}

#[test]
fn a_pair_that_is_held_for_too_long_is_let_go_by_its_keeper() {
    let place = Place::new();
    let pair = QuiesceHook {
        max_hold: SHORT,
        ..place.pair("true", "true")
    };
    let asked = ask(&place.scope(), &pair);
    assert!(asked.is_ready());
    wait_for("`after` was run and the lease is gone", || {
        place.noted().len() == 2 && place.leases_left() == 0
    });
    let run = asked.release().run;
    assert!(
        why(&run.end).contains("it was held for more than"),
        "{run:?}"
    );
    assert_eq!(place.noted().len(), 2);
}

#[test]
fn an_after_that_fails_is_run_again_by_the_next_guard() {
    let place = Place::new();
    let mended = place.folder.join("mended").display().to_string();
    let pair = place.pair("true", &format!("test -e {mended}"));
    let run = ask(&place.scope(), &pair).release().run;
    assert_eq!(run.end, HookEnd::Held);
    assert!(
        run.stuck
            .is_some_and(|stuck| stuck.contains("`after`: exit status 1"))
    );
    assert_eq!(place.leases_left(), 1);
    let down = |hooks: Vec<QuiesceHook>| run_down(None, place.leases(), hooks);
    let told = down(Vec::new());
    assert!(!told[0].0 && told[0].1.contains("no such pair"), "{told:?}");
    let told = down(vec![pair.clone()]);
    assert!(
        !told[0].0 && told[0].1.contains("exit status 1"),
        "{told:?}"
    );
    fs::write(&mended, "").expect("the folder is writable");
    assert_eq!(
        down(vec![pair.clone()]),
        [(true, "hook pair of job J1".to_owned())]
    );
    assert_eq!(place.leases_left(), 0);
    assert!(down(vec![pair]).is_empty());
}

#[test]
fn what_cannot_be_noted_is_not_begun() {
    let place = Place::new();
    // No folder can be made where a file is.
    fs::write(place.folder.join("leases"), "").expect("the folder is writable");
    let asked = ask(&place.scope(), &place.pair("true", "true"));
    assert!(!asked.is_ready());
    assert!(why(&asked.release().run.end).starts_with("write "));
    assert!(place.noted().is_empty());
}

#[test]
fn a_before_that_its_guard_left_running_is_ended_before_after_is_run() {
    let place = Place::new();
    let pair = place.pair("true", "true");
    let asked = ask(&place.scope(), &pair);
    let path = fs::read_dir(place.folder.join("leases"))
        .expect("there is one")
        .next();
    let path = path.expect("a lease").expect("it is readable").path();
    let text = fs::read_to_string(&path).expect("it is readable");
    assert_eq!(asked.release().run.end, HookEnd::Held);
    // As if the guard had died while this was its `before`.
    let mut left = Command::new("/bin/sleep");
    left.arg("600").process_group(0).stdin(Stdio::null());
    left.stdout(Stdio::null()).stderr(Stdio::null());
    let mut left = left.spawn().expect("there is sleep");
    let stat = fs::read_to_string(format!("/proc/{}/stat", left.id())).expect("it runs");
    let started = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().nth(19));
    let mut lease: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let started: u64 = started.expect("a field").parse().expect("a number");
    lease["before"] = serde_json::json!({"pid": left.id(), "started": started});
    fs::write(&path, lease.to_string()).expect("the folder is writable");
    let told = run_down(None, place.leases(), vec![pair]);
    assert!(told[0].0, "{told:?}");
    let status = left.wait().expect("ours");
    assert_eq!(status.code(), None, "{status}");
}

fn run_of(end: HookEnd, stuck: Option<&str>) -> HookRun {
    HookRun {
        name: lone("app"),
        end,
        stuck: stuck.map(str::to_owned),
    }
}

#[test]
fn a_snapshot_is_worth_what_every_hook_held() {
    use QuiesceMode::{BestEffort, None as Nobody, Required};
    let held = || run_of(HookEnd::Held, None);
    let stuck = || run_of(HookEnd::Held, Some("`after`: no"));
    let lost = || run_of(HookEnd::Lost("it died".to_owned()), None);
    let unready = || run_of(HookEnd::Unready("no".to_owned()), None);
    let kept = |consistency, remark: Option<&str>| Worth::Kept {
        consistency,
        remark: remark.map(str::to_owned),
    };
    let (sound, crash) = (Consistency::Application, Consistency::Crash);
    for (case, mode, runs, expected) in [
        (
            "all held",
            Required,
            vec![held(), held()],
            kept(sound, None),
        ),
        (
            "one stuck",
            Required,
            vec![held(), stuck()],
            kept(sound, Some("hook app: `after`: no")),
        ),
        (
            "one lost",
            Required,
            vec![held(), lost()],
            Worth::Unwanted("hook app did not hold: it died".to_owned()),
        ),
        (
            "one unready",
            Required,
            vec![unready()],
            Worth::Unwanted("hook app did not get ready: no".to_owned()),
        ),
        (
            "lost, and that will do",
            BestEffort,
            vec![lost(), held()],
            kept(crash, Some("hook app did not hold: it died")),
        ),
        (
            "all held at best",
            BestEffort,
            vec![held()],
            kept(sound, None),
        ),
        ("nobody was to", Nobody, vec![], kept(crash, None)),
    ] {
        assert_eq!(worth(mode, &runs), expected, "{case}");
    }
    assert!(goes_on(Required, true) && !goes_on(Required, false) && goes_on(BestEffort, false));
    assert!(!may_stay(Required) && may_stay(BestEffort) && may_stay(Nobody));
}

#[test]
fn it_was_held_from_the_first_to_the_last() {
    let begin = Instant::now();
    let at = |millis| begin + Duration::from_millis(millis);
    assert_eq!(held_ms(&[]), None);
    assert_eq!(held_ms(&[(at(40), at(90)), (at(10), at(70))]), Some(80));
}

fn quiesced(hooks: &[&str], mode: QuiesceMode) -> Action {
    Action::Create(Create {
        quiesce: Some(Quiesce {
            hooks: hooks.iter().copied().map(lone).collect(),
            mode,
        }),
        ..create()
    })
}

#[test]
fn only_configured_hooks_are_named_by_those_who_may() {
    use QuiesceMode::{BestEffort, None as Nobody, Required};
    let mut host = Host::new();
    let ask = |host: &Host, hooks: &[&str]| host.ask("origin", quiesced(hooks, Required));
    let refusal = ask(&host, &["app"]).expect_err("there is none");
    assert_eq!(refusal.code, Code::UnknownHook);
    assert!(refusal.detail.ends_with("names none"), "{}", refusal.detail);
    let app = holding("true");
    host.access.hooks = vec![
        QuiesceHook {
            name: lone("app"),
            ..app.clone()
        },
        QuiesceHook {
            name: lone("db"),
            ..app
        },
    ];
    let task = ask(&host, &["app", "db"]).expect("root may");
    assert!(
        task.plan.summary.ends_with(" while app, db holds"),
        "{}",
        task.plan.summary
    );
    let quiesce = task.quiesce.expect("it is to hold");
    assert_eq!(quiesce.hooks, [lone("app"), lone("db")]);
    let refusal = ask(&host, &["app", "nothing"]).expect_err("there is none");
    assert!(
        refusal.detail.ends_with("names app, db"),
        "{}",
        refusal.detail
    );
    let backup = |hooks| host.judge(&BACKUP, &act("thin", quiesced(hooks, BestEffort)));
    backup(&["app"]).expect("its rule says so");
    for hooks in [&["db"][..], &["nothing"]] {
        // It learns nothing of what there is.
        let refusal = backup(hooks).expect_err("not its");
        assert_eq!(refusal.code, Code::Forbidden);
    }
    for (hooks, mode) in [
        (&[][..], Required),
        (&[], BestEffort),
        (&["app"], Nobody),
        (&["app", "app"], Required),
        (&["a", "b", "c", "d", "e", "f", "g", "h", "i"], Required),
    ] {
        host.refuses(
            "origin",
            quiesced(hooks, mode),
            Code::InvalidRequest,
            "`quiesce.hooks`",
        );
    }
    let task = host
        .ask("origin", quiesced(&[], Nobody))
        .expect("nobody is to");
    assert_eq!(task.quiesce, None);
}

#[test]
fn a_task_of_an_older_journal_holds_nobody() {
    let host = Host::new();
    let task = host.ask("origin", named("new")).expect("granted");
    let text = serde_json::to_string(&task).expect("JSON");
    assert!(!text.contains("quiesce"), "{text}");
    let read: Task = serde_json::from_str(&text).expect("a task");
    assert_eq!(read, task);
}
