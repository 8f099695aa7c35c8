//! What processes take of the guest: memory and processor time, from /proc.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::guest::sh::run;
use crate::samples::{Load, Process};

/// Hundredths of a second: `getconf CLK_TCK`, the same on every Linux of ours.
const TICKS_PER_SEC: f64 = 100.0;

/// The processor time that the processes and their children that ended took
/// while something happened.
pub fn during(pids: &[u32], happens: impl FnOnce() -> Result<()>) -> Result<Load> {
    let (ticks, start) = (ticks(pids)?, Instant::now());
    happens()?;
    let over_secs = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "ticks of minutes")]
    let more = (self::ticks(pids)? - ticks) as f64;
    Ok(Load {
        over_secs,
        processor_secs: more / TICKS_PER_SEC,
    })
}

fn ticks(pids: &[u32]) -> Result<u64> {
    let of_one = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        let stat = stat.with_context(|| format!("reading the times of process {pid}"))?;
        ticks_in(&stat).with_context(|| format!("no times in {stat:?}"))
    };
    pids.iter().map(of_one).sum()
}

/// utime, stime, cutime, cstime: counted from the closing bracket of the name,
/// which may hold anything.
fn ticks_in(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let times: Vec<u64> = rest
        .split_whitespace()
        .skip(11)
        .take(4)
        .map_while(|word| word.parse().ok())
        .collect();
    (times.len() == 4).then(|| times.iter().sum())
}

pub fn processes(pids: &[u32]) -> Result<Vec<Process>> {
    let of_one = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status"));
        let status = status.with_context(|| format!("reading the status of process {pid}"))?;
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
        Ok(Process {
            name: name(&line),
            resident_kib: kib(&status, "VmRSS:").context("no VmRSS")?,
            locked_kib: kib(&status, "VmLck:").context("no VmLck")?,
        })
    };
    pids.iter().map(of_one).collect()
}

/// Program and first word: cowherd's two processes differ in that.
fn name(line: &str) -> String {
    let mut words = line.split('\0').filter(|word| !word.starts_with('-'));
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default();
    let word = words.next().unwrap_or_default();
    format!("{program} {word}").trim().to_owned()
}

fn kib(status: &str, field: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(field))?;
    rest.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// What file systems in memory below /run/cowherd hold; 0 when there is none.
pub fn tmpfs_kib() -> Result<u64> {
    let mounts = fs::read_to_string("/proc/mounts").context("reading the mounts")?;
    let points = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        (kind == "tmpfs" && point.starts_with("/run/cowherd")).then_some(point)
    });
    let mut sum = 0;
    for point in points {
        let output = run("df", &["--output=used", "-k", point])?;
        let used = output.stdout.lines().next_back().unwrap_or_default();
        sum += used
            .trim()
            .parse::<u64>()
            .with_context(|| format!("df {point}: {output}"))?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_that_ended_count() {
        let stat = "12 (a) b) S 7 12 12 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 55";
        assert_eq!(ticks_in(stat), Some(127));
        assert_eq!(ticks_in("12 (a) S 7"), None);
    }

    #[test]
    fn processes_are_named_by_program_and_command() {
        assert_eq!(name("/usr/sbin/cowherd\0run\0--config\0x\0"), "cowherd run");
        assert_eq!(name("/sbin/dmeventd\0"), "dmeventd");
    }

    #[test]
    fn memory_is_read_in_kib() {
        let status = "Name:\tx\nVmLck:\t       0 kB\nVmRSS:\t    5408 kB\n";
        assert_eq!(kib(status, "VmRSS:"), Some(5408));
        assert_eq!(kib(status, "VmLck:"), Some(0));
        assert_eq!(kib(status, "VmSwap:"), None);
    }
}
