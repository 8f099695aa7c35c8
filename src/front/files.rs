//! Reading the files of the web configuration, as the host sees them and as the front's user may.
//!
//! In a lifeboat the front's root is not the host's: paths are then looked up below another folder, symbolic links
//! included. Everything here may hang with the host's storage, so it runs on the thread that is there for it, or
//! before anything is served.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

/// A configuration is a page, a chain of certificates some more.
const FILE_MAX: u64 = 1 << 20;

/// What a file was when it was read: another one, or the same with other contents, has another stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Files that are read, and what they were then.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    /// Nothing for one that could not be opened.
    seen: Vec<(PathBuf, Option<Stamp>)>,
}

impl Files {
    /// Below the host's root.
    pub(super) const fn below(root: PathBuf) -> Self {
        Self {
            root,
            seen: Vec::new(),
        }
    }

    /// Forgets what was read.
    pub(super) fn forget(&mut self) {
        self.seen.clear();
    }

    /// Reads a whole file, and remembers what it was.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let opened = self.open(path);
        let stamp = opened.as_ref().ok().and_then(|file| Stamp::of(file).ok());
        self.seen.push((path.to_owned(), stamp));
        let file = opened?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let mut bytes = Vec::new();
        file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(io::Error::other(format!(
                "it is larger than {FILE_MAX} bytes"
            )));
        }
        Ok(bytes)
    }

    /// Whether any of them is another one by now, or has come, or has gone.
    pub(super) fn have_changed(&self) -> bool {
        let now = |path: &Path| self.open(path).and_then(|file| Stamp::of(&file)).ok();
        self.seen.iter().any(|(path, stamp)| now(path) != *stamp)
    }

    /// Without waiting for whoever is at the other end, where it is a pipe.
    fn open(&self, path: &Path) -> io::Result<File> {
        if self.root == Path::new("/") {
            let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
            return fs::OpenOptions::new()
                .read(true)
                .custom_flags(flags)
                .open(path);
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let root = open(&self.root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        match openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            // Linux before 5.6, or a filter that does not know the call: only absolute links are lost.
            Err(Errno::NOSYS | Errno::PERM) => {
                let inside = self.root.join(path.strip_prefix("/").unwrap_or(path));
                Ok(rustix::fs::openat(CWD, inside, flags, Mode::empty())?.into())
            }
            opened => Ok(opened?.into()),
        }
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let file = file.metadata()?;
        Ok(Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_below_another_root_stays_there() {
        let root = std::env::temp_dir().join(format!("cowherd-root-{}", std::process::id()));
        fs::create_dir_all(root.join("etc/ssl")).expect("a new folder");
        fs::write(root.join("etc/ssl/cert.pem"), "inside").expect("ours");
        symlink("/etc/ssl/cert.pem", root.join("etc/cert.pem")).expect("ours");
        let mut files = Files::below(root.clone());
        for path in ["/etc/cert.pem", "/etc/../../etc/ssl/cert.pem"] {
            let read = files.read(Path::new(path)).expect("it is there");
            assert_eq!(read, b"inside", "{path}");
        }
        assert!(
            files.read(Path::new("/etc/passwd")).is_err(),
            "it is the host's"
        );
        fs::remove_dir_all(root).expect("ours");
    }

    #[test]
    fn what_is_no_file_or_too_large_is_refused() {
        let mut files = Files::below("/".into());
        for (path, expected) in [
            ("/dev/zero", "no file"),
            ("/tmp", "no file"),
            ("/nowhere", "No such"),
        ] {
            let told = files.read(Path::new(path)).unwrap_err().to_string();
            assert!(told.contains(expected), "{path}: {told}");
        }
    }
}
