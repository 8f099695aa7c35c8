//! Has accepted jobs done, one after the other: each waits until the engine gives its group, is decided once more
//! from what is there then, done, looked at, and put on record.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::act::Hands;
use crate::act::snapshot::{self, Done, Registry};
use crate::command::Finished;
use crate::model::access::Access;
use crate::model::action::{Action, JobResult, JobState, Progress, StoreSize};
use crate::model::cause::chain;
use crate::model::inventory::CowStatus;
use crate::model::journal::RecordKind;
use crate::model::names::{Name, VolumeId};
use crate::model::refusal::{Code, Refusal};
use crate::model::step::{Step, Task};
use crate::model::tally::Happening;
use crate::observe::device_mapper::DeviceMapper;

use super::super::clock;
use super::super::message::Input;
use super::jobs::Entry;
use super::journal::Line;
use super::seeing::Seen;
use super::{Office, Order, moment};

/// An extension takes well under a minute; a group that is not to be had by then is told as busy.
const GRANT_LIMIT: Duration = Duration::from_secs(60);
/// How often a merge is looked at.
const MERGE_EVERY: Duration = Duration::from_secs(1);
/// What LVM said is as good as new for as long: a report takes about that where there are many volumes.
const LATEST_FOR: Duration = Duration::from_secs(1);
/// A command of the guard before may still be at work: it holds the lock, and ends by itself.
const LEFT_LOCK_LIMIT: Duration = Duration::from_secs(120);

/// What a job has led to.
enum Led {
    To(Done),
    Taken(JobResult),
}

/// What was done while the group was the worker's.
enum Begun {
    Led(Led),
    /// A command, and what it did is still to be seen.
    Ran(Option<Finished>),
}

/// The worker's side of the loop.
pub(super) struct Worker<'a> {
    pub(super) office: &'a Office,
    pub(super) grants: &'a Receiver<u64>,
    /// Counts wishes: a grant that comes too late is told from the next one.
    pub(super) wishes: u64,
    /// Jobs whose snapshots the kernel merges.
    pub(super) merging: VecDeque<String>,
    /// What was seen after the last command of ours.
    pub(super) latest: Option<Seen>,
}

impl Worker<'_> {
    pub(super) fn run(mut self, work: &Receiver<Order>) {
        moment::run_down(self.office);
        loop {
            let order = if self.merging.is_empty() {
                work.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                work.recv_timeout(MERGE_EVERY)
            };
            match order {
                Ok(Order::Do(id)) => self.carry_out(&id),
                Ok(Order::Reconcile(id)) => self.reconcile(&id),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look_after_merges();
        }
    }

    fn carry_out(&mut self, id: &str) {
        let Some(entry) = self.entry(id) else {
            return;
        };
        // Before there is a group that others would wait for.
        let access = self.office.access_now(&entry.caller);
        let begun = access.and_then(|access| {
            self.phase(id, "waiting for the volume group", None);
            self.with_group(&entry.task, |worker| {
                worker.phase(id, "running lvm", None);
                worker.begin(&entry, &access)
            })
        });
        // The group is the engine's again: looking changes nothing.
        let led = begun.and_then(|begun| match begun {
            Begun::Led(led) => Ok(led),
            Begun::Ran(finished) => self.led_to(&entry.task, finished.as_ref()),
        });
        self.conclude(&entry, led, RecordKind::Outcome);
    }

    /// Calls `work` while the engine leaves the group to it.
    fn with_group<T>(
        &mut self,
        task: &Task,
        work: impl FnOnce(&mut Self) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.wishes += 1;
        let number = self.wishes;
        let group = task.id.vg.clone();
        let gone = |_| Refusal::new(Code::GuardUnavailable, "the guard ends");
        self.office
            .inputs
            .send(Input::Wish {
                group: group.clone(),
                number,
            })
            .map_err(gone)?;
        let is_granted = loop {
            match self.grants.recv_timeout(GRANT_LIMIT) {
                Ok(granted) if granted == number => break true,
                Ok(_) => {}
                Err(_) => break false,
            }
        };
        let result = if is_granted {
            work(self)
        } else {
            let vg = &task.name.vg;
            let detail = format!(
                "volume group {vg} is being extended and was not free for {} s",
                GRANT_LIMIT.as_secs()
            );
            Err(Refusal::new(Code::Busy, detail))
        };
        let name = task.name.vg.clone();
        self.office
            .inputs
            .send(Input::Waived {
                group,
                name,
                number,
            })
            .map_err(gone)?;
        result
    }

    /// Decides once more, and runs the command.
    fn begin(&mut self, entry: &Entry, access: &Access) -> Result<Begun, Refusal> {
        let office = self.office;
        let task = &entry.task;
        // Whoever is at work in the group is waited for, and not for ever, as lvm would.
        let lock = office.tools.lock(&task.name.vg, office.tools.lock_wait());
        drop(lock.map_err(|error| Refusal::new(Code::Busy, chain(&error)))?);
        let now = office.judge(&self.look()?, access, &entry.caller, &entry.fixed())?;
        if now.step == Step::Nothing {
            return Ok(Begun::Led(Led::To(Done::Whole)));
        }
        if let (Step::Merge { origin: then }, Step::Merge { origin: now }) = (&task.step, &now.step)
            && then != now
        {
            let detail = format!(
                "{}: its origin is another volume by now; look again",
                task.name
            );
            return Err(Refusal::new(Code::PreconditionFailed, detail));
        }
        if let Step::Create(_) = &task.step {
            let tell = |phase: &str| self.phase(&entry.job.id, phase, None);
            let (result, seen) = moment::take(office, entry, tell)?;
            self.latest = Some(seen);
            return Ok(Begun::Led(Led::Taken(result)));
        }
        snapshot::run(&office.tools, task).map(Begun::Ran)
    }

    /// What LVM says, which the look after the job before may have told just now; and what the kernel says.
    fn look(&mut self) -> Result<Seen, Refusal> {
        let office = self.office;
        let is_fresh = |seen: &Seen| clock::moment().since(seen.asked) < LATEST_FOR;
        let Some(mut seen) = self.latest.take().filter(is_fresh) else {
            return office.see();
        };
        seen.look_again(office.front.view().as_ref())
            .map_err(|error| Refusal::new(Code::LvmFailed, error))?;
        Ok(seen)
    }

    fn led_to(&mut self, task: &Task, finished: Option<&Finished>) -> Result<Led, Refusal> {
        let seen = self.office.see();
        let seen = seen.map_err(|refusal| snapshot::unseen(task, &refusal.detail))?;
        let done = snapshot::led_to(task, finished, &seen.volumes);
        self.latest = Some(seen);
        done.map(Led::To)
    }

    /// What the guard before had accepted and not put an end to.
    fn reconcile(&mut self, id: &str) {
        let Some(entry) = self.entry(id) else {
            return;
        };
        self.phase(id, "finding out what the guard before did", None);
        let task = &entry.task;
        let found = self.with_group(task, |worker| {
            let office = worker.office;
            let lock = office.tools.lock(&task.name.vg, LEFT_LOCK_LIMIT);
            drop(lock.map_err(|error| Refusal::new(Code::Busy, chain(&error)))?);
            let seen = office.reader.volumes(&task.name.vg);
            let seen = seen.map_err(|error| Refusal::new(Code::LvmFailed, error))?;
            if let Step::Create(_) = &task.step {
                return moment::reconcile(office, &entry, &seen).map(Led::Taken);
            }
            if let Some(done) = snapshot::reached(task, &seen) {
                if done == Done::Merging {
                    // Whoever polled for the end of the merge may have gone with the guard.
                    snapshot::poll(&office.tools, task, &seen);
                }
                return Ok(Led::To(done));
            }
            Err(moment::interrupted(
                task,
                "it was not done; ask for it again",
            ))
        });
        self.conclude(&entry, found, RecordKind::Reconciled);
    }

    fn conclude(&mut self, entry: &Entry, led: Result<Led, Refusal>, kind: RecordKind) {
        let end = match led {
            Ok(Led::To(Done::Merging)) if is_begun(&entry.task) => {
                self.phase(&entry.job.id, "merging", Some(0.0));
                self.merging.push_back(entry.job.id.clone());
                return;
            }
            Ok(Led::To(Done::Merging)) => Ok(JobResult {
                deferred: true,
                ..JobResult::default()
            }),
            Ok(Led::Taken(result)) => Ok(result),
            // Only a snapshot is made, and taken.
            Ok(Led::To(Done::Made(_) | Done::Whole)) => Ok(JobResult {
                unchanged: entry.task.step == Step::Nothing,
                ..JobResult::default()
            }),
            Err(refusal) => Err(refusal),
        };
        self.end(entry, end, kind);
    }

    fn end(&self, entry: &Entry, end: Result<JobResult, Refusal>, kind: RecordKind) {
        let now = clock::now().wall;
        let (detail, code) = match &end {
            Ok(result) if result.deferred => (
                format!(
                    "{}: deferred until the origin is activated",
                    entry.task.plan.summary
                ),
                None,
            ),
            Ok(result) => {
                let worth = moment::told(result);
                (format!("done: {}{worth}", entry.task.plan.summary), None)
            }
            Err(refusal) => (refusal.detail.clone(), Some(refusal.code)),
        };
        let line = Line::of(kind, now, &entry.caller, &entry.line);
        let mut line = line
            .of_job(&entry.job)
            .with(Some(entry.job.verb), detail, code);
        line.result = end.as_ref().ok().cloned();
        if let Err(error) = self.office.journal.write(line) {
            tracing::error!(
                job = entry.job.id,
                detail = error.detail,
                "what became of a job is not on record"
            );
        }
        let state = match &end {
            Ok(_) => JobState::Succeeded,
            Err(refusal) if refusal.code == Code::Interrupted => JobState::Interrupted,
            Err(_) => JobState::Failed,
        };
        let held_ms = end.as_ref().ok().and_then(|result| result.held_ms);
        let before = self.office.jobs().end(&entry.job.id, end, state, now);
        self.office.note(Happening::Ended {
            verb: entry.job.verb,
            was_running: before == Some(JobState::Running),
            has_failed: state != JobState::Succeeded,
            held: held_ms.map(Duration::from_millis),
        });
    }

    fn look_after_merges(&mut self) {
        for _ in 0..self.merging.len() {
            let Some(id) = self.merging.pop_front() else {
                return;
            };
            let Some(entry) = self.entry(&id) else {
                continue;
            };
            match self.office.reader.volumes(&entry.task.name.vg) {
                Ok(seen) if snapshot::reached(&entry.task, &seen) == Some(Done::Whole) => {
                    self.end(&entry, Ok(JobResult::default()), RecordKind::Outcome);
                }
                // It is still at it, or LVM cannot be asked just now.
                Ok(_) | Err(_) => {
                    let percent = self.merged(&entry.task);
                    self.phase(&id, "merging", percent);
                    self.merging.push_back(id);
                }
            }
        }
    }

    /// What the guard last saw of it.
    fn merged(&self, task: &Task) -> Option<f64> {
        let view = self.office.front.view()?;
        let cow = view
            .inventory
            .snapshots
            .iter()
            .find(|cow| cow.id == task.id)?;
        let Some(CowStatus::Merging(usage)) = cow.kernel.status() else {
            return None;
        };
        let left = usage.allocated.bytes().ratio_of(usage.total.bytes());
        Some(((1.0 - left) * 100.0).clamp(0.0, 99.0).floor())
    }

    fn entry(&self, id: &str) -> Option<Entry> {
        self.office.jobs().get(id).cloned()
    }

    fn phase(&self, id: &str, phase: &str, percent: Option<f64>) {
        let progress = Progress {
            phase: phase.to_owned(),
            percent,
        };
        let has_begun = self.office.jobs().progress(id, progress);
        if has_begun {
            self.office.note(Happening::Begun);
        }
    }
}

impl Entry {
    /// As it was decided: a name that was made up stays, and so does a size.
    fn fixed(&self) -> crate::model::action::Act {
        let mut act = self.act.clone();
        if let (Action::Create(create), Step::Create(new)) = (&mut act.action, &self.task.step) {
            let name = new.name.as_str();
            let origin = format!("{}-", self.task.name.lv);
            // Of several, it is what follows each origin's name.
            let suffix = name
                .strip_prefix(&origin)
                .and_then(|suffix| Name::parse(suffix).ok());
            let is_one = self.task.with.is_empty();
            create.name = if is_one {
                Some(new.name.clone())
            } else {
                suffix
            };
            // Another rate by now makes no other size of what was promised.
            if let (true, Some(store)) = (is_one, new.store) {
                create.size = Some(StoreSize::Bytes(store.0));
            }
        }
        act
    }
}

/// Whether the kernel merges, and does not wait for the origin to be activated.
fn is_begun(task: &Task) -> bool {
    let Step::Merge { origin } = &task.step else {
        return false;
    };
    let origin = VolumeId {
        vg: task.id.vg.clone(),
        lv: origin.clone(),
    };
    DeviceMapper::open().is_ok_and(|kernel| kernel.merges(&origin))
}
