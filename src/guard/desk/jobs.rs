//! What was promised to callers, in memory: the journal has it for the next guard.

use std::collections::VecDeque;

use crate::model::action::{
    Act, Action, Caller, Job, JobResult, JobState, JobTarget, Progress, Reference,
};
use crate::model::journal::{Record, RecordKind};
use crate::model::refusal::{Code, Refusal};
use crate::model::step::Task;
use crate::model::time::UnixSeconds;

use super::journal::Line;

/// Ended jobs beyond these are forgotten, the oldest first, and their keys with them; the journal keeps them.
const ENDED_MAX: usize = 2000;
/// Jobs that wait for their turn; whoever comes later is told to try again.
const WAITING_MAX: usize = 200;
/// A key is known for as long.
const KEY_SECS: f64 = 86_400.0;

/// What is known of one job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) job: Job,
    pub(super) caller: Caller,
    pub(super) line: String,
    pub(super) act: Act,
    pub(super) task: Task,
}

/// The jobs of this guard, and of its predecessors as far as the journal told.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    all: VecDeque<Entry>,
}

/// What a key says of a request.
#[derive(Debug, PartialEq)]
pub(super) enum Known {
    /// This very request has been accepted before.
    Same(Box<Job>),
    /// Another request had the key.
    Other,
    New,
}

impl Jobs {
    pub(super) fn known(&self, caller: &Caller, act: &Act, now: UnixSeconds) -> Known {
        let Some(key) = &act.key else {
            return Known::New;
        };
        let entry = self.all.iter().rev().find(|entry| {
            entry.act.key.as_ref() == Some(key)
                && entry.caller.who() == caller.who()
                && now.0 - entry.job.created.0 < KEY_SECS
                && !entry.came_to_nothing()
        });
        match entry {
            None => Known::New,
            Some(entry) if is_same(&entry.act, act) => Known::Same(Box::new(entry.job.clone())),
            Some(_) => Known::Other,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        let waiting = self.all.iter().filter(|entry| !entry.job.state.has_ended());
        waiting.count() >= WAITING_MAX
    }

    pub(super) fn add(&mut self, entry: Entry) {
        self.all.push_back(entry);
        let ended = self.all.iter().filter(|entry| entry.job.state.has_ended());
        if ended.count() > ENDED_MAX
            && let Some(oldest) = self
                .all
                .iter()
                .position(|entry| entry.job.state.has_ended())
        {
            self.all.remove(oldest);
        }
    }

    /// What the journal tells; gives the jobs that it tells no end of.
    pub(super) fn restore(&mut self, lines: Vec<Line>) -> Vec<String> {
        for line in lines {
            let Some(id) = line.record.job.clone() else {
                continue;
            };
            match (line.record.kind, line.act, line.task) {
                (RecordKind::Intent, Some(act), Some(task)) => {
                    self.add(Entry::restored(line.record, id, act, task));
                }
                (RecordKind::Outcome | RecordKind::Reconciled, _, _) => {
                    let now = line.record.ts;
                    let (end, state) = match line.record.code {
                        None => (Ok(line.result.unwrap_or_default()), JobState::Succeeded),
                        Some(code) => {
                            let state = if code == Code::Interrupted {
                                JobState::Interrupted
                            } else {
                                JobState::Failed
                            };
                            (Err(Refusal::new(code, line.record.detail)), state)
                        }
                    };
                    self.end(&id, end, state, now);
                }
                (RecordKind::Intent | RecordKind::Refused, _, _) => {}
            }
        }
        let open = self.all.iter().filter(|entry| !entry.job.state.has_ended());
        open.map(|entry| entry.job.id.clone()).collect()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Entry> {
        self.all.iter().find(|entry| entry.job.id == id)
    }

    /// The latest first.
    pub(super) fn list(&self) -> Vec<Job> {
        self.all
            .iter()
            .rev()
            .map(|entry| entry.job.clone())
            .collect()
    }

    /// Whether it has begun by this.
    pub(super) fn progress(&mut self, id: &str, progress: Progress) -> bool {
        let Some(job) = self.job(id) else {
            return false;
        };
        let before = std::mem::replace(&mut job.state, JobState::Running);
        job.progress = progress;
        before == JobState::Queued
    }

    /// Gives what it was before.
    pub(super) fn end(
        &mut self,
        id: &str,
        end: Result<JobResult, Refusal>,
        state: JobState,
        now: UnixSeconds,
    ) -> Option<JobState> {
        let job = self.job(id)?;
        let before = std::mem::replace(&mut job.state, state);
        job.ended = Some(now);
        job.progress.percent = end.is_ok().then_some(100.0);
        match end {
            Ok(result) => job.result = Some(result),
            Err(refusal) => job.error = Some(refusal),
        }
        Some(before)
    }

    fn job(&mut self, id: &str) -> Option<&mut Job> {
        let entry = self.all.iter_mut().find(|entry| entry.job.id == id)?;
        Some(&mut entry.job)
    }
}

impl Entry {
    /// Nothing was begun: the same request may be sent again, and do what it did not.
    fn came_to_nothing(&self) -> bool {
        let code = self.job.error.as_ref().map(|refusal| refusal.code);
        code.is_some_and(|code| {
            [Code::Busy, Code::JournalUnavailable, Code::GuardUnavailable].contains(&code)
        })
    }

    /// What is put on record before it is done.
    pub(super) fn intent(&self, now: UnixSeconds) -> Line {
        let line = Line::of(RecordKind::Intent, now, &self.caller, &self.line).of_job(&self.job);
        let mut line = line.with(Some(self.job.verb), self.task.plan.summary.clone(), None);
        // What confirmed it is nobody's business, used up as it is.
        line.act = Some(Act {
            confirm: None,
            ..self.act.clone()
        });
        line.task = Some(self.task.clone());
        line
    }

    fn restored(record: Record, id: String, act: Act, task: Task) -> Self {
        let job = Job {
            id,
            verb: act.action.verb(),
            state: JobState::Queued,
            created: record.ts,
            ended: None,
            target: JobTarget {
                vg: task.name.vg.clone(),
                lv: task.name.lv.clone(),
                uuid: task.id.lv.lvm_form(),
            },
            progress: Progress::default(),
            result: None,
            error: None,
        };
        Self {
            job,
            caller: record.caller,
            line: record.line,
            act,
            task,
        }
    }
}

/// Whether two requests want the same. A confirmation is no part of what is wanted.
fn is_same(one: &Act, other: &Act) -> bool {
    let wish = |act: &Act| -> (Reference, Action) { (act.target.clone(), act.action.clone()) };
    wish(one) == wish(other)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::action::{Planned, Verb};
    use crate::model::names::{Name, Uuid, VolumeId, VolumeName};
    use crate::model::step::Step;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a literal name")
    }

    fn act() -> Act {
        Act {
            target: Reference::Name(VolumeName {
                vg: name("vg"),
                lv: name("lv"),
            }),
            action: Action::Remove,
            key: Some("key".to_owned()),
            if_match: None,
            dry_run: false,
            confirm: None,
        }
    }

    /// One that wants to be confirmed.
    pub(in super::super) fn task() -> Task {
        let uuid = || Uuid::parse(&"a".repeat(32)).expect("a literal uuid");
        Task {
            id: VolumeId {
                vg: uuid(),
                lv: uuid(),
            },
            name: VolumeName {
                vg: name("vg"),
                lv: name("lv"),
            },
            step: Step::Remove,
            plan: Planned {
                summary: String::new(),
                loses: Vec::new(),
                needs_confirmation: true,
            },
            quiesce: None,
            with: Vec::new(),
        }
    }

    fn entry(id: &str, caller: &Caller) -> Entry {
        let line = Line::of(RecordKind::Intent, UnixSeconds(1.0), caller, "");
        let entry = Entry::restored(line.record, id.to_owned(), act(), task());
        assert_eq!(entry.job.verb, Verb::Remove);
        entry
    }

    #[test]
    fn a_key_is_its_users_for_a_day_and_free_where_nothing_came_of_it() {
        let of = |uid, gid| Caller::Peer { uid, gid };
        let known = |jobs: &Jobs, caller: &Caller, secs| {
            let known = jobs.known(caller, &act(), UnixSeconds(secs));
            matches!(known, Known::Same(_))
        };
        for (code, is_known) in [
            (Code::Busy, false),
            (Code::GuardUnavailable, false),
            (Code::LvmFailed, true),
            (Code::Interrupted, true),
        ] {
            let mut jobs = Jobs::default();
            jobs.add(entry("a", &of(1, 1)));
            assert!(known(&jobs, &of(1, 1), 2.0));
            assert!(known(&jobs, &of(1, 7), 2.0), "whatever its group");
            assert!(!known(&jobs, &of(2, 1), 2.0), "it is another's");
            assert!(!known(&jobs, &of(1, 1), 90_000.0), "a day has passed");
            let failed = Err(Refusal::new(code, "why"));
            jobs.end("a", failed, JobState::Failed, UnixSeconds(2.0));
            assert_eq!(known(&jobs, &of(1, 1), 3.0), is_known, "{code:?}");
        }
    }
}
