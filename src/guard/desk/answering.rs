//! Answers questions: looks at LVM, decides, puts it on record, and lets what was accepted wait for its turn.

use std::cell::OnceCell;
use std::iter;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use ulid::Ulid;

use crate::decide::action::{self, Site};
use crate::model::access::Access;
use crate::model::action::{
    Act, Ask, Caller, Confirmation, Job, JobState, JobTarget, Progress, Question, Reply,
};
use crate::model::refusal::{Code, Refusal};
use crate::model::step::Task;
use crate::model::tally::Happening;
use crate::model::time::{Moment, UnixSeconds};
use crate::observe::writes;

use super::super::clock;
use super::jobs::{Entry, Known};
use super::seeing::Seen;
use super::{Asked, Office, Order, QUEUE, moment, shown, tokens};

/// A rate over less says little of the hours that a snapshot lives; two files of each device are read.
const MEASURE_EVERY: Duration = Duration::from_secs(60);

/// What some questions are answered from.
type Look = OnceCell<Result<Seen, Refusal>>;

impl Office {
    pub(super) fn answer_for_ever(&self, queue: &Receiver<Asked>, orders: &SyncSender<Order>) {
        let mut due = clock::moment();
        loop {
            let now = clock::moment();
            if now >= due {
                self.measure_writes(now);
                self.tell_left_out();
                due = now.after(MEASURE_EVERY);
            }
            let first = match queue.recv_timeout(due.since(now)) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // Whoever has come by now is answered from one look: each waited for no other's.
            let all: Vec<Asked> = iter::once(first)
                .chain(queue.try_iter().take(QUEUE))
                .collect();
            let look = OnceCell::new();
            for asked in &all {
                let answer = self.answer(asked, &look, orders);
                let ask = &asked.ask;
                if let (Err(refusal), true) = (&answer, is_change(&ask.question)) {
                    self.record_refusal(ask, refusal);
                }
                self.tell(asked.generation, ask.number, answer);
            }
        }
    }

    /// How much has been written to each volume until now. Without it sizes are guessed.
    fn measure_writes(&self, now: Moment) {
        match writes::read() {
            Ok(written) => self.writes().note(written, now),
            Err(error) => tracing::debug!(
                error = &error as &dyn std::error::Error,
                "cannot tell how fast volumes are written to"
            ),
        }
    }

    fn answer(
        &self,
        asked: &Asked,
        look: &Look,
        orders: &SyncSender<Order>,
    ) -> Result<Reply, Refusal> {
        let ask = &asked.ask;
        if !matches!(ask.question, Question::Refused(_)) {
            self.admit(asked)?;
        }
        let access = self.access_of(asked);
        match &ask.question {
            Question::Volumes => {
                let seen = self.seen(look)?;
                Ok(Reply::Volumes(shown::volumes(
                    &seen.inventory,
                    &seen.volumes,
                )))
            }
            Question::Confirm(act) => self.confirm(&ask.caller, access, act, look),
            Question::Act(act) => self.accept(ask, access, act, look, orders),
            Question::Refused(refusal) => {
                self.record_refusal(ask, refusal);
                Ok(Reply::Noted)
            }
            Question::Jobs | Question::Job(_) | Question::Admit(_) => Ok(Reply::Noted),
        }
    }

    /// Looks when it is first wanted.
    fn seen<'a>(&self, look: &'a Look) -> Result<&'a Seen, Refusal> {
        look.get_or_init(|| self.see())
            .as_ref()
            .map_err(Refusal::clone)
    }

    pub(super) fn see(&self) -> Result<Seen, Refusal> {
        let seen = self.reader.see(self.front.view().as_ref());
        seen.map_err(|error| Refusal::new(Code::LvmFailed, format!("LVM cannot be asked: {error}")))
    }

    /// What LVM said stays; what the kernel says by now.
    pub(super) fn look_again(&self, seen: &mut Seen) -> Result<(), Refusal> {
        let looked = seen.look_again(self.front.view().as_ref());
        looked.map_err(|error| Refusal::new(Code::LvmFailed, error))
    }

    pub(super) fn judge(
        &self,
        seen: &Seen,
        access: &Access,
        caller: &Caller,
        act: &Act,
    ) -> Result<Task, Refusal> {
        self.on_site(seen, access, |site| action::judge(site, caller, act))
    }

    /// What an accepted job comes to by now.
    pub(super) fn judge_again(
        &self,
        seen: &Seen,
        access: &Access,
        entry: &Entry,
    ) -> Result<Task, Refusal> {
        let (caller, act) = (&entry.caller, &entry.act);
        self.on_site(seen, access, |site| {
            action::judge_again(site, caller, act, &entry.task)
        })
    }

    fn on_site(
        &self,
        seen: &Seen,
        access: &Access,
        judge: impl FnOnce(&Site<'_>) -> Result<Task, Refusal>,
    ) -> Result<Task, Refusal> {
        judge(&Site {
            policy: &self.policy,
            access,
            inventory: &seen.inventory,
            volumes: &seen.volumes,
            writes: &self.writes(),
            now: clock::now().wall,
        })
    }

    fn confirm(
        &self,
        caller: &Caller,
        access: &Access,
        act: &Act,
        look: &Look,
    ) -> Result<Reply, Refusal> {
        let task = self.judge(self.seen(look)?, access, caller, act)?;
        let now = clock::now();
        let token = self.tokens().issue(caller, &task, now.moment)?;
        Ok(Reply::Confirmation(Confirmation {
            token,
            expires: now.wall_at(now.moment.after(tokens::LIFE)),
            plan: task.plan,
        }))
    }

    /// Decides, puts it on record, and lets it wait for its turn.
    fn accept(
        &self,
        ask: &Ask,
        access: &Access,
        act: &Act,
        look: &Look,
        orders: &SyncSender<Order>,
    ) -> Result<Reply, Refusal> {
        let now = clock::now();
        let (known, is_full) = {
            let jobs = self.jobs();
            (jobs.known(&ask.caller, act, now.wall), jobs.is_full())
        };
        match known {
            Known::Same(job) => return Ok(Reply::Job { job, is_new: false }),
            Known::Other => {
                let detail = "this Idempotency-Key was used for another request within a day; use a new one for each";
                return Err(Refusal::new(Code::IdempotencyMismatch, detail));
            }
            Known::New if is_full => {
                let detail = "too many jobs wait for their turn; try again in a second";
                return Err(Refusal::new(Code::RateLimited, detail));
            }
            Known::New => {}
        }
        let mut task = self.judge(self.seen(look)?, access, &ask.caller, act)?;
        if act.dry_run {
            return Ok(Reply::Plan(task.plan));
        }
        if task.plan.needs_confirmation {
            self.tokens()
                .redeem(act.confirm.as_deref(), &ask.caller, &task, now.moment)?;
        }
        if self.is_ending() {
            return Err(moment::ends(&task));
        }
        let id = new_id(now.wall)?;
        task.mark(&id);
        let job = Job {
            id,
            verb: act.action.verb(),
            state: JobState::Queued,
            created: now.wall,
            ended: None,
            target: target(&task),
            progress: Progress {
                phase: "waiting".to_owned(),
                percent: None,
            },
            result: None,
            error: None,
        };
        let entry = Entry {
            job: job.clone(),
            caller: ask.caller.clone(),
            line: ask.line.clone(),
            act: act.clone(),
            task,
        };
        self.journal.write(entry.intent(now.wall))?;
        let id = job.id.clone();
        self.jobs().add(entry);
        self.note(Happening::Queued);
        // The queue is longer than jobs may wait; a worker that has ended shows as jobs that never begin.
        let _ = orders.send(Order::Do(id));
        Ok(Reply::Job {
            job: Box::new(job),
            is_new: true,
        })
    }

    /// What cannot be put on record has been refused all the same.
    pub(super) fn record_refusal(&self, ask: &Ask, refusal: &Refusal) {
        self.note(Happening::Refused(refusal.code));
        let is_known = self.access.knows(&ask.caller);
        let recorded = self.refusals.record(&self.journal, ask, refusal, is_known);
        if let Err(error) = recorded {
            tracing::warn!(detail = error.detail, "a refusal is not on record");
        }
    }

    /// Once in a while: whoever floods the journal would else flood the log.
    fn tell_left_out(&self) {
        for (caller, count) in self.refusals.left_out() {
            tracing::warn!(
                caller,
                count,
                "refusals are not on record: there were too many"
            );
        }
    }
}

pub(super) const fn is_change(question: &Question) -> bool {
    matches!(question, Question::Act(_) | Question::Confirm(_))
}

fn target(task: &Task) -> JobTarget {
    JobTarget {
        vg: task.name.vg.clone(),
        lv: task.name.lv.clone(),
        uuid: task.id.lv.lvm_form(),
    }
}

/// Unique, and sorted by time.
fn new_id(now: UnixSeconds) -> Result<String, Refusal> {
    let millis = std::time::Duration::try_from_secs_f64(now.0).unwrap_or_default();
    let millis = u64::try_from(millis.as_millis()).unwrap_or_default();
    Ok(Ulid::from_parts(millis, tokens::random()?).to_string())
}
