//! What has been told to hold still and must be let go, on disk: whatever becomes of this guard, the next one finds
//! it and runs what lets go.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::command::Stranger;
use crate::model::names::Name;
use crate::model::time::UnixSeconds;

const LEASE: &str = "json";

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
    directory: PathBuf,
}

/// What cannot be written or read, and where.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no lease of this version", path.display())]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
}

impl Leases {
    /// Beside the journal.
    #[must_use]
    pub fn beside(journal: &Path) -> Self {
        Self {
            directory: journal.with_file_name("leases"),
        }
    }

    /// Returns when it is on disk.
    pub(super) fn write(&self, lease: &Lease) -> Result<(), LeaseError> {
        let path = self.path(lease);
        let written = self.put(lease, &path);
        written.map_err(|source| LeaseError::Write { path, source })
    }

    fn put(&self, lease: &Lease, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(lease).map_err(io::Error::other)?;
        let half = path.with_extension("new");
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&self.directory)?;
        let mut options = OpenOptions::new();
        options.create(true).write(true).truncate(true).mode(0o640);
        let mut file = options.open(&half)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&half, path)?;
        File::open(&self.directory)?.sync_all()
    }

    /// # Errors
    /// When it stays: the next guard lets go once more.
    pub(super) fn remove(&self, lease: &Lease) -> Result<(), LeaseError> {
        let path = self.path(lease);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(LeaseError::Write { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What a former guard left, in the order of its jobs, and what of it cannot be read.
    pub(super) fn left_over(&self) -> Vec<Result<Lease, LeaseError>> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        let is_lease = |path: &PathBuf| path.extension().is_some_and(|found| found == LEASE);
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut paths: Vec<PathBuf> = paths.filter(is_lease).collect();
        paths.sort();
        paths.into_iter().map(read).collect()
    }

    fn path(&self, lease: &Lease) -> PathBuf {
        let name = format!("{}-{}.{LEASE}", lease.job, lease.hook);
        self.directory.join(name)
    }
}

fn read(path: PathBuf) -> Result<Lease, LeaseError> {
    let text = fs::read(&path).map_err(|source| LeaseError::Read {
        path: path.clone(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| LeaseError::Parse { path, source })
}
