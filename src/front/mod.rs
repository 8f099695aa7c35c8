//! The shell of the front: the unprivileged process that people and Prometheus talk to.
//!
//! ```text
//!             link                      watch channel
//!   guard  ----------->  inbox thread  --------------->  one tokio thread  <---- HTTP clients
//!          <-----------  asks thread   <---------------   (listen, answer)
//!             link                      questions of the API
//! ```
//!
//! It holds the last view that the guard published and renders it; it cannot change anything. What
//! the outside world imposes here: clients are slow, hostile or many, so headers, connections and
//! lifetimes are bounded, and nothing that a client of the metrics does reaches the guard. What a client of
//! `api` asks for does, checked and counted. When the guard dies, the front keeps serving the last view, with
//! its age, until the front of the next guard needs its port.

mod answer;
pub mod api;
mod converse;
mod files;
mod fresh;
mod gzip;
mod handshake;
mod inbox;
mod listen;
mod published;
mod serve;
mod tls;
mod web;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rustix::net::sockopt::socket_acceptconn;
use rustix::process::setpriority_process;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::runtime;
use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::link::{self, FromFront, LinkError};
use crate::model::cause::chain;
use crate::model::remote::Remote;

use api::{Doors, Pending, Secured};
use listen::{ListenError, Listener};
use web::Web;

pub use api::check as check_remote;
pub use web::{WebError, check as check_web_file};

/// As many reasons to end can be told; the first one counts.
const ENDS_MAX: usize = 4;

/// Reading frames and waiting for signals needs little.
const STACK_BYTES: usize = 256 << 10;

/// What the front is started with. All of it has been checked by the guard.
#[derive(Debug)]
pub struct Options {
    /// Port 0 is given a free one; the guard is told which.
    pub listen_addresses: Vec<SocketAddr>,
    /// Where the metrics are, with its slash: `/metrics`.
    pub telemetry_path: String,
    /// Who may read it all, and how: `config::web_file`. By its path on the host.
    pub web_config_file: Option<PathBuf>,
    /// Where the host's root is, seen from here.
    pub host_root: PathBuf,
    /// The living guard holds an exclusive `flock` on this file.
    pub lock_file: PathBuf,
    /// Where the API is asked, if it is: bound by the guard.
    pub api: Option<UnixListener>,
    /// Where it is asked over the network, if it is.
    pub remote: Option<Remote>,
}

/// What is there before anything is served.
struct Laid {
    web: Web,
    listeners: Vec<Listener>,
    api: Option<Doors>,
}

#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    #[error("take the link from standard input: only `cowherd run` starts this command")]
    Stdin(#[source] io::Error),
    #[error(
        "take the socket of the API from standard output: only `cowherd run` starts this command"
    )]
    Stdout(#[source] io::Error),
    #[error("watch for signals")]
    Signals(#[source] io::Error),
    #[error("start a thread")]
    Thread(#[source] io::Error),
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Web(#[from] WebError),
    #[error("tell the guard")]
    Tell(#[source] LinkError),
    #[error("understand the guard")]
    Understand(#[source] LinkError),
}

/// Why the front ends.
#[derive(Debug)]
enum End {
    /// The guard said so.
    Stopped,
    /// A signal said so.
    Signalled,
    /// The guard is gone and another one lives: its front needs the port.
    Superseded,
    /// What came over the link was no message.
    Garbled(LinkError),
}

/// Serves until the guard, a signal or a new guard ends it. The link to the guard is standard input.
///
/// # Errors
/// When an address cannot be bound or the link cannot be used.
pub fn run(options: Options) -> Result<(), FrontError> {
    let stdin = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map_err(FrontError::Stdin)?;
    // The guard is spared when memory runs out, and goes first where processors are short; the front is one of many.
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    let _ = setpriority_process(None, 0);
    let link = UnixStream::from(stdin);
    // Asking a socket for its address tells it from anything else.
    link.local_addr().map_err(FrontError::Stdin)?;
    let (ends, ended) = mpsc::channel(ENDS_MAX);
    watch_signals(ends.clone())?;
    serve_until(link, options, &ends, ended)
}

/// The socket of the API: the guard, which may, has bound it and handed it down as standard output.
///
/// # Errors
/// When standard output is no unix socket that listens.
pub fn api_socket() -> Result<UnixListener, FrontError> {
    let stdout = io::stdout().as_fd().try_clone_to_owned();
    let stdout = stdout.map_err(FrontError::Stdout)?;
    let listens = socket_acceptconn(&stdout).map_err(io::Error::from);
    let listener = UnixListener::from(stdout);
    // Asking it for its address tells a unix socket from another.
    let known = listens.and_then(|listens| listener.local_addr().map(|_| listens));
    match known {
        Ok(true) => Ok(listener),
        Ok(false) => Err(FrontError::Stdout(io::Error::other("it does not listen"))),
        Err(error) => Err(FrontError::Stdout(error)),
    }
}

/// As `run`, over any link, and deaf to signals.
///
/// # Errors
/// As `run`.
pub fn serve(link: UnixStream, options: Options) -> Result<(), FrontError> {
    let (ends, ended) = mpsc::channel(ENDS_MAX);
    serve_until(link, options, &ends, ended)
}

fn serve_until(
    mut link: UnixStream,
    options: Options,
    ends: &mpsc::Sender<End>,
    mut ended: mpsc::Receiver<End>,
) -> Result<(), FrontError> {
    let (lock_file, telemetry_path) = (options.lock_file.clone(), options.telemetry_path.clone());
    let laid = lay(options).or_else(|error| {
        let message = chain(&error);
        let told = if matches!(error, FrontError::Web(_)) {
            FromFront::Misconfigured { message }
        } else {
            FromFront::Failed { message }
        };
        link::send(&mut link, &told).map_err(FrontError::Tell)?;
        Err(error)
    })?;
    let remote = laid.api.iter().filter_map(|api| api.remote.as_ref());
    let remote = remote.flat_map(|(listeners, _)| listeners);
    let addresses = laid.listeners.iter().chain(remote);
    let addresses = addresses
        .map(|listener| listener.address.to_string())
        .collect();
    link::send(&mut link, &FromFront::Listening { addresses }).map_err(FrontError::Tell)?;

    let (publisher, views) = watch::channel(None);
    let pending = Arc::new(Pending::default());
    let api = laid.api.map(|doors| Ok((doors, link.try_clone()?)));
    let api = api.transpose().map_err(FrontError::Runtime)?;
    let ends = ends.clone();
    let answered = Arc::clone(&pending);
    start_thread("inbox", move || {
        let end = inbox::read(link, &publisher, &answered, &lock_file);
        // The other end lives as long as the process; there is nobody to tell otherwise.
        let _ = ends.blocking_send(end);
    })
    .map_err(FrontError::Thread)?;

    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(FrontError::Runtime)?;
    let end = runtime.block_on(async {
        serve::start(laid.listeners, views, laid.web, telemetry_path)?;
        if let Some((doors, link)) = api {
            api::start(doors, link, pending)?;
        }
        Ok(ended.recv().await.unwrap_or(End::Stopped))
    });
    let end = end.map_err(FrontError::Runtime)?;
    // Dropping the runtime closes every connection: whoever waits for an answer asks again.
    drop(runtime);
    conclude(end)
}

/// Reads what must be read, then binds every address. The first address is one of the metrics.
fn lay(options: Options) -> Result<Laid, FrontError> {
    let web = match options.web_config_file {
        None => Web::default(),
        Some(path) => Web::start(options.host_root.clone(), path)?,
    };
    let remote = options.api.as_ref().and(options.remote);
    let secured: Option<(Vec<SocketAddr>, Secured)> = remote
        .map(|remote| {
            let addresses = remote.listen_addresses.clone();
            Ok::<_, WebError>((addresses, api::secure(options.host_root, remote)?))
        })
        .transpose()?;
    let listeners = listen::bind(&options.listen_addresses)?;
    let remote = secured
        .map(|(addresses, secured)| Ok::<_, ListenError>((listen::bind(&addresses)?, secured)))
        .transpose()?;
    let api = options.api.map(|socket| Doors { socket, remote });
    Ok(Laid {
        web,
        listeners,
        api,
    })
}

fn conclude(end: End) -> Result<(), FrontError> {
    match end {
        End::Stopped => info!("the guard stops the front"),
        End::Signalled => info!("a signal stops the front"),
        End::Superseded => info!("a new guard lives, its front takes over"),
        End::Garbled(error) => return Err(FrontError::Understand(error)),
    }
    Ok(())
}

fn watch_signals(ends: mpsc::Sender<End>) -> Result<(), FrontError> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(FrontError::Signals)?;
    start_thread("signals", move || {
        if signals.forever().next().is_some() {
            let _ = ends.blocking_send(End::Signalled);
        }
    })
    .map_err(FrontError::Thread)
}

fn start_thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(body)
        .map(drop)
}
