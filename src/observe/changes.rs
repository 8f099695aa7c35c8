//! Notices that some lvm command has changed LVM's metadata, also where no device comes or goes, as when a
//! group gets another physical volume: after each change LVM renews the group's backup file.
//!
//! Who has turned backups off is told nothing, and whoever only reads, as other monitoring does, makes none.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// A few events with their file names; what does not fit is read the next time.
const EVENTS: usize = 4096;

/// A watch on the folder of the backups.
#[derive(Debug)]
pub struct Changes {
    events: OwnedFd,
}

impl Changes {
    /// # Errors
    /// When there is no such folder, or the kernel has no watch left.
    pub fn watch(backups: &Path) -> io::Result<Self> {
        let events = inotify::init(CreateFlags::CLOEXEC)?;
        // LVM writes another file and moves it to its place.
        let flags = WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::ONLYDIR;
        inotify::add_watch(&events, backups, flags)?;
        Ok(Self { events })
    }

    /// Waits for the next change. Several at once may be told as one.
    ///
    /// # Errors
    /// When the kernel does not tell any more.
    pub fn wait(&self) -> io::Result<()> {
        let mut events = [0; EVENTS];
        loop {
            match rustix::io::read(&self.events, &mut events) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_is_moved_to_its_place_is_told() {
        let folder = std::env::temp_dir().join(format!("cowherd-changes-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let changes = Changes::watch(&folder).expect("a watch");
        fs::write(folder.join(".lvm_half"), "vg").expect("a file");
        fs::rename(folder.join(".lvm_half"), folder.join("vg")).expect("a rename");
        changes.wait().expect("an event");
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn without_a_folder_there_is_no_watch() {
        assert!(Changes::watch(Path::new("/nonexistent/backup")).is_err());
    }
}
