//! One guard at a time, with the same threshold and step: cowherd without
//! dmeventd, or the package's dmeventd as LVM starts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::guest::cowherd::Cowherd;
use crate::guest::sh::{sh, signal};
use crate::guest::{DEADLINE, processes};
use crate::samples::{Guard, STEP_PERCENT, THRESHOLD_PERCENT};
use crate::wait::{wait_for, wait_until};

/// The guest's own lvm.conf, as the lab's init has put it there.
const PLAIN_CONF: &str = "/out/lvm.conf";
const CONF: &str = "/etc/lvm/lvm.conf";
/// A killed guard without I/O of its own is gone at once.
const GONE: Duration = Duration::from_secs(10);

/// A guard at work; of dmeventd only that it runs, since LVM starts it.
#[derive(Debug)]
pub enum Running {
    Cowherd(Box<Cowherd>),
    Dmeventd,
}

/// Sets LVM up for a guard; before the volumes are made, because LVM puts
/// thresholds into a pool's table and tells dmeventd of a volume as it makes it.
pub fn configure(guard: Guard) -> Result<()> {
    let plain = fs::read_to_string(PLAIN_CONF).context("reading the guest's lvm.conf")?;
    fs::write(CONF, conf(&plain, guard)?).context("writing lvm.conf")
}

fn conf(plain: &str, guard: Guard) -> Result<String> {
    let section = "activation {\n";
    ensure!(plain.contains(section), "no {section:?} in {PLAIN_CONF}");
    let keys = match guard {
        // So that LVM starts no dmeventd beside it.
        Guard::Cowherd => "\tmonitoring = 0\n".to_owned(),
        Guard::Dmeventd => {
            let (threshold, step) = (THRESHOLD_PERCENT, STEP_PERCENT);
            format!(
                "\tmonitoring = 1\n\
                 \tthin_pool_autoextend_threshold = {threshold}\n\
                 \tthin_pool_autoextend_percent = {step}\n\
                 \tsnapshot_autoextend_threshold = {threshold}\n\
                 \tsnapshot_autoextend_percent = {step}\n"
            )
        }
    };
    Ok(plain.replace(section, &format!("{section}{keys}")))
}

/// What cowherd is told: the same threshold and step, all else its default.
fn cowherd_toml() -> String {
    let keys =
        format!("threshold_percent = {THRESHOLD_PERCENT}\nextend_percent = {STEP_PERCENT}\n");
    let sections = ["thin_pool.data", "thin_pool.metadata", "snapshot"];
    sections
        .map(|section| format!("[{section}]\n{keys}"))
        .concat()
}

impl Running {
    /// Waits until the guard guards `lvs` (`VG/LV`), which exist, and proves
    /// that the other does not run.
    pub fn ready(guard: Guard, lvs: &[&str]) -> Result<Self> {
        match guard {
            Guard::Cowherd => {
                ensure!(dmeventd().is_none(), "dmeventd runs beside cowherd");
                let cowherd = Cowherd::ready(Some(&cowherd_toml()), &[])?;
                Ok(Self::Cowherd(Box::new(cowherd)))
            }
            Guard::Dmeventd => {
                ensure!(cowherd().is_none(), "cowherd runs beside dmeventd");
                wait_for("dmeventd runs", DEADLINE, dmeventd)?;
                for lv in lvs {
                    let told = sh(&format!("lvs --noheadings -o seg_monitor {lv}"))?;
                    ensure!(told == "monitored", "{lv} is {told:?} by dmeventd");
                }
                Ok(Self::Dmeventd)
            }
        }
    }

    /// Its processes: cowherd's guard and front, or dmeventd.
    pub fn pids(&self) -> Result<Vec<u32>> {
        match self {
            Self::Cowherd(cowherd) => Ok(vec![cowherd.pid(), cowherd.front_pid()?]),
            Self::Dmeventd => Ok(vec![dmeventd().context("dmeventd is gone")?]),
        }
    }

    /// Ends it; dmeventd is killed, because it refuses to leave volumes alone.
    pub fn stop(self) -> Result<()> {
        match self {
            Self::Cowherd(cowherd) => cowherd.stop().map(drop),
            Self::Dmeventd => end_dmeventd(),
        }
    }
}

/// Kills dmeventd when it runs.
pub fn end_dmeventd() -> Result<()> {
    let Some(pid) = dmeventd() else {
        return Ok(());
    };
    signal(pid, "KILL")?;
    wait_until("dmeventd is gone", GONE, || dmeventd().is_none())
}

/// Its process.
#[must_use]
pub fn dmeventd() -> Option<u32> {
    running("dmeventd")
}

fn cowherd() -> Option<u32> {
    running("cowherd")
}

fn running(name: &str) -> Option<u32> {
    let is_it = |line: &str| {
        let program = line.split(' ').next().unwrap_or_default();
        program.rsplit('/').next() == Some(name)
    };
    let found = processes::programs()
        .into_iter()
        .find(|(_, line)| is_it(line));
    found.map(|(pid, _)| pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_guard_has_lvm_to_itself() {
        let plain = "activation {\n\tudev_sync = 0\n}\n";
        let alone = conf(plain, Guard::Cowherd).unwrap();
        assert_eq!(
            alone,
            "activation {\n\tmonitoring = 0\n\tudev_sync = 0\n}\n"
        );
        let theirs = conf(plain, Guard::Dmeventd).unwrap();
        assert!(
            theirs.contains("snapshot_autoextend_threshold = 70"),
            "{theirs}"
        );
        assert!(conf("devices {\n}\n", Guard::Cowherd).is_err());
    }
}
