//! A root file system on a volume of the scenario: programs, libraries, settings and logs that lie on the
//! storage under test. Started in it, a program finds everything there and nothing elsewhere, but for
//! /dev, /proc, /sys and /run, which have no disk behind them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::processes;
use super::sh::sh;
use crate::wait::wait_for;

/// What a host's root has that cowherd and lvm may look at, and what the scenario starts there.
const PROGRAMS: &str = "/usr/sbin/cowherd /usr/sbin/lvm /usr/sbin/dmsetup /usr/bin/bash \
                        /usr/bin/cat /usr/bin/touch /usr/bin/mkdir";
const SETTINGS: &str = "/etc/lvm /etc/passwd /etc/ld.so.cache /etc/machine-id /etc/localtime";
/// Old logs lie next to those that are being written, and nobody has read them since: whoever does changes the time
/// of its last reading, in a block that waits for the journal.
const LOGS: &str = "/var/log";

/// A mounted root.
#[derive(Debug)]
pub struct Root {
    at: PathBuf,
}

/// A program that runs from the root.
#[derive(Debug)]
pub struct Task(Child);

impl Root {
    /// Makes a file system on `device`, fills and mounts it. Everything in it was last read days ago, as
    /// most of a host's root was: the next reading is a write.
    pub fn make(device: &str) -> Result<Self> {
        let at = PathBuf::from("/run/root-on-pool");
        let root = at.display();
        sh(&format!(
            "modprobe ext4 && mkfs.ext4 -q {device} && mkdir -p {root} && mount {device} {root}"
        ))?;
        sh(&format!(
            "cd {root} && mkdir -p dev proc sys run usr/bin usr/sbin usr/lib usr/lib64 etc srv var/log && \
             ln -s usr/bin bin && ln -s usr/sbin sbin && ln -s usr/lib lib && ln -s usr/lib64 lib64 && \
             libraries=$(ldd {PROGRAMS} 2>/dev/null | grep -o '/lib[^ ]*' | sort -u) && \
             for f in {PROGRAMS} $libraries; do mkdir -p .${{f%/*}} && cp -L $f .$f; done && \
             ln -s bash bin/sh && cp -a --parents {SETTINGS} . && \
             for n in {{1..9}}; do echo cold > .{LOGS}/old$n; > .{LOGS}/busy$n; done && \
             find . -xdev -exec touch -a -d '3 days ago' {{}} +"
        ))?;
        for tree in ["dev", "proc", "sys", "run"] {
            sh(&format!("mount --bind /{tree} {root}/{tree}"))?;
        }
        Ok(Self { at })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// A program of this root.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.at).arg(program).stdin(Stdio::null());
        command
    }

    /// Reads the cold files.
    pub fn read_cold(&self) -> Result<Task> {
        self.start(&format!("exec cat {LOGS}/old{{1..9}} >/dev/null"))
    }

    /// Touches logs and makes directories until `stop` exists: the file system's journal is never empty.
    pub fn keep_changing(&self, stop: &Path) -> Result<Task> {
        let stop = stop.display();
        self.start(&format!(
            "while [ ! -e {stop} ]; do touch {LOGS}/busy{{1..9}} && mkdir -p /srv/new/$((++n))/{{1..100}} || exit 1; done"
        ))
    }

    fn start(&self, script: &str) -> Result<Task> {
        println!("+ on the root: {script}");
        let mut command = self.command("/usr/bin/bash");
        let child = command.args(["-c", script]).spawn();
        Ok(Task(child.context("starting a program on the root")?))
    }

    /// A file of this root, for a program's output.
    pub fn log(&self, name: &str) -> Result<(PathBuf, File)> {
        let path = self.at.join("var/log").join(name);
        let file = File::create(&path).context("making a log on the root")?;
        Ok((path, file))
    }
}

impl Task {
    /// Whether the kernel keeps what it has started waiting for a disk all this time.
    #[must_use]
    pub fn hangs_for(&self, long: Duration) -> bool {
        let children = processes::programs().into_iter().map(|(pid, _)| pid);
        children
            .filter(|pid| processes::parent(*pid) == Some(self.0.id()))
            .any(|pid| processes::hang_for(pid, long))
    }

    /// Waits for its end, which must be a good one.
    pub fn wait(mut self, deadline: Duration) -> Result<()> {
        let ended = wait_for("it has ended", deadline, || self.0.try_wait().transpose())??;
        ensure!(ended.success(), "a program on the root: {ended}");
        Ok(())
    }
}

/// Forgets what was read from disks.
pub fn drop_caches() -> Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "3\n").context("dropping caches")
}
