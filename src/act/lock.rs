//! LVM's lock of one volume group, taken with a deadline.
//!
//! LVM locks a group with flock on `V_NAME` and may unlink the file when it lets go (lvm2
//! `misc/lvm-flock.c`), so a lock counts only while the path still leads to the locked file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::model::names::Name;

/// LVM's compiled-in `global/locking_dir` on Debian, Fedora and their kin.
const LVM_LOCK_DIR: &str = "/run/lock/lvm";

/// How often a held lock is tried again. flock has no deadline of its own.
const RETRY_EVERY: Duration = Duration::from_millis(5);

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("{} is held by another command for more than {} s", path.display(), deadline.as_secs())]
    Held { path: PathBuf, deadline: Duration },
}

/// Where the locks are.
#[derive(Debug, Clone)]
pub struct GroupLocks {
    directory: PathBuf,
}

/// Held until dropped.
#[derive(Debug)]
pub struct GroupLock {
    _file: File,
}

impl Default for GroupLocks {
    fn default() -> Self {
        Self {
            directory: PathBuf::from(LVM_LOCK_DIR),
        }
    }
}

impl GroupLocks {
    /// # Errors
    /// When the lock file cannot be opened, or somebody holds the lock until the deadline.
    pub fn take(&self, group: &Name, deadline: Duration) -> Result<GroupLock, LockError> {
        let path = self.directory.join(format!("V_{group}"));
        let started = Instant::now();
        loop {
            if let Some(lock) = Self::attempt(&path)? {
                return Ok(lock);
            }
            if started.elapsed() >= deadline {
                return Err(LockError::Held { path, deadline });
            }
            thread::sleep(RETRY_EVERY);
        }
    }

    fn attempt(path: &PathBuf) -> Result<Option<GroupLock>, LockError> {
        let open_error = |source| LockError::Open {
            path: path.clone(),
            source,
        };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(open_error)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(path)
            .map_err(open_error)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        let locked = file.metadata().map_err(open_error)?;
        let same = fs::metadata(path).is_ok_and(|now| now.ino() == locked.ino());
        Ok(same.then_some(GroupLock { _file: file }))
    }
}
