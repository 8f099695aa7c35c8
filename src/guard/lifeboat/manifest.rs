//! What the lifeboat carries: lvm and dmsetup, every library that they and cowherd need, and LVM's settings.
//!
//! Taken on the host's root, where lvm itself tells its settings and the loader its libraries. Each source
//! is remembered with what identifies its content, so that an upgrade is noticed without reading it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::command::{self, AtDeadline, CommandError};
use crate::model::units::Bytes;
use crate::observe::lvm::{self, LvmError};

/// A program is loaded; lvm reads its settings.
const DEADLINE: Duration = Duration::from_secs(20);
/// With it the loader tells what it would load and starts nothing: what ldd does, without its shell.
const TELL_LIBRARIES: [(&str, &str); 1] = [("LD_TRACE_LOADED_OBJECTS", "1")];
const LVM_CONF: &str = "/etc/lvm/lvm.conf";
/// What lvm makes its settings of.
const SETTINGS: [&str; 2] = [LVM_CONF, "/etc/lvm/lvmlocal.conf"];
const PROFILES: &str = "/etc/lvm/profile";
/// What lvm, the loader or the front's start reads where it exists.
const OPTIONAL: [&str; 7] = [
    "/etc/ld.so.cache",
    "/etc/lvm/devices/system.devices",
    // A physical volume below a multipath device is told from it by these.
    "/etc/multipath.conf",
    "/etc/multipath/wwids",
    // LVM's system id may come from here.
    "/etc/machine-id",
    "/etc/lvm/lvm_system_id",
    "/etc/passwd",
];

#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error(transparent)]
    Lvm(#[from] LvmError),
    #[error("find the program that runs")]
    Program { source: io::Error },
    #[error("ask {} what the lifeboat needs", program.display())]
    Ask {
        program: PathBuf,
        source: CommandError,
    },
    #[error("ask {} what the lifeboat needs: {complaint}", program.display())]
    Refused { program: PathBuf, complaint: String },
    #[error("library {library} is missing")]
    MissingLibrary { library: String },
    #[error("copy {} to {}", from.display(), to.display())]
    Copy {
        from: PathBuf,
        to: PathBuf,
        source: io::Error,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    lvm: PathBuf,
    /// Copied as they are, by the path under which they are looked for.
    files: BTreeMap<PathBuf, Source>,
    /// What `lvm_conf` was made of.
    settings: BTreeMap<PathBuf, Source>,
    /// The host's settings, merged and without comments.
    lvm_conf: String,
    /// Where LVM keeps its metadata backups: the host's, also seen from the lifeboat.
    backup_dir: PathBuf,
}

/// A file of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Source {
    /// Without links: an absolute one would lead elsewhere where the host's root is not the root.
    real: PathBuf,
    /// None when it does not exist.
    stamp: Option<Stamp>,
}

/// Tells a file's content from what was there before without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Manifest {
    /// What this host's lvm needs, and this program.
    ///
    /// # Errors
    /// When lvm or a library is missing, or does not tell.
    pub fn take() -> Result<Self, ManifestError> {
        let program =
            std::env::current_exe().map_err(|source| ManifestError::Program { source })?;
        Self::take_for(&[program])
    }

    /// As `take`, without this program: it need not be where it was started from any more.
    ///
    /// # Errors
    /// As `take`.
    pub fn take_again() -> Result<Self, ManifestError> {
        Self::take_for(&[])
    }

    fn take_for(others: &[PathBuf]) -> Result<Self, ManifestError> {
        let lvm = lvm::program()?;
        let programs = [lvm.clone(), lvm.with_file_name("dmsetup")];
        let mut libraries = BTreeSet::new();
        for program in programs.iter().chain(others) {
            // One without a loader would start.
            let told = ask(&TELL_LIBRARIES, program, &["--version"])?;
            libraries.extend(libraries_in(&told)?);
        }
        let profiles = fs::read_dir(PROFILES).into_iter().flatten().flatten();
        let files = programs
            .iter()
            .cloned()
            .chain(libraries)
            .chain(OPTIONAL.map(PathBuf::from))
            .chain(profiles.map(|entry| entry.path()));
        Ok(Self {
            files: sources(files),
            // Before they are read: a change in between is then noticed.
            settings: sources(SETTINGS.map(PathBuf::from)),
            lvm_conf: lvmconfig(&lvm, &["current", "--mergedconfig"])?,
            backup_dir: backup_dir(&lvmconfig(&lvm, &["full", "backup/backup_dir"])?),
            lvm,
        })
    }

    #[must_use]
    pub fn lvm(&self) -> &Path {
        &self.lvm
    }

    pub(super) fn backup_dir(&self) -> &Path {
        &self.backup_dir
    }

    /// Copies everything from the tree `from` into the tree `boat`; each file is there whole or not at all.
    ///
    /// # Errors
    /// When a file cannot be copied; those before it are.
    pub fn stow(&self, from: &Path, boat: &Path) -> Result<(), ManifestError> {
        for (path, source) in &self.files {
            if source.stamp.is_some() {
                copy(&inside(from, &source.real), &inside(boat, path))?;
            }
        }
        let conf = inside(boat, Path::new(LVM_CONF));
        place(&conf, |half| fs::write(half, &self.lvm_conf)).map_err(|source| {
            ManifestError::Copy {
                from: LVM_CONF.into(),
                to: conf,
                source,
            }
        })?;
        let link = inside(boat, &self.backup_dir);
        let target = inside(Path::new(super::HOST), &self.backup_dir);
        place(&link, |half| symlink(&target, half)).map_err(|source| ManifestError::Copy {
            from: target.clone(),
            to: link.clone(),
            source,
        })
    }

    /// What was copied, in bytes.
    #[must_use]
    pub fn size(&self) -> Bytes {
        let stamps = self.files.values().filter_map(|source| source.stamp);
        stamps
            .map(|stamp| Bytes(stamp.size))
            .fold(Bytes::ZERO, Bytes::saturating_add)
    }

    /// The state of every source, as it was taken.
    pub(super) fn stamps(&self) -> Vec<Option<Stamp>> {
        self.sources().map(|source| source.stamp).collect()
    }

    /// The same as it is now below `host`.
    pub(super) fn stamps_now(&self, host: &Path) -> Vec<Option<Stamp>> {
        let now = |source: &Source| Stamp::of(&inside(host, &source.real));
        self.sources().map(now).collect()
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        self.files.values().chain(self.settings.values())
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self {
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

fn sources(paths: impl IntoIterator<Item = PathBuf>) -> BTreeMap<PathBuf, Source> {
    let source = |path: PathBuf| {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        let stamp = Stamp::of(&real);
        (path, Source { real, stamp })
    };
    paths.into_iter().map(source).collect()
}

/// The absolute `path` below `root`.
pub(super) fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<(), ManifestError> {
    place(to, |half| fs::copy(from, half).map(drop)).map_err(|source| ManifestError::Copy {
        from: from.into(),
        to: to.into(),
        source,
    })
}

/// Makes a file under another name and moves it to its place: whoever opens it finds the old or the new one.
fn place(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut half = path.as_os_str().to_owned();
    half.push(".half");
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    // What a death in between left would be in the way of a link.
    let _ = fs::remove_file(&half);
    make(Path::new(&half))?;
    fs::rename(&half, path)
}

fn lvmconfig(lvm: &Path, what: &[&str]) -> Result<String, ManifestError> {
    ask(&[], lvm, &[&["lvmconfig", "--typeconfig"], what].concat())
}

fn ask(
    variables: &[(&str, &str)],
    program: &Path,
    arguments: &[&str],
) -> Result<String, ManifestError> {
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let finished = command::run_with(variables, program, &arguments, DEADLINE, AtDeadline::Kill);
    let finished = finished.map_err(|source| ManifestError::Ask {
        program: program.into(),
        source,
    })?;
    if !finished.status.success() {
        return Err(ManifestError::Refused {
            program: program.into(),
            complaint: finished.complaint(),
        });
    }
    Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
}

/// The absolute paths in the loader's lines: `NAME => PATH (ADDRESS)`, and the loader's `PATH (ADDRESS)`.
fn libraries_in(told: &str) -> Result<BTreeSet<PathBuf>, ManifestError> {
    let mut found = BTreeSet::new();
    for line in told.lines().filter(|line| line.starts_with('\t')) {
        let line = line.trim();
        let path = line.split_once(" => ").map_or(line, |(_, path)| path);
        if path.starts_with("not found") {
            let library = line.split(" => ").next().unwrap_or(line).to_owned();
            return Err(ManifestError::MissingLibrary { library });
        }
        // What is neither is the kernel's own, without a file.
        if path.starts_with('/') {
            let end = path.rfind(" (").unwrap_or(path.len());
            found.insert(PathBuf::from(&path[..end]));
        }
    }
    Ok(found)
}

/// The path in `backup_dir="/etc/lvm/backup"`.
fn backup_dir(told: &str) -> PathBuf {
    let path = told.split('"').nth(1).filter(|path| path.starts_with('/'));
    PathBuf::from(path.unwrap_or(super::BACKUPS))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, prop_oneof, proptest};

    use super::*;

    #[test]
    fn libraries_and_the_loader_are_found_and_the_kernels_own_is_not() {
        let told = "\tlinux-vdso.so.1 (0x00007f0f91641000)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f0f90be9000)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f0f91643000)\n";
        let found = libraries_in(told).expect("nothing is missing");
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(found, expected.map(PathBuf::from).into());
    }

    #[test]
    fn a_missing_library_is_an_error() {
        let missing = libraries_in("\tlibaio.so.1 => not found\n");
        assert!(
            matches!(&missing, Err(ManifestError::MissingLibrary { library }) if library == "libaio.so.1"),
            "{missing:?}"
        );
    }

    #[test]
    fn a_static_program_needs_nothing() {
        let none = libraries_in("\tstatically linked\n").expect("nothing is missing");
        assert_eq!(none, BTreeSet::new());
    }

    #[test]
    fn the_backup_directory_is_lvms_or_its_default() {
        let told = "backup_dir=\"/srv/lvm\"\n";
        assert_eq!(backup_dir(told), Path::new("/srv/lvm"));
        assert_eq!(backup_dir("garbage"), Path::new("/etc/lvm/backup"));
    }

    proptest! {
        #[test]
        fn whatever_is_told_every_path_is_absolute(line in prop_oneof![".*", "[\t /a-z()=>.]{0,40}"], name in "[a-z.]{1,9}", lines in prop::collection::vec("\t[a-z]{1,5} => /[a-z ]{1,9} \\(0x[0-9a-f]{1,9}\\)", 0..5)) {
            if let Ok(found) = libraries_in(&format!("{}\n{line}\n", lines.join("\n"))) {
                assert!(found.iter().all(|path| path.is_absolute()), "{found:?}");
                assert!(lines.is_empty() || !found.is_empty());
            }
            let missing = libraries_in(&format!("{}\n\t{name} => not found\n", lines.join("\n")));
            assert!(matches!(&missing, Err(ManifestError::MissingLibrary { library }) if *library == name), "{missing:?}");
            assert!(backup_dir(&line).is_absolute());
        }
    }
}
