//! Starts the front, hands it what is published, and starts it again when it dies.
//!
//! Nothing here makes the loop wait: a published view goes into a slot that the next one replaces, and a
//! thread of its own writes it to the front.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::link::{self, FromFront, FromGuard, Json, LinkError, Packed};
use crate::model::action::{Answered, Ask};
use crate::model::cause::chain;
use crate::model::refusal::{Code, Refusal};
use crate::model::remote::Remote;
use crate::model::view::View;

use super::desk::{Asked, Desk};
use super::workers;

/// The front binds for up to three seconds; after this it does not start.
const START_LIMIT: Duration = Duration::from_secs(10);
/// A front that does not read for as long is stuck and is replaced.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// A front that dies at once is not started in a tight loop.
const RESTART_FIRST: Duration = Duration::from_millis(100);
const RESTART_MAX: Duration = Duration::from_secs(10);
/// A front that lived this long starts again without delay.
const LIVED_WELL: Duration = Duration::from_secs(30);
/// At a stop the front gets this long to end by itself.
const STOP_LIMIT: Duration = Duration::from_secs(2);
const STACK: usize = 256 << 10;
/// A front asks less at once; one that does not read its answers is replaced.
const ANSWERS_MAX: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum FrontFailure {
    #[error("start the front")]
    Spawn { source: io::Error },
    #[error("start the front as {user:?}: no such user in /etc/passwd")]
    User { user: String },
    #[error("start the front as {user:?}: it is root, and the front must not be")]
    Root { user: String },
    #[error("{message}")]
    Refused { message: String },
    #[error("{message}")]
    Misconfigured { message: String },
    #[error("start the front: no answer within {} s", START_LIMIT.as_secs())]
    Silent,
}

/// What the front is started with.
#[derive(Debug)]
pub(super) struct FrontSettings {
    pub(super) listen_addresses: Vec<SocketAddr>,
    pub(super) telemetry_path: String,
    /// What only the front reads: a fault in it can end nothing but the front.
    pub(super) web_config_file: Option<PathBuf>,
    /// Where the host's root is, seen from here.
    pub(super) host_root: PathBuf,
    /// User and group id; without them the front runs as we do, who are not root.
    pub(super) identity: Option<(u32, u32)>,
    pub(super) log_level: String,
    pub(super) lock_file: PathBuf,
    /// What callers of the API ask, and where they connect.
    pub(super) api: Option<(Desk, UnixListener)>,
    /// Where they connect over the network.
    pub(super) remote: Option<Remote>,
}

/// The running front.
pub(super) struct Front {
    addresses: Vec<String>,
    slot: Arc<Slot>,
}

/// What the front of the moment is told, whichever process that is.
#[derive(Debug, Clone, Default)]
pub(super) struct Line {
    slot: Arc<Slot>,
}

/// The latest view, answers that wait to be sent, and whether the end has come.
#[derive(Debug, Default)]
struct Slot {
    state: Mutex<State>,
    changed: Condvar,
    stopping: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    view: Option<Arc<View>>,
    /// Counts views, so that a writer knows whether it has sent this one.
    number: u64,
    answers: VecDeque<Answered>,
    /// Counts fronts: an answer is for the one that asked.
    generation: u64,
    /// The process to end at a stop.
    pid: Option<u32>,
}

impl Front {
    /// Starts the front and waits until it listens.
    pub(super) fn start(settings: FrontSettings, line: Line) -> Result<Self, FrontFailure> {
        let slot = line.slot;
        let (first, answer) = sync_channel(1);
        let supervised = Arc::clone(&slot);
        workers::spawn("front", STACK, move || {
            supervise(&settings, &supervised, first);
        })
        .map_err(|source| FrontFailure::Spawn { source })?;
        let addresses = answer
            .recv_timeout(START_LIMIT)
            .map_err(|_| FrontFailure::Silent)??;
        Ok(Self { addresses, slot })
    }

    pub(super) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Replaces whatever the front has not been told yet.
    pub(super) fn publish(&self, view: View) {
        let mut state = self.slot.lock();
        state.view = Some(Arc::new(view));
        state.number += 1;
        self.slot.changed.notify_all();
    }

    /// Ends the front, by force if it must be.
    pub(super) fn stop(&self) {
        self.slot.stopping.store(true, Ordering::Release);
        let mut state = self.slot.lock();
        self.slot.changed.notify_all();
        let deadline = Instant::now() + STOP_LIMIT;
        while state.pid.is_some() && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            let waited = self.slot.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(pid) = state.pid.and_then(|pid| i32::try_from(pid).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            // It holds nothing that a kill could harm.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// What is sent next.
enum Out {
    Answer(Box<Answered>),
    View(Arc<View>, u64),
}

impl Out {
    fn send(&self, socket: &mut UnixStream) -> Result<(), LinkError> {
        match self {
            Self::Answer(answered) => match send_answer(socket, answered) {
                // Nothing of it has been sent.
                Err(LinkError::TooLong { length, max }) => {
                    let detail = format!(
                        "the answer would be {length} bytes, at most {max} fit; ask for one volume"
                    );
                    let answered = Answered {
                        number: answered.number,
                        answer: Err(Refusal::new(Code::Internal, detail)),
                    };
                    send_answer(socket, &answered)
                }
                sent => sent,
            },
            Self::View(view, _) => {
                let view = Packed::of(view).map(FromGuard::View)?;
                link::send(socket, &view)
            }
        }
    }
}

fn send_answer(socket: &mut UnixStream, answered: &Answered) -> Result<(), LinkError> {
    let message = Json::of(answered).map(FromGuard::Answer)?;
    link::send(socket, &message)
}

impl Line {
    /// The last one that was published.
    pub(super) fn view(&self) -> Option<Arc<View>> {
        self.slot.lock().view.clone()
    }

    /// Unless the front that asked is gone.
    pub(super) fn answer(&self, generation: u64, answered: Answered) {
        let mut state = self.slot.lock();
        if state.generation == generation && state.answers.len() < ANSWERS_MAX {
            state.answers.push_back(answered);
            self.slot.changed.notify_all();
        }
    }
}

impl Slot {
    /// A new front: what the one before was to be told is of no use to it.
    fn begin(&self, pid: u32) -> u64 {
        let mut state = self.lock();
        state.pid = Some(pid);
        state.generation += 1;
        state.answers.clear();
        state.generation
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left plain values behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an answer, a view after number `sent`, or the end.
    fn next(&self, generation: u64, sent: u64) -> Option<Out> {
        let mut state = self.lock();
        loop {
            // Another front has come, with a sender of its own.
            if self.stopping.load(Ordering::Acquire) || state.generation != generation {
                return None;
            }
            if let Some(answered) = state.answers.pop_front() {
                return Some(Out::Answer(Box::new(answered)));
            }
            if let Some(view) = state.view.as_ref().filter(|_| state.number > sent) {
                return Some(Out::View(Arc::clone(view), state.number));
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

type Started = Result<Vec<String>, FrontFailure>;

fn supervise(settings: &FrontSettings, slot: &Arc<Slot>, first: SyncSender<Started>) {
    let mut first = Some(first);
    let mut listened = false;
    let mut pause = RESTART_FIRST;
    loop {
        let born = Instant::now();
        match spawn(settings) {
            Ok((child, socket)) => {
                let desk = settings.api.as_ref().map(|(desk, _)| desk);
                listened |= serve(child, &socket, slot, desk, &mut first);
            }
            Err(source) => refuse(&mut first, FrontFailure::Spawn { source }),
        }
        if slot.stopping.load(Ordering::Acquire) {
            return;
        }
        // A front that never listened is the start's failure, and nobody restarts it.
        if !listened {
            let message = "the front ended before it listened".to_owned();
            if first.is_some() {
                refuse(&mut first, FrontFailure::Refused { message });
            }
            return;
        }
        pause = if born.elapsed() > LIVED_WELL {
            RESTART_FIRST
        } else {
            pause
        };
        warn!("the front ended and is started again");
        thread::sleep(pause);
        pause = (pause * 2).min(RESTART_MAX);
    }
}

fn refuse(first: &mut Option<SyncSender<Started>>, failure: FrontFailure) {
    if let Some(first) = first.take() {
        let _ = first.send(Err(failure));
    } else {
        error!(error = chain(&failure), "cannot start the front");
    }
}

fn spawn(settings: &FrontSettings) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_write_timeout(Some(WRITE_LIMIT))?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("cowherd").arg("front");
    for address in &settings.listen_addresses {
        command.arg("--listen-address").arg(address.to_string());
    }
    if let Some(path) = &settings.web_config_file {
        command.arg("--web-config-file").arg(path);
    }
    command
        .arg("--telemetry-path")
        .arg(&settings.telemetry_path)
        .arg("--host-root")
        .arg(&settings.host_root)
        .arg("--lock-file")
        .arg(&settings.lock_file)
        .arg("--log-level")
        .arg(&settings.log_level)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .current_dir("/")
        .process_group(0);
    if let Some((_, listener)) = &settings.api {
        // Standard output is the one place besides where a child takes a descriptor over.
        let listener = OwnedFd::from(listener.try_clone()?);
        command.arg("--api").stdout(Stdio::from(listener));
    }
    if let Some(remote) = &settings.remote {
        pass_on(&mut command, remote);
    }
    if let Some((uid, gid)) = settings.identity {
        command.uid(uid).gid(gid);
    }
    Ok((command.spawn()?, ours))
}

fn pass_on(command: &mut Command, remote: &Remote) {
    for address in &remote.listen_addresses {
        command.arg("--api-listen-address").arg(address.to_string());
    }
    command.arg("--api-tls-cert").arg(&remote.tls_cert);
    command.arg("--api-tls-key").arg(&remote.tls_key);
    if let Some(path) = &remote.tls_client_ca {
        command.arg("--api-tls-client-ca").arg(path);
    }
}

/// Serves one front until it ends; tells whether it ever listened.
fn serve(
    mut child: Child,
    socket: &UnixStream,
    slot: &Arc<Slot>,
    desk: Option<&Desk>,
    first: &mut Option<SyncSender<Started>>,
) -> bool {
    let mut listened = false;
    let generation = slot.begin(child.id());
    let gone = Arc::new(AtomicBool::new(false));
    if let Err(error) = start_sender(socket, slot, generation, &gone) {
        error!(error = chain(&error), "cannot start a thread to publish");
    }
    let mut reader = io::BufReader::new(socket);
    loop {
        match link::receive::<FromFront>(&mut reader) {
            Ok(Some(FromFront::Listening { addresses })) => {
                listened = true;
                if let Some(first) = first.take() {
                    let _ = first.send(Ok(addresses));
                } else {
                    info!("the front listens again");
                }
            }
            Ok(Some(FromFront::Failed { message })) => {
                refuse(first, FrontFailure::Refused { message });
            }
            Ok(Some(FromFront::Misconfigured { message })) => {
                refuse(first, FrontFailure::Misconfigured { message });
            }
            Ok(Some(FromFront::Ask(ask))) => {
                let Ok(ask) = ask.read::<Ask>() else {
                    error!("the front asks what nobody understands, and is started again");
                    break;
                };
                if let Some(desk) = desk {
                    desk.take(Asked {
                        ask,
                        generation,
                        access: None,
                    });
                }
            }
            Ok(None) | Err(_) => break,
        }
    }
    // The link is closed, so it ends by itself or is of no use.
    let _ = child.kill();
    let _ = child.wait();
    gone.store(true, Ordering::Release);
    let mut state = slot.lock();
    state.pid = None;
    slot.changed.notify_all();
    listened
}

/// Writes each published view to the front, on a thread of its own.
fn start_sender(
    socket: &UnixStream,
    slot: &Arc<Slot>,
    generation: u64,
    gone: &Arc<AtomicBool>,
) -> io::Result<()> {
    let (mut socket, slot, gone) = (socket.try_clone()?, Arc::clone(slot), Arc::clone(gone));
    workers::spawn("publish", STACK, move || {
        let mut sent = 0;
        while let Some(out) = slot.next(generation, sent) {
            if gone.load(Ordering::Acquire) {
                return;
            }
            if out.send(&mut socket).is_err() {
                // It does not read, or there is more to show than fits. Closing the link ends it.
                let _ = socket.shutdown(std::net::Shutdown::Both);
                return;
            }
            if let Out::View(_, number) = out {
                sent = number;
            }
        }
        let _ = link::send(&mut socket, &FromGuard::Stop);
    })
}

/// Whom the front runs as.
pub(super) fn identity(user: &str) -> Result<Option<(u32, u32)>, FrontFailure> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    match look_up(user) {
        None => Err(FrontFailure::User {
            user: user.to_owned(),
        }),
        Some((0, _)) => Err(FrontFailure::Root {
            user: user.to_owned(),
        }),
        Some(identity) => Ok(Some(identity)),
    }
}

/// Read from the file: no name service may be asked here.
fn look_up(user: &str) -> Option<(u32, u32)> {
    find_user(&std::fs::read("/etc/passwd").ok()?, user)
}

fn find_user(passwd: &[u8], user: &str) -> Option<(u32, u32)> {
    // One full name in another encoding must not hide everybody.
    String::from_utf8_lossy(passwd).lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, ..] = fields.as_slice() else {
            return None;
        };
        (*name == user).then_some((uid.parse().ok()?, gid.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    proptest! {
        #[test]
        fn a_user_is_found_among_any_bytes(before in prop::collection::vec(any::<u8>(), 0..200), uid: u32, gid: u32, name in "[a-z]{4,9}", junk in "[a-z.-]{0,9}") {
            let find = |uid: &str| {
                let line = format!("\n{name}:x:{uid}:{gid}:");
                let after = b"M\xfcller:/:/bin/sh\nother:x:1:1::/:/bin/sh\n";
                find_user(&[&before, line.as_bytes(), after].concat(), &name)
            };
            assert_eq!(find(&uid.to_string()), Some((uid, gid)));
            assert_eq!(find(&junk), None);
        }
    }
}
