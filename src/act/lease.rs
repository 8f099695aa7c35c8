//! What has been told to hold still and must be let go, on disk: whatever becomes of this guard, the next one finds
//! it and runs what lets go.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::command::Stranger;
use crate::model::names::Name;
use crate::model::time::UnixSeconds;

use super::notes::{NoteError, Notes};

/// One hook of mode `pair`, from before its `before` is run until its `after` has succeeded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    pub hook: Name,
    pub job: String,
    pub group: Name,
    /// What the snapshots are of, as `VG/LV` with spaces between.
    pub volumes: String,
    /// When it is let go at the latest.
    pub deadline: UnixSeconds,
    /// `before`, while it runs.
    pub before: Option<Stranger>,
}

/// Where leases are.
#[derive(Debug, Clone)]
pub struct Leases {
    notes: Notes,
}

impl Leases {
    /// Beside the journal.
    #[must_use]
    pub fn beside(journal: &Path) -> Self {
        let directory = journal.with_file_name("leases");
        Self {
            notes: Notes { directory },
        }
    }

    pub(super) fn write(&self, lease: &Lease) -> Result<(), NoteError> {
        self.notes.write(&name(lease), lease)
    }

    /// # Errors
    /// When it stays: the next guard lets go once more.
    pub(super) fn remove(&self, lease: &Lease) -> Result<(), NoteError> {
        self.notes.remove(&name(lease))
    }

    /// What a former guard left, in the order of its jobs, and what of it cannot be read.
    pub(super) fn left_over(&self) -> Vec<Result<Lease, NoteError>> {
        self.notes.left_over()
    }
}

fn name(lease: &Lease) -> String {
    format!("{}-{}", lease.job, lease.hook)
}
