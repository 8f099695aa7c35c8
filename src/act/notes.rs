//! Notes in a folder of their own, a JSON file each, for the guard that comes after this one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

const NOTE: &str = "json";

/// What cannot be written or read, and where.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no note of this version", path.display())]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// Where they are.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    pub(super) directory: PathBuf,
}

impl Notes {
    /// Returns when it is on disk, whole.
    pub(super) fn write(&self, name: &str, note: &impl Serialize) -> Result<(), NoteError> {
        let path = self.path(name);
        let written = self.put(note, &path);
        written.map_err(|source| NoteError::Write { path, source })
    }

    fn put(&self, note: &impl Serialize, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(note).map_err(io::Error::other)?;
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
    /// When it stays.
    pub(super) fn remove(&self, name: &str) -> Result<(), NoteError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(NoteError::Write { path, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// What a former guard left, by name, and what of it cannot be read.
    pub(super) fn left_over<T: DeserializeOwned>(&self) -> Vec<Result<T, NoteError>> {
        self.with_extension(NOTE).into_iter().map(read).collect()
    }

    pub(super) fn with_extension(&self, wanted: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten();
        let is_wanted = |path: &PathBuf| path.extension().is_some_and(|found| found == wanted);
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut paths: Vec<PathBuf> = paths.filter(is_wanted).collect();
        paths.sort();
        paths
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.{NOTE}"))
    }
}

fn read<T: DeserializeOwned>(path: PathBuf) -> Result<T, NoteError> {
    let text = fs::read(&path).map_err(|source| NoteError::Read {
        path: path.clone(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| NoteError::Parse { path, source })
}
