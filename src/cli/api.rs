//! Speaking with the guard: requests of the API, its answers as values, and what failed as exit codes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::client::{self, ClientError, Pem, Place, Remote, RemoteError, Request};
use crate::model::action::Reference;
use crate::model::cause::chain;
use crate::model::refusal::{Code, Refusal};
use crate::report::text::one_line;

use super::{Failure, GuardArguments, wait};

/// Before every path of the API.
const BASE: &str = "/api/v1";

const REFUSED: u8 = 3;
const UNREACHABLE: u8 = 4;
const RUNNING: u8 = 5;

#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{0} has no token, expected what `cowherd token create` printed")]
    Token(PathBuf),
    #[error("{}: {}", one_line(code), one_line(detail))]
    Refused {
        status: u16,
        code: String,
        detail: String,
    },
    #[error("the guard answers {0} without a reason")]
    Unexplained(u16),
    #[error("the guard's answer is not understood")]
    Unread(#[source] serde_json::Error),
    #[error("no random numbers")]
    NoRandom,
    /// What was begun failed.
    #[error("{}: {}", .0.code.label(), one_line(&.0.detail))]
    Failed(Refusal),
    #[error("job {0} has failed and does not say why")]
    FailedSilently(String),
    #[error("to be confirmed, and there is no terminal to ask on: see --dry-run, then give --yes")]
    Unconfirmed,
    #[error("not confirmed: nothing was done")]
    Declined,
    #[error("still running: see cowherd jobs {0}")]
    Running(String),
    #[error("how it ended is not known: see cowherd jobs {id}")]
    Lost { id: String, source: Box<Self> },
    #[error("whether it was done is not known: repeat it with --idempotency-key {key}")]
    Unsure { key: String, source: Box<Self> },
}

/// An error and what it is about, where that is not the request as a whole.
#[derive(Debug, thiserror::Error)]
#[error("{subject}")]
struct About {
    subject: String,
    source: ApiError,
}

/// How a refusal is told (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: Option<String>,
    title: Option<String>,
}

pub(super) struct Api {
    place: Place,
    /// Of the header that shows it.
    token: Option<String>,
    timeout: Duration,
    /// The last answer, word for word, if it was JSON.
    last: Option<Vec<u8>>,
}

impl Api {
    pub(super) fn at(guard: &GuardArguments) -> Result<Self, ApiError> {
        let timeout = Duration::from_secs(guard.timeout.into());
        let (Some(url), Some(ca)) = (&guard.url, &guard.ca) else {
            return Ok(Self::within(guard.socket.clone(), timeout));
        };
        let pair = guard.cert.as_ref().zip(guard.key.as_ref());
        let pair = pair.map(|(cert, key)| Ok::<_, ApiError>((pem(cert)?, pem(key)?)));
        let pair = pair.transpose()?;
        let own = pair.as_ref().map(|(cert, key)| (cert, key));
        Ok(Self {
            place: Place::Remote(Remote::new(url, &pem(ca)?, own)?),
            token: guard.token_file.as_deref().map(token).transpose()?,
            timeout,
            last: None,
        })
    }

    /// `timeout` is for one request.
    pub(super) const fn within(socket: PathBuf, timeout: Duration) -> Self {
        Self {
            place: Place::Socket(socket),
            token: None,
            timeout,
            last: None,
        }
    }

    pub(super) fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ApiError> {
        let request = Request {
            method: "GET",
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
        };
        self.send(request, Duration::ZERO)
    }

    /// `wait` is for how long the guard was asked to wait itself.
    pub(super) fn send<T: DeserializeOwned>(
        &mut self,
        mut request: Request,
        wait: Duration,
    ) -> Result<T, ApiError> {
        self.last = None;
        request.path.insert_str(0, BASE);
        if let Some(token) = &self.token {
            let shown = format!("Bearer {token}");
            request.headers.push(("Authorization", shown));
        }
        let answer = wait::for_room(self.timeout, || {
            client::ask(&self.place, request.clone(), self.timeout + wait)
        })?;
        let is_json = serde_json::from_slice::<IgnoredAny>(&answer.body).is_ok();
        let read = match answer.status {
            200..=299 => serde_json::from_slice(&answer.body).map_err(ApiError::Unread),
            status => Err(refused(status, &answer.body)),
        };
        self.last = Some(answer.body).filter(|_| is_json);
        read
    }

    pub(super) fn take_last(&mut self) -> Option<Vec<u8>> {
        self.last.take()
    }
}

impl ApiError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) => match error {
                ClientError::Absent(_)
                | ClientError::Denied(_)
                | ClientError::Connect { .. }
                | ClientError::Tls { .. }
                | ClientError::Silent { .. }
                | ClientError::Broken { .. } => UNREACHABLE,
                ClientError::Runtime(_) | ClientError::Request(_) | ClientError::TooLarge(_) => 1,
            },
            Self::Refused { status, .. } | Self::Unexplained(status) => code_of(*status),
            Self::Failed(refusal) => match code_of(refusal.code.status()) {
                // The guard was there all the time.
                UNREACHABLE => 1,
                code => code,
            },
            Self::Unsure { source, .. } => source.exit_code(),
            Self::Unconfirmed => REFUSED,
            Self::Running(_) => RUNNING,
            Self::Lost { source, .. } if source.is_unreachable() => UNREACHABLE,
            Self::Remote(_) | Self::Token(_) => 2,
            Self::Read { .. }
            | Self::Lost { .. }
            | Self::Unread(_)
            | Self::NoRandom
            | Self::FailedSilently(_)
            | Self::Declined => 1,
        }
    }

    pub(super) fn is_unreachable(&self) -> bool {
        self.exit_code() == UNREACHABLE
    }

    /// Whether what was asked for may have been done all the same: nobody could tell in time.
    pub(super) fn may_be_done(&self) -> bool {
        match self {
            Self::Client(error) => error.may_have_arrived(),
            Self::Refused { status, code, .. } => {
                *status == 504 || *status == 503 && *code == Code::GuardUnavailable.label()
            }
            Self::Unexplained(status) => [503, 504].contains(status),
            Self::Remote(_)
            | Self::Read { .. }
            | Self::Token(_)
            | Self::Unread(_)
            | Self::NoRandom
            | Self::Failed(_)
            | Self::FailedSilently(_)
            | Self::Unconfirmed
            | Self::Declined
            | Self::Running(_)
            | Self::Lost { .. }
            | Self::Unsure { .. } => false,
        }
    }

    pub(super) fn wants_confirmation(&self) -> bool {
        let wanted = Code::ConfirmationRequired;
        matches!(self, Self::Refused { code, .. } if code == wanted.label())
    }

    pub(super) fn about(mut self, subject: &Reference) -> Failure {
        let code = self.exit_code();
        let subject = subject.to_string();
        if let Self::Refused { detail, .. } | Self::Failed(Refusal { detail, .. }) = &mut self {
            // The guard names the volume, too.
            let named = detail.strip_prefix(&format!("{subject}: "));
            *detail = named.unwrap_or(detail).to_owned();
        }
        let about = About {
            subject,
            source: self,
        };
        Failure::Coded(Box::new(about), code)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let code = error.exit_code();
        Self::Coded(Box::new(error), code)
    }
}

fn pem(path: &Path) -> Result<Pem, ApiError> {
    let (path, bytes) = (path.to_owned(), read(path)?);
    Ok(Pem { path, bytes })
}

/// One line of letters that a header takes. What else there is may be half a secret and is not shown.
fn token(path: &Path) -> Result<String, ApiError> {
    let text = String::from_utf8(read(path)?).unwrap_or_default();
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ApiError::Token(path.to_owned()));
    }
    Ok(token.to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, ApiError> {
    fs::read(path).map_err(|source| ApiError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The path of a volume and what is below it.
pub(super) fn path_of(collection: &str, target: &Reference, below: &str) -> String {
    let id = client::encoded(&target.to_string());
    format!("/{collection}/{id}{below}")
}

/// What nobody else makes.
pub(super) fn new_key() -> Result<String, ApiError> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| ApiError::NoRandom)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

fn refused(status: u16, body: &[u8]) -> ApiError {
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        return ApiError::Unexplained(status);
    };
    let told = problem.detail.or(problem.title);
    ApiError::Refused {
        status,
        code: problem.code,
        detail: told.unwrap_or_default(),
    }
}

const fn code_of(status: u16) -> u8 {
    match status {
        400..=499 => REFUSED,
        503 | 504 => UNREACHABLE,
        _ => 1,
    }
}

/// For whoever has more than one to tell.
pub(super) fn line_about(subject: &Reference, error: &ApiError) -> String {
    format!("{subject}: {}", chain(error))
}
