//! Connections: how many, how long, how much. hyper speaks HTTP/1.1; the bounds are ours.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;
use tracing::{debug, error, warn};

use crate::report::metrics::{self, Format, Traffic};

use super::answer::{self, Known, Pieces, Route};
use super::converse::{Limits, converse};
use super::handshake::shake_hands;
use super::inbox::Latest;
use super::listen::Listener;
use super::web::{Active, Web};

/// Some Prometheus servers, some people, and room for connections that are about to be cut.
const CONNECTIONS_MAX: usize = 256;
/// A request of ours has one line and a few headers; a browser's cookies may add some.
const HEADER_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// From the first byte of a connection, or from the last answer, to the end of a request's header. No
/// common scrape interval, so that no scrape meets the moment at which an idle connection is closed.
const HEADER_LIMIT: Duration = Duration::from_secs(7);
/// A connection is not kept for longer: the answer under way is finished, then it is closed.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);
/// Whoever has not taken an answer by then reads too slowly; Prometheus gives a scrape 10 s.
const FINISH_LIMIT: Duration = Duration::from_secs(10);
/// What a client that speaks no TLS is told.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\n\r\nclient sent an HTTP request to an HTTPS server\n";
/// What one that finds no place is told, if it listens.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Retry-After: 1\r\nConnection: close\r\n\r\ntoo many connections\n";
/// When no file descriptor is left, accepting again at once would only burn a core.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What every connection needs.
struct Shared {
    views: watch::Receiver<Latest>,
    telemetry_path: String,
    web: Web,
    traffic: Mutex<Traffic>,
    places: Arc<Semaphore>,
}

/// Starts serving on the current runtime, and returns.
pub(super) fn start(
    listeners: Vec<Listener>,
    views: watch::Receiver<Latest>,
    web: Web,
    telemetry_path: String,
) -> io::Result<()> {
    let shared = Arc::new(Shared {
        views,
        telemetry_path,
        web,
        traffic: Mutex::new(no_traffic()),
        places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    });
    for listener in listeners {
        let socket = TcpListener::from_std(listener.socket)?;
        tokio::spawn(accept(socket, Arc::clone(&shared)));
    }
    Ok(())
}

/// Each route's successes exist at 0.
fn no_traffic() -> Traffic {
    let successes = Route::ALL
        .into_iter()
        .filter(|route| *route != Route::Unknown)
        .map(|route| ((route.label(), 200), 0));
    Traffic {
        requests: successes.collect(),
        ..Traffic::default()
    }
}

async fn accept(socket: TcpListener, shared: Arc<Shared>) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                if let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() {
                    drop(tokio::spawn(connection(stream, Arc::clone(&shared), place)));
                } else {
                    shared.traffic().connections_refused += 1;
                    // It fits into the socket's buffer. Dropping the stream closes it; who speaks TLS sees just that.
                    let _ = stream.into_std().and_then(|mut stream| stream.write(FULL));
                }
            }
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot accept a connection"
                );
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, _place: OwnedSemaphorePermit) {
    let active = shared.web.fresh().await;
    let Some(config) = active.tls.clone() else {
        return speak(stream, &shared, &active).await;
    };
    match shake_hands(stream, config, PLAIN).await {
        Ok(Some(stream)) => speak(stream, &shared, &active).await,
        Ok(None) => {}
        Err(error) => {
            shared.traffic().handshake_failures += 1;
            debug!(
                error = &error as &dyn std::error::Error,
                "a TLS handshake failed"
            );
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    shared: &Arc<Shared>,
    active: &Arc<Active>,
) {
    let limits = Limits {
        header: HEADER_LIMIT,
        header_bytes: HEADER_BYTES_MAX,
        headers: HEADERS_MAX,
        connection: CONNECTION_LIMIT,
        finish: FINISH_LIMIT,
    };
    converse(stream, limits, |request| {
        let (shared, active) = (Arc::clone(shared), Arc::clone(active));
        async move { Ok(shared.respond(&request, &active).await) }
    })
    .await;
}

impl Shared {
    async fn respond(&self, request: &Request<Incoming>, active: &Active) -> Response<Pieces> {
        let route = Route::of(request.uri().path(), &self.telemetry_path);
        let mut response = match self.web.admit(active, request.headers()).await {
            Ok(()) => self.answer(request, route),
            Err(refusal) => answer::refused(refusal, !request.body().is_end_stream()),
        };
        for (name, value) in &active.headers {
            response.headers_mut().insert(name, value.clone());
        }
        let key = (route.label(), response.status().as_u16());
        *self.traffic().requests.entry(key).or_default() += 1;
        response
    }

    fn answer(&self, request: &Request<Incoming>, route: Route) -> Response<Pieces> {
        let has_body = !request.body().is_end_stream();
        let format = answer::format(request.headers());
        let traffic = if route == Route::Metrics {
            self.traffic_text(format)
        } else {
            String::new()
        };
        let published = self.views.borrow().clone();
        let known = Known {
            published: published.as_deref(),
            telemetry_path: &self.telemetry_path,
            traffic: &traffic,
            takes_gzip: answer::takes_gzip(request.headers()),
            format,
        };
        answer::answer(request.method(), has_body, route, known)
    }

    fn traffic_text(&self, format: Format) -> String {
        metrics::render_traffic(&self.traffic(), self.web.status(), format).unwrap_or_else(
            |error| {
                error!(
                    error = &error as &dyn std::error::Error,
                    "cannot render the front's metrics"
                );
                String::new()
            },
        )
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        // Whoever panicked left plain counts behind.
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
