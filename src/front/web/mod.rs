//! Who may read what is served, and how: the web configuration in force.
//!
//! The front reads it itself, as the user that it runs as: what that user cannot read cannot be stolen through it,
//! and the guard depends on none of it. Whenever somebody connects, a thread looks whether one of its files has
//! changed, so that certificates can be exchanged at any time. What is broken by then does not come into force: the
//! last good one stays, and log and metrics tell. Nobody waits long for that thread, which may hang with the host's
//! storage.

mod files;
mod passwords;
mod tls;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::ServerConfig;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::config::ConfigError;
use crate::config::web_file::{self, Pem, WebFile};
use crate::report::metrics::WebStatus;

use super::bucket::Bucket;
use super::start_thread;
use files::Files;
use passwords::{Passwords, Users, Verdict};
use tls::{Named, TlsError};

/// Some stats of files in memory; who takes longer waits for storage, and nobody waits for that.
const LOOK_LIMIT: Duration = Duration::from_millis(250);
/// As many connections as may be open at once.
const LOOKS_MAX: usize = 256;
/// A certificate that ends sooner is worth a line in the log.
const EXPIRES_SOON_SECS: i64 = 7 * 86_400;

#[derive(Debug, thiserror::Error)]
pub enum WebError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("read {what}{}", advice(source))]
    Read { what: String, source: io::Error },
    #[error("read {what}: it is not UTF-8")]
    Text { what: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("start a thread")]
    Thread(#[source] io::Error),
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The rate limit is spent.
    TooMany,
    /// No password, or a wrong one.
    Unauthorized,
    /// Too many passwords wait to be compared.
    Busy,
}

/// What is in force.
#[derive(Debug, Default)]
pub(super) struct Active {
    /// Without it plain HTTP is spoken.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// What every answer carries.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    users: Users,
    bucket: Option<Bucket>,
    /// When the certificate begins and ends.
    valid: Option<(i64, i64)>,
}

/// The web configuration, or that there is none.
#[derive(Debug, Default)]
pub(super) struct Web {
    keeper: Option<Keeper>,
    none: Arc<Active>,
}

/// Somebody waits for it.
type Look = oneshot::Sender<()>;

#[derive(Debug)]
struct Keeper {
    state: Arc<Mutex<State>>,
    looks: SyncSender<Look>,
    /// The last look has not come back in time.
    is_late: Arc<AtomicBool>,
    passwords: Passwords,
}

#[derive(Debug)]
struct State {
    active: Arc<Active>,
    /// Whether it is what the files say now.
    is_current: bool,
    /// When it came into force, in seconds since 1970.
    since: f64,
}

/// Whether everything that a file asks for could be in force. For a check without a front.
///
/// # Errors
/// With everything that is wrong with the file, or the first thing that is wrong with one that it names.
pub fn check(path: &Path) -> Result<(), WebError> {
    load(&mut Files::below("/".into()), path).map(drop)
}

impl Web {
    /// With the file at `path` on the host, whose root is at `root`.
    pub(super) fn start(root: PathBuf, path: PathBuf) -> Result<Self, WebError> {
        let mut files = Files::below(root);
        let active = load(&mut files, &path)?;
        tell_validity(&active);
        let state = State {
            active: Arc::new(active),
            is_current: true,
            since: now().as_secs_f64(),
        };
        let (looks, queue) = sync_channel(LOOKS_MAX);
        let keeper = Keeper {
            state: Arc::new(Mutex::new(state)),
            looks,
            is_late: Arc::default(),
            passwords: Passwords::start().map_err(WebError::Thread)?,
        };
        let (state, is_late) = (Arc::clone(&keeper.state), Arc::clone(&keeper.is_late));
        start_thread("web-config", move || {
            look_for_ever(&queue, &mut files, &path, &state, &is_late);
        })
        .map_err(WebError::Thread)?;
        Ok(Self {
            keeper: Some(keeper),
            none: Arc::default(),
        })
    }

    /// What is in force, after a look at the files.
    pub(super) async fn fresh(&self) -> Arc<Active> {
        let Some(keeper) = &self.keeper else {
            return Arc::clone(&self.none);
        };
        let (look, done) = oneshot::channel();
        let is_asked = keeper.looks.try_send(look).is_ok();
        let is_late = keeper.is_late.load(Ordering::Relaxed);
        if is_asked && !is_late && timeout(LOOK_LIMIT, done).await.is_err() {
            // Until the thread is there again, it is asked and not waited for.
            keeper.is_late.store(true, Ordering::Relaxed);
        }
        Arc::clone(&keeper.state().active)
    }

    /// Whether a request with these headers may be answered.
    pub(super) async fn admit(&self, active: &Active, headers: &HeaderMap) -> Result<(), Refusal> {
        let bucket = active.bucket.as_ref();
        if bucket.is_some_and(|bucket| !bucket.take(Instant::now())) {
            return Err(Refusal::TooMany);
        }
        match &self.keeper {
            Some(keeper) if !active.users.is_empty() => {
                match keeper.passwords.check(&active.users, headers).await {
                    Verdict::Allowed => Ok(()),
                    Verdict::Denied => Err(Refusal::Unauthorized),
                    Verdict::Busy => Err(Refusal::Busy),
                }
            }
            Some(_) | None => Ok(()),
        }
    }

    /// For the metrics; nothing without a web configuration.
    pub(super) fn status(&self) -> Option<WebStatus> {
        let state = self.keeper.as_ref()?.state();
        Some(WebStatus {
            is_current: state.is_current,
            since: state.since,
            certificate_expiry: state.active.valid.map(|(_, end)| end),
        })
    }
}

impl Keeper {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Whoever panicked left plain values behind.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One look serves all who wait for one when it begins.
fn look_for_ever(
    looks: &Receiver<Look>,
    files: &mut Files,
    path: &Path,
    state: &Mutex<State>,
    is_late: &AtomicBool,
) {
    while let Ok(first) = looks.recv() {
        let waiting: Vec<Look> = std::iter::once(first).chain(looks.try_iter()).collect();
        if files.have_changed() {
            renew(files, path, state);
        }
        is_late.store(false, Ordering::Relaxed);
        for look in waiting {
            // It may have been waited for long enough.
            let _ = look.send(());
        }
    }
}

fn renew(files: &mut Files, path: &Path, state: &Mutex<State>) {
    match load(files, path) {
        Ok(active) => {
            tell_validity(&active);
            let active = Arc::new(active);
            let since = now().as_secs_f64();
            *lock(state) = State {
                active,
                is_current: true,
                since,
            };
            info!(path = %path.display(), "the web configuration has changed");
        }
        Err(error) => {
            lock(state).is_current = false;
            error!(
                error = &error as &dyn std::error::Error,
                "the web configuration is broken, the last good one stays in force"
            );
        }
    }
}

fn load(files: &mut Files, path: &Path) -> Result<Active, WebError> {
    files.forget();
    let what = format!("web configuration {}", path.display());
    let text = read(files, what.clone(), path)?;
    let text = String::from_utf8(text).map_err(|_| WebError::Text { what })?;
    let file = web_file::parse(&text, path)?;
    let ready = file.tls.as_ref().map(|tls| ready(files, tls)).transpose()?;
    let (tls, valid) = ready.map(|ready| (ready.config, ready.valid)).unzip();
    let WebFile {
        headers,
        users,
        rate_limit,
        ..
    } = file;
    Ok(Active {
        tls,
        valid,
        headers: headers.into_iter().filter_map(header).collect(),
        users,
        bucket: rate_limit.map(|limit| Bucket::new(limit, Instant::now())),
    })
}

fn ready(files: &mut Files, tls: &web_file::Tls) -> Result<tls::Ready, WebError> {
    let certificate = named(files, "cert", &tls.certificate)?;
    let key = named(files, "key", &tls.key)?;
    let client_ca = tls.client_ca.as_ref();
    let client_ca = client_ca
        .map(|pem| named(files, "client_ca", pem))
        .transpose()?;
    Ok(tls::ready(tls, &certificate, &key, client_ca.as_ref())?)
}

fn named(files: &mut Files, key: &str, pem: &Pem) -> Result<Named, WebError> {
    Ok(match pem {
        Pem::Inline(text) => Named {
            what: format!("tls_server_config.{key}"),
            pem: text.clone().into_bytes(),
        },
        Pem::File(path) => {
            let what = format!("tls_server_config.{key}_file {}", path.display());
            let pem = read(files, what.clone(), path)?;
            Named { what, pem }
        }
    })
}

fn read(files: &mut Files, what: String, path: &Path) -> Result<Vec<u8>, WebError> {
    files
        .read(path)
        .map_err(|source| WebError::Read { what, source })
}

/// What to do about it.
fn advice(error: &io::Error) -> &'static str {
    let kind = error.kind();
    if kind == io::ErrorKind::PermissionDenied {
        " as the user of the front (front.user), who must be able to read it and to enter all folders above it"
    } else if kind == io::ErrorKind::NotFound {
        " on the file systems of /, /usr, /etc and /var, which are all that the front sees of the host"
    } else {
        ""
    }
}

/// Both were checked with the file.
fn header((name, value): (&'static str, String)) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    Some((name, HeaderValue::from_str(&value).ok()?))
}

fn tell_validity(active: &Active) {
    let Some((begin, end)) = active.valid else {
        return;
    };
    let now = i64::try_from(now().as_secs()).unwrap_or(i64::MAX);
    if end <= now {
        warn!(
            expired_secs_ago = now - end,
            "the server's certificate has expired: clients refuse it"
        );
    } else if now < begin {
        warn!(
            begins_in_secs = begin - now,
            "the server's certificate is not valid yet: clients refuse it"
        );
    } else if end - now < EXPIRES_SOON_SECS {
        warn!(
            expires_in_secs = end - now,
            "the server's certificate expires soon"
        );
    }
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
