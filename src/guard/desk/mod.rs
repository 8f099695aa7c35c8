//! The desk: takes what callers ask of snapshots, answers, and has it done.
//!
//! ```text
//!  front --> take --> reader: see, decide, record the intent --> worker: wait for the group, decide again,
//!              |                                                  act, verify, record the outcome
//!              +----> jobs, in memory
//!              +----> door: who comes in over the network, and what a token may <-> its file; then as above
//! ```
//!
//! Nothing here is in the guard's way: threads of its own wait for lvm and for the disk, and a volume group that is
//! being extended is waited for. The engine says when a group is free, and counts what becomes of everything. The reader
//! also sees, once a minute, how much has been written to each volume: the stores of snapshots are sized by that.

mod answering;
mod closing;
mod door;
mod jobs;
mod journal;
mod moment;
mod porter;
mod refusals;
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

use crate::act::Tools;
use crate::act::lease::Leases;
use crate::model::access::Access;
use crate::model::action::{Answered, Ask, Caller, Question, Reply};
use crate::model::policy::Policy;
use crate::model::refusal::{Code, Refusal};
use crate::model::remote::Remote;
use crate::model::tally::Happening;
use crate::model::writes::Writes;

use super::front::Line as FrontLine;
use super::message::{Grant, Input};
use super::workers::{self, Inputs};

pub(super) use closing::Closing;
pub use door::{Door, TokenFault, read_token};
use jobs::Jobs;
use journal::{Journal, Left};
use porter::Porter;
use refusals::Refusals;
use seeing::Reader;
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
    /// Nothing when nobody comes in over the network.
    pub remote: Option<Remote>,
    /// A folder with a file for each token, on the host.
    pub tokens: PathBuf,
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
    /// Where what the caller may is not the configuration's to say.
    pub(super) access: Option<Access>,
}

/// What the desk's threads share.
#[derive(Debug)]
struct Office {
    policy: Policy,
    access: Access,
    tools: Tools,
    reader: Reader,
    journal: Journal,
    refusals: Refusals,
    leases: Leases,
    front: FrontLine,
    inputs: Inputs,
    jobs: Mutex<Jobs>,
    writes: Mutex<Writes>,
    tokens: Mutex<Tokens>,
    /// Nothing when nobody comes in over the network.
    porter: Option<Porter>,
    closing: Closing,
}

/// Where the engine says that a wish is granted.
pub(super) type Grants = SyncSender<Grant>;

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
        closing: Closing,
    ) -> io::Result<(Self, Grants)> {
        let leases = Leases::beside(&options.journal);
        let (journal, left) = Journal::start(tools.host.clone(), options.journal)?;
        let (porter, coming) = options.remote.map(|_| Porter::new()).unzip();
        let door = Door::new(options.access.clone(), options.tokens);
        let host = tools.host.clone();
        let office = Arc::new(Office {
            policy,
            porter,
            access: options.access,
            reader: Reader {
                lvm: tools.lvm.clone(),
            },
            tools,
            journal,
            refusals: Refusals::default(),
            leases,
            front,
            inputs,
            jobs: Mutex::default(),
            writes: Mutex::default(),
            tokens: Mutex::new(Tokens::new()),
            closing,
        });
        let (questions, queue) = sync_channel(QUEUE);
        let (granted, grants) = sync_channel(GRANTS);
        let (orders, work) = sync_channel(ORDERS);
        let working = Arc::clone(&office);
        workers::spawn("actions", STACK, move || {
            let worker = Worker {
                office: &working,
                grants: &grants,
                wishes: 0,
                merging: VecDeque::new(),
                unseen: VecDeque::new(),
                latest: None,
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
        let desk = Self { office, questions };
        if let Some(coming) = coming {
            porter::start(host, door, coming, desk.clone())?;
        }
        Ok((desk, granted))
    }

    /// Answers at once, or has it answered; never waits.
    pub(super) fn take(&self, asked: Asked) {
        let is_token = matches!(asked.ask.caller, Caller::Token { .. });
        match &asked.ask.question {
            Question::Admit(_) => {}
            // Nothing is done for it but to put it on record.
            Question::Refused(_) => return self.pass(asked),
            Question::Volumes
            | Question::Jobs
            | Question::Job(_)
            | Question::Act(_)
            | Question::Confirm(_) => {
                if !is_token {
                    return self.pass(asked);
                }
            }
        }
        let (number, generation) = (asked.ask.number, asked.generation);
        let taken = match &self.office.porter {
            Some(porter) => porter.take(asked),
            None => Err(nobody_comes()),
        };
        if let Err(refusal) = taken {
            self.office.tell(generation, number, Err(refusal));
        }
    }

    /// To the desk itself, once it is known who asks.
    fn pass(&self, asked: Asked) {
        let number = asked.ask.number;
        let generation = asked.generation;
        let answer = match &asked.ask.question {
            Question::Jobs => self.office.list(&asked),
            Question::Job(id) => self.office.job(&asked, id),
            // Whose it is has been answered at the door.
            Question::Admit(_) => Ok(Reply::Noted),
            Question::Volumes | Question::Act(_) | Question::Confirm(_) | Question::Refused(_) => {
                if self.questions.try_send(asked).is_ok() {
                    return;
                }
                self.office.note(Happening::Refused(Code::RateLimited));
                let detail = "too many requests wait for lvm; try again in a second";
                Err(Refusal::new(Code::RateLimited, detail))
            }
        };
        self.office.tell(generation, number, answer);
    }

    fn tell(&self, asked: &Asked, answer: Result<Reply, Refusal>) {
        self.office.tell(asked.generation, asked.ask.number, answer);
    }
}

impl Office {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        // Whoever panicked left whole entries behind.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writes(&self) -> MutexGuard<'_, Writes> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ending(&self) -> bool {
        self.closing.is_ending()
    }

    fn tell(&self, generation: u64, number: u64, answer: Result<Reply, Refusal>) {
        self.front.answer(generation, Answered { number, answer });
    }

    /// Has it counted by the engine. When that has gone, nobody looks at counts any more.
    fn note(&self, happening: Happening) {
        let _ = self.inputs.send(Input::Asked(happening));
    }

    /// Whoever may open the socket is not yet somebody who may use it.
    fn admit(&self, asked: &Asked) -> Result<(), Refusal> {
        let caller = &asked.ask.caller;
        if self.access_of(asked).knows(caller) {
            return Ok(());
        }
        let detail =
            format!("{caller} may not use this: no [[api.caller]] of the configuration names it");
        Err(Refusal::new(Code::Forbidden, detail))
    }

    fn access_of<'a>(&'a self, asked: &'a Asked) -> &'a Access {
        asked.access.as_ref().unwrap_or(&self.access)
    }

    /// What this caller may by now, for a job that waited for its turn.
    fn access_now(&self, caller: &Caller) -> Result<Access, Refusal> {
        match (caller, &self.porter) {
            (Caller::Token { .. }, Some(porter)) => porter.access(caller),
            (Caller::Token { .. }, None) => Err(nobody_comes()),
            (Caller::Peer { .. } | Caller::Certificate { .. } | Caller::Stranger { .. }, _) => {
                Ok(self.access.clone())
            }
        }
    }

    fn list(&self, asked: &Asked) -> Result<Reply, Refusal> {
        self.admit(asked)?;
        Ok(Reply::Jobs(self.jobs().list()))
    }

    fn job(&self, asked: &Asked, id: &str) -> Result<Reply, Refusal> {
        self.admit(asked)?;
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
            self.note(Happening::Queued);
            let _ = orders.send(Order::Reconcile(id));
        }
    }
}

fn nobody_comes() -> Refusal {
    Refusal::new(
        Code::Unauthenticated,
        "nobody comes in over the network here",
    )
}
