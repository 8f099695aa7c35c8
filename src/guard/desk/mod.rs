//! The desk: takes what callers ask of snapshots, answers, and has it done.
//!
//! ```text
//!  front --> take --> reader: see, decide, record the intent --> worker: wait for the group, decide again,
//!              |                                                  act, verify, record the outcome
//!              +----> jobs, in memory
//! ```
//!
//! Nothing here is in the guard's way: threads of its own wait for lvm and for the disk, and a volume group that is
//! being extended is waited for. The engine says when a group is free.

mod jobs;
mod journal;
mod moment;
mod seeing;
mod shown;
mod tokens;
mod worker;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::setpriority_process;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::act::Tools;
use crate::act::lease::Leases;
use crate::decide::action::{self, Site};
use crate::model::access::Access;
use crate::model::action::{
    Act, Answered, Ask, Caller, Confirmation, Job, JobState, JobTarget, Progress, Question, Reply,
};
use crate::model::journal::RecordKind;
use crate::model::policy::Policy;
use crate::model::refusal::{Code, Refusal};
use crate::model::step::Task;
use crate::model::time::UnixSeconds;

use super::clock;
use super::front::Line as FrontLine;
use super::workers::{self, Inputs};

use jobs::{Entry, Jobs, Known};
use journal::{Journal, Left, Line};
use seeing::{Reader, Seen};
use tokens::Tokens;
use worker::Worker;

/// Questions that wait for lvm.
const QUEUE: usize = 32;
/// More than jobs may wait.
const ORDERS: usize = 512;
/// One wish is under way; one that came too late may still lie there.
const GRANTS: usize = 4;
const STACK: usize = 512 << 10;

/// What the desk is opened with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeskOptions {
    pub access: Access,
    /// Where callers connect.
    pub socket: PathBuf,
    /// Whose members may open it besides root.
    pub group: Option<u32>,
    pub journal: PathBuf,
}

/// Where questions are handed in.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    office: Arc<Office>,
    questions: SyncSender<Asked>,
}

/// A question, and where it came from.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ask: Ask,
    /// Of the front that asked; a later one does not know of it.
    pub(super) generation: u64,
}

/// What the desk's threads share.
#[derive(Debug)]
struct Office {
    policy: Policy,
    access: Access,
    tools: Tools,
    reader: Reader,
    journal: Journal,
    leases: Leases,
    front: FrontLine,
    jobs: Mutex<Jobs>,
    tokens: Mutex<Tokens>,
}

/// Where the engine says that a wish is granted: its group is the desk's until that is waived.
pub(super) type Grants = SyncSender<u64>;

/// What the worker is to do about a job.
#[derive(Debug)]
enum Order {
    Do(String),
    /// Find out what became of it.
    Reconcile(String),
}

impl Desk {
    /// Opens the desk. What a predecessor left is looked into first, by the worker.
    pub(super) fn open(
        options: DeskOptions,
        policy: Policy,
        tools: Tools,
        front: FrontLine,
        inputs: Inputs,
    ) -> io::Result<(Self, Grants)> {
        let leases = Leases::beside(&options.journal);
        let (journal, left) = Journal::start(tools.host.clone(), options.journal)?;
        let office = Arc::new(Office {
            policy,
            access: options.access,
            reader: Reader {
                lvm: tools.lvm.clone(),
            },
            tools,
            journal,
            leases,
            front,
            jobs: Mutex::default(),
            tokens: Mutex::new(Tokens::new()),
        });
        let (questions, queue) = sync_channel(QUEUE);
        let (granted, grants) = sync_channel(GRANTS);
        let (orders, work) = sync_channel(ORDERS);
        let working = Arc::clone(&office);
        workers::spawn("actions", STACK, move || {
            let worker = Worker {
                office: &working,
                grants: &grants,
                inputs: &inputs,
                wishes: 0,
                merging: VecDeque::new(),
            };
            worker.run(&work);
        })?;
        let reading = Arc::clone(&office);
        workers::spawn("desk", STACK, move || {
            // Reading keeps a processor busy where there are many volumes. What changes a group stays urgent: an
            // extension would wait for its lock.
            let _ = setpriority_process(None, workers::PATIENT);
            reading.take_over(&left, &orders);
            reading.answer_for_ever(&queue, &orders);
        })?;
        Ok((Self { office, questions }, granted))
    }

    /// Answers at once, or has it answered; never waits.
    pub(super) fn take(&self, asked: Asked) {
        let number = asked.ask.number;
        let generation = asked.generation;
        let answer = match &asked.ask.question {
            Question::Jobs => self.office.list(&asked.ask.caller),
            Question::Job(id) => self.office.job(&asked.ask.caller, id),
            Question::Volumes | Question::Act(_) | Question::Confirm(_) | Question::Refused(_) => {
                match self.questions.try_send(asked) {
                    Ok(()) => return,
                    Err(_) => Err(Refusal::new(
                        Code::RateLimited,
                        "too many requests wait for lvm; try again in a second",
                    )),
                }
            }
        };
        self.office.tell(generation, number, answer);
    }
}

impl Office {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        // Whoever panicked left whole entries behind.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, generation: u64, number: u64, answer: Result<Reply, Refusal>) {
        self.front.answer(generation, Answered { number, answer });
    }

    /// Whoever may open the socket is not yet somebody who may use it.
    fn admit(&self, caller: &Caller) -> Result<(), Refusal> {
        if self.access.knows(caller) {
            return Ok(());
        }
        let detail = format!(
            "{caller} may not use this socket: no [[api.caller]] of the configuration names it"
        );
        Err(Refusal::new(Code::Forbidden, detail))
    }

    fn list(&self, caller: &Caller) -> Result<Reply, Refusal> {
        self.admit(caller)?;
        Ok(Reply::Jobs(self.jobs().list()))
    }

    fn job(&self, caller: &Caller, id: &str) -> Result<Reply, Refusal> {
        self.admit(caller)?;
        let jobs = self.jobs();
        let entry = jobs.get(id).ok_or_else(|| {
            let detail = format!(
                "there is no job {id}; the journal tells of older ones (`cowherd history`)"
            );
            Refusal::new(Code::NotFound, detail)
        })?;
        Ok(Reply::Job {
            job: Box::new(entry.job.clone()),
            is_new: false,
        })
    }

    /// Takes the jobs of the guards before over, as far as the journal tells of them.
    fn take_over(&self, left: &Receiver<Left>, orders: &SyncSender<Order>) {
        let lines = match left.recv() {
            Ok(Ok(lines)) => lines,
            Ok(Err(why)) => {
                return tracing::error!(
                    detail = why,
                    "no journal: nothing can be done for callers"
                );
            }
            Err(_) => return,
        };
        let unfinished = self.jobs().restore(lines);
        for id in unfinished {
            let _ = orders.send(Order::Reconcile(id));
        }
    }

    fn answer_for_ever(&self, queue: &Receiver<Asked>, orders: &SyncSender<Order>) {
        while let Ok(Asked { ask, generation }) = queue.recv() {
            let answer = self.answer(&ask, orders);
            if let (Err(refusal), true) = (&answer, is_change(&ask.question)) {
                self.record_refusal(&ask, refusal);
            }
            self.tell(generation, ask.number, answer);
        }
    }

    fn answer(&self, ask: &Ask, orders: &SyncSender<Order>) -> Result<Reply, Refusal> {
        if !matches!(ask.question, Question::Refused(_)) {
            self.admit(&ask.caller)?;
        }
        match &ask.question {
            Question::Volumes => {
                let seen = self.see()?;
                Ok(Reply::Volumes(shown::volumes(
                    &seen.inventory,
                    &seen.volumes,
                )))
            }
            Question::Confirm(act) => self.confirm(&ask.caller, act),
            Question::Act(act) => self.accept(ask, act, orders),
            Question::Refused(refusal) => {
                self.record_refusal(ask, refusal);
                Ok(Reply::Noted)
            }
            Question::Jobs | Question::Job(_) => Ok(Reply::Noted),
        }
    }

    fn see(&self) -> Result<Seen, Refusal> {
        let seen = self.reader.see(self.front.view().as_ref());
        seen.map_err(|error| Refusal::new(Code::LvmFailed, format!("LVM cannot be asked: {error}")))
    }

    fn judge(&self, seen: &Seen, caller: &Caller, act: &Act) -> Result<Task, Refusal> {
        let site = Site {
            policy: &self.policy,
            access: &self.access,
            inventory: &seen.inventory,
            volumes: &seen.volumes,
            now: clock::now().wall,
        };
        action::judge(&site, caller, act)
    }

    fn confirm(&self, caller: &Caller, act: &Act) -> Result<Reply, Refusal> {
        let task = self.judge(&self.see()?, caller, act)?;
        let now = clock::now();
        let token = self.tokens().issue(caller, &task, now.moment)?;
        Ok(Reply::Confirmation(Confirmation {
            token,
            expires: now.wall_at(now.moment.after(tokens::LIFE)),
            plan: task.plan,
        }))
    }

    /// Decides, puts it on record, and lets it wait for its turn.
    fn accept(&self, ask: &Ask, act: &Act, orders: &SyncSender<Order>) -> Result<Reply, Refusal> {
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
        let task = self.judge(&self.see()?, &ask.caller, act)?;
        if act.dry_run {
            return Ok(Reply::Plan(task.plan));
        }
        if task.plan.needs_confirmation {
            self.tokens()
                .redeem(act.confirm.as_deref(), &ask.caller, &task, now.moment)?;
        }
        let job = Job {
            id: new_id(now.wall)?,
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
        // The queue is longer than jobs may wait; a worker that has ended shows as jobs that never begin.
        let _ = orders.send(Order::Do(id));
        Ok(Reply::Job {
            job: Box::new(job),
            is_new: true,
        })
    }

    /// What cannot be put on record has been refused all the same.
    fn record_refusal(&self, ask: &Ask, refusal: &Refusal) {
        let (verb, target) = match &ask.question {
            Question::Act(act) | Question::Confirm(act) => {
                (Some(act.action.verb()), Some(act.target.to_string()))
            }
            Question::Volumes | Question::Jobs | Question::Job(_) | Question::Refused(_) => {
                (None, None)
            }
        };
        let named = target
            .map(|target| format!("{target}: "))
            .unwrap_or_default();
        let detail = if refusal.detail.starts_with(&named) {
            refusal.detail.clone()
        } else {
            format!("{named}{}", refusal.detail)
        };
        let line = Line::of(
            RecordKind::Refused,
            clock::now().wall,
            &ask.caller,
            &ask.line,
        );
        let line = line.with(verb, detail, Some(refusal.code));
        if let Err(error) = self.journal.write(line) {
            tracing::warn!(detail = error.detail, "a refusal is not on record");
        }
    }
}

const fn is_change(question: &Question) -> bool {
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
