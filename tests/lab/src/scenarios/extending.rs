//! What cowherd is for: volumes grow before they are full, on the real kernel.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use super::Scenario;
use crate::guest::cowherd::Cowherd;
use crate::guest::dm::{KernelLog, Watch, dm_status};
use crate::guest::lvm::{Vg, lock_group, lv_size, lvs_field};
use crate::guest::scrapes::Scrapes;
use crate::guest::sh::sh;
use crate::guest::writer::{Rate, Writer, verify};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "data_is_extended_before_the_pool_is_full",
        "a 512 MiB pool under an unlimited writer of 3 GiB is never out of data space",
        data,
    )
    .timed()
    .disks(&[Size::gib(3), Size::gib(3)])
    .deadline(Duration::from_secs(240)),
    Scenario::new(
        "cow_snapshot_survives_a_writer_of_ten_mib_a_second",
        "a 64 MiB COW snapshot outlives 300 MiB written to its origin at 10 MiB/s",
        cow,
    )
    .timed(),
    Scenario::new(
        "metadata_is_extended_past_its_threshold",
        "pool metadata grows by itself and the kernel has more of it",
        metadata,
    ),
    Scenario::new(
        "two_groups_are_extended_at_once",
        "while the lock of one volume group is held, a volume of another is extended",
        two_groups,
    )
    .timed(),
    Scenario::new(
        "names_with_hyphens_are_extended",
        "doubled hyphens in device names hide no volume",
        hyphens,
    ),
    Scenario::new(
        "a_kernel_event_wakes_the_loop_within_100_ms",
        "a low-water event is acted on while the timer is a minute away",
        event,
    )
    .timed(),
];

/// From the trigger to an extension that is visible everywhere.
const EXTENDED: Duration = Duration::from_secs(30);

fn data(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", Size::mib(512), Size::mib(8), "")?;
    let thin = vg.thin("pool", "thin", Size::gib(3))?;
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    let kernel = KernelLog::mark("unlimited writer")?;
    let watch = Watch::start("vg0-pool-tpool");

    let report =
        Writer::start(&thin, Rate::Unlimited, Size::gib(3))?.wait(Duration::from_secs(180))?;

    report.complete()?;
    println!("{report}");
    let lines = watch.stop();
    ensure!(
        lines.len() > 20,
        "the sampler saw {} lines only",
        lines.len()
    );
    let odd = lines.iter().find(|line| !line.contains(" rw "));
    ensure!(odd.is_none(), "the pool was not writable: {odd:?}");
    kernel.never_out_of_space()?;
    let grown = [("vg", "vg0"), ("lv", "pool"), ("resource", "data")];
    cowherd.wait_metrics("the extension is counted", EXTENDED, |m| {
        m.get("cowherd_extends_total", &grown)
            .is_some_and(|count| count >= 1.0)
    })?;
    scrapes.stop()?;
    cowherd.stop()?;
    verify(&thin, Size::mib(0), Size::mib(64))?;
    vg.remove()
}

fn cow(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(320))?;
    Writer::start(&origin, Rate::Unlimited, Size::mib(16))?
        .wait(DEADLINE)?
        .complete()?;
    let before = checksum(&origin)?;
    let snapshot = vg.cow_snapshot("origin", "snap", Size::mib(64))?;
    let cowherd = Cowherd::ready(None, &[])?;

    let writer = Writer::start(&origin, Rate::MibPerSec(10), Size::mib(300))?;
    writer.wait(Duration::from_secs(90))?.complete()?;

    let status = dm_status("vg0-snap")?;
    ensure!(
        !status.contains("Invalid"),
        "the snapshot is lost: {status}"
    );
    ensure!(lv_size("vg0/snap")? > Size::mib(300).as_bytes());
    ensure!(
        checksum(&snapshot)? == before,
        "the snapshot is not what the origin was"
    );
    let labels = [("vg", "vg0"), ("lv", "snap"), ("resource", "cow")];
    let metrics = cowherd.metrics()?;
    ensure!(metrics.get("cowherd_extends_total", &labels) >= Some(1.0));
    ensure!(metrics.sum("cowherd_extend_failures_total", &labels) < 1.0);
    cowherd.stop()?;
    vg.remove()
}

fn metadata(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", Size::mib(1600), Size::mib(4), "")?;
    let thin = vg.thin("pool", "thin", Size::gib(1))?;
    let before = Size::mib(4).as_bytes();
    ensure!(bytes(&lvs_field("vg0/pool", "lv_metadata_size")?)? == before);
    let config = "[thin_pool.metadata]\nthreshold_percent = 15\n";
    let cowherd = Cowherd::ready(Some(config), &[])?;
    let total = || metadata_total(&dm_status("vg0-pool-tpool")?);
    let kernel_before = total()?;

    Writer::start(&thin, Rate::Unlimited, Size::gib(1))?
        .wait(Duration::from_secs(90))?
        .complete()?;

    let labels = [("vg", "vg0"), ("lv", "pool"), ("resource", "metadata")];
    cowherd.wait_metrics("metadata is extended", EXTENDED, |m| {
        m.get("cowherd_extends_total", &labels)
            .is_some_and(|count| count >= 1.0)
    })?;
    ensure!(
        total()? > kernel_before,
        "the kernel has no more metadata than before"
    );
    ensure!(bytes(&lvs_field("vg0/pool", "lv_metadata_size")?)? > before);
    cowherd.stop()?;
    vg.remove()
}

fn two_groups(lab: &mut Lab) -> Result<()> {
    let held = Vg::create("vg0", &lab.disks()[..1])?;
    let free = Vg::create("vg1", &lab.disks()[1..])?;
    let mut origins = Vec::new();
    for vg in [&held, &free] {
        origins.push(vg.thick("origin", Size::mib(256))?);
        vg.cow_snapshot("origin", "snap", Size::mib(64))?;
    }
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    let extended = |vg: &str| {
        let labels = [("vg", vg), ("lv", "snap"), ("resource", "cow")];
        let added = cowherd
            .metrics()
            .ok()
            .and_then(|m| m.get("cowherd_extended_bytes_total", &labels));
        added.is_some_and(|added| added > 0.0)
    };
    let lock = lock_group("vg0")?;

    for origin in &origins {
        Writer::start(origin, Rate::MibPerSec(10), Size::mib(58))?
            .wait(DEADLINE)?
            .complete()?;
    }

    wait_until("vg1 is extended", DEADLINE, || extended("vg1"))?;
    ensure!(
        lv_size_unlocked("vg0-snap-cow")? == Size::mib(64).as_bytes(),
        "vg0 was locked"
    );
    drop(lock);
    wait_until("vg0 is extended once its lock is free", EXTENDED, || {
        extended("vg0")
    })?;
    scrapes.stop()?;
    cowherd.stop()?;
    held.remove()?;
    free.remove()
}

fn hyphens(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg-a--b", lab.disks())?;
    vg.pool("pool-x--y", Size::mib(64), Size::mib(4), "")?;
    let thin = vg.thin("pool-x--y", "thin-", Size::mib(256))?;
    let origin = vg.thick("or-igin", Size::mib(128))?;
    vg.cow_snapshot("or-igin", "sn.ap_1+2", Size::mib(16))?;
    let cowherd = Cowherd::ready(None, &[])?;

    Writer::start(&thin, Rate::MibPerSec(20), Size::mib(128))?
        .wait(DEADLINE)?
        .complete()?;
    Writer::start(&origin, Rate::MibPerSec(4), Size::mib(32))?
        .wait(DEADLINE)?
        .complete()?;

    let metrics = cowherd.metrics()?;
    for (lv, resource) in [("pool-x--y", "data"), ("sn.ap_1+2", "cow")] {
        let labels = [("vg", "vg-a--b"), ("lv", lv), ("resource", resource)];
        let count = metrics.get("cowherd_extends_total", &labels);
        ensure!(count >= Some(1.0), "{lv}: {count:?}");
    }
    cowherd.stop()?;
    vg.remove()
}

fn event(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    // LVM sets the kernel's low water mark from this threshold: at 70 percent used, an event.
    let options = "--config activation/thin_pool_autoextend_threshold=70";
    vg.pool("pool", Size::mib(256), Size::mib(4), options)?;
    let thin = vg.thin("pool", "thin", Size::mib(512))?;
    // Making a volume has reloaded the pool with the default threshold, which means no mark.
    sh(&format!("lvchange --refresh {options} vg0/pool"))?;
    let config = "[thin_pool.data]\nthreshold_percent = 60\n\
                  [timing]\nplausible_rate = \"1 B\"\nlook_min_ms = 10000\nlook_max_ms = 60000\n";
    let cowherd = Cowherd::ready(Some(config), &[])?;
    let kernel = KernelLog::mark("low water")?;

    Writer::start(&thin, Rate::Unlimited, Size::mib(190))?
        .wait(DEADLINE)?
        .complete()?;

    cowherd.wait_log("extending", Duration::from_secs(5))?;
    let reached = kernel_seconds(&kernel.since()?, "reached low water mark for data")?;
    let acted = log_seconds(&cowherd.log()?, "extending")?;
    let delay = acted - (reached + log_clock_offset()?);
    println!(
        "from the kernel's event to the decision: {:.1} ms",
        delay * 1000.0
    );
    ensure!(
        delay < 0.1,
        "the decision came {delay:.3} s after the event"
    );
    cowherd.stop()?;
    vg.remove()
}

/// Of the first 32 MiB: hashing more takes long in an emulated guest.
fn checksum(device: &str) -> Result<String> {
    sh(&format!("head -c 32M {device} | md5sum"))
}

fn bytes(text: &str) -> Result<u64> {
    Ok(text.trim().parse()?)
}

/// The size of a device, without asking LVM, which would wait for the lock.
fn lv_size_unlocked(name: &str) -> Result<u64> {
    bytes(&sh(&format!("blockdev --getsize64 /dev/mapper/{name}"))?)
}

fn metadata_total(status: &str) -> Result<u64> {
    let field = status.split_whitespace().find(|field| field.contains('/'));
    let total = field.and_then(|field| field.split('/').nth(1));
    bytes(total.unwrap_or_default())
}

/// The time since boot that the kernel put before the first line with this text.
fn kernel_seconds(log: &str, text: &str) -> Result<f64> {
    let line = log.lines().find(|line| line.contains(text));
    let stamp = line.and_then(|line| line.strip_prefix('[')?.split(']').next());
    let stamp = stamp.ok_or_else(|| anyhow::anyhow!("no {text:?} in the kernel's log:\n{log}"))?;
    Ok(stamp.trim().parse()?)
}

/// The wall time, in seconds of the day, of the first line of cowherd's log with this text.
fn log_seconds(log: &str, text: &str) -> Result<f64> {
    let line = log
        .lines()
        .find(|line| line.contains(text))
        .unwrap_or_default();
    let time = line.split(['T', 'Z']).nth(1).unwrap_or_default();
    let parts: Vec<f64> = time
        .split(':')
        .filter_map(|part| part.parse().ok())
        .collect();
    let [hours, minutes, seconds] = parts.as_slice() else {
        anyhow::bail!("no time in {line:?}");
    };
    Ok(hours * 3600.0 + minutes * 60.0 + seconds)
}

/// What to add to a time of the kernel's log to get the wall time, in seconds of the day: the kernel's
/// log has a clock of its own, so a line is put there and read back.
fn log_clock_offset() -> Result<f64> {
    let mark = KernelLog::mark("clock")?;
    // At once: starting a process takes a tenth of a second here.
    let wall = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let line = sh("dmesg | grep 'lab: clock' | tail -1")?;
    drop(mark);
    Ok((wall - kernel_seconds(&line, "lab: clock")?).rem_euclid(86_400.0))
}
