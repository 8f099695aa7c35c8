//! The guest's half of `cargo lab bench`: each part measures cowherd and
//! dmeventd by turns and leaves its samples in `/out`.

pub mod guards;
pub mod herds;
pub mod load;
pub mod reaction;
pub mod stores;
pub mod survival;
pub mod sweep;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::guest::cowherd;
use crate::guest::sh::try_sh;
use crate::samples::Part;

/// dmeventd's timer, hard-coded in its `libdevmapper-event`.
const TIMER: Duration = Duration::from_secs(10);

/// Lines of the kernel's log when a part fails.
const KERNEL_LINES: usize = 30;

/// `bench RUNS PART...`; a failure tells what cowherd, the kernel and the devices say.
pub(super) fn bench(words: &[&str]) -> Result<u8> {
    let measured = measure(words);
    if measured.is_err() {
        for log in cowherd::log_tails() {
            println!("{log}");
        }
        try_sh(&format!(
            "dmesg | tail -n {KERNEL_LINES}; dmsetup status; lvs -a"
        ))
        .ok();
    }
    measured
}

fn measure(words: &[&str]) -> Result<u8> {
    let [runs, parts @ ..] = words else {
        bail!("bench RUNS PART..., not {words:?}");
    };
    let runs: u32 = runs.parse().context("runs")?;
    let part = |word: &&str| Part::of_word(word).with_context(|| format!("no part {word:?}"));
    let parts: BTreeSet<Part> = parts.iter().map(part).collect::<Result<_>>()?;
    if parts.contains(&Part::Survival) {
        leave(Part::Survival, &survival::measure(runs)?)?;
    }
    if parts.contains(&Part::Reaction) {
        leave(Part::Reaction, &reaction::measure(runs)?)?;
    }
    if parts.contains(&Part::Scrape) || parts.contains(&Part::Footprint) {
        let samples = herds::measure(runs, &parts)?;
        leave(Part::Scrape, &samples.scrapes)?;
        leave(Part::Footprint, &samples.footprints)?;
    }
    Ok(0)
}

fn leave(part: Part, samples: &impl Serialize) -> Result<()> {
    let path = Path::new("/out").join(part.file());
    fs::write(&path, serde_json::to_vec_pretty(samples)?)
        .with_context(|| format!("leaving {}", path.display()))
}

/// The guest's first two disks.
fn disks() -> [String; 2] {
    ["/dev/vda".to_owned(), "/dev/vdb".to_owned()]
}

/// How long after the guard is there the `run`-th of `runs` begins: they are
/// spread over dmeventd's timer, because how close the next look is decides.
fn offset(run: u32, runs: u32) -> Duration {
    TIMER * (run % runs) / runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_spread_over_the_timer() {
        let offsets: Vec<u64> = (0..4).map(|run| offset(run, 4).as_secs()).collect();
        assert_eq!(offsets, [0, 2, 5, 7]);
        assert_eq!(offset(4, 4), Duration::ZERO);
    }
}
