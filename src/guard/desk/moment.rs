//! Takes a snapshot in one moment: has who is to hold still do so, makes it, and lets go at once.
//!
//! All that takes time is done before: the group is ours and has been looked at. What has been made is looked at when
//! everybody has been let go.

use crate::act::quiesce::{self, Asked, Released, Scope};
use crate::act::snapshot::{self, Done};
use crate::command::Finished;
use crate::decide::quiesce::{self as decided, Worth};
use crate::model::action::{JobResult, JobTarget};
use crate::model::quiesce::{Consistency, HookRun, Quiesce, QuiesceMode};
use crate::model::refusal::{Code, Refusal};
use crate::model::step::Task;
use crate::model::tally::Happening;
use crate::model::volume::Volume;

use super::super::clock;
use super::Office;
use super::jobs::Entry;
use super::seeing::Seen;

/// Lets go what a former guard had held still.
pub(super) fn run_down(office: &Office) {
    let host = office.tools.host.clone();
    let (leases, hooks) = (office.leases.clone(), office.access.hooks.clone());
    for (has_let_go, line) in quiesce::run_down(host, leases, hooks) {
        if has_let_go {
            tracing::warn!(detail = line, "let go what a former guard had held still");
        } else {
            office.note(Happening::Stuck);
            tracing::error!(
                detail = line,
                "what a former guard had held still may be so yet"
            );
        }
    }
}

/// What became of hooks and command.
struct Taken {
    /// Of each that was begun, in their order; nothing where none was to be.
    ran: Option<Vec<Result<Option<Finished>, Refusal>>>,
    runs: Vec<HookRun>,
    held_ms: Option<u64>,
}

/// Takes the snapshot of a job, and gives what was seen of it. Whoever calls holds the group and has just decided
/// once more.
pub(super) fn take(
    office: &Office,
    entry: &Entry,
    tell: impl Fn(&str),
) -> Result<(JobResult, Seen), Refusal> {
    let task = &entry.task;
    let quiesce = quiesce_of(task);
    let taken = hold_and_run(office, entry, &quiesce, &tell);
    for run in &taken.runs {
        if let Some(stuck) = &run.stuck {
            office.note(Happening::Stuck);
            tracing::error!(
                job = entry.job.id,
                hook = run.name.as_str(),
                detail = stuck,
                "a hook may not have let go"
            );
        }
    }
    let worth = decided::worth(quiesce.mode, &taken.runs);
    let Some(ran) = taken.ran else {
        let why = match worth {
            Worth::Unwanted(why) => why,
            Worth::Kept { remark, .. } => remark.unwrap_or_default(),
        };
        return Err(hook_failed(task, "no snapshot was taken", &why, None));
    };
    tell("looking at what was made");
    let told = office.see()?;
    let seen = &told.volumes;
    let made = all_made(task, ran, seen);
    match (made, worth) {
        (
            Ok(made),
            Worth::Kept {
                consistency,
                remark,
            },
        ) => {
            let result = JobResult {
                consistency: (quiesce.mode != QuiesceMode::None).then_some(consistency),
                remark,
                held_ms: taken.held_ms,
                ..result(&made)
            };
            Ok((result, told))
        }
        (Ok(_), Worth::Unwanted(why)) => {
            tell("removing what was made");
            let what = match remove_all(office, task, seen) {
                Ok(_) => "what was taken has been removed".to_owned(),
                Err(error) => format!("what was taken is still there ({})", error.detail),
            };
            Err(hook_failed(task, &what, &why, taken.held_ms))
        }
        (Err(mut refusal), _) => {
            let removed = remove_all(office, task, seen)?;
            if removed > 0 && !task.with.is_empty() {
                refusal
                    .detail
                    .push_str("; what was made of the others has been removed");
            }
            Err(refusal)
        }
    }
}

/// What was made, if all of it was.
fn all_made(
    task: &Task,
    ran: Vec<Result<Option<Finished>, Refusal>>,
    seen: &[Volume],
) -> Result<Vec<JobTarget>, Refusal> {
    let mut made = Vec::new();
    for (member, ran) in task.members().zip(ran) {
        if let Done::Made(volume) = snapshot::led_to(member, ran?.as_ref(), seen)? {
            made.push(target(&volume));
        }
    }
    if made.len() < task.members().count() {
        let detail = format!("{}: not all that belong together were made", task.name);
        return Err(Refusal::new(Code::LvmFailed, detail));
    }
    Ok(made)
}

/// Only lvm runs while anybody is held.
fn hold_and_run(office: &Office, entry: &Entry, quiesce: &Quiesce, tell: &impl Fn(&str)) -> Taken {
    let task = &entry.task;
    let scope = Scope {
        host: office.tools.host.clone(),
        leases: office.leases.clone(),
        job: entry.job.id.clone(),
        group: task.name.vg.clone(),
        volumes: task
            .members()
            .map(|member| member.name.to_string())
            .collect::<Vec<_>>()
            .join(" "),
        now: clock::now().wall,
    };
    let mut asked: Vec<Asked> = Vec::new();
    let mut goes_on = true;
    for name in &quiesce.hooks {
        tell(&format!("waiting for hook {name} to be ready"));
        // It was there when this was decided a moment ago.
        let Some(hook) = office.access.hook(name) else {
            continue;
        };
        let one = quiesce::ask(&scope, hook);
        goes_on = decided::goes_on(quiesce.mode, one.is_ready());
        asked.push(one);
        if !goes_on {
            break;
        }
    }
    tell("running lvm");
    let ran = goes_on.then(|| run_all(office, task));
    let mut released: Vec<Released> = asked.into_iter().rev().map(Asked::release).collect();
    released.reverse();
    let spans: Vec<_> = released.iter().filter_map(|one| one.span).collect();
    Taken {
        ran,
        held_ms: decided::held_ms(&spans),
        runs: released.into_iter().map(|one| one.run).collect(),
    }
}

/// What became of a snapshot that a former guard was to take.
pub(super) fn reconcile(
    office: &Office,
    entry: &Entry,
    seen: &[Volume],
) -> Result<JobResult, Refusal> {
    let task = &entry.task;
    let mode = quiesce_of(task).mode;
    let reached = task
        .members()
        .map(|member| match snapshot::reached(member, seen) {
            Some(Done::Made(volume)) => Some(target(&volume)),
            Some(Done::Whole | Done::Merging) | None => None,
        });
    let whole: Option<Vec<JobTarget>> = reached.collect();
    if let (Some(whole), true) = (&whole, decided::may_stay(mode)) {
        let was_held = mode != QuiesceMode::None;
        return Ok(JobResult {
            consistency: was_held.then_some(Consistency::Crash),
            remark: was_held.then(|| format!("the guard ended meanwhile: {UNTOLD}")),
            ..result(whole)
        });
    }
    if office.policy.dry_run {
        return Err(interrupted(
            task,
            "it was not done; a dry run takes nothing away",
        ));
    }
    let removed = remove_all(office, task, seen)?;
    Err(match (whole, removed) {
        (Some(_), _) => {
            let what = format!("{UNTOLD}, so what was taken has been removed; ask for it again");
            interrupted(task, &what)
        }
        (None, 0) => interrupted(task, "it was not done; ask for it again"),
        (None, _) => interrupted(
            task,
            "lvm had not finished, and what it left has been removed; ask for it again",
        ),
    })
}

const UNTOLD: &str = "whether its hooks held until it was made cannot be told";

/// How the sentence goes on that tells what was done.
pub(super) fn told(result: &JobResult) -> String {
    let consistency = result.consistency;
    let parts = [
        consistency.map(|consistency| format!("; consistent: {}", consistency.label())),
        result.held_ms.map(|held| format!(", held for {held} ms")),
        result.remark.as_ref().map(|remark| format!(" ({remark})")),
    ];
    parts.into_iter().flatten().collect()
}

pub(super) fn interrupted(task: &Task, what: &str) -> Refusal {
    let detail = format!("{}: the guard ended meanwhile: {what}", task.name);
    Refusal::new(Code::Interrupted, detail)
}

fn hook_failed(task: &Task, what: &str, why: &str, held_ms: Option<u64>) -> Refusal {
    let held = held_ms.map(|held| format!("; held for {held} ms"));
    let held = held.unwrap_or_default();
    let detail = format!("{}: {what}: {why}{held}", task.name);
    Refusal::new(Code::HookFailed, detail)
}

fn quiesce_of(task: &Task) -> Quiesce {
    let nobody = || Quiesce {
        hooks: Vec::new(),
        mode: QuiesceMode::None,
    };
    task.quiesce.clone().unwrap_or_else(nobody)
}

/// Takes away what was made and what lvcreate left half made, which is nobody's and takes room. Gives how many.
fn remove_all(office: &Office, task: &Task, seen: &[Volume]) -> Result<usize, Refusal> {
    let mut count = 0;
    for member in task.members() {
        let whole = match snapshot::reached(member, seen) {
            Some(Done::Made(volume)) => Some(*volume),
            Some(Done::Whole | Done::Merging) | None => None,
        };
        let half = || snapshot::half_made(member, seen).cloned();
        if let Some(volume) = whole.or_else(half) {
            snapshot::undo(&office.tools, &office.reader, &volume)?;
            count += 1;
        }
    }
    Ok(count)
}

/// One after the other; the first that fails is the last.
fn run_all(office: &Office, task: &Task) -> Vec<Result<Option<Finished>, Refusal>> {
    let mut ran = Vec::new();
    for member in task.members() {
        let one = snapshot::run(&office.tools, member);
        let has_failed = !matches!(&one, Ok(Some(finished)) if finished.status.success());
        ran.push(one);
        if has_failed {
            break;
        }
    }
    ran
}

fn result(made: &[JobTarget]) -> JobResult {
    JobResult {
        snapshot: made.first().cloned(),
        snapshots: made.to_vec(),
        ..JobResult::default()
    }
}

fn target(volume: &Volume) -> JobTarget {
    JobTarget {
        vg: volume.name.vg.clone(),
        lv: volume.name.lv.clone(),
        uuid: volume.id.lv.lvm_form(),
    }
}
