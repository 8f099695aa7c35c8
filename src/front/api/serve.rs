//! Connections to the API's socket: from whom, how many, how long. They take nothing from those of the metrics.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::model::action::Caller;
use crate::model::refusal::{Code, Refusal};

use super::super::converse::{Limits, converse};
use super::answer;
use super::places::{Place, Places, Share};
use super::request::HEADERS_MAX;
use super::service::Service;

/// A few scripts and people. Each waiting request holds one.
const CONNECTIONS_MAX: usize = 64;
/// Of these for everybody but root: whoever has to mend things gets in.
const CONNECTIONS_OTHERS_MAX: usize = 48;
const CONNECTIONS_EACH_MAX: usize = 16;
const HEADER_BYTES_MAX: usize = 16 << 10;
/// Our own limit is lower, and answered as a problem; this one only bounds it.
const HEADERS_READ_MAX: usize = 2 * HEADERS_MAX;
/// From the first byte of a connection, or from the last answer, to the end of a request's header.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// A connection is not kept for longer: the answer under way is finished, then it is closed.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);
/// The longest answer waits 10 s for a body, 30 s for the guard and 60 s for a job.
const FINISH_LIMIT: Duration = Duration::from_secs(110);
pub(super) const LIMITS: Limits = Limits {
    header: HEADER_LIMIT,
    header_bytes: HEADER_BYTES_MAX,
    headers: HEADERS_READ_MAX,
    connection: CONNECTION_LIMIT,
    finish: FINISH_LIMIT,
};
/// When no file descriptor is left, accepting again at once would only burn a core.
pub(super) const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves until the runtime ends.
pub(super) async fn accept(socket: UnixListener, service: Arc<Service>) {
    let places = Arc::new(Places::default());
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = admit(stream, &service, &places) {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "a caller left before it was served"
                    );
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

fn admit(stream: UnixStream, service: &Arc<Service>, places: &Arc<Places<u32>>) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let (uid, gid) = (peer.uid(), peer.gid());
    let all = if uid == 0 {
        CONNECTIONS_MAX
    } else {
        CONNECTIONS_OTHERS_MAX
    };
    let each = CONNECTIONS_EACH_MAX;
    if let Some(place) = Places::take(places, uid, Share { all, each }) {
        let caller = Caller::Peer { uid, gid };
        drop(tokio::spawn(speak(
            stream,
            Arc::clone(service),
            caller,
            place,
        )));
        return Ok(());
    }
    let refusal = Refusal::new(Code::RateLimited, "too many connections");
    // It fits into the socket's buffer. Dropping the stream closes it.
    let mut stream = stream.into_std()?;
    stream.write_all(&answer::raw(&refusal))
}

async fn speak(stream: UnixStream, service: Arc<Service>, caller: Caller, _place: Place<u32>) {
    converse(stream, LIMITS, |request| {
        let (service, caller) = (Arc::clone(&service), caller.clone());
        async move { service.serve(&caller, request).await }
    })
    .await;
}
