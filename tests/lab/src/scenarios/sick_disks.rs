//! Disks below a group that fail, forget or take their time: what LVM writes of an extension is lost or late, and
//! the guard tells so, goes on serving, and extends once the disk is well.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::Scenario;
use super::coexisting::{EXTENDED, fill, is_extended};
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::dm::{dm_create, dm_reload, dm_status, dm_suspended};
use crate::guest::lvm::{Vg, lock_group, lv_size};
use crate::guest::scrapes::Scrapes;
use crate::guest::sh::sh;
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "a_disk_that_fails_writes_is_told_until_it_takes_them",
        "dm-flakey with error_writes below LVM's metadata: lvextend fails, is told and repeated, and then extends",
        failing_writes,
    )
    .timed(),
    Scenario::new(
        "a_disk_that_forgets_an_extension_loses_no_snapshot",
        "dm-flakey with drop_writes: LVM knows of no extension, the kernel has it, and the next one shrinks nothing",
        dropped_writes,
    )
    .timed(),
    Scenario::new(
        "a_disk_of_300_ms_a_write_delays_an_extension_and_nothing_else",
        "dm-delay below a group: pool and snapshot are extended, metrics are served within a second",
        slow_writes,
    )
    .timed()
    .deadline(Duration::from_secs(180)),
    Scenario::new(
        "a_copy_of_a_disk_holds_until_it_is_gone",
        "two disks with one physical volume's label: LVM's refusal is told, and ends by itself",
        duplicate,
    )
    .timed()
    .disks(&[Size::mib(512), Size::mib(512), Size::mib(512)]),
];

const SNAP: Size = Size::mib(16);
/// One write, in milliseconds.
const SLOW: u32 = 300;
/// LVM writes a dozen times for one extension, and fills its caches first.
const EXTENDED_SLOWLY: Duration = Duration::from_secs(60);

/// The second disk below a device of ours, two MiB in, so that LVM finds it there only.
struct Sick {
    disk: String,
    sectors: u64,
}

impl Sick {
    const NAME: &str = "sick";
    const OFFSET: u64 = 4096;

    fn make(disk: &str, module: &str) -> Result<(Self, String)> {
        sh(&format!("modprobe {module}"))?;
        let all: u64 = sh(&format!("blockdev --getsz {disk}"))?.parse()?;
        let sick = Self {
            disk: disk.to_owned(),
            sectors: all - Self::OFFSET,
        };
        let device = dm_create(Self::NAME, &sick.well())?;
        Ok((sick, device))
    }

    fn at(&self) -> String {
        format!("{} {}", self.disk, Self::OFFSET)
    }

    fn well(&self) -> String {
        format!("0 {} linear {}", self.sectors, self.at())
    }

    /// Always down; reads are answered.
    fn flaky(&self, feature: &str) -> Result<()> {
        let table = format!("0 {} flakey {} 0 3600 1 {feature}", self.sectors, self.at());
        dm_reload(Self::NAME, &table)
    }

    /// Reads take no time.
    fn slow(&self) -> Result<()> {
        let at = self.at();
        let table = format!("0 {} delay {at} 0 {at} {SLOW}", self.sectors);
        dm_reload(Self::NAME, &table)
    }

    fn heal(&self) -> Result<()> {
        dm_reload(Self::NAME, &self.well())
    }

    fn remove(vg: Vg) -> Result<()> {
        vg.remove()?;
        sh(&format!("dmsetup remove --retry {}", Self::NAME)).map(drop)
    }
}

/// Volumes on the first disk, all of LVM's metadata on the other one.
fn metadata_on_a_sick_disk(lab: &Lab) -> Result<(Vg, Sick, String)> {
    let [good, bad] = lab.disks() else {
        bail!("two disks are expected");
    };
    let (sick, device) = Sick::make(bad, "dm-flakey")?;
    sh(&format!("pvcreate -qy --metadatacopies 0 {good}"))?;
    let vg = Vg::create("vg0", &[good.clone(), device])?;
    sh(&format!("lvcreate -qy -L 128M -n origin vg0 {good}"))?;
    sh(&format!(
        "lvcreate -qy -s -L {SNAP} -n snap vg0/origin {good}"
    ))?;
    // What is free is on the first disk as well.
    sh("pvchange -qxn /dev/mapper/sick")?;
    let origin = vg.device("origin");
    Ok((vg, sick, origin))
}

fn failing_writes(lab: &mut Lab) -> Result<()> {
    let (vg, sick, origin) = metadata_on_a_sick_disk(lab)?;
    let guard = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    sick.flaky("error_writes")?;
    fill(&origin, Size::mib(14))?;
    let failed = [("vg", "vg0"), ("lv", "snap"), ("reason", "refused")];
    guard.wait_metrics("the failure is counted", EXTENDED, |m| {
        m.get("cowherd_extend_failures_total", &failed) >= Some(1.0)
    })?;
    let held = [("vg", "vg0"), ("lv", "snap"), ("reason", "cooling_down")];
    guard.wait_metrics("the hold tells why", EXTENDED, |m| {
        m.is("cowherd_extend_held", &held, 1)
    })?;
    guard.wait_log("could not extend", EXTENDED)?;
    let log = guard.log()?;
    ensure!(log.contains("Failed to write"), "not in LVM's words: {log}");
    ensure!(lv_size("vg0/snap")? == SNAP.as_bytes());
    sick.heal()?;
    wait_until("it is extended", EXTENDED, is_extended("vg0/snap", SNAP))?;
    ensure!(dm_suspended()?.is_empty());
    scrapes.stop()?;
    guard.stop()?;
    Sick::remove(vg)
}

fn dropped_writes(lab: &mut Lab) -> Result<()> {
    let (vg, sick, origin) = metadata_on_a_sick_disk(lab)?;
    // Small steps: the next one must come before the store has its full size.
    let guard = Cowherd::ready(Some("[timing]\nhorizon_secs = 0\n"), &[])?;
    let scrapes = Scrapes::start();
    sick.flaky("drop_writes")?;
    Writer::start(&origin, Rate::MibPerSec(4), Size::mib(14))?
        .wait(DEADLINE)?
        .complete()?;
    guard.wait_log("extended vg=\"vg0\"", EXTENDED)?;
    // Between two changes: of a disk that forgot half of one and took the rest nobody could read the metadata.
    let lock = lock_group("vg0")?;
    sick.heal()?;
    let kernel = store_size()?;
    ensure!(kernel > SNAP.as_bytes(), "the kernel has {kernel} bytes");
    let forgotten = sh("lvs --nolocking --noheadings --units m --nosuffix -o lv_size vg0/snap")?;
    ensure!(
        forgotten == format!("{}.00", SNAP.as_mib()),
        "the extension was not forgotten: {forgotten} MiB"
    );
    drop(lock);

    // From the threshold it takes four seconds to fill what the kernel has.
    let writer = Writer::start_from(&origin, Size::mib(14), Rate::MibPerSec(1), Size::mib(20))?;
    let mut smallest = kernel;
    wait_until("LVM and the kernel agree", DEADLINE * 3, || {
        let now = store_size().unwrap_or_default();
        smallest = smallest.min(now);
        now > kernel && lv_size("vg0/snap").is_ok_and(|size| size == now)
    })?;
    writer.wait(DEADLINE * 2)?.complete()?;
    let status = dm_status("vg0-snap")?;
    ensure!(!status.contains("Invalid"), "the snapshot is lost");
    ensure!(
        smallest == kernel,
        "the store shrank from {kernel} to {smallest} bytes"
    );
    ensure!(dm_suspended()?.is_empty());
    scrapes.stop()?;
    guard.stop()?;
    Sick::remove(vg)
}

/// What the kernel has of the snapshot's store, in bytes.
fn store_size() -> Result<u64> {
    let size = sh("blockdev --getsize64 /dev/mapper/vg0-snap-cow")?;
    Ok(size.trim().parse()?)
}

fn slow_writes(lab: &mut Lab) -> Result<()> {
    let [_, bad] = lab.disks() else {
        bail!("two disks are expected");
    };
    let (sick, device) = Sick::make(bad, "dm-delay")?;
    let vg = Vg::create("vg0", &[device])?;
    let pool = Size::mib(64);
    vg.pool("pool", pool, Size::mib(4), "")?;
    let thin = vg.thin("pool", "thin", Size::mib(256))?;
    let origin = vg.thick("origin", Size::mib(128))?;
    vg.cow_snapshot("origin", "snap", SNAP)?;
    fill(&thin, Size::mib(44))?;
    fill(&origin, Size::mib(10))?;
    let guard = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    sick.slow()?;
    let began = std::time::Instant::now();
    let more = |device: &str, from, size| {
        Writer::start_from(device, Size::mib(from), Rate::Unlimited, Size::mib(size))
    };
    let writers = [more(&thin, 44, 10)?, more(&origin, 10, 4)?];
    let both = |guard: &Cowherd| {
        let done = |lv| [("vg", "vg0"), ("lv", lv)];
        guard.wait_metrics("both are extended", EXTENDED_SLOWLY, |m| {
            ["pool", "snap"]
                .iter()
                .all(|lv| m.sum("cowherd_extended_bytes_total", &done(lv)) > 0.0)
        })
    };
    let metrics = both(&guard)?;
    println!("extended after {:.1?}", began.elapsed());
    sick.heal()?;
    for writer in writers {
        writer.wait(DEADLINE * 2)?.complete()?;
    }
    ensure!(metrics.sum("cowherd_extend_failures_total", &[]) < 1.0);
    ensure!(is_extended("vg0/pool", pool)() && is_extended("vg0/snap", SNAP)());
    ensure!(dm_suspended()?.is_empty());
    scrapes.stop()?;
    guard.stop()?;
    Sick::remove(vg)
}

fn duplicate(lab: &mut Lab) -> Result<()> {
    let [first, second, copy] = lab.disks() else {
        bail!("three disks are expected");
    };
    let vg = Vg::create("vg0", &[first.clone(), second.clone()])?;
    sh(&format!("lvcreate -qy -L 128M -n origin vg0 {first}"))?;
    sh(&format!(
        "lvcreate -qy -s -L {SNAP} -n snap vg0/origin {first}"
    ))?;
    let guard = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    // All that LVM knows a disk by.
    sh(&format!(
        "dd if={second} of={copy} bs=1M count=2 oflag=direct status=none"
    ))?;
    fill(&vg.device("origin"), Size::mib(14))?;
    let failed = [("vg", "vg0"), ("lv", "snap")];
    guard.wait_metrics("the failure is counted", EXTENDED, |m| {
        m.sum("cowherd_extend_failures_total", &failed) >= 1.0
    })?;
    guard.wait_log("duplicate PV", EXTENDED)?;
    let plan = cowherd(&["status"])?;
    ensure!(plan.stdout.contains("vg0/snap"), "{plan}");
    ensure!(lv_size("vg0/snap")? == SNAP.as_bytes());
    sh(&format!("wipefs -aq {copy}"))?;
    wait_until(
        "it is extended",
        DEADLINE * 2,
        is_extended("vg0/snap", SNAP),
    )?;
    scrapes.stop()?;
    guard.stop()?;
    vg.remove()
}
