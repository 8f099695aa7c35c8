//! What `act` changes the host with: LVM's lock, the note for a successor, and the programs. Decides nothing.

use std::path::PathBuf;
use std::time::Duration;

use crate::command::{self, AtDeadline, CommandError, Finished};
use crate::model::names::{Name, Target};
use crate::model::plan::Extension;

use super::intent::Intents;
use super::lock::{GroupLock, GroupLocks, LockError};
use super::notes::NoteError;

/// How `act` reaches the host. A simulation has hands of its own.
pub trait Hands {
    /// Held until dropped.
    type Lock;

    /// LVM's lock of one group.
    ///
    /// # Errors
    /// When it cannot be had by the deadline.
    fn lock(&self, group: &Name, deadline: Duration) -> Result<Self::Lock, LockError>;

    /// How long an extension waits for that lock.
    fn lock_wait(&self) -> Duration;

    /// Notes what is about to be done, for a successor.
    ///
    /// # Errors
    /// When it cannot be noted: should this guard be killed now, nobody mends what it left.
    fn remember(&self, extension: &Extension) -> Result<(), NoteError>;

    fn forget(&self, target: &Target);

    /// Runs a changing command; at its deadline it is asked to end, and waited for.
    ///
    /// # Errors
    /// When it cannot be started or waited for. What it did is not told by its end.
    fn run(
        &self,
        tool: Tool,
        arguments: &[String],
        deadline: Duration,
    ) -> Result<Finished, CommandError>;
}

/// The programs that change anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    Lvm,
    Dmsetup,
}

/// What carrying out needs besides the extension.
#[derive(Debug, Clone)]
pub struct Tools {
    pub lvm: PathBuf,
    pub locks: GroupLocks,
    /// A lock held for longer is told as a failure, and tried again after the backoff.
    pub lock_wait: Duration,
    pub intents: Intents,
    /// The mount namespace in which hooks run, where it is another one.
    pub host: Option<PathBuf>,
}

impl Hands for Tools {
    type Lock = GroupLock;

    fn lock(&self, group: &Name, deadline: Duration) -> Result<GroupLock, LockError> {
        self.locks.take(group, deadline)
    }

    fn lock_wait(&self) -> Duration {
        self.lock_wait
    }

    fn remember(&self, extension: &Extension) -> Result<(), NoteError> {
        self.intents.write(extension)
    }

    fn forget(&self, target: &Target) {
        self.intents.remove(target);
    }

    fn run(
        &self,
        tool: Tool,
        arguments: &[String],
        deadline: Duration,
    ) -> Result<Finished, CommandError> {
        let program = match tool {
            Tool::Lvm => self.lvm.clone(),
            Tool::Dmsetup => self.lvm.with_file_name("dmsetup"),
        };
        command::run(&program, arguments, deadline, AtDeadline::TermAndWait)
    }
}
