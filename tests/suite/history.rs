//! `cowherd history`: journals that are whole, torn, changed, rotated, or none at all.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use cowherd::model::journal::{NOTHING_BEFORE, Record, digest};
use cowherd::report::history::{self, Fault, Filter};
use proptest::prelude::{any, prop, proptest};
use serde_json::{Value, json};

use super::fake_guard::{Told, cowherd, folder, write};
use super::metrics::golden;

/// A folder with a journal in it, which goes with it.
struct Journal {
    folder: PathBuf,
}

impl Journal {
    fn of(lines: &[String]) -> Self {
        Self::with(&text(lines))
    }

    fn with(text: &str) -> Self {
        let journal = Self {
            folder: folder("journal"),
        };
        write(&journal.path(), text.as_bytes());
        journal
    }

    fn rotated(self, lines: &[String]) -> Self {
        write(&self.folder.join("journal.jsonl.1"), text(lines).as_bytes());
        self
    }

    fn path(&self) -> PathBuf {
        self.folder.join("journal.jsonl")
    }

    fn shown(&self) -> String {
        self.path().display().to_string()
    }

    fn told(&self, arguments: &[&str]) -> Told {
        history_of(&self.path(), arguments)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).expect("it was made by `with`");
    }
}

fn history_of(path: &Path, arguments: &[&str]) -> Told {
    let mut command = cowherd(&["history", "--journal"]);
    Told::of(command.arg(path).args(arguments))
}

fn text(lines: &[String]) -> String {
    let ended = lines.iter().flat_map(|line| [line.as_str(), "\n"]);
    ended.collect()
}

fn record(changes: &Value) -> Value {
    let mut record = json!({"ts": 1_790_000_000.25, "seq": 0, "prev": "", "kind": "intent", "job": "01JA",
        "caller": {"kind": "peer", "uid": 0, "gid": 0}, "line": "POST /api/v1/snapshots/vg0%2Fsnap/merge",
        "verb": "merge", "target": {"vg": "vg0", "lv": "snap", "uuid": "u"}, "detail": "merge vg0/snap",
        "code": null, "host": "what a later guard adds"});
    for (key, value) in changes.as_object().expect("an object") {
        record[key] = value.clone();
    }
    record
}

/// Each continues the one before it; the first continues `before`.
fn chained(before: &str, all: &[Value]) -> Vec<String> {
    let mut prev = before.to_owned();
    let mut lines = Vec::new();
    for (number, record) in all.iter().enumerate() {
        let mut record = record.clone();
        record["seq"] = json!(number + 1);
        record["prev"] = json!(prev);
        let line = record.to_string();
        prev = digest(line.as_bytes());
        lines.push(line);
    }
    lines
}

fn story() -> Vec<String> {
    let records = [
        record(&json!({})),
        record(&json!({"kind": "outcome", "ts": 1_790_000_002.0, "detail": "merged"})),
        record(
            &json!({"kind": "refused", "ts": 1_790_000_060.0, "verb": null, "target": null, "job": null,
            "caller": {"kind": "peer", "uid": 1000, "gid": 1000}, "code": "forbidden",
            "line": "DELETE /api/v1/snapshots/\u{7f}", "detail": "user 1000 may\nnot"}),
        ),
        record(
            &json!({"kind": "reconciled", "ts": 1_790_090_000.0, "verb": "remove", "code": "interrupted",
            "target": {"vg": "vg-other", "lv": "old", "uuid": "o"}, "detail": "it is gone"}),
        ),
    ];
    chained(NOTHING_BEFORE, &records)
}

#[test]
fn a_journal_is_shown_as_reviewed() {
    let journal = Journal::of(&story());
    let told = journal.told(&[]);
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    golden("tests/suite/golden/history.txt", &told.out);
}

#[test]
fn json_prints_lines_as_they_are() {
    let mut lines = story();
    lines[1] = format!("  {}  ", lines[1]);
    let journal = Journal::of(&lines);
    journal.told(&["--json"]).is(0, &text(&lines), "");
    journal
        .told(&["--json", "--vg", "vg-other"])
        .is(0, &text(&lines[3..]), "");
    journal
        .told(&["--vg", "vg9"])
        .is(0, "nothing on record\n", "");
}

#[test]
fn what_is_older_is_left_out() {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let ago = |secs: u64| record(&json!({"ts": now - secs}));
    let lines = chained(NOTHING_BEFORE, &[ago(90_000), ago(3700), ago(60)]);
    let journal = Journal::of(&lines);
    journal
        .told(&["--json", "--since", "24h"])
        .is(0, &text(&lines[1..]), "");
    journal
        .told(&["--json", "--since", "1h"])
        .is(0, &text(&lines[2..]), "");
}

#[test]
fn what_was_rotated_comes_first() {
    let older = story();
    let last = digest(older[3].as_bytes());
    let newer = chained(&last, &[record(&json!({"detail": "newer"}))]);
    let journal = Journal::of(&newer).rotated(&older);
    let all = [older, newer.clone()].concat();
    journal.told(&["--json"]).is(0, &text(&all), "");
    let digest = digest(newer[0].as_bytes());
    let line = format!("OK: each of 5 lines continues the one before it, the last is {digest}\n");
    journal.told(&["--verify"]).is(0, &line, "");
}

#[test]
fn what_was_rotated_is_shown_before_anything_follows_it() {
    let journal = Journal::of(&[]).rotated(&story());
    // Whoever rotated it was killed before there was another line.
    std::fs::remove_file(journal.path()).expect("it was made above");
    journal.told(&["--json"]).is(0, &text(&story()), "");
    let digest = digest(story()[3].as_bytes());
    let line = format!("OK: each of 4 lines continues the one before it, the last is {digest}\n");
    journal.told(&["--verify"]).is(0, &line, "");
}

#[test]
fn a_refusal_is_shown_for_the_group_that_it_names() {
    let uuid = "SnApsh-0000-1111-2222-3333-4444-555555";
    let refused = |target: Value, line: &str, detail: &str| {
        record(
            &json!({"kind": "refused", "job": null, "verb": null, "code": "protected", "target": target,
            "line": line, "detail": detail}),
        )
    };
    let of_path = |path: &str| refused(Value::Null, &format!("DELETE /api/v1{path}"), "no");
    let of_detail = |detail: &str| refused(Value::Null, "POST /api/v1/confirmations", detail);
    let by_uuid = format!("{uuid}: vg0/s1: it is protected");
    let named = json!({"vg": "vg0", "lv": "s1"});
    let other = json!({"vg": "vg1", "lv": "s1"});
    for (name, record, is_shown) in [
        ("a target", refused(named, "", ""), true),
        ("a path", of_path("/snapshots/vg0%2Fs1"), true),
        (
            "and more",
            of_path("/volumes/vg0%2fs1/snapshots?wait=1"),
            true,
        ),
        ("encoded letters", of_path("/snapshots/vg%30%2Fs1"), true),
        ("a sentence", of_detail("vg0/s1: it is protected"), true),
        ("a uuid and a name", of_detail(&by_uuid), true),
        ("another target", refused(other, "", "vg0/s1"), false),
        ("a longer group", of_path("/snapshots/vg00%2Fs1"), false),
        ("a group's end", of_detail("my-vg0/s1: no"), false),
        ("a uuid", of_path(&format!("/snapshots/{uuid}")), false),
        ("a device", of_detail("/dev/vg0/s1: no"), false),
        ("half an escape", of_path("/snapshots/vg0%2"), false),
    ] {
        let lines = chained(NOTHING_BEFORE, &[record]);
        let told = Journal::of(&lines).told(&["--json", "--vg", "vg0"]);
        let expected = if is_shown {
            text(&lines)
        } else {
            String::new()
        };
        assert_eq!((told.out, told.err), (expected, String::new()), "{name}");
    }
}

#[test]
fn a_torn_last_line_is_told_and_hides_nothing() {
    let lines = story();
    let torn = text(&lines[..3]) + &lines[3][..50];
    let journal = Journal::with(&torn);
    let note = format!(
        "cowherd: {}: line 4 is not whole: it is being written, or whoever wrote it was stopped\n",
        journal.shown()
    );
    journal.told(&["--json"]).is(0, &text(&lines[..3]), &note);
    let told = journal.told(&["--verify"]);
    assert_eq!((told.code, told.err), (Some(0), note));
    assert!(told.out.starts_with("OK: each of 3 lines"), "{}", told.out);
    // One that lacks its end alone is whole.
    let journal = Journal::with(text(&lines).trim_end());
    journal.told(&["--json"]).is(0, &text(&lines), "");
}

#[test]
fn a_foreign_line_is_told_and_hides_nothing() {
    let mut lines = story();
    lines.insert(1, "who did this?\u{1b}".to_owned());
    let journal = Journal::of(&lines);
    let shown = journal.shown();
    let note = format!("cowherd: {shown}: line 2 is no record of the journal\n");
    lines.remove(1);
    journal.told(&["--json"]).is(0, &text(&lines), &note);
    let broken = format!("cowherd: {shown}: line 2: is no record of the journal\n");
    journal
        .told(&["--verify"])
        .is(1, "", &format!("{note}{broken}"));
}

#[test]
fn a_journal_that_was_changed_is_told_where() {
    type Change = fn(&mut Vec<String>);
    let unchained = "does not continue the line before it: one of the two was changed, or something between them is gone";
    let changed = |change: Change| {
        let mut lines = story();
        change(&mut lines);
        Journal::of(&lines)
    };
    let cases: [(Change, usize, &str); 5] = [
        (
            |lines| lines[1] = lines[1].replace("merged", "merger"),
            3,
            unchained,
        ),
        (|lines| drop(lines.remove(1)), 2, unchained),
        (|lines| lines.swap(1, 2), 2, unchained),
        (|lines| lines[0].push(' '), 2, unchained),
        (
            |lines| drop(lines.remove(0)),
            1,
            "continues a file that is not there",
        ),
    ];
    for (change, number, fault) in cases {
        let journal = changed(change);
        let line = format!("cowherd: {}: line {number}: {fault}\n", journal.shown());
        journal.told(&["--verify"]).is(1, "", &line);
    }
    let journal = Journal::of(&story()).rotated(&story()[..2]);
    let line = format!("cowherd: {}: line 1: {unchained}\n", journal.shown());
    journal.told(&["--verify"]).is(1, "", &line);
    let journal = Journal::of(&[]).rotated(&[story()[0].clone(), story()[2].clone()]);
    let line = format!("cowherd: {}.1: line 2: {unchained}\n", journal.shown());
    journal.told(&["--verify"]).is(1, "", &line);
}

#[test]
fn a_journal_that_cannot_be_read_is_told() {
    let journal = Journal::with("");
    journal.told(&[]).is(0, "nothing on record\n", "");
    journal
        .told(&["--verify"])
        .is(0, "OK: each of 0 lines continues the one before it\n", "");
    let missing = journal.folder.join("none");
    let line = format!(
        "cowherd: read journal {}: No such file or directory (os error 2)\n",
        missing.display()
    );
    history_of(&missing, &[]).is(1, "", &line);
    let line = format!(
        "cowherd: read journal {}: Is a directory (os error 21)\n",
        journal.folder.display()
    );
    history_of(&journal.folder, &[]).is(1, "", &line);
    let below = journal.path().join("none");
    let line = format!(
        "cowherd: read journal {}: Not a directory (os error 20)\n",
        below.display()
    );
    history_of(&below, &[]).is(1, "", &line);
    let same = history_of(&journal.path(), &["--verify", "--json"]);
    assert_eq!(same.code, Some(2));
}

#[test]
fn a_record_of_any_time_can_be_shown() {
    for ts in [-1e300, -1.0, 0.0, 253_402_300_800.0, 1e300] {
        let mut record: Record = serde_json::from_value(record(&json!({}))).expect("a record");
        record.ts.0 = ts;
        assert_eq!(history::table([&record].into_iter()).lines().count(), 2);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_journal(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let reading = history::read(&bytes);
        let _ = history::verify(Some(&reading), &reading);
        let length: usize = reading.lines.iter().map(|line| line.bytes.len() + 1).sum();
        assert!(length <= bytes.len() + 1);
    }

    #[test]
    fn whatever_is_changed_before_the_last_line_is_found(at: prop::sample::Index, to: u8) {
        let mut bytes = text(&story()).into_bytes();
        let last = story().pop().expect("it has lines").len() + 1;
        let at = at.index(bytes.len() - last);
        let was = std::mem::replace(&mut bytes[at], to);
        let read = history::read(&bytes);
        assert_eq!(history::verify(None, &read).is_ok(), was == to);
    }

    #[test]
    fn wherever_it_is_cut_off_the_lines_before_are_there(at: prop::sample::Index) {
        let lines = story();
        let bytes = text(&lines).into_bytes();
        let cut = history::read(&bytes[..at.index(bytes.len())]);
        assert!(history::verify(None, &cut).is_ok());
        let all = Filter::default();
        let shown = cut.lines.iter().zip(&lines);
        assert!(shown.clone().all(|(found, line)| found.bytes == line.as_bytes()));
        assert!(cut.lines.iter().all(|line| line.record.as_ref().is_some_and(|record| all.shows(record))));
    }
}

#[test]
fn a_rotated_file_may_continue_what_is_gone() {
    let lines = chained(&"f".repeat(64), &[record(&json!({}))]);
    let bytes = text(&lines);
    let rotated = history::read(bytes.as_bytes());
    assert!(history::verify(Some(&rotated), &history::Reading::default()).is_ok());
    let found = history::verify(None, &rotated).expect_err("what it continues is not there");
    assert_eq!(found.fault, Fault::Headless);
}
