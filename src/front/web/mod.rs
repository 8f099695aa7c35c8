//! Who may read what is served, and how: the web configuration in force.
//!
//! The front reads it itself, as the user that it runs as: what that user cannot read cannot be stolen through it,
//! and the guard depends on none of it. It is read again whenever one of its files changes (`fresh`).

mod passwords;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use rustls::ServerConfig;
use tracing::{error, info};

use crate::config::ConfigError;
use crate::config::web_file::{self, Pem, WebFile};
use crate::model::bucket::Bucket;
use crate::report::metrics::WebStatus;

use super::files::Files;
use super::fresh::{Fresh, Recipe};
use super::start_thread;
use super::tls::{self, Named, TlsError};
use passwords::{Passwords, Users, Verdict};

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

#[derive(Debug)]
struct Keeper {
    active: Fresh<Active>,
    passwords: Passwords,
}

/// The file, by its path on the host.
struct ByFile(PathBuf);

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
        let keeper = Keeper {
            active: Fresh::start(Files::below(root), ByFile(path))?,
            passwords: Passwords::start().map_err(WebError::Thread)?,
        };
        Ok(Self {
            keeper: Some(keeper),
            none: Arc::default(),
        })
    }

    /// What is in force, after a look at the files.
    pub(super) async fn fresh(&self) -> Arc<Active> {
        match &self.keeper {
            Some(keeper) => keeper.active.get().await,
            None => Arc::clone(&self.none),
        }
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
        let state = self.keeper.as_ref()?.active.state();
        Some(WebStatus {
            is_current: state.is_current,
            since: state.since,
            certificate_expiry: state.made.valid.map(|(_, end)| end),
        })
    }
}

impl Recipe for ByFile {
    type Made = Active;
    const THREAD: &'static str = "web-config";

    fn make(&self, files: &mut Files) -> Result<Active, WebError> {
        let active = load(files, &self.0)?;
        if let Some(valid) = active.valid {
            tls::tell_validity("web", valid);
        }
        Ok(active)
    }

    fn tell_changed(&self) {
        info!(path = %self.0.display(), "the web configuration has changed");
    }

    fn tell_broken(&self, error: &WebError) {
        error!(
            error = error as &dyn std::error::Error,
            "the web configuration is broken, the last good one stays in force"
        );
    }
}

fn load(files: &mut Files, path: &Path) -> Result<Active, WebError> {
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

pub(super) fn read(files: &mut Files, what: String, path: &Path) -> Result<Vec<u8>, WebError> {
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
