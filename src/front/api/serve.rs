//! Connections to the API's socket: from whom, how many, how long. They take nothing from those of the metrics.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
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
/// As many are told at a time that there are too many connections; others are closed at once.
const REFUSALS_MAX: usize = 256;
const REFUSAL_LIMIT: Duration = Duration::from_secs(1);
/// The largest request.
const REFUSED_BYTES_MAX: u64 = 64 << 10;
/// When no file descriptor is left, accepting again at once would only burn a core.
pub(super) const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves until the runtime ends.
pub(super) async fn accept(socket: UnixListener, service: Arc<Service>) {
    let places = Arc::new(Places::default());
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = admit(stream, &service, &places, &refusals) {
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

fn admit(
    stream: UnixStream,
    service: &Arc<Service>,
    places: &Arc<Places<u32>>,
    refusals: &Arc<Semaphore>,
) -> io::Result<()> {
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
    if let Ok(permit) = Arc::clone(refusals).try_acquire_owned() {
        drop(tokio::spawn(refuse(stream, permit)));
    }
    Ok(())
}

/// Reads what comes: a socket that is closed before takes its answer from who still writes.
async fn refuse(mut stream: UnixStream, _permit: OwnedSemaphorePermit) {
    let refusal = answer::raw(&Refusal::new(Code::RateLimited, "too many connections"));
    let told = async {
        stream.write_all(&refusal).await?;
        stream.shutdown().await?;
        copy(&mut stream.take(REFUSED_BYTES_MAX), &mut sink()).await
    };
    // Whoever takes longer is cut off.
    let _ = timeout(REFUSAL_LIMIT, told).await;
}

async fn speak(stream: UnixStream, service: Arc<Service>, caller: Caller, _place: Place<u32>) {
    converse(stream, LIMITS, |request| {
        let (service, caller) = (Arc::clone(&service), caller.clone());
        async move { service.serve(&caller, request).await }
    })
    .await;
}
