//! The action API, version 1: HTTP on a unix socket, for whom the kernel names as the caller, and over TLS where that
//! is configured, for whoever shows a token or a certificate.
//!
//! ```text
//!  serve    connections to the socket: from whom, how many, how long   <- places
//!  remote   the same over TLS                                          <- places, guest, strikes
//!  service  one request, from its first line to its answer
//!  request  route, query, headers and body to a `Call`: pure        <- route, query, named, json, body
//!  asks     questions to the guard, answers from it, by number
//!  answer   JSON, or a problem that is made of a refusal            <- volumes
//! ```
//!
//! Nothing is decided here: who may do what, and whether it does harm, is the guard's to say, which checks again
//! whatever was checked here. What is refused here and would have been a change is told to the guard, so that it is on record.
//! `openapi.json` is what callers are promised; the suite compares it with the routes and the values.

mod answer;
mod asks;
mod body;
mod buckets;
mod guest;
mod json;
mod named;
mod places;
mod query;
mod remote;
mod request;
mod route;
mod serve;
mod service;
mod strikes;
mod volumes;

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

pub use remote::check;
pub use request::{Call, parse};
pub use route::{Operation, ROUTES, Route};

pub(super) use asks::Pending;
pub(super) use remote::{Secured, secure};

use super::listen::Listener;
use asks::Asks;
use service::Service;

/// The description of this API (`OpenAPI` 3.1).
pub const DOCUMENT: &str = include_str!("openapi.json");

/// Where callers come in.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) socket: UnixListener,
    /// Over the network, if they do.
    pub(super) remote: Option<(Vec<Listener>, Secured)>,
}

/// Starts serving on the current runtime, and returns. Questions go over `link`; whoever reads it settles them.
pub(super) fn start(doors: Doors, link: UnixStream, pending: Arc<Pending>) -> io::Result<()> {
    doors.socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixListener::from_std(doors.socket)?;
    let service = Arc::new(Service::new(Asks::start(link, pending)?));
    tokio::spawn(serve::accept(socket, Arc::clone(&service)));
    match doors.remote {
        Some((listeners, secured)) => remote::start(listeners, secured, service),
        None => Ok(()),
    }
}
