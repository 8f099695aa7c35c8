//! What the guard claims of the host before it guards: its folder and lock, memory, and the socket of the API.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, flock};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::setpriority_process;

use crate::model::tally::Lifeboat;

use super::clock;
use super::lifeboat::{self, Berth};
use super::run::GuardError;

/// Held by the living guard, watched by an orphaned front.
pub(super) const LOCK_FILE: &str = "guard.lock";
/// An orphaned front tests the lock for a moment; a living guard keeps it.
const LOCK_LIMIT: Duration = Duration::from_millis(500);
const LOCK_RETRY: Duration = Duration::from_millis(10);
/// The kernel's out-of-memory killer leaves alone what says so.
const OOM_LAST: &str = "-1000";
/// Where processors are short, the guard and the lvextend that it starts go before what fills the store; LVM takes
/// -18 for as long as devices are suspended.
const URGENT: i32 = -10;

/// Locks this process's memory, asks the kernel to kill others first when there is none left, and to let others wait
/// for a processor. None is worth not guarding for: the first is told in the metrics, and a unit does the second
/// as well. Must be called while there is one thread only: a priority is a thread's.
pub(super) fn settle(berth: &Berth) -> Lifeboat {
    let _ = fs::write("/proc/self/oom_score_adj", OOM_LAST);
    let _ = setpriority_process(None, URGENT);
    // Each page as it is first used: whole stacks and arenas would be tens of megabytes.
    let locked = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT);
    let manifest = match berth {
        Berth::Aboard(manifest) => Some(manifest),
        Berth::Ashore(_) => None,
    };
    Lifeboat {
        is_aboard: manifest.is_some(),
        size: manifest.map(lifeboat::Manifest::size).unwrap_or_default(),
        is_memory_locked: locked.is_ok(),
        ..Lifeboat::default()
    }
}

pub(super) fn make_runtime(path: &Path) -> Result<(), GuardError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .map_err(|source| GuardError::Runtime {
            path: path.into(),
            source,
        })
}

/// Whether a guard lives: it holds its lock for as long.
pub(super) fn is_running(runtime: &Path) -> bool {
    File::open(runtime.join(LOCK_FILE))
        .is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockShared).is_err())
}

/// Only the front's group may open it, and so tell whether a guard lives: anybody who can open a file can
/// hold a lock on it.
pub(super) fn take_lock(path: &Path, front: Option<(u32, u32)>) -> Result<File, GuardError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| GuardError::Runtime {
            path: path.into(),
            source,
        })?;
    let group = front.map(|(_, group)| group);
    std::os::unix::fs::fchown(&file, None, group)
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(0o640)))
        .map_err(|source| GuardError::Runtime {
            path: path.into(),
            source,
        })?;
    let started = clock::moment();
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if clock::moment().since(started) > LOCK_LIMIT {
            return Err(GuardError::Running { path: path.into() });
        }
        thread::sleep(LOCK_RETRY);
    }
    Ok(file)
}

/// The one living guard may take the socket of a former one away.
pub(super) fn bind(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // For a moment it would be everybody's. There is no other thread yet that makes files.
    let mask = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(mask);
    let listener = bound?;
    std::os::unix::fs::chown(path, None, group)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}
