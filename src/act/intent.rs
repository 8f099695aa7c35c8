//! What is being done right now, on tmpfs: a guard that starts finds what its predecessor left half done.

use std::fs;
use std::path::{Path, PathBuf};

use crate::model::names::{Target, Uuid};
use crate::model::plan::Extension;

use super::notes::{NoteError, Notes};

const SUSPENDED: &str = "suspended";

/// One note for each store that is being extended, or was when somebody died.
#[derive(Debug, Clone)]
pub struct Intents {
    notes: Notes,
}

impl Intents {
    #[must_use]
    pub fn in_directory(runtime: &Path) -> Self {
        let directory = runtime.join("intents");
        Self {
            notes: Notes { directory },
        }
    }

    pub(super) fn write(&self, extension: &Extension) -> Result<(), NoteError> {
        self.notes.write(&name(&extension.target), extension)
    }

    pub(super) fn remove(&self, target: &Target) {
        // One that stays is found done at the next start.
        let _ = self.notes.remove(&name(target));
    }

    /// What a predecessor left, and what of it cannot be read.
    #[must_use]
    pub fn left_over(&self) -> Vec<Result<Extension, NoteError>> {
        self.notes.left_over()
    }

    /// That somebody was suspended for a group, and is to be resumed.
    pub(super) fn note_suspended(&self, group: &Uuid) -> Result<(), NoteError> {
        let path = self.suspended(group);
        fs::create_dir_all(&self.notes.directory)
            .and_then(|()| fs::write(&path, ""))
            .map_err(|source| NoteError::Write { path, source })
    }

    pub(super) fn forget_suspended(&self, group: &Uuid) {
        // A file that stays makes a successor resume once more.
        let _ = fs::remove_file(self.suspended(group));
    }

    /// Groups for which a predecessor had somebody suspended.
    #[must_use]
    pub fn left_suspended(&self) -> Vec<Uuid> {
        let groups = self.notes.with_extension(SUSPENDED).into_iter();
        let groups = groups.filter_map(|path| Uuid::parse(path.file_stem()?.to_str()?).ok());
        groups.collect()
    }

    fn suspended(&self, group: &Uuid) -> PathBuf {
        let name = format!("{}.{SUSPENDED}", group.as_str());
        self.notes.directory.join(name)
    }
}

fn name(target: &Target) -> String {
    let Target { volume, resource } = target;
    let (group, volume) = (volume.vg.as_str(), volume.lv.as_str());
    format!("{group}-{volume}-{}", resource.label())
}
