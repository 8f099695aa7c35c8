//! One connection over HTTP/1, for as long as it may last: slow clients are cut off, whatever they ask for.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};
use tracing::debug;

/// What a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) header: Duration,
    pub(super) header_bytes: usize,
    pub(super) headers: usize,
    /// Then no further request is read.
    pub(super) connection: Duration,
    /// For what has been asked for by then.
    pub(super) finish: Duration,
}

/// Answers every request of a connection, until its client or the limits end it.
pub(super) async fn converse<F, B>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    limits: Limits,
    answer: impl Fn(Request<Incoming>) -> F,
) where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connection = http1::Builder::new()
        // Without a timer the limit on the header would be no limit.
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return note_end(result),
        () = sleep(limits.connection) => connection.as_mut().graceful_shutdown(),
    }
    if let Ok(result) = timeout(limits.finish, connection).await {
        note_end(result);
    }
}

/// A client's faults are not ours: they are not worth a warning.
fn note_end(result: hyper::Result<()>) {
    if let Err(error) = result {
        debug!(error = &error as &dyn Error, "a connection ended early");
    }
}
