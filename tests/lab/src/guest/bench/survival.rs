//! The highest rate at which each guard saves each store.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::guards::{self, Running};
use super::offset;
use super::stores::{self, Made, TIMES_ITS_SIZE};
use super::sweep::{Attempt, Sweep};
use crate::guest::dm::KernelLog;
use crate::guest::lvm::Vg;
use crate::guest::writer::{Rate, Writer, WriterReport};
use crate::samples::{Guard, Store, SurvivalRun};
use crate::size::Size;

/// One run at a rate other than the one that is claimed for this many of those:
/// at a low rate one takes minutes.
const CLAIMED_PER_OTHER: u32 = 10;
/// A full queueing pool holds a write for 60 s before it fails it.
const BEYOND: Duration = Duration::from_secs(120);
/// No disk of the guest is slower than this, also under a snapshot.
const SLOWEST_MIB_PER_SEC: u64 = 2;
/// How often a snapshot is looked at, to end a run whose outcome is known.
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn measure(runs: u32) -> Result<Vec<SurvivalRun>> {
    let mut samples = Vec::new();
    guards::configure(Guard::Cowherd)?;
    let vg = stores::make_vg()?;
    for store in Store::ALL {
        measure_store(&vg, store, runs, &mut samples)
            .with_context(|| format!("survival of a {store}"))?;
    }
    Ok(samples)
}

/// Both guards by turns, until the rate of each is known.
fn measure_store(vg: &Vg, store: Store, runs: u32, samples: &mut Vec<SurvivalRun>) -> Result<()> {
    let mut sweeps = Guard::BOTH.map(|guard| (guard, sweep(store, guard, runs)));
    loop {
        let mut is_over = true;
        for (guard, sweep) in &mut sweeps {
            let Some(attempt) = sweep.next() else {
                continue;
            };
            is_over = false;
            let sample = run(vg, store, *guard, attempt.rate, offset_of(store, attempt))?;
            sweep.record(attempt, sample.survived());
            samples.push(sample);
        }
        if is_over {
            return Ok(());
        }
    }
}

fn sweep(store: Store, guard: Guard, runs: u32) -> Sweep {
    let others = runs.div_ceil(CLAIMED_PER_OTHER);
    let is_claimed = match (guard, store) {
        (Guard::Cowherd, Store::Cow64 | Store::PoolFails) => true,
        (Guard::Cowherd, Store::Cow64Coarse | Store::Cow256 | Store::PoolQueues)
        | (Guard::Dmeventd, _) => false,
    };
    Sweep::new(if is_claimed { runs } else { others }, others)
}

/// A pool's event comes when it comes, whatever the timer does.
fn offset_of(store: Store, attempt: Attempt) -> Duration {
    if store.is_cow() {
        offset(attempt.run, attempt.of)
    } else {
        Duration::ZERO
    }
}

/// One writer against one guard, which has the store for `begins_after` before.
pub fn run(
    vg: &Vg,
    store: Store,
    guard: Guard,
    rate: Rate,
    begins_after: Duration,
) -> Result<SurvivalRun> {
    guards::configure(guard)?;
    let made = stores::make(vg, store)?;
    let running = Running::ready(guard, &[&made.lv])?;
    thread::sleep(begins_after);
    let kernel = KernelLog::mark("survival")?;
    let report = write(&made, rate)?;
    let ran_out = kernel.since()?.contains("out-of-data-space");
    let sample = SurvivalRun {
        store,
        guard,
        rate_mib_per_sec: rate.limit(),
        began_after_ms: millis(begins_after),
        lost: lost(&made, &report, ran_out)?,
        asked_mib: report.asked.as_mib(),
        written_mib: report.written.as_mib(),
        took_ms: millis(report.took),
        worst_write_ms: millis(report.worst_write),
        ran_out,
        size_after_mib: made.size_mib()?,
    };
    running.stop()?;
    stores::remove_all(vg)?;
    println!("bench: {}", told(&sample));
    Ok(sample)
}

fn told(run: &SurvivalRun) -> String {
    let rate = run.rate_mib_per_sec.map(|mib| format!("{mib} MiB/s"));
    format!(
        "{}: {}, {} ({:.1} MiB/s, worst write {} ms): {}",
        run.store,
        run.guard,
        rate.as_deref().unwrap_or("unlimited"),
        run.mib_per_sec(),
        run.worst_write_ms,
        run.lost.as_deref().unwrap_or("saved"),
    )
}

/// Writes all, or until the snapshot is lost.
fn write(made: &Made, rate: Rate) -> Result<WriterReport> {
    let total = Size::mib(TIMES_ITS_SIZE * made.store.mib());
    let slowest = rate.limit().map_or(SLOWEST_MIB_PER_SEC, u64::from);
    let deadline = Duration::from_secs(total.as_mib() / slowest.min(SLOWEST_MIB_PER_SEC)) + BEYOND;
    let mut writer = Writer::start(&made.target, rate, total)?;
    if made.store.is_cow() {
        while !writer.has_ended()? {
            if made.lost()?.is_some() {
                return writer
                    .kill(BEYOND)?
                    .context("the writer had written nothing");
            }
            thread::sleep(LOOK);
        }
    }
    writer.wait(deadline)
}

fn lost(made: &Made, report: &WriterReport, ran_out: bool) -> Result<Option<String>> {
    if let Some(status) = made.lost()? {
        return Ok(Some(status));
    }
    if report.complete().is_err() {
        return Ok(Some(format!("{report}")));
    }
    // Who queues may run out for a moment; who fails writes may not.
    let is_loss = ran_out && made.store == Store::PoolFails;
    Ok(is_loss.then(|| "out of data space".to_owned()))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
