//! What administrators do to a group beneath the guard, and others to its lock: each with its reason told for as
//! long as it stands in the way, and an extension when it does no more.

use anyhow::{Result, bail, ensure};

use super::Scenario;
use super::coexisting::{EXTENDED, fill, is_extended};
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::dm::{dm_info_suspended, dm_suspended};
use crate::guest::lvm::{Vg, lv_size};
use crate::guest::processes;
use crate::guest::scrapes::Scrapes;
use crate::guest::sh::{sh, signal};
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "a_disk_that_may_not_be_allocated_from_holds_until_it_may",
        "pvchange -xn on the only disk with room: no_room is told, and ends with pvchange -xy",
        not_allocatable,
    )
    .timed(),
    Scenario::new(
        "a_pvmove_under_way_delays_no_extension",
        "extents of another volume move from disk to disk while a snapshot fills",
        moving,
    )
    .timed(),
    Scenario::new(
        "readers_of_lvms_metadata_keep_no_extension_from_its_lock",
        "eight loops of lvs while a snapshot fills: LVM lets a writer before them",
        readers,
    )
    .timed(),
    Scenario::new(
        "what_an_administrator_suspended_is_told_and_extended_once_resumed",
        "dmsetup suspend of a pool and of a snapshot: neither is extended nor resumed by the guard",
        suspended,
    )
    .timed(),
];

const SNAP: Size = Size::mib(16);
const POOL: Size = Size::mib(64);

fn not_allocatable(lab: &mut Lab) -> Result<()> {
    let [full, unused] = lab.disks() else {
        bail!("two disks are expected");
    };
    let vg = Vg::create("vg0", lab.disks())?;
    sh(&format!("lvcreate -qy -L 64M -n origin vg0 {full}"))?;
    sh(&format!(
        "lvcreate -qy -s -L {SNAP} -n snap vg0/origin {full} && \
         lvcreate -qy -l 100%PVS -n filler vg0 {full} && pvchange -qxn {unused}"
    ))?;
    let guard = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    fill(&vg.device("origin"), Size::mib(14))?;
    let held = [("vg", "vg0"), ("lv", "snap"), ("reason", "no_room")];
    let told = guard.wait_metrics("the hold tells why", EXTENDED, |m| {
        m.is("cowherd_extend_held", &held, 1)
    })?;
    ensure!(told.is("cowherd_vg_free_bytes", &[("vg", "vg0")], 0));
    guard.wait_log("the volume group has 0 B free", EXTENDED)?;
    let plan = cowherd(&["plan"])?;
    ensure!(plan.stdout.contains("has 0 B free"), "{plan}");
    ensure!(lv_size("vg0/snap")? == SNAP.as_bytes());
    sh(&format!("pvchange -qxy {unused}"))?;
    wait_until("it is extended", EXTENDED, is_extended("vg0/snap", SNAP))?;
    scrapes.stop()?;
    guard.stop()?;
    vg.remove()
}

fn moving(lab: &mut Lab) -> Result<()> {
    let [from, to] = lab.disks() else {
        bail!("two disks are expected");
    };
    let vg = Vg::create("vg0", lab.disks())?;
    sh(&format!(
        "modprobe dm-mirror && lvcreate -qy -L 1G -n filler vg0 {from}"
    ))?;
    let origin = vg.thick("origin", Size::mib(64))?;
    vg.cow_snapshot("origin", "snap", SNAP)?;
    // So that it goes on until the end: a part in a hundred of the time is spent on copying.
    sh("echo 1 > /sys/module/dm_mirror/parameters/raid1_resync_throttle")?;
    let guard = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    let mover = sh(&format!(
        "pvmove -i 1 -n filler {from} {to} > /dev/null 2>&1 & echo $!"
    ))?;
    let mover: u32 = mover.trim().parse()?;
    wait_until("extents are being moved", DEADLINE, || {
        sh("lvs -a --noheadings -o lv_name vg0").is_ok_and(|names| names.contains("[pvmove"))
    })?;
    fill(&origin, Size::mib(14))?;
    wait_until("it is extended", EXTENDED, is_extended("vg0/snap", SNAP))?;
    ensure!(processes::is_running(mover), "everything is moved by now");
    sh("echo 100 > /sys/module/dm_mirror/parameters/raid1_resync_throttle")?;
    wait_until("everything is moved", DEADLINE * 2, || {
        !processes::is_running(mover)
    })?;
    ensure!(guard.metrics()?.sum("cowherd_extend_failures_total", &[]) < 1.0);
    ensure!(dm_suspended()?.is_empty());
    scrapes.stop()?;
    guard.stop()?;
    vg.remove()
}

fn readers(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(64))?;
    vg.cow_snapshot("origin", "snap", SNAP)?;
    let guard = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    let pids = sh(
        "for n in 1 2 3 4 5 6 7 8; do (while :; do lvs -a vg0; done) > /dev/null 2>&1 & echo $!; done",
    )?;
    fill(&origin, Size::mib(14))?;
    // Not by another reader: the guard's own word.
    let snap = [("vg", "vg0"), ("lv", "snap")];
    guard.wait_metrics("it is extended", EXTENDED, |m| {
        m.sum("cowherd_extended_bytes_total", &snap) > 0.0
    })?;
    for pid in pids.lines() {
        signal(pid.trim().parse()?, "KILL")?;
    }
    scrapes.stop()?;
    ensure!(guard.metrics()?.sum("cowherd_extend_failures_total", &[]) < 1.0);
    guard.stop()?;
    ensure!(lv_size("vg0/snap")? > SNAP.as_bytes());
    vg.remove()
}

fn suspended(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", POOL, Size::mib(4), "")?;
    let thin = vg.thin("pool", "thin", Size::mib(256))?;
    let origin = vg.thick("origin", Size::mib(64))?;
    vg.cow_snapshot("origin", "snap", SNAP)?;
    fill(&thin, Size::mib(56))?;
    fill(&origin, Size::mib(14))?;
    let devices = ["vg0-pool-tpool", "vg0-snap"];
    for device in devices {
        sh(&format!("dmsetup suspend --noflush --nolockfs {device}"))?;
    }
    let guard = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    let writer = Writer::start_from(&thin, Size::mib(56), Rate::Unlimited, Size::mib(30))?;
    for lv in ["pool", "snap"] {
        let volume = [("vg", "vg0"), ("lv", lv)];
        let held = [("vg", "vg0"), ("lv", lv), ("reason", "suspended")];
        guard.wait_metrics("the hold tells why", EXTENDED, |m| {
            m.is("cowherd_volume_suspended", &volume, 1)
                && m.sum("cowherd_extend_held", &held) > 0.0
        })?;
    }
    guard.wait_log("the device is suspended by somebody else", EXTENDED)?;
    for command in ["status", "plan"] {
        let told = cowherd(&[command])?;
        let reason = "is suspended by somebody else";
        ensure!(told.stdout.matches(reason).count() >= 2, "{told}");
    }
    for device in devices {
        ensure!(dm_info_suspended(device)?, "{device} was resumed");
    }
    ensure!(guard.metrics()?.sum("cowherd_extends_total", &[]) < 1.0);
    for device in devices {
        sh(&format!("dmsetup resume {device}"))?;
    }
    wait_until(
        "the pool is extended",
        EXTENDED,
        is_extended("vg0/pool", POOL),
    )?;
    wait_until(
        "so is the snapshot",
        EXTENDED,
        is_extended("vg0/snap", SNAP),
    )?;
    writer.wait(DEADLINE)?.complete()?;
    scrapes.stop()?;
    guard.stop()?;
    vg.remove()
}
