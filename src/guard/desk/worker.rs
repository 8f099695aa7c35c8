//! Has accepted jobs done, one after the other: each is decided once more from what is there by now, waits until the
//! engine gives its group, is done, looked at, and put on record.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::act::Hands;
use crate::act::snapshot::{self, Done, Registry};
use crate::command::Finished;
use crate::model::access::Access;
use crate::model::action::{JobResult, JobState, Progress};
use crate::model::cause::chain;
use crate::model::inventory::CowStatus;
use crate::model::journal::RecordKind;
use crate::model::names::VolumeId;
use crate::model::refusal::{Code, Refusal};
use crate::model::step::{Step, Task};
use crate::model::tally::Happening;
use crate::model::time::Moment;
use crate::model::volume::Volume;
use crate::observe::device_mapper::DeviceMapper;

use super::super::clock;
use super::super::message::{Grant, Input};
use super::jobs::Entry;
use super::journal::Line;
use super::seeing::Seen;
use super::{Office, Order, moment};

/// An extension takes well under a minute; a group that is not to be had by then is told as busy.
pub(super) const GRANT_LIMIT: Duration = Duration::from_secs(60);
/// How often a merge is looked at.
const MERGE_EVERY: Duration = Duration::from_secs(1);
/// What LVM said is as good as new for as long: a report takes about that where there are many volumes.
const LATEST_FOR: Duration = Duration::from_secs(1);
/// How soon it is noticed that the guard ends.
const ENDING_EVERY: Duration = Duration::from_millis(200);
/// What cannot be seen now may be seen later: another volume group may have to appear first.
const SEEN_AGAIN: Duration = Duration::from_secs(10);
/// Who has not seen what became of a job by then says so.
const SEEN_LIMIT: Duration = Duration::from_secs(3600);
/// A command of the guard before may still be at work: it holds the lock, and ends by itself.
const LEFT_LOCK_LIMIT: Duration = Duration::from_secs(120);

/// What a job has led to.
enum Led {
    To(Done),
    Taken(JobResult),
}

/// The worker's side of the loop.
pub(super) struct Worker<'a> {
    pub(super) office: &'a Office,
    pub(super) grants: &'a Receiver<Grant>,
    /// Counts wishes: a grant that comes too late is told from the next one.
    pub(super) wishes: u64,
    /// Jobs whose snapshots the kernel merges.
    pub(super) merging: VecDeque<String>,
    /// Jobs of the guard before of which nothing could be seen yet: when to look again, and until when.
    pub(super) unseen: VecDeque<(String, Moment, Moment)>,
    /// What was seen after the last command of ours.
    pub(super) latest: Option<Seen>,
}

impl Worker<'_> {
    pub(super) fn run(mut self, work: &Receiver<Order>) {
        moment::run_down(self.office);
        loop {
            let order = if self.merging.is_empty() && self.unseen.is_empty() {
                work.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                work.recv_timeout(MERGE_EVERY)
            };
            // What has not been begun is told by the next guard.
            let Some(at_work) = self.office.closing.begin(&self.office.inputs) else {
                return;
            };
            match order {
                Ok(Order::Do(id)) => self.carry_out(&id),
                Ok(Order::Reconcile(id)) => self.reconcile(id, clock::moment().after(SEEN_LIMIT)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.look_after_merges();
            self.look_after_unseen();
            drop(at_work);
        }
    }

    fn carry_out(&mut self, id: &str) {
        let Some(mut entry) = self.entry(id) else {
            return;
        };
        let led = self.lead(&mut entry);
        self.conclude(&entry, led, RecordKind::Outcome);
    }

    /// All that takes time is done before the group is asked for, in which others would wait, and after it. The task is
    /// what it comes to by now.
    fn lead(&mut self, entry: &mut Entry) -> Result<Led, Refusal> {
        let office = self.office;
        let access = office.access_now(&entry.caller)?;
        self.phase(entry, "looking");
        self.wait_for_others(&entry.task)?;
        let seen = self.look()?;
        office.judge_again(&seen, &access, entry)?;
        if let Step::Create(_) = &entry.task.step {
            return moment::take(self, entry, &access, seen).map(Led::Taken);
        }
        self.phase(entry, "waiting for the volume group");
        let (accepted, asked) = (entry.task.clone(), seen.asked);
        let finished = self.with_group(&accepted, asked, GRANT_LIMIT, |worker, is_untouched| {
            entry.task = worker.decide_again(entry, &access, seen, is_untouched)?;
            worker.phase(entry, "running lvm");
            snapshot::run(&office.tools, &entry.task)
        })?;
        match finished {
            None => Ok(Led::To(Done::Whole)),
            Some(finished) => {
                self.phase(entry, "looking at what was done");
                self.led_to(&entry.task, &finished).map(Led::To)
            }
        }
    }

    /// Calls `work` while the engine leaves the group to it, and says whether nothing is known to have changed in it
    /// since `known`.
    pub(super) fn with_group<T>(
        &mut self,
        task: &Task,
        known: Moment,
        limit: Duration,
        work: impl FnOnce(&mut Self, bool) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.wishes += 1;
        let number = self.wishes;
        let (group, name) = (task.id.vg.clone(), task.name.vg.clone());
        let gone = |_| Refusal::new(Code::GuardUnavailable, "the guard ends");
        let wish = Input::Wish {
            group: group.clone(),
            number,
            known,
        };
        self.office.inputs.send(wish).map_err(gone)?;
        let granted = self.granted(number, limit);
        let result = match granted {
            Some(grant) => work(self, grant.is_untouched),
            None if self.office.is_ending() => Err(moment::ends(task)),
            None => {
                let limit = limit.as_secs();
                let detail =
                    format!("volume group {name} is being extended and was not free for {limit} s");
                Err(Refusal::new(Code::Busy, detail))
            }
        };
        let waived = Input::Waived {
            group,
            name,
            number,
        };
        self.office.inputs.send(waived).map_err(gone)?;
        result
    }

    /// Nothing when it takes too long, or the guard ends meanwhile.
    fn granted(&self, number: u64, limit: Duration) -> Option<Grant> {
        let until = clock::moment().after(limit);
        loop {
            let left = until.since(clock::moment());
            match self.grants.recv_timeout(left.min(ENDING_EVERY)) {
                Ok(grant) if grant.number == number => return Some(grant),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if left.is_zero() || self.office.is_ending() => {
                    return None;
                }
                // One that came too late was for another wish.
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Whoever is at work in the group is waited for, and not for ever, as lvm would.
    fn wait_for_others(&self, task: &Task) -> Result<(), Refusal> {
        let tools = &self.office.tools;
        let lock = tools.lock(&task.name.vg, tools.lock_wait());
        lock.map(drop)
            .map_err(|error| Refusal::new(Code::Busy, chain(&error)))
    }

    /// As before, from the same look if nothing can have changed but in the kernel. Only while the group is ours.
    pub(super) fn decide_again(
        &self,
        entry: &Entry,
        access: &Access,
        mut seen: Seen,
        is_untouched: bool,
    ) -> Result<Task, Refusal> {
        let office = self.office;
        let is_free = office.tools.lock(&entry.task.name.vg, Duration::ZERO);
        let is_free = is_free.map(drop).is_ok();
        if is_untouched && is_free {
            office.look_again(&mut seen)?;
        } else {
            self.wait_for_others(&entry.task)?;
            seen = office.see()?;
        }
        office.judge_again(&seen, access, entry)
    }

    /// What LVM says, which the look after the job before may have told just now; and what the kernel says.
    fn look(&mut self) -> Result<Seen, Refusal> {
        let office = self.office;
        let is_fresh = |seen: &Seen| clock::moment().since(seen.asked) < LATEST_FOR;
        let Some(mut seen) = self.latest.take().filter(is_fresh) else {
            return office.see();
        };
        office.look_again(&mut seen)?;
        Ok(seen)
    }

    /// The group is the engine's again: looking changes nothing.
    fn led_to(&mut self, task: &Task, finished: &Finished) -> Result<Done, Refusal> {
        let seen = self.office.see();
        let seen = seen.map_err(|refusal| snapshot::unseen(task, &refusal.detail))?;
        let told = seen.tells_of(&task.name.vg);
        told.map_err(|why| snapshot::unseen(task, &why))?;
        let done = snapshot::led_to(task, Some(finished), &seen.volumes);
        self.latest = Some(seen);
        done
    }

    /// What the guard before had accepted and not put an end to. Only who has seen what there is can tell.
    fn reconcile(&mut self, id: String, until: Moment) {
        let Some(entry) = self.entry(&id) else {
            return;
        };
        self.phase(&entry, "finding out what the guard before did");
        let task = &entry.task;
        let now = clock::moment();
        let found = self.with_group(task, now, GRANT_LIMIT, |worker, _| {
            let office = worker.office;
            let lock = office.tools.lock(&task.name.vg, LEFT_LOCK_LIMIT);
            drop(lock.map_err(|error| Refusal::new(Code::Busy, chain(&error)))?);
            let seen = office.reader.volumes(&task.name.vg);
            let seen = seen.map_err(|error| Refusal::new(Code::LvmFailed, error))?;
            Ok(worker.found(&entry, &seen))
        });
        let now = clock::moment();
        match found {
            Ok(found) => self.conclude(&entry, found, RecordKind::Reconciled),
            Err(_) if self.office.is_ending() => {}
            Err(why) if now < until => {
                tracing::warn!(
                    job = entry.job.id,
                    detail = why.detail,
                    "what the guard before did cannot be seen yet"
                );
                self.unseen.push_back((id, now.after(SEEN_AGAIN), until));
            }
            Err(why) => {
                let what = format!("whether it was done cannot be seen: {}", why.detail);
                let told = Err(moment::interrupted(&entry.task, &what));
                self.conclude(&entry, told, RecordKind::Reconciled);
            }
        }
    }

    /// What a job of the guard before has led to.
    fn found(&self, entry: &Entry, seen: &[Volume]) -> Result<Led, Refusal> {
        let (office, task) = (self.office, &entry.task);
        if let Step::Create(_) = &task.step {
            return moment::reconcile(office, entry, seen).map(Led::Taken);
        }
        // Where nothing was to be done that may have been otherwise by the time it was its turn.
        let reached = snapshot::reached(task, seen).filter(|_| task.step != Step::Nothing);
        let Some(done) = reached else {
            let what = "it was not done; ask for it again";
            return Err(moment::interrupted(task, what));
        };
        if done == Done::Merging {
            // Whoever polled for the end of the merge may have gone with the guard.
            snapshot::poll(&office.tools, task, seen);
        }
        Ok(Led::To(done))
    }

    fn look_after_unseen(&mut self) {
        let now = clock::moment();
        for _ in 0..self.unseen.len() {
            match self.unseen.pop_front() {
                Some((id, again, until)) if again <= now => self.reconcile(id, until),
                Some(waits) => self.unseen.push_back(waits),
                None => return,
            }
        }
    }

    fn conclude(&mut self, entry: &Entry, led: Result<Led, Refusal>, kind: RecordKind) {
        let end = match led {
            Ok(Led::To(Done::Merging)) if is_begun(&entry.task) => {
                self.progress(entry, "merging", Some(0.0));
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
        self.phase(entry, "putting it on record");
        let journal = &self.office.journal;
        if let Err(why) = journal.write_end(&line, || !self.office.is_ending()) {
            // The next guard finds out itself: nobody is told what it may see otherwise.
            return tracing::error!(
                job = entry.job.id,
                detail = why,
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
                    self.progress(&entry, "merging", percent);
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

    pub(super) fn phase(&self, entry: &Entry, phase: &str) {
        self.progress(entry, phase, None);
    }

    fn progress(&self, entry: &Entry, phase: &str, percent: Option<f64>) {
        let progress = Progress {
            phase: phase.to_owned(),
            percent,
        };
        let has_begun = self.office.jobs().progress(&entry.job.id, progress);
        if has_begun {
            self.office.note(Happening::Begun);
        }
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
