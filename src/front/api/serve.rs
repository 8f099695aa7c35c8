//! Connections to the API: from whom, how many, how long. They take nothing from those of the metrics.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::model::action::Caller;
use crate::model::refusal::{Code, Refusal};

use super::super::converse::{Limits, converse};
use super::answer;
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
/// When no file descriptor is left, accepting again at once would only burn a core.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How many connections each user has.
#[derive(Debug, Default)]
struct Places(Mutex<BTreeMap<u32, usize>>);

/// One of them, until it is dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    uid: u32,
}

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

fn admit(stream: UnixStream, service: &Arc<Service>, places: &Arc<Places>) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let (uid, gid) = (peer.uid(), peer.gid());
    if let Some(place) = Places::take(places, uid) {
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

async fn speak(stream: UnixStream, service: Arc<Service>, caller: Caller, _place: Place) {
    let limits = Limits {
        header: HEADER_LIMIT,
        header_bytes: HEADER_BYTES_MAX,
        headers: HEADERS_READ_MAX,
        connection: CONNECTION_LIMIT,
        finish: FINISH_LIMIT,
    };
    converse(stream, limits, |request| {
        let (service, caller) = (Arc::clone(&service), caller.clone());
        async move { service.serve(&caller, request).await }
    })
    .await;
}

impl Places {
    fn take(places: &Arc<Self>, uid: u32) -> Option<Place> {
        let mut taken = places.lock();
        let all: usize = taken.values().sum();
        let own = taken.get(&uid).copied().unwrap_or_default();
        let limit = if uid == 0 {
            CONNECTIONS_MAX
        } else {
            CONNECTIONS_OTHERS_MAX
        };
        if all >= limit || own >= CONNECTIONS_EACH_MAX {
            return None;
        }
        taken.insert(uid, own + 1);
        let places = Arc::clone(places);
        Some(Place { places, uid })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, usize>> {
        // Whoever panicked left plain counts behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(own) = taken.get_mut(&self.uid) {
            *own = own.saturating_sub(1);
        }
        taken.retain(|_, own| *own > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_some_places_and_root_always_finds_one() {
        let places = Arc::new(Places::default());
        let mut kept: Vec<Place> = Vec::new();
        for uid in 1000..1010 {
            kept.extend((0..20).map_while(|_| Places::take(&places, uid)));
        }
        assert_eq!(kept.len(), 48);
        assert_eq!(kept.iter().filter(|place| place.uid == 1000).count(), 16);
        kept.extend((0..20).map_while(|_| Places::take(&places, 0)));
        assert_eq!(kept.len(), 64);
        drop(kept);
        assert!(places.lock().is_empty());
    }
}
