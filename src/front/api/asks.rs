//! Asking the guard: questions go out through a thread of their own, answers come in with the views.
//!
//! ```text
//!  a request --try_send--> bounded channel --> writer thread --> link --> guard
//!      ^                                                                    |
//!      +------ by its number ------ pending <------ inbox thread <----------+
//! ```
//!
//! Nothing waits for the guard but whoever asked: a full channel, too many open questions and a guard that is
//! gone are answers.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, warn};

use crate::link::{self, FromFront, Json, LinkError};
use crate::model::action::{Answered, Ask, Caller, Question, Reply, Who};
use crate::model::refusal::{Code, Refusal};

use super::super::start_thread;

/// The guard answers what it knows at once, and a change when it is on record. Behind it is one disk.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Then whoever asked has been told so, or has hung up.
const FORGOTTEN: Duration = Duration::from_secs(31);
/// Questions that the guard has not answered: it works on one after the other.
const PENDING_MAX: usize = 32;
/// Of these for everybody but root, for all who come over the network, and for each.
const PENDING_OTHERS_MAX: usize = 24;
const PENDING_REMOTE_MAX: usize = 16;
const PENDING_EACH_MAX: usize = 12;
/// Questions and notes of refusals that the link has not taken.
const FRAMES_MAX: usize = 64;

type Answer = Result<Reply, Refusal>;

/// Who waits for which answer. Shared with the inbox.
#[derive(Debug, Default)]
pub(in crate::front) struct Pending(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// No answer will come any more.
    is_gone: bool,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    who: Who,
    is_remote: bool,
    answer: oneshot::Sender<Answer>,
}

/// Where questions go.
#[derive(Debug)]
pub(super) struct Asks {
    pending: Arc<Pending>,
    frames: SyncSender<FromFront>,
    /// Refusals that found no room since the last one that did.
    unrecorded: AtomicU64,
}

impl Pending {
    /// Hands an answer to whoever waits for it. Who hung up does not.
    pub(in crate::front) fn settle(&self, answered: Result<Answered, LinkError>) {
        match answered {
            Ok(Answered { number, answer }) => {
                if let Some(waiting) = self.lock().waiting.remove(&number) {
                    let _ = waiting.answer.send(answer);
                }
            }
            Err(error) => error!(
                error = &error as &dyn std::error::Error,
                "cannot read an answer of the guard's"
            ),
        }
    }

    /// Nobody answers any more.
    pub(in crate::front) fn hang_up(&self) {
        let mut state = self.lock();
        state.is_gone = true;
        state.waiting.clear();
    }

    /// A number, and where its answer comes.
    fn open(&self, caller: &Caller) -> Result<(u64, oneshot::Receiver<Answer>), Refusal> {
        let mut state = self.lock();
        if state.is_gone {
            return Err(gone());
        }
        let now = Instant::now();
        // Who hung up keeps a place until the guard has answered, or should have.
        let is_due = |waiting: &Waiting| now.duration_since(waiting.since) < FORGOTTEN;
        state.waiting.retain(|_, waiting| is_due(waiting));
        let all = state.waiting.len();
        let who = caller.who();
        let is_remote = !matches!(who, Who::User(_));
        let own = state.waiting.values().filter(|other| other.who == who);
        let remote = state.waiting.values().filter(|other| other.is_remote);
        let is_full = all >= PENDING_MAX
            || is_remote && remote.count() >= PENDING_REMOTE_MAX
            || !caller.is_root() && (all >= PENDING_OTHERS_MAX || own.count() >= PENDING_EACH_MAX);
        if is_full {
            return Err(crowded());
        }
        let (answer, comes) = oneshot::channel();
        let (number, since) = (state.next(), now);
        let waiting = Waiting {
            since,
            who,
            is_remote,
            answer,
        };
        state.waiting.insert(number, waiting);
        Ok((number, comes))
    }

    fn close(&self, number: u64) {
        self.lock().waiting.remove(&number);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left whole entries behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl Asks {
    /// Starts the thread that writes to the link.
    pub(super) fn start(link: UnixStream, pending: Arc<Pending>) -> io::Result<Self> {
        let (frames, waiting) = sync_channel(FRAMES_MAX);
        let told = Arc::clone(&pending);
        start_thread("asks", move || write(link, &waiting, &told))?;
        Ok(Self {
            pending,
            frames,
            unrecorded: AtomicU64::new(0),
        })
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask(&self, caller: &Caller, line: &str, question: Question) -> Answer {
        let wants_change = matches!(question, Question::Act(_) | Question::Confirm(_));
        let asked = self.begin(caller, line, question);
        if let (Err(refusal), true) = (&asked, wants_change) {
            self.note(caller, line, refusal);
        }
        let (number, comes) = asked?;
        match timeout(ANSWER_LIMIT, comes).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(gone()),
            Err(_) => {
                self.pending.close(number);
                let detail = "the guard has not answered within 30 s: whether it does what it was asked for is not \
                    known, ask for its jobs or again with the same Idempotency-Key";
                Err(Refusal::new(Code::Timeout, detail))
            }
        }
    }

    fn begin(
        &self,
        caller: &Caller,
        line: &str,
        question: Question,
    ) -> Result<(u64, oneshot::Receiver<Answer>), Refusal> {
        let (number, comes) = self.pending.open(caller)?;
        match self.send(number, caller, line, question) {
            Ok(()) => Ok((number, comes)),
            Err(refusal) => {
                self.pending.close(number);
                Err(refusal)
            }
        }
    }

    /// Puts a refusal on record, unless there are too many of them.
    pub(super) fn note(&self, caller: &Caller, line: &str, refusal: &Refusal) {
        let number = self.pending.lock().next();
        let question = Question::Refused(refusal.clone());
        if self.send(number, caller, line, question).is_err() {
            self.unrecorded.fetch_add(1, Ordering::Relaxed);
        } else {
            let count = self.unrecorded.swap(0, Ordering::Relaxed);
            if count > 0 {
                warn!(count, "refusals are not on record: there were too many");
            }
        }
    }

    fn send(
        &self,
        number: u64,
        caller: &Caller,
        line: &str,
        question: Question,
    ) -> Result<(), Refusal> {
        let ask = Ask {
            number,
            caller: caller.clone(),
            line: line.to_owned(),
            question,
        };
        let message = Json::of(&ask).map_err(|error| {
            error!(
                error = &error as &dyn std::error::Error,
                "cannot encode a question"
            );
            Refusal::new(Code::Internal, "the question cannot be put")
        })?;
        match self.frames.try_send(FromFront::Ask(message)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(crowded()),
            Err(TrySendError::Disconnected(_)) => Err(gone()),
        }
    }
}

/// Until nobody asks any more, or nobody listens.
fn write(mut link: UnixStream, frames: &Receiver<FromFront>, pending: &Pending) {
    while let Ok(message) = frames.recv() {
        if let Err(error) = link::send(&mut link, &message) {
            warn!(
                error = &error as &dyn std::error::Error,
                "cannot ask the guard"
            );
            pending.hang_up();
            return;
        }
    }
}

fn crowded() -> Refusal {
    let detail = "too many requests wait for the guard: ask again in a second";
    Refusal::new(Code::RateLimited, detail)
}

fn gone() -> Refusal {
    let detail = "the guard is gone: ask again, a change with the same Idempotency-Key";
    Refusal::new(Code::GuardUnavailable, detail)
}
