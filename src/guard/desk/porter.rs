//! The thread at the door: it waits for the files of tokens, so that nobody else has to.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing::error;

use crate::act::hook;
use crate::model::access::Access;
use crate::model::action::{Caller, Question, Reply};
use crate::model::cause::chain;
use crate::model::refusal::{Code, Refusal};

use super::super::{clock, workers};
use super::answering::is_change;
use super::door::Door;
use super::{Asked, Desk};

/// As many wait for storage that hangs; who comes later is told so.
const QUEUE: usize = 32;
/// How long a job waits to learn whether its caller's token is still good. A file of a page is read in no time.
const ACCESS_LIMIT: Duration = Duration::from_secs(5);
const STACK: usize = 256 << 10;

/// Where whoever comes in over the network is handed in.
#[derive(Debug, Clone)]
pub(super) struct Porter {
    orders: SyncSender<Order>,
}

/// What the thread is to do.
#[derive(Debug)]
pub(super) enum Order {
    Ask(Box<Asked>),
    /// What this caller may, for a job that is about to begin.
    Access(Caller, SyncSender<Result<Access, Refusal>>),
}

impl Porter {
    /// The thread begins once there is a desk behind the door.
    pub(super) fn new() -> (Self, Receiver<Order>) {
        let (orders, queue) = sync_channel(QUEUE);
        (Self { orders }, queue)
    }

    pub(super) fn take(&self, asked: Asked) -> Result<(), Refusal> {
        let sent = self.orders.try_send(Order::Ask(Box::new(asked)));
        sent.map_err(|_| behind(Code::RateLimited))
    }

    pub(super) fn access(&self, caller: &Caller) -> Result<Access, Refusal> {
        let (told, access) = sync_channel(1);
        let sent = self.orders.try_send(Order::Access(caller.clone(), told));
        sent.map_err(|_| behind(Code::RateLimited))?;
        let access = access.recv_timeout(ACCESS_LIMIT);
        access.unwrap_or_else(|_| Err(behind(Code::Timeout)))
    }
}

/// Lets in, on the host, until nobody comes any more.
pub(super) fn start(
    host: Option<PathBuf>,
    mut door: Door,
    queue: Receiver<Order>,
    desk: Desk,
) -> io::Result<()> {
    workers::spawn("door", STACK, move || {
        if let Err(error) = host.as_deref().map(hook::enter).transpose() {
            return error!(
                error = chain(&error),
                "cannot reach the files of tokens: nobody comes in over the network"
            );
        }
        while let Ok(order) = queue.recv() {
            let now = clock::now().wall;
            match order {
                Order::Access(caller, told) => {
                    // Whoever does not wait any longer has refused the job.
                    let _ = told.send(door.access(&caller, now));
                }
                Order::Ask(asked) => match &asked.ask.question {
                    Question::Admit(shown) => {
                        let admitted = door.admit(shown, now).map(Reply::Admitted);
                        desk.tell(&asked, admitted);
                    }
                    Question::Volumes
                    | Question::Jobs
                    | Question::Job(_)
                    | Question::Act(_)
                    | Question::Confirm(_)
                    | Question::Refused(_) => match door.access(&asked.ask.caller, now) {
                        Ok(access) => desk.pass(Asked {
                            access: Some(access),
                            ..*asked
                        }),
                        Err(refusal) => turn_away(&desk, &asked, refusal),
                    },
                },
            }
        }
    })
}

/// The token was good when the request began.
fn turn_away(desk: &Desk, asked: &Asked, refusal: Refusal) {
    if is_change(&asked.ask.question) {
        desk.office.record_refusal(&asked.ask, &refusal);
    }
    desk.tell(asked, Err(refusal));
}

fn behind(code: Code) -> Refusal {
    Refusal::new(code, "the files of tokens are not read in time")
}
