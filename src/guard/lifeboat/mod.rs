//! The lifeboat: a root of our own on tmpfs, in which the guard, its front and lvm live.
//!
//! The host's root may lie on the very pool that is full. Then any path that is looked up there may hang
//! in the kernel: a program, a library, `/etc/lvm/lvm.conf`, even a file that does not exist. So before
//! anything is guarded, `cowherd run` copies what extending needs to a tmpfs of a private mount namespace,
//! makes that its root and starts itself again from there. Parts of the host's tree stay reachable below
//! `/host`, for what may wait: LVM's metadata backups, and renewing what was copied after an upgrade.
//!
//! Nothing below `/host` may be touched by a thread that the loop or an extension waits for.

mod manifest;
mod renew;

use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, unmount,
};
use rustix::process::{chroot, pivot_root};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::command::{self, AtDeadline};

use super::run::Options;

pub use manifest::{Manifest, ManifestError};
pub(super) use renew::renew_for_ever;

/// Where the parts of the host's tree are that are still wanted, seen from the lifeboat.
const HOST: &str = "/host";
/// The mount namespace that was left: standard input of whoever starts again in the lifeboat. Whoever needs all of
/// the host's tree goes back there.
const NAMESPACE: &str = "/proc/self/fd/0";
/// What is handed over, in the lifeboat.
const OPTIONS: &str = "/options.json";
/// Those parts: where programs, libraries, settings and backups are, and what starting a program there takes.
const WANTED: [&str; 6] = ["/", "/usr", "/etc", "/var", "/dev", "/proc"];
/// Where LVM keeps its metadata backups when it does not say otherwise.
const BACKUPS: &str = "/etc/lvm/backup";
/// Where the whole of the host's tree is until the guard has started.
const OLD: &str = "/old";
/// Where the lifeboat has the program that runs.
const PROGRAM: &str = "/usr/sbin/cowherd";
/// LVM's locks: another directory of that name would exclude nobody.
const LVM_LOCKS: &str = "/run/lock/lvm";
/// What is the host's in the lifeboat, too. All of it is in memory: no disk stands behind any.
const SHARED: [&str; 6] = ["/dev", "/proc", "/sys", LVM_LOCKS, "/run/lvm", "/run/udev"];
/// Through these LVM asks dmeventd what it monitors. They may be missing, and guarding does not need them.
const DMEVENTD: [&str; 2] = ["/run/dmeventd-client", "/run/dmeventd-server"];
/// lvm with all its libraries takes 8 MiB, cowherd 5; a debug build of it several times as much.
const SIZE_MAX: &str = "96m";
/// What is tried before anything relies on it prints its version.
const TRIAL_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum LifeboatError {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("leave the host's mount namespace")]
    Unshare { source: io::Error },
    #[error("mount {}", path.display())]
    Mount { path: PathBuf, source: io::Error },
    #[error("make {}", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("make {} the root", path.display())]
    Pivot { path: PathBuf, source: io::Error },
    #[error("{LVM_LOCKS} in the lifeboat is not the host's: locks there would exclude nobody")]
    Locks,
    #[error("try {program} in the lifeboat: {why}")]
    Trial { program: String, why: String },
    #[error("hand the options over")]
    Options { source: io::Error },
    #[error("start again in the lifeboat")]
    Exec { source: io::Error },
}

/// Where this guard lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Berth {
    /// In the lifeboat, with what was copied there.
    Aboard(Manifest),
    /// On the host's own root, and why.
    Ashore(String),
}

impl Berth {
    /// Where LVM keeps its metadata backups, seen from here: on the host's storage in any case.
    pub(super) fn backups(&self) -> &Path {
        match self {
            Self::Aboard(manifest) => manifest.backup_dir(),
            Self::Ashore(_) => Path::new(BACKUPS),
        }
    }

    /// Where the parts of the host's tree are that are still wanted.
    pub(super) fn host_root(&self) -> &Path {
        match self {
            Self::Aboard(_) => Path::new(HOST),
            Self::Ashore(_) => Path::new("/"),
        }
    }

    /// Where what is not of the guard's own runs, unless that is here.
    pub(super) fn host(&self) -> Option<PathBuf> {
        match self {
            Self::Aboard(_) => Some(NAMESPACE.into()),
            Self::Ashore(_) => None,
        }
    }
}

/// Makes the lifeboat and starts this program again in it, as `cowherd guard`. Must be called while there is one thread only: a mount namespace is a thread's.
///
/// # Errors
/// Comes back only when it did not work, and then the host's root is the root as before.
#[must_use]
pub fn board(options: &Options) -> LifeboatError {
    match try_to_board(options) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_to_board(options: &Options) -> Result<Infallible, LifeboatError> {
    let manifest = Manifest::take()?;
    let own = "/proc/self/ns/mnt";
    let left = File::open(own).map_err(|source| mount_error(Path::new(own), source))?;
    leave_namespace().map_err(|source| LifeboatError::Unshare { source })?;
    let boat = options.runtime.join("boat");
    build(&boat, &options.runtime, &manifest)?;
    pivot_root(&boat, boat.join(&OLD[1..]))
        .map_err(io::Error::from)
        .and_then(|()| std::env::set_current_dir("/"))
        .map_err(|source| LifeboatError::Pivot { path: boat, source })?;
    let error = match cast_off(options, manifest, left) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    // Back to the host's root: a guard without a lifeboat is better than none.
    chroot(OLD)
        .map_err(io::Error::from)
        .and_then(|()| std::env::set_current_dir("/"))
        .map_err(|source| LifeboatError::Pivot {
            path: OLD.into(),
            source,
        })?;
    Err(error)
}

/// What whoever made the lifeboat handed over.
///
/// # Errors
/// When nothing was: this is no lifeboat.
pub fn handed_over() -> io::Result<Options> {
    Ok(serde_json::from_slice(&fs::read(OPTIONS)?)?)
}

/// Lets go of the host's tree: a file system that is mounted there could not be unmounted and its volume
/// removed for as long as this namespace had it, too.
pub(super) fn let_go() -> io::Result<()> {
    unmount(OLD, UnmountFlags::DETACH)?;
    fs::remove_dir(OLD)
}

/// Our mounts are never seen on the host.
fn leave_namespace() -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "its unsafe successor guards against unsharing descriptors, which a mount namespace is not"
    )]
    rustix::thread::unshare(UnshareFlags::NEWNS)?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}

fn build(boat: &Path, runtime: &Path, manifest: &Manifest) -> Result<(), LifeboatError> {
    make_directory(boat)?;
    mount_tmpfs(boat).map_err(|source| mount_error(boat, source))?;
    make_directory(&boat.join(&OLD[1..]))?;
    share_host(&boat.join(&HOST[1..]), manifest.backup_dir())?;
    manifest.stow(Path::new("/"), boat)?;
    let program = manifest::inside(boat, Path::new(PROGRAM));
    manifest::copy(Path::new("/proc/self/exe"), &program)?;
    for shared in SHARED.map(Path::new) {
        // udev's is missing where there is no udev, lvm's before lvm was first used.
        if shared != Path::new("/run/udev") {
            make_directory(shared)?;
        }
        let target = manifest::inside(boat, shared);
        make_directory(&target)?;
        if shared.exists() {
            mount_bind_recursive(shared, &target).map_err(|source| mount_error(&target, source))?;
        }
    }
    for pipe in DMEVENTD
        .map(Path::new)
        .into_iter()
        .filter(|pipe| pipe.exists())
    {
        let target = manifest::inside(boat, pipe);
        // One that has just gone is no reason to stay ashore: dmeventd is then told as extending nothing.
        let _ = File::create(&target).and_then(|_| Ok(mount_bind(pipe, &target)?));
    }
    // Without what is mounted below: that is the lifeboat.
    let target = manifest::inside(boat, runtime);
    make_directory(&target)?;
    mount_bind(runtime, &target).map_err(|source| mount_error(&target, source))?;
    Ok(())
}

/// Without what else is mounted on the host, now or later.
fn share_host(at: &Path, backup_dir: &Path) -> Result<(), LifeboatError> {
    make_directory(at)?;
    let wanted = WANTED.map(Path::new).into_iter().chain([backup_dir]);
    for wanted in wanted.filter(|path| path.exists()) {
        let target = manifest::inside(at, wanted);
        mount_bind(wanted, &target)
            .and_then(|()| mount_change(&target, MountPropagationFlags::PRIVATE))
            .map_err(|source| mount_error(&target, source))?;
    }
    Ok(())
}

fn mount_error(path: &Path, source: impl Into<io::Error>) -> LifeboatError {
    LifeboatError::Mount {
        path: path.into(),
        source: source.into(),
    }
}

fn mount_tmpfs(at: &Path) -> io::Result<()> {
    let attempt = |swap: &str| {
        let options = format!("mode=0755,size={SIZE_MAX}{swap}");
        let options = std::ffi::CString::new(options).map_err(io::Error::other)?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("cowherd", at, "tmpfs", flags, options.as_c_str()).map_err(io::Error::from)
    };
    // Swap may lie on the sick pool. Kernels before 6.4 do not know the option.
    attempt(",noswap").or_else(|_| attempt(""))
}

fn make_directory(path: &Path) -> Result<(), LifeboatError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(|source| LifeboatError::Make {
            path: path.into(),
            source,
        })
}

/// In the lifeboat: tries what is there, and becomes the guard.
fn cast_off(
    options: &Options,
    manifest: Manifest,
    left: File,
) -> Result<Infallible, LifeboatError> {
    let identity = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    let hosts = manifest::inside(Path::new(OLD), Path::new(LVM_LOCKS));
    if identity(Path::new(LVM_LOCKS)) != identity(&hosts) {
        return Err(LifeboatError::Locks);
    }
    try_out(manifest.lvm(), "version")?;
    try_out(Path::new(PROGRAM), "--version")?;
    let options = Options {
        berth: Berth::Aboard(manifest),
        ..options.clone()
    };
    let text = serde_json::to_vec(&options).map_err(io::Error::from);
    text.and_then(|text| fs::write(OPTIONS, text))
        .map_err(|source| LifeboatError::Options { source })?;
    let source = Command::new(PROGRAM)
        .arg("guard")
        .stdin(Stdio::from(left))
        // Each arena would be locked memory of its own, and these threads hardly allocate at once.
        .env("MALLOC_ARENA_MAX", "1")
        .exec();
    Err(LifeboatError::Exec { source })
}

fn try_out(program: &Path, argument: &str) -> Result<(), LifeboatError> {
    let arguments = [argument.to_owned()];
    let why = match command::run(program, &arguments, TRIAL_DEADLINE, AtDeadline::Kill) {
        Ok(finished) if finished.status.success() => return Ok(()),
        Ok(finished) => finished.complaint(),
        Err(error) => crate::model::cause::chain(&error),
    };
    Err(LifeboatError::Trial {
        program: program.display().to_string(),
        why,
    })
}
