//! Snapshots and what is done with them, as plain text: what `cowherd snapshot` prints.

use crate::model::action::{Job, JobResult, Owner, Planned, Verb, VolumeState, VolumeView};
use crate::model::quiesce::Consistency;
use crate::model::time::UnixSeconds;
use crate::model::volume::VolumeKind;

use super::columns::{Side, Table};
use super::text;

/// One line each, sorted by name.
#[must_use]
pub fn list(snapshots: &[VolumeView], now: UnixSeconds) -> String {
    use Side::{Left, Right};
    if snapshots.is_empty() {
        return "no snapshots\n".to_owned();
    }
    let heads = [
        "NAME", "ORIGIN", "TYPE", "SIZE", "USED", "STATE", "AGE", "EXPIRES", "OWNER", "FLAGS",
    ];
    let mut table = Table {
        sides: [
            Left, Left, Left, Right, Right, Left, Right, Right, Left, Left,
        ],
        rows: vec![heads.map(str::to_owned)],
    };
    let mut sorted: Vec<&VolumeView> = snapshots.iter().collect();
    sorted.sort_by_key(|volume| (&volume.vg, &volume.name));
    table
        .rows
        .extend(sorted.into_iter().map(|volume| row(volume, now)));
    table.text()
}

/// What would be done, then a line for each thing that is lost.
#[must_use]
pub fn plan(planned: &Planned) -> String {
    let mut lines = text::one_line(&planned.summary);
    lines.push('\n');
    for loss in &planned.loses {
        lines.push_str("  lost: ");
        lines.push_str(&text::one_line(loss));
        lines.push('\n');
    }
    lines
}

/// What a job has done, in one line: `created vg0/home-20261122`.
#[must_use]
pub fn done(job: &Job) -> String {
    let target = format!("{}/{}", job.target.vg, job.target.lv);
    let result = job.result.clone().unwrap_or_default();
    let made = made(&result);
    let JobResult {
        snapshot: _,
        snapshots: _,
        deferred,
        unchanged,
        consistency,
        remark,
        held_ms,
    } = result;
    let subject = made.as_ref().unwrap_or(&target);
    if unchanged {
        return format!("{subject}: nothing to do\n");
    }
    let did = match job.verb {
        Verb::Create => "created",
        Verb::Extend => "extended",
        Verb::Activate => "activated",
        Verb::Deactivate => "deactivated",
        Verb::Merge if deferred => {
            return format!("{target} will be merged when its origin is next activated\n");
        }
        Verb::Merge => "merged",
        Verb::Remove => "removed",
        Verb::Label => "labelled",
    };
    let worth = worth(consistency, held_ms, remark.as_deref());
    format!("{did} {subject}{worth}\n")
}

/// The names of what was made; a guard of an older version tells of one alone.
pub(super) fn made(result: &JobResult) -> Option<String> {
    let all = match result.snapshots.as_slice() {
        [] => result.snapshot.as_slice(),
        all => all,
    };
    let names = all.iter().map(|made| format!("{}/{}", made.vg, made.lv));
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// As what it has the files of applications, for a snapshot that somebody was to hold still for.
fn worth(consistency: Option<Consistency>, held_ms: Option<u64>, remark: Option<&str>) -> String {
    let Some(consistency) = consistency else {
        return String::new();
    };
    let kept = match consistency {
        Consistency::Application => "application-consistent",
        Consistency::Crash => "crash-consistent only",
    };
    let held = held_ms.map(|held| format!(", held for {held} ms"));
    let remark = remark.map(|remark| format!("; {}", text::one_line(remark)));
    let (held, remark) = (held.unwrap_or_default(), remark.unwrap_or_default());
    format!(" ({kept}{held}{remark})")
}

fn row(volume: &VolumeView, now: UnixSeconds) -> [String; 10] {
    let known = |text: Option<String>| text.unwrap_or_else(|| text::NOTHING.to_owned());
    [
        format!("{}/{}", volume.vg, volume.name),
        origin(volume),
        kind(volume.kind).to_owned(),
        text::size(volume.size_bytes),
        known(volume.used_percent.map(text::of_hundred)),
        state(volume),
        known(volume.created.map(|created| text::between(created, now))),
        known(volume.expires.map(|expires| expiry(expires, now))),
        owner(volume.owner).to_owned(),
        flags(volume),
    ]
}

/// By its name alone: it is in the same group. One that is gone has left its uuid.
fn origin(volume: &VolumeView) -> String {
    match &volume.origin {
        Some(origin) => match &origin.name {
            Some(name) => name.to_string(),
            None => format!("gone ({})", text::one_line(&origin.uuid)),
        },
        None => text::NOTHING.to_owned(),
    }
}

/// In the words of `--type`.
const fn kind(kind: VolumeKind) -> &'static str {
    match kind {
        VolumeKind::Cow | VolumeKind::Thick => "thick",
        VolumeKind::Thin => "thin",
        VolumeKind::ThinPool => "pool",
        VolumeKind::Other => "other",
    }
}

fn state(volume: &VolumeView) -> String {
    match (volume.state, volume.merged_percent) {
        (VolumeState::Active, _) => "active".to_owned(),
        (VolumeState::Inactive, _) => "inactive".to_owned(),
        (VolumeState::Invalid, _) => "invalid".to_owned(),
        (VolumeState::Merging, Some(percent)) => {
            format!("merging {}", text::of_hundred(percent))
        }
        (VolumeState::Merging, None) => "merging".to_owned(),
        (VolumeState::MergeDeferred, _) => "merge deferred".to_owned(),
    }
}

fn expiry(expires: UnixSeconds, now: UnixSeconds) -> String {
    if expires <= now {
        return "expired".to_owned();
    }
    format!("in {}", text::between(now, expires))
}

const fn owner(owner: Owner) -> &'static str {
    match owner {
        Owner::Cowherd => "cowherd",
        Owner::Pve => "pve",
        Owner::Foreign => "foreign",
    }
}

fn flags(volume: &VolumeView) -> String {
    let all = [
        (volume.protected, "protected"),
        (volume.expendable, "expendable"),
        (volume.read_only, "read-only"),
        (volume.open, "open"),
    ];
    let set = all.iter().filter(|(is_set, _)| *is_set);
    let names: Vec<&str> = set.map(|(_, name)| *name).collect();
    names.join(",")
}
