//! From crossing the threshold to a larger store, beside the time that a bare
//! lvextend takes in the same guest.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::guards::{self, Running};
use super::stores::{self, Devices, Made};
use super::{TIMER, offset};
use crate::guest::DEADLINE;
use crate::guest::lvm::Vg;
use crate::guest::sh::sh;
use crate::guest::writer::{self, Rate, Writer};
use crate::samples::{By, Crossing, Guard, Store, THRESHOLD_PERCENT};
use crate::size::Size;

/// Between two looks at `/sys`.
const LOOK: Duration = Duration::from_millis(1);
/// Two of dmeventd's timers and its lvextend, on a busy machine.
const EXTENDED: Duration = Duration::from_secs(40);
const STORES: [Store; 2] = [Store::Cow64, Store::PoolQueues];

pub(super) fn measure(runs: u32) -> Result<Vec<Crossing>> {
    guards::configure(Guard::Cowherd)?;
    let vg = stores::make_vg()?;
    all(&vg, &STORES, runs)
}

/// So many crossings of each store and guard, by turns, and bare lvextends.
pub fn all(vg: &Vg, stores: &[Store], runs: u32) -> Result<Vec<Crossing>> {
    let mut samples = Vec::new();
    for run in 0..runs {
        for store in stores {
            for guard in Guard::BOTH {
                samples.extend(crossings(vg, *store, guard, offset(run, runs))?);
            }
        }
    }
    Ok(samples)
}

/// One crossing under cowherd, while something else goes on.
pub fn during<T>(vg: &Vg, store: Store, load: impl FnOnce() -> Result<T>) -> Result<Duration> {
    guards::configure(Guard::Cowherd)?;
    let made = filled(vg, store)?;
    let running = Running::ready(Guard::Cowherd, &[&made.lv])?;
    calm(&running)?;
    let load = load()?;
    let took = cross(&made)?;
    drop(load);
    running.stop()?;
    stores::remove_all(vg)?;
    Ok(took)
}

/// One crossing; after cowherd's, one bare lvextend as well.
fn crossings(vg: &Vg, store: Store, guard: Guard, offset: Duration) -> Result<Vec<Crossing>> {
    guards::configure(guard)?;
    let made = filled(vg, store)?;
    let (by, wait) = match guard {
        Guard::Cowherd => (By::Cowherd, Duration::ZERO),
        // Wherever in dmeventd's timer the crossing falls.
        Guard::Dmeventd => (By::Dmeventd, offset),
    };
    let running = Running::ready(guard, &[&made.lv])?;
    calm(&running)?;
    thread::sleep(wait);
    let mut samples = vec![crossing(store, by, cross(&made)?)];
    running.stop()?;
    if guard == Guard::Cowherd {
        // Without a guard, and without dmeventd to tell of it.
        samples.push(crossing(store, By::Lvextend, lvextend(&made.lv)?));
    }
    stores::remove_all(vg)?;
    Ok(samples)
}

fn crossing(store: Store, by: By, took: Duration) -> Crossing {
    let millis = took.as_secs_f64() * 1000.0;
    println!("bench: {store}: {by:?}: {millis:.1} ms");
    Crossing { store, by, millis }
}

/// A store just below the threshold.
fn filled(vg: &Vg, store: Store) -> Result<Made> {
    let made = stores::make(vg, store)?;
    let fill = Writer::start(&made.target, Rate::Unlimited, below_threshold(store))?;
    fill.wait(DEADLINE)?.complete()?;
    let used = made.percent_used()?;
    let threshold = f64::from(THRESHOLD_PERCENT);
    ensure!(
        used < threshold && used > threshold - 2.0,
        "{used:.2} % of {store} are in use before the crossing"
    );
    Ok(made)
}

/// One MiB more crosses: a snapshot's store holds its own metadata, too.
fn below_threshold(store: Store) -> Size {
    let share = store.mib() * u64::from(THRESHOLD_PERCENT) / 100;
    Size::mib(share)
}

/// The guard has seen the store and no fill rate in it.
fn calm(running: &Running) -> Result<()> {
    let Running::Cowherd(cowherd) = running else {
        return Ok(());
    };
    let rates = [
        "cowherd_thin_pool_fill_bytes_per_second",
        "cowherd_snapshot_fill_bytes_per_second",
    ];
    cowherd.wait_metrics("nothing fills", TIMER, |metrics| {
        rates.iter().all(|rate| metrics.sum(rate, &[]) < 1.0)
    })?;
    Ok(())
}

/// Writes the MiB that crosses; gives the time from its end to a larger store.
fn cross(made: &Made) -> Result<Duration> {
    let at = below_threshold(made.store);
    answered(&made.devices()?, &made.target, at)
        .with_context(|| format!("{}, {:?} % in use", made.store, made.percent_used()))
}

/// Writes one MiB to `target`; gives the time from its end until the devices are larger.
pub fn answered(devices: &Devices, target: &str, at: Size) -> Result<Duration> {
    let before = devices.sectors()?;
    writer::write_mib(target, at)?;
    let crossed = Instant::now();
    while !devices.is_larger_than(before)? {
        if crossed.elapsed() > EXTENDED {
            bail!("not extended in {} s", EXTENDED.as_secs());
        }
        thread::sleep(LOOK);
    }
    Ok(crossed.elapsed())
}

/// As an administrator types it, by the guest's lvm.conf.
fn lvextend(lv: &str) -> Result<Duration> {
    let before = Instant::now();
    let status = Command::new("lvextend")
        .args(["-L+4M", lv])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("starting lvextend")?;
    let took = before.elapsed();
    ensure!(status.success(), "lvextend -L+4M {lv}: {status}");
    sh(&format!("lvs {lv}"))?;
    Ok(took)
}
