//! Jobs as plain text: what `cowherd jobs` prints.

use crate::model::action::{Job, JobState};
use crate::model::time::UnixSeconds;

use super::columns::{Side, Table};
use super::{snapshots, text};

/// One line each, the latest first.
#[must_use]
pub fn list(jobs: &[Job], now: UnixSeconds) -> String {
    use Side::{Left, Right};
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let heads = ["ID", "VERB", "TARGET", "STATE", "AGE", "TOOK", "DETAIL"];
    let mut table = Table {
        sides: [Left, Left, Left, Left, Right, Right, Left],
        rows: vec![heads.map(str::to_owned)],
    };
    let mut sorted: Vec<&Job> = jobs.iter().collect();
    sorted.sort_by(|one, other| other.id.cmp(&one.id));
    table
        .rows
        .extend(sorted.into_iter().map(|job| row(job, now)));
    table.text()
}

/// What is being done, in a word or two.
#[must_use]
pub fn doing(job: &Job) -> String {
    match text::one_line(&job.progress.phase) {
        phase if phase.is_empty() => state(job.state).to_owned(),
        phase => phase,
    }
}

#[must_use]
pub const fn state(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Succeeded => "succeeded",
        JobState::Failed => "failed",
        JobState::Interrupted => "interrupted",
    }
}

fn row(job: &Job, now: UnixSeconds) -> [String; 7] {
    let took = job.ended.map(|ended| text::between(job.created, ended));
    [
        text::one_line(&job.id),
        job.verb.label().to_owned(),
        format!("{}/{}", job.target.vg, job.target.lv),
        state(job.state).to_owned(),
        text::between(job.created, now),
        took.unwrap_or_else(|| text::NOTHING.to_owned()),
        detail(job),
    ]
}

fn detail(job: &Job) -> String {
    if let Some(error) = &job.error {
        return format!("{}: {}", error.code.label(), text::one_line(&error.detail));
    }
    let made = job.result.as_ref().and_then(snapshots::made);
    match (job.state, made) {
        (JobState::Queued | JobState::Running, _) => match job.progress.percent {
            Some(percent) => format!("{} {}", doing(job), text::of_hundred(percent)),
            None => doing(job),
        },
        (_, Some(made)) => made,
        (_, None) => String::new(),
    }
}
