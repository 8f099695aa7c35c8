//! What is being done right now, on tmpfs: a guard that starts finds what its predecessor left half done.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::names::{Target, Uuid};
use crate::model::plan::Extension;

const INTENT: &str = "json";
const SUSPENDED: &str = "suspended";

#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    #[error("write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not an intent of this version", path.display())]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// One file for each store that is being extended, or was when somebody died.
#[derive(Debug, Clone)]
pub struct Intents {
    directory: PathBuf,
}

impl Intents {
    #[must_use]
    pub fn in_directory(runtime: &Path) -> Self {
        Self {
            directory: runtime.join("intents"),
        }
    }

    pub(super) fn write(&self, extension: &Extension) -> Result<(), IntentError> {
        let path = self.path(&extension.target);
        let half = path.with_extension("new");
        let text = serde_json::to_vec(extension).map_err(|source| IntentError::Parse {
            path: path.clone(),
            source,
        })?;
        fs::create_dir_all(&self.directory)
            .and_then(|()| fs::write(&half, text))
            .and_then(|()| fs::rename(&half, &path))
            .map_err(|source| IntentError::Write { path, source })
    }

    pub(super) fn remove(&self, target: &Target) {
        // A file that stays is found done at the next start.
        let _ = fs::remove_file(self.path(target));
    }

    /// That somebody was suspended for a group, and is to be resumed.
    pub(super) fn note_suspended(&self, group: &Uuid) -> Result<(), IntentError> {
        let path = self.suspended(group);
        fs::create_dir_all(&self.directory)
            .and_then(|()| fs::write(&path, ""))
            .map_err(|source| IntentError::Write { path, source })
    }

    pub(super) fn forget_suspended(&self, group: &Uuid) {
        // A file that stays makes a successor resume once more.
        let _ = fs::remove_file(self.suspended(group));
    }

    /// Groups for which a predecessor had somebody suspended.
    #[must_use]
    pub fn left_suspended(&self) -> Vec<Uuid> {
        let groups = self.with_extension(SUSPENDED).into_iter();
        let groups = groups.filter_map(|path| Uuid::parse(path.file_stem()?.to_str()?).ok());
        groups.collect()
    }

    fn suspended(&self, group: &Uuid) -> PathBuf {
        let name = format!("{}.{SUSPENDED}", group.as_str());
        self.directory.join(name)
    }

    /// What a predecessor left, and what of it cannot be read.
    #[must_use]
    pub fn left_over(&self) -> Vec<Result<Extension, IntentError>> {
        self.with_extension(INTENT).into_iter().map(read).collect()
    }

    fn with_extension(&self, wanted: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return Vec::new();
        };
        let is_wanted = |path: &PathBuf| path.extension().is_some_and(|found| found == wanted);
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut paths: Vec<PathBuf> = paths.filter(is_wanted).collect();
        paths.sort();
        paths
    }

    fn path(&self, target: &Target) -> PathBuf {
        let Target { volume, resource } = target;
        let name = format!(
            "{}-{}-{}.{INTENT}",
            volume.vg.as_str(),
            volume.lv.as_str(),
            resource.label()
        );
        self.directory.join(name)
    }
}

fn read(path: PathBuf) -> Result<Extension, IntentError> {
    let text = fs::read(&path).map_err(|source| IntentError::Read {
        path: path.clone(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|source| IntentError::Parse { path, source })
}
