//! Taking in what the guard publishes, on a thread of its own: frames are read as fast as they come,
//! so that no client can hold the guard's writer up.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::sync::watch;
use tracing::warn;

use crate::link::{self, FromGuard, LinkError};

use super::End;
use super::api::Pending;
use super::published::Published;

/// A new guard's front binds for up to three seconds: this leaves it nearly all of them.
const SUCCESSOR_RETRY: Duration = Duration::from_millis(100);

/// The latest view, once there is one.
pub(super) type Latest = Option<Arc<Published>>;

/// Publishes every view that arrives, until there is a reason to end.
pub(super) fn read(
    link: UnixStream,
    publisher: &watch::Sender<Latest>,
    pending: &Pending,
    lock_file: &Path,
) -> End {
    let mut link = BufReader::new(link);
    loop {
        match link::receive::<FromGuard>(&mut link) {
            Ok(Some(FromGuard::View(view))) => {
                let latest = Arc::new(Published::now(view));
                let before = publisher.send_replace(Some(Arc::clone(&latest)));
                latest.prepare(before.as_deref());
            }
            Ok(Some(FromGuard::Answer(answer))) => pending.settle(answer.read()),
            Ok(Some(FromGuard::Stop)) => return End::Stopped,
            Ok(None) | Err(LinkError::Truncated | LinkError::Read(_)) => {
                if let Some(last) = publisher.borrow().as_ref() {
                    last.orphan();
                }
                pending.hang_up();
                warn!("the guard is gone, its last view is served until another guard lives");
                await_successor(lock_file);
                return End::Superseded;
            }
            Err(
                error @ (LinkError::TooLong { .. }
                | LinkError::Decode(_)
                | LinkError::Surplus(_)
                | LinkError::Encode(_)
                | LinkError::Json(_)
                | LinkError::Write(_)),
            ) => return End::Garbled(error),
        }
    }
}

/// Waits until a living guard holds the lock. The wait comes first, because the kernel closes the
/// link of a dying guard a moment before its lock.
fn await_successor(lock_file: &Path) {
    loop {
        thread::sleep(SUCCESSOR_RETRY);
        if is_held(lock_file) {
            return;
        }
    }
}

/// Whether somebody holds an exclusive lock. The shared one taken to find out is gone at once; a guard
/// that starts has to try again if it meets it.
fn is_held(lock_file: &Path) -> bool {
    File::open(lock_file).is_ok_and(|file| {
        flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    })
}
