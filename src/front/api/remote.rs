//! Connections to the API over the network: TLS and nothing else, from whom, how many, how long.
//!
//! They have places of their own, so that no crowd out there keeps out whoever is on this host. TLS is spoken here,
//! and a certificate of a client's is verified here; the guard takes the front's word for the names in it, as it
//! does for the users of the socket. What the front cannot know is what a token or a name may have done.
//!
//! No page in a browser gets anything done here: it has no token, a request of another site's page is refused for
//! its `Origin` and would have to ask first (`Idempotency-Key`, DELETE and PATCH, `application/json`), which nothing
//! answers, and under the name of another site TLS does not begin.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error, info, warn};

use crate::config::web_file::{ClientAuth, Pem, Tls};
use crate::model::refusal::{Code, Refusal};
use crate::model::remote::Remote;

use super::super::converse::converse;
use super::super::files::Files;
use super::super::fresh::{Fresh, Recipe};
use super::super::handshake::shake_hands;
use super::super::listen::Listener;
use super::super::tls::{self, Named, Ready};
use super::super::web::{self, WebError};
use super::answer;
use super::guest::Guest;
use super::places::{Place, Places, Share};
use super::serve::{ACCEPT_RETRY, LIMITS};
use super::service::Service;
use super::strikes::network;

/// Beside those of the socket; and of these for each address, or network of IPv6 addresses.
const PLACES: Share = Share { all: 64, each: 16 };

/// What the TLS of a connection is made of, and made again when a file changes.
pub(in crate::front) type Secured = Fresh<ServerConfig>;

/// The files, by their paths on the host.
struct ByFiles(Remote);

/// What every connection needs.
struct Shared {
    secured: Secured,
    service: Arc<Service>,
    places: Arc<Places<IpAddr>>,
    /// What whoever does not speak TLS is told.
    plain: Vec<u8>,
}

/// Whether TLS could be spoken with these files. For a check without a front.
///
/// # Errors
/// With the first thing that is wrong with one of them.
pub fn check(remote: &Remote) -> Result<(), WebError> {
    load(&mut Files::below("/".into()), remote).map(drop)
}

/// Reads the files below the host's root.
pub(in crate::front) fn secure(root: PathBuf, remote: Remote) -> Result<Secured, WebError> {
    Fresh::start(Files::below(root), ByFiles(remote))
}

/// Starts serving on the current runtime, and returns.
pub(super) fn start(
    listeners: Vec<Listener>,
    secured: Secured,
    service: Arc<Service>,
) -> io::Result<()> {
    let detail = "TLS is spoken here and nothing else: ask with https";
    let shared = Arc::new(Shared {
        secured,
        service,
        places: Arc::default(),
        plain: answer::raw(&Refusal::new(Code::InvalidRequest, detail)),
    });
    for listener in listeners {
        let socket = TcpListener::from_std(listener.socket)?;
        tokio::spawn(accept(socket, Arc::clone(&shared)));
    }
    Ok(())
}

async fn accept(socket: TcpListener, shared: Arc<Shared>) {
    loop {
        match socket.accept().await {
            Ok((stream, from)) => {
                let network = network(from.ip());
                if let Some(place) = Places::take(&shared.places, network, PLACES) {
                    drop(tokio::spawn(connection(
                        stream,
                        from,
                        Arc::clone(&shared),
                        place,
                    )));
                } else {
                    // Before TLS there is no way to say why.
                    debug!(%from, "too many connections to the API");
                }
            }
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot accept a connection to the API"
                );
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    shared: Arc<Shared>,
    _place: Place<IpAddr>,
) {
    let config = shared.secured.get().await;
    match shake_hands(stream, config, &shared.plain).await {
        Ok(Some(stream)) => speak(stream, from, &shared.service).await,
        Ok(None) => {}
        Err(error) => debug!(
            error = &error as &dyn std::error::Error,
            %from,
            "a TLS handshake with the API failed"
        ),
    }
}

async fn speak(stream: TlsStream<TcpStream>, from: SocketAddr, service: &Arc<Service>) {
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(<[_]>::first);
    let guest = Arc::new(Guest {
        address: from.ip().to_canonical(),
        certificate: shown.map(tls::names),
    });
    converse(stream, LIMITS, |request| {
        let (service, guest) = (Arc::clone(service), Arc::clone(&guest));
        async move { service.serve_guest(&guest, request).await }
    })
    .await;
}

impl Recipe for ByFiles {
    type Made = ServerConfig;
    const THREAD: &'static str = "api-tls";

    fn make(&self, files: &mut Files) -> Result<ServerConfig, WebError> {
        let ready = load(files, &self.0)?;
        tls::tell_validity("api", ready.valid);
        let mut config = Arc::unwrap_or_clone(ready.config);
        // A session that is taken up again is not verified again: a certificate would outlive its end.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn tell_changed(&self) {
        info!("the certificates of the API have changed");
    }

    fn tell_broken(&self, error: &WebError) {
        error!(
            error = error as &dyn std::error::Error,
            "the certificates of the API are broken, the last good ones stay in force"
        );
    }
}

fn load(files: &mut Files, remote: &Remote) -> Result<Ready, WebError> {
    let certificate = named(files, "tls_cert", &remote.tls_cert)?;
    let key = named(files, "tls_key", &remote.tls_key)?;
    let client_ca = remote.tls_client_ca.as_ref();
    let client_ca = client_ca
        .map(|path| named(files, "tls_client_ca", path))
        .transpose()?;
    Ok(tls::ready(
        &settings(remote),
        &certificate,
        &key,
        client_ca.as_ref(),
    )?)
}

fn named(files: &mut Files, key: &str, path: &Path) -> Result<Named, WebError> {
    let what = format!("api.{key} {}", path.display());
    let pem = web::read(files, what.clone(), path)?;
    Ok(Named { what, pem })
}

/// What a web configuration without further keys would say.
fn settings(remote: &Remote) -> Tls {
    let [certificate, key] =
        [&remote.tls_cert, &remote.tls_key].map(|path| Pem::File(path.clone()));
    Tls {
        client_ca: remote.tls_client_ca.clone().map(Pem::File),
        client_auth: match remote.tls_client_ca {
            Some(_) => ClientAuth::VerifyIfGiven,
            None => ClientAuth::No,
        },
        ..Tls::new(certificate, key)
    }
}
