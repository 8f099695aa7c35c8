//! Takes a snapshot in one moment: has who is to hold still do so, makes it, and lets go at once.
//!
//! ```text
//! look, decide -> ask hooks -> have the group: decide again, lvcreate -> let hooks go -> look
//! ```
//!
//! Whoever gets ready slowly keeps no group from being extended, and nobody holds still for more than lvcreate.

use std::time::Duration;

use crate::act::quiesce::{self, Asked, Released, Scope};
use crate::act::snapshot::{self, Done};
use crate::command::Finished;
use crate::decide::quiesce::{self as decided, Worth};
use crate::model::access::Access;
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
use super::worker::{GRANT_LIMIT, Worker};

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

/// Takes the snapshot of a job that was decided from `seen`.
pub(super) fn take(
    worker: &mut Worker<'_>,
    entry: &Entry,
    access: &Access,
    seen: Seen,
) -> Result<JobResult, Refusal> {
    let (office, task) = (worker.office, &entry.task);
    let quiesce = quiesce_of(task);
    let held = hold(worker, entry, &quiesce);
    let ran = make(worker, entry, access, seen, &held);
    let (runs, held_ms) = held.release();
    tell_stuck(office, entry, &runs);
    let worth = decided::worth(quiesce.mode, &runs);
    let Some(ran) = ran? else {
        let why = match worth {
            Worth::Unwanted(why) => why,
            Worth::Kept { remark, .. } => remark.unwrap_or_default(),
        };
        return Err(hook_failed(task, "no snapshot was taken", &why, None));
    };
    worker.phase(entry, "looking at what was done");
    let seen = office.see();
    let seen = seen.map_err(|refusal| snapshot::unseen(task, &refusal.detail))?;
    let told = seen.tells_of(&task.name.vg);
    told.map_err(|why| snapshot::unseen(task, &why))?;
    match (all_made(task, ran, &seen.volumes), worth) {
        (
            Ok(made),
            Worth::Kept {
                consistency,
                remark,
            },
        ) => {
            worker.latest = Some(seen);
            Ok(JobResult {
                consistency: (quiesce.mode != QuiesceMode::None).then_some(consistency),
                remark,
                held_ms,
                ..result(&made)
            })
        }
        (Ok(_), Worth::Unwanted(why)) => {
            let what = match undo(worker, entry, &seen) {
                Ok(_) => "what was taken has been removed".to_owned(),
                Err(error) => format!("what was taken is still there ({})", error.detail),
            };
            Err(hook_failed(task, &what, &why, held_ms))
        }
        (Err(mut refusal), _) => {
            let undone = match undo(worker, entry, &seen) {
                Ok(count) if count == 0 || task.with.is_empty() => String::new(),
                Ok(_) => "; what was made of the others has been removed".to_owned(),
                Err(error) => format!("; what was made is still there ({})", error.detail),
            };
            refusal.detail.push_str(&undone);
            Err(refusal)
        }
    }
}

/// What became of each command; nothing where somebody has let go before.
type Ran = Option<Vec<Result<Option<Finished>, Refusal>>>;

/// Makes what was asked for, while those who were asked hold still.
fn make(
    worker: &mut Worker<'_>,
    entry: &Entry,
    access: &Access,
    seen: Seen,
    held: &Held,
) -> Result<Ran, Refusal> {
    let (office, task) = (worker.office, &entry.task);
    if office.is_ending() {
        return Err(ends(task));
    }
    if !held.goes_on {
        return Ok(None);
    }
    let mode = quiesce_of(task).mode;
    worker.phase(entry, "waiting for the volume group");
    worker.with_group(task, seen.asked, held.limit, |worker, is_untouched| {
        worker.decide_again(entry, access, seen, is_untouched)?;
        // Who has let go while the group was busy holds for nothing that is made now.
        let goes_on = || decided::goes_on(mode, held.asked.iter().all(Asked::still_holds));
        if !goes_on() {
            return Ok(None);
        }
        worker.phase(entry, "running lvm");
        Ok(Some(run_all(office, task, goes_on)))
    })
}

fn tell_stuck(office: &Office, entry: &Entry, runs: &[HookRun]) {
    for run in runs {
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

/// Who holds still for a job.
struct Held {
    /// In their order.
    asked: Vec<Asked>,
    /// Whether all are ready on whom the snapshot depends.
    goes_on: bool,
    /// Nobody holds for longer, so nobody waits for the group for longer.
    limit: Duration,
}

fn hold(worker: &Worker<'_>, entry: &Entry, quiesce: &Quiesce) -> Held {
    let (office, task) = (worker.office, &entry.task);
    let volumes: Vec<String> = task.members().map(|one| one.name.to_string()).collect();
    let scope = Scope {
        host: office.tools.host.clone(),
        leases: office.leases.clone(),
        job: entry.job.id.clone(),
        group: task.name.vg.clone(),
        volumes: volumes.join(" "),
        now: clock::now().wall,
    };
    let mut held = Held {
        asked: Vec::new(),
        goes_on: true,
        limit: GRANT_LIMIT,
    };
    // They were there when this was decided a moment ago.
    for hook in quiesce
        .hooks
        .iter()
        .filter_map(|name| office.access.hook(name))
    {
        worker.phase(
            entry,
            &format!("waiting for hook {} to be ready", hook.name),
        );
        let one = quiesce::ask(&scope, hook);
        held.goes_on = decided::goes_on(quiesce.mode, one.is_ready()) && !office.is_ending();
        held.limit = held.limit.min(hook.max_hold);
        held.asked.push(one);
        if !held.goes_on {
            break;
        }
    }
    held
}

impl Held {
    /// Lets them go, the last one first. Gives what became of each, and for how long any held.
    fn release(self) -> (Vec<HookRun>, Option<u64>) {
        let released = self.asked.into_iter().rev().map(Asked::release);
        let mut released: Vec<Released> = released.collect();
        released.reverse();
        let spans: Vec<_> = released.iter().filter_map(|one| one.span).collect();
        let runs = released.into_iter().map(|one| one.run).collect();
        (runs, decided::held_ms(&spans))
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

/// Nothing is begun any more.
pub(super) fn ends(task: &Task) -> Refusal {
    let detail = format!(
        "{}: the guard ends, so nothing is done; ask the next one",
        task.name
    );
    Refusal::new(Code::GuardUnavailable, detail)
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

/// Takes away what a job has made, one after the other: the group is free in between for what runs full. Gives how
/// many.
fn undo(worker: &mut Worker<'_>, entry: &Entry, seen: &Seen) -> Result<usize, Refusal> {
    let office = worker.office;
    let removals: Vec<Task> = left(&entry.task, &seen.volumes)
        .map(|volume| snapshot::removal(&volume))
        .collect();
    if removals.is_empty() {
        return Ok(0);
    }
    worker.phase(entry, "removing what was made");
    let mut ran = Vec::new();
    for removal in &removals {
        ran.push(worker.with_group(removal, seen.asked, GRANT_LIMIT, |_, _| {
            snapshot::run(&office.tools, removal)
        })?);
    }
    let now = office.see()?;
    for (removal, finished) in removals.iter().zip(ran) {
        let told = now.tells_of(&removal.name.vg);
        told.map_err(|why| snapshot::unseen(removal, &why))?;
        snapshot::led_to(removal, finished.as_ref(), &now.volumes)?;
    }
    Ok(removals.len())
}

/// The same where the group is this one's anyway.
fn remove_all(office: &Office, task: &Task, seen: &[Volume]) -> Result<usize, Refusal> {
    let mut count = 0;
    for volume in left(task, seen) {
        let removal = snapshot::removal(&volume);
        snapshot::carry_out(&office.tools, &office.reader, &removal)?;
        count += 1;
    }
    Ok(count)
}

/// What was made, and what lvcreate left half made, which is nobody's and takes room. What somebody has protected since
/// is somebody's.
fn left(task: &Task, seen: &[Volume]) -> impl Iterator<Item = Volume> {
    task.members().filter_map(|member| {
        let whole = match snapshot::reached(member, seen) {
            Some(Done::Made(volume)) => Some(*volume),
            Some(Done::Whole | Done::Merging) | None => None,
        };
        let left = whole.or_else(|| snapshot::half_made(member, seen).cloned());
        left.filter(|volume| !snapshot::is_protected_since(member, volume))
    })
}

/// One after the other; the first that fails is the last, and so is one that nobody holds still for any more.
fn run_all(
    office: &Office,
    task: &Task,
    goes_on: impl Fn() -> bool,
) -> Vec<Result<Option<Finished>, Refusal>> {
    let mut ran = Vec::new();
    for member in task.members() {
        if !goes_on() {
            break;
        }
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
