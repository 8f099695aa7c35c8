//! One guest's own folder: its disks and its `/out`. Removed when dropped, and,
//! for a lab that was killed, by the next lab.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use super::workspace;
use crate::size::Size;

#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
}

/// Several guests of one lab get folders of their own.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl RunDir {
    pub fn new() -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        let path = workspace::made("runs")?.join(name);
        let dir = Self { path };
        fs::create_dir_all(dir.out()).with_context(|| format!("making {}", dir.out().display()))?;
        Ok(dir)
    }

    /// What the guest sees, and writes, as `/out`.
    #[must_use]
    pub fn out(&self) -> PathBuf {
        self.path.join("out")
    }

    /// A sparse file per disk.
    pub fn make_disks(&self, sizes: &[Size]) -> Result<Vec<PathBuf>> {
        let make = |(number, size): (usize, &Size)| {
            let path = self.path.join(format!("disk{number:03}"));
            let file = fs::File::create(&path)?;
            file.set_len(size.as_bytes())?;
            Ok(path)
        };
        sizes.iter().enumerate().map(make).collect()
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("lab: {} is left behind: {error}", self.path.display());
        }
    }
}

/// Removes the folders of labs that no longer run.
pub fn remove_abandoned() -> Result<()> {
    for entry in fs::read_dir(workspace::made("runs")?)? {
        let path = entry?.path();
        if owner(&path).is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

fn owner(path: &Path) -> Option<&str> {
    Some(path.file_name()?.to_str()?.split_once('-')?.0)
}
