//! A client of the API: one request over a socket of this host, one answer, by a deadline and of bounded size.
//!
//! The only client of HTTP here. Each request has a connection of its own: a guard that is started anew between
//! two of them is none the wiser. What answers is not trusted to be well-behaved: it may close early, send
//! anything, or nothing.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// Ten thousand volumes are 5 MiB.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A socket whose backlog is full has no event to wait for (unix(7), EAGAIN).
const BACKLOG_RETRY: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("start a client")]
    Runtime(#[source] io::Error),
    #[error("make a request")]
    Request(#[source] hyper::http::Error),
    #[error("nothing answers at {0}: is cowherd running? see systemctl status cowherd")]
    Absent(PathBuf),
    #[error("{0}: you may not open it: run as root or as a member of its group")]
    Denied(PathBuf),
    #[error("connect to {path}")]
    Connect { path: PathBuf, source: io::Error },
    #[error("{path}: no answer within {} s", after.as_secs_f64())]
    Silent { path: PathBuf, after: Duration },
    #[error("{path}: its answer cannot be read")]
    Broken {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{0}: its answer is larger than {max} MiB", max = ANSWER_BYTES_MAX >> 20)]
    TooLarge(PathBuf),
}

#[derive(Debug, Clone)]
pub struct Request {
    pub method: &'static str,
    /// With its query; whatever came from outside is `encoded`.
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Option<Vec<u8>>,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl ClientError {
    /// Whether the request may have arrived, so that what it asked for may have been done.
    #[must_use]
    pub const fn may_have_arrived(&self) -> bool {
        match self {
            Self::Runtime(_)
            | Self::Request(_)
            | Self::Absent(_)
            | Self::Denied(_)
            | Self::Connect { .. } => false,
            Self::Silent { .. } | Self::Broken { .. } | Self::TooLarge(_) => true,
        }
    }
}

/// # Errors
/// When there is no whole answer to the request by the deadline.
pub fn ask(socket: &Path, request: Request, deadline: Duration) -> Result<Answer, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(ClientError::Runtime)?;
    let asked = runtime.block_on(async { timeout(deadline, exchange(socket, request)).await });
    asked.unwrap_or_else(|_| {
        Err(ClientError::Silent {
            path: socket.to_owned(),
            after: deadline,
        })
    })
}

/// As one segment of a path, or one value of a query (RFC 3986, 2.3).
#[must_use]
pub fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(encode).collect()
}

async fn exchange(socket: &Path, request: Request) -> Result<Answer, ClientError> {
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| {
        let path = socket.to_owned();
        if source.is::<LengthLimitError>() {
            ClientError::TooLarge(path)
        } else {
            ClientError::Broken { path, source }
        }
    };
    let request = request.into_http().map_err(ClientError::Request)?;
    let stream = connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.into()))?;
    // What ends it ends the answer, too, and is told there.
    tokio::spawn(connection);
    let response = sender.send_request(request).await;
    let (head, body) = response.map_err(|error| broken(error.into()))?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    Ok(Answer {
        status: head.status.as_u16(),
        body: body.map_err(broken)?.to_bytes().into(),
    })
}

async fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    loop {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(BACKLOG_RETRY).await,
            Err(error) => return Err(unreachable(socket, error)),
        }
    }
}

fn unreachable(socket: &Path, source: io::Error) -> ClientError {
    let (path, kind) = (socket.to_owned(), source.kind());
    if [ErrorKind::NotFound, ErrorKind::ConnectionRefused].contains(&kind) {
        ClientError::Absent(path)
    } else if kind == ErrorKind::PermissionDenied {
        ClientError::Denied(path)
    } else {
        ClientError::Connect { path, source }
    }
}

impl Request {
    fn into_http(self) -> Result<hyper::Request<Full<Bytes>>, hyper::http::Error> {
        let mut builder = hyper::Request::builder()
            .method(self.method)
            .uri(self.path)
            .header("Host", "localhost")
            .header("Accept", "application/json");
        if self.body.is_some() {
            builder = builder.header("Content-Type", "application/json");
        }
        for (name, value) in self.headers {
            builder = builder.header(name, value);
        }
        builder.body(Full::from(self.body.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_lvm_lets_into_a_name_is_one_segment() {
        let cases = [
            ("vg0/snap", "vg0%2Fsnap"),
            ("a+b_.-c", "a%2Bb_.-c"),
            ("?&#% ü", "%3F%26%23%25%20%C3%BC"),
        ];
        for (text, shown) in cases {
            assert_eq!(encoded(text), shown);
        }
    }
}
