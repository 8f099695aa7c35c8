//! One line of the journal: what somebody asked for, and what came of it.
//!
//! The guard writes the lines, `cowherd history` reads them. Each carries the digest of the line before it, so
//! that a line that was changed or taken out is noticed. Files are rotated: the first line of a file continues the
//! last one of `journal.jsonl.1`, and that of the very first file carries `NOTHING_BEFORE`.

use serde::{Deserialize, Serialize};

use super::action::{Caller, JobTarget, Verb};
use super::names::{Name, VolumeName};
use super::refusal::Code;
use super::time::UnixSeconds;

/// Where the guard writes and people read. What is older is beside it, with `.1` at the end.
pub const PATH: &str = "/var/lib/cowherd/journal.jsonl";

/// `prev` of the very first line.
pub const NOTHING_BEFORE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A line, without its line feed. A reader leaves out keys that it does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub ts: UnixSeconds,
    /// One more than that of the line before.
    pub seq: u64,
    /// `digest` of the line before.
    pub prev: String,
    pub kind: RecordKind,
    pub job: Option<String>,
    pub caller: Caller,
    /// The request's: `POST /api/v1/...`.
    pub line: String,
    pub verb: Option<Verb>,
    pub target: Option<RecordTarget>,
    /// In one sentence.
    pub detail: String,
    /// Of what was refused or failed.
    pub code: Option<Code>,
}

/// The volume that a line is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordTarget {
    pub vg: Name,
    pub lv: Name,
    /// LVM's, with its hyphens. Nothing where a request that was refused names a volume that nobody has looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// It is about to be done.
    Intent,
    /// It was done, or failed.
    Outcome,
    Refused,
    /// What a guard that ended meanwhile had begun, as the next one found it.
    Reconciled,
}

impl RecordTarget {
    /// What goes by this name, if anything does.
    #[must_use]
    pub fn named(name: &VolumeName) -> Self {
        Self {
            vg: name.vg.clone(),
            lv: name.lv.clone(),
            uuid: None,
        }
    }
}

impl From<&JobTarget> for RecordTarget {
    fn from(target: &JobTarget) -> Self {
        Self {
            vg: target.vg.clone(),
            lv: target.lv.clone(),
            uuid: Some(target.uuid.clone()),
        }
    }
}

impl RecordKind {
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Refused => "refused",
            Self::Reconciled => "reconciled",
        }
    }
}

/// SHA-256 of a line as it stands in the file, without its line feed, in lower case hexadecimal.
#[must_use]
pub fn digest(line: &[u8]) -> String {
    hexadecimal(ring::digest::digest(&ring::digest::SHA256, line).as_ref())
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves
        .map(|half| char::from(DIGITS[usize::from(half)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"ts":1790000000.25,"seq":7,"prev":"0000000000000000000000000000000000000000000000000000000000000000","kind":"outcome","job":"01J","caller":{"kind":"peer","uid":0,"gid":0},"line":"POST /api/v1/snapshots/vg0%2Fsnap/merge","verb":"merge","target":{"vg":"vg0","lv":"snap","uuid":"u"},"detail":"it is in use","code":"busy"}"#;

    #[test]
    fn a_record_is_written_as_it_is_documented() {
        let record: Record = serde_json::from_str(LINE).expect("a record");
        assert_eq!(serde_json::to_string(&record).expect("JSON"), LINE);
        assert_eq!(record.prev, NOTHING_BEFORE);
        assert_eq!(record.kind.label(), "outcome");
    }

    #[test]
    fn what_was_refused_may_have_a_name_and_no_uuid() {
        for target in [r#"{"vg":"vg0","lv":"snap"}"#, "null"] {
            let line = LINE.replace(r#"{"vg":"vg0","lv":"snap","uuid":"u"}"#, target);
            let record: Record = serde_json::from_str(&line).expect("a record");
            assert_eq!(serde_json::to_string(&record).expect("JSON"), line);
        }
    }

    #[test]
    fn callers_over_the_network_are_written_as_what_they_showed() {
        for (caller, shown) in [
            (r#"{"kind":"token","id":"backup-1"}"#, "token backup-1"),
            (r#"{"kind":"certificate","name":"a.b"}"#, "certificate a.b"),
            (
                r#"{"kind":"stranger","address":"10.0.0.1"}"#,
                "somebody at 10.0.0.1",
            ),
        ] {
            let line = LINE.replace(r#"{"kind":"peer","uid":0,"gid":0}"#, caller);
            let record: Record = serde_json::from_str(&line).expect("a record");
            assert_eq!(serde_json::to_string(&record).expect("JSON"), line);
            assert_eq!(record.caller.to_string(), shown);
        }
        let line = LINE.replace(
            r#""kind":"peer","uid":0,"gid":0"#,
            r#""kind":"token","id":"../x""#,
        );
        assert!(serde_json::from_str::<Record>(&line).is_err());
    }

    #[test]
    fn what_a_later_guard_adds_is_left_out() {
        let later = LINE.replacen('{', r#"{"host":{"name":"a"},"#, 1);
        let record: Record = serde_json::from_str(&later).expect("a record");
        assert_eq!(serde_json::to_string(&record).expect("JSON"), LINE);
    }

    #[test]
    fn the_digest_is_sha_256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(b""), empty);
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest(b"abc"), abc);
    }
}
