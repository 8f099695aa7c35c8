//! A client of the API: one request over a socket of this host or over TLS, one answer, by a deadline and of bounded
//! size.
//!
//! The only client of HTTP here. Each request has a connection of its own: a guard that is started anew between
//! two of them is none the wiser. What answers is not trusted to be well-behaved: it may close early, send
//! anything, or nothing.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// Ten thousand volumes are 5 MiB.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// A socket whose backlog is full has no event to wait for (unix(7), EAGAIN).
const BACKLOG_RETRY: Duration = Duration::from_millis(20);

/// Where an address names none.
const HTTPS_PORT: u16 = 443;

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
    #[error("speak TLS with {path}")]
    Tls { path: PathBuf, source: io::Error },
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

/// What keeps a guard elsewhere from being asked at all.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("{0:?} is no address of a guard: expected https://HOST:PORT")]
    Url(String),
    #[error("{0} has no certificates, expected those that sign the guard's, in PEM")]
    Authority(PathBuf),
    #[error("{cert} and {key} are no certificate and its key, in PEM", cert = .0.display(), key = .1.display())]
    Pair(PathBuf, PathBuf),
}

/// Where a guard is asked.
#[derive(Debug, Clone)]
pub enum Place {
    Socket(PathBuf),
    Remote(Remote),
}

/// A guard elsewhere, and whom to take for it.
#[derive(Debug, Clone)]
pub struct Remote {
    host: ServerName<'static>,
    port: u16,
    config: Arc<ClientConfig>,
}

/// A file and what is in it.
#[derive(Debug, Clone)]
pub struct Pem {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

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
            | Self::Connect { .. }
            | Self::Tls { .. } => false,
            Self::Silent { .. } | Self::Broken { .. } | Self::TooLarge(_) => true,
        }
    }
}

/// # Errors
/// When there is no whole answer to the request by the deadline.
pub fn ask(place: &Place, request: Request, deadline: Duration) -> Result<Answer, ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(ClientError::Runtime)?;
    let asked = runtime.block_on(async { timeout(deadline, exchange(place, request)).await });
    asked.unwrap_or_else(|_| {
        Err(ClientError::Silent {
            path: place.shown(),
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

async fn exchange(place: &Place, request: Request) -> Result<Answer, ClientError> {
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| {
        let path = place.shown();
        if source.is::<LengthLimitError>() {
            ClientError::TooLarge(path)
        } else {
            ClientError::Broken { path, source }
        }
    };
    let request = request.into_http(place).map_err(ClientError::Request)?;
    let stream: Box<dyn Stream> = match place {
        Place::Socket(path) => Box::new(connect(path).await?),
        Place::Remote(remote) => remote.connect(place).await?,
    };
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

impl Place {
    fn shown(&self) -> PathBuf {
        match self {
            Self::Socket(path) => path.clone(),
            Self::Remote(remote) => format!("https://{}", remote.host()).into(),
        }
    }

    fn host(&self) -> String {
        match self {
            Self::Socket(_) => "localhost".to_owned(),
            Self::Remote(remote) => remote.host(),
        }
    }
}

impl Remote {
    /// A guard at this address, with a certificate that one of `authority` signed; `own` are ours and its key.
    ///
    /// # Errors
    /// When one of them is not what it should be.
    pub fn new(url: &str, authority: &Pem, own: Option<(&Pem, &Pem)>) -> Result<Self, RemoteError> {
        let (host, port) = parsed(url).ok_or_else(|| RemoteError::Url(url.to_owned()))?;
        let unsigned = || RemoteError::Authority(authority.path.clone());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&authority.bytes).ok_or_else(unsigned)? {
            roots.add(certificate).map_err(|_| unsigned())?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| unsigned())?
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let unfit = || RemoteError::Pair(cert.path.clone(), key.path.clone());
                let chain = certificates(&cert.bytes).ok_or_else(unfit)?;
                let private = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| unfit())?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|_| unfit())?
            }
        };
        Ok(Self {
            host,
            port,
            config: Arc::new(config),
        })
    }

    async fn connect(&self, place: &Place) -> Result<Box<dyn Stream>, ClientError> {
        let path = place.shown();
        let host = self.host.to_str();
        let stream = TcpStream::connect((host.as_ref(), self.port)).await;
        let stream = stream.map_err(|error| unreachable(&path, error))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        match connector.connect(self.host.clone(), stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(source) => Err(ClientError::Tls { path, source }),
        }
    }

    fn host(&self) -> String {
        let host = self.host.to_str();
        if host.contains(':') {
            format!("[{host}]:{}", self.port)
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

/// Nothing beyond host and port: the paths of the API are known.
fn parsed(url: &str) -> Option<(ServerName<'static>, u16)> {
    let uri: hyper::Uri = url.parse().ok()?;
    let is_plain = uri.scheme_str() == Some("https") && uri.path_and_query()?.as_str() == "/";
    let authority = uri
        .authority()
        .filter(|authority| is_plain && !authority.as_str().contains('@'))?;
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let host = ServerName::try_from(host.to_owned()).ok()?;
    let port = match authority.as_str().strip_prefix(authority.host())? {
        "" => HTTPS_PORT,
        given => given.strip_prefix(':')?.parse().ok()?,
    };
    Some((host, port))
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    all.ok().filter(|all| !all.is_empty())
}

impl Request {
    fn into_http(self, place: &Place) -> Result<hyper::Request<Full<Bytes>>, hyper::http::Error> {
        let mut builder = hyper::Request::builder()
            .method(self.method)
            .uri(self.path)
            .header("Host", place.host())
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
    fn a_guard_elsewhere_is_a_host_and_a_port() {
        for (url, shown) in [
            ("https://h.example:10846", "h.example:10846"),
            ("https://10.0.0.1:1/", "10.0.0.1:1"),
            ("https://[::1]:2", "[::1]:2"),
            ("https://h", "h:443"),
        ] {
            let (host, port) = parsed(url).expect(url);
            let named = host.to_str();
            let expected = shown.rsplit_once(':').expect("a port");
            let expected = expected.0.trim_matches(['[', ']']);
            assert_eq!(named, expected);
            assert!(shown.ends_with(&format!(":{port}")));
        }
        for url in [
            "",
            "h:1",
            "http://h:1",
            "https://",
            "https://h:1/api",
            "https://h:1/?x",
            "https://a@h:1",
            "https://h:99999",
            "https://a b",
        ] {
            assert!(parsed(url).is_none(), "{url}");
        }
        let nothing = Pem {
            path: "ca.pem".into(),
            bytes: Vec::new(),
        };
        let error =
            Remote::new("https://h", &nothing, None).expect_err("nobody would be taken for it");
        assert!(matches!(error, RemoteError::Authority(_)), "{error}");
    }

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
