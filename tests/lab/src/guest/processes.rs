//! The guest's processes, as /proc shows them.

use std::fs;
use std::time::Duration;

use crate::wait::wait_until;

/// Programs, each with its command line; neither kernel threads nor zombies,
/// which have none.
#[must_use]
pub fn programs() -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, command_line(pid)?)))
        .collect()
}

/// Whether it exists and is no zombie.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    command_line(pid).is_some()
}

#[must_use]
pub fn parent(pid: u32) -> Option<u32> {
    parent_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether the kernel keeps it waiting for a disk all this time.
#[must_use]
pub fn hang_for(pid: u32, long: Duration) -> bool {
    let hangs = || state(pid) == Some('D');
    hangs() && wait_until("it goes on", long, || !hangs()).is_err()
}

/// `R` for running, `S` for sleeping, `D` for waiting for a disk, ...
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.trim_start().chars().next()
}

fn command_line(pid: u32) -> Option<String> {
    let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
    let line = words.trim_end_matches('\0').replace('\0', " ");
    (!line.is_empty()).then_some(line)
}

/// A process's name may hold anything, so fields are counted from its closing
/// bracket.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_an_odd_name() {
        assert_eq!(parent_in("12 (a) b (c) S 7 12 12"), Some(7));
        assert_eq!(parent_in("12 (cowherd) S 7"), Some(7));
        assert_eq!(parent_in(""), None);
    }
}
