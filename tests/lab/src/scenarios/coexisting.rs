//! Others at work: administrators, dmeventd, and groups and volumes that come and go while they are guarded.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Scenario;
use crate::guest::bench::guards;
use crate::guest::cowherd::Cowherd;
use crate::guest::dm::{dm_create, dm_suspended};
use crate::guest::lvm::{Vg, lv_size, lvs_field};
use crate::guest::scrapes::Scrapes;
use crate::guest::sh::{sh, signal};
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::samples::Guard;
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "dmeventd_and_cowherd_extend_a_pool_once",
        "both at the same threshold: the later of the two finds it done",
        beside_dmeventd,
    )
    .timed(),
    Scenario::new(
        "an_administrators_lvextend_at_the_same_moment_is_harmless",
        "lvextend -L+64M at the crossing: nothing fails, nothing stays suspended, both sizes agree",
        beside_lvextend,
    )
    .timed(),
    Scenario::new(
        "a_renamed_group_and_volume_are_extended_by_their_new_names",
        "vgrename and lvrename while they are guarded",
        renamed,
    )
    .timed(),
    Scenario::new(
        "a_volume_made_anew_under_the_same_name_is_another_one",
        "lvremove and lvcreate: the new one is judged by its own size",
        made_anew,
    )
    .timed(),
    Scenario::new(
        "an_exported_group_is_left_alone_until_it_is_imported",
        "vgexport is told as such and is no error; after vgimport the group is guarded",
        exported,
    )
    .timed(),
    Scenario::new(
        "a_missing_disk_holds_until_it_is_back",
        "LVM refuses changes of a partial group: that is told, and ends by itself",
        missing_disk,
    )
    .timed(),
    Scenario::new(
        "a_pool_switched_off_is_no_fault_and_is_watched_again",
        "vgchange -an and -ay",
        switched_off,
    )
    .timed(),
    Scenario::new(
        "a_merging_snapshot_is_left_alone_until_it_is_gone",
        "lvconvert --merge above the threshold: no extension, and no series of what is gone",
        merging,
    )
    .timed(),
    Scenario::new(
        "a_stopped_guard_catches_up",
        "SIGSTOP while a pool fills, SIGCONT: extended at the first look",
        stopped,
    )
    .timed(),
    Scenario::new(
        "a_step_of_the_wall_clock_changes_nothing",
        "ten years ahead and back while a snapshot fills",
        clock_steps,
    )
    .timed(),
    Scenario::new(
        "a_read_only_etc_and_var_stop_no_extension",
        "the backup of LVM's metadata waits, the extension does not",
        read_only_folders,
    )
    .timed(),
    Scenario::new(
        "a_storm_of_devices_delays_nothing",
        "devices made and removed in a loop: the crossing is answered, and metrics within a second",
        device_storm,
    )
    .timed(),
];

/// From the trigger to an extension that LVM has committed.
pub(super) const EXTENDED: Duration = Duration::from_secs(20);

const POOL: Size = Size::mib(256);

pub(super) fn is_extended(lv: &str, from: Size) -> impl Fn() -> bool {
    let lv = lv.to_owned();
    move || lv_size(&lv).is_ok_and(|size| size > from.as_bytes())
}

pub(super) fn fill(device: &str, size: Size) -> Result<()> {
    Writer::start(device, Rate::Unlimited, size)?
        .wait(DEADLINE)?
        .complete()
}

fn beside_dmeventd(lab: &mut Lab) -> Result<()> {
    guards::configure(Guard::Dmeventd)?;
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", POOL, Size::mib(8), "")?;
    let device = vg.thin("pool", "thin", Size::gib(1))?;
    ensure!(guards::dmeventd().is_some(), "dmeventd does not run");
    ensure!(lvs_field("vg0/pool", "seg_monitor")? == "monitored");
    let config = "[thin_pool.data]\nthreshold_percent = 70\n[timing]\nhorizon_secs = 0\n";
    let cowherd = Cowherd::ready(Some(config), &[])?;
    let scrapes = Scrapes::start();
    let pool = [("vg", "vg0"), ("lv", "pool")];
    cowherd.wait_metrics("dmeventd is told as another guard", EXTENDED, |metrics| {
        metrics.is("cowherd_lvm_autoextend_enabled", &pool, 1)
    })?;
    // 71 %: one step of 20 % brings it to 59.
    Writer::start(&device, Rate::MibPerSec(20), Size::mib(182))?
        .wait(DEADLINE)?
        .complete()?;
    wait_until(
        "the pool is extended",
        EXTENDED,
        is_extended("vg0/pool", POOL),
    )?;
    // Whoever came second has had its turn after dmeventd's next timer.
    let settled = Instant::now();
    wait_until("both have looked again", DEADLINE, || {
        settled.elapsed() > Duration::from_secs(12)
    })?;
    let size = lv_size("vg0/pool")?;
    ensure!(
        size <= Size::mib(256 + 52).as_bytes(),
        "more than one step of 20 %: {size} bytes"
    );
    ensure!(cowherd.metrics()?.sum("cowherd_extend_failures_total", &[]) < 1.0);
    ensure!(dm_suspended()?.is_empty());
    scrapes.stop()?;
    cowherd.stop()?;
    guards::end_dmeventd()?;
    vg.remove()
}

fn beside_lvextend(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", POOL, Size::mib(8), "")?;
    let device = vg.thin("pool", "thin", Size::gib(1))?;
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    fill(&device, Size::mib(200))?;
    let step = Writer::start_from(&device, Size::mib(200), Rate::Unlimited, Size::mib(10))?;
    sh("lvextend -q -L+64M vg0/pool")?;
    step.wait(DEADLINE)?.complete()?;
    wait_until(
        "the pool is extended",
        EXTENDED,
        is_extended("vg0/pool", POOL),
    )?;
    let agree = || {
        let kernel = sh("blockdev --getsize64 /dev/mapper/vg0-pool_tdata").unwrap_or_default();
        lv_size("vg0/pool").is_ok_and(|size| size.to_string() == kernel.trim())
    };
    wait_until("LVM and the kernel agree", EXTENDED, agree)?;
    let size = lv_size("vg0/pool")?;
    ensure!(size >= Size::mib(256 + 64).as_bytes(), "{size} bytes");
    ensure!(dm_suspended()?.is_empty());
    ensure!(cowherd.metrics()?.sum("cowherd_extend_failures_total", &[]) < 1.0);
    scrapes.stop()?;
    cowherd.stop()?;
    vg.remove()
}

fn renamed(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(128))?;
    vg.cow_snapshot("origin", "snap", Size::mib(32))?;
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    fill(&origin, Size::mib(8))?;
    sh("vgrename -q vg0 vg1 && lvrename -q vg1/snap vg1/shot")?;
    fill("/dev/vg1/origin", Size::mib(28))?;
    wait_until(
        "it is extended",
        EXTENDED,
        is_extended("vg1/shot", Size::mib(32)),
    )?;
    let new = [("vg", "vg1"), ("lv", "shot"), ("resource", "cow")];
    let told = cowherd.wait_metrics("the new name is told", EXTENDED, |metrics| {
        metrics.get("cowherd_extends_total", &new) >= Some(1.0)
    })?;
    let old = told.all("cowherd_snapshot_cow_size_bytes", &[("vg", "vg0")]);
    ensure!(old.is_empty(), "series of the old name");
    scrapes.stop()?;
    cowherd.stop()?;
    sh("vgchange -qan vg1 && vgremove -qff vg1").map(drop)
}

fn made_anew(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(128))?;
    vg.cow_snapshot("origin", "snap", Size::mib(64))?;
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    fill(&origin, Size::mib(40))?;
    sh("lvremove -qqy vg0/snap")?;
    vg.cow_snapshot("origin", "snap", Size::mib(16))?;
    let size = [("vg", "vg0"), ("lv", "snap")];
    cowherd.wait_metrics("the new one is seen", EXTENDED, |metrics| {
        metrics.is("cowherd_snapshot_cow_size_bytes", &size, 16 << 20)
    })?;
    ensure!(lv_size("vg0/snap")? == Size::mib(16).as_bytes());
    fill(&origin, Size::mib(14))?;
    wait_until(
        "it is extended",
        EXTENDED,
        is_extended("vg0/snap", Size::mib(16)),
    )?;
    scrapes.stop()?;
    cowherd.stop()?;
    vg.remove()
}

fn exported(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.thick("origin", Size::mib(64))?;
    vg.cow_snapshot("origin", "snap", Size::mib(16))?;
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    sh("vgchange -qan vg0 && vgexport -q vg0")?;
    let group = [("vg", "vg0")];
    cowherd.wait_metrics("it is told as exported", EXTENDED, |metrics| {
        metrics.is("cowherd_vg_extendable", &group, 0)
    })?;
    sh("vgimport -q vg0 && vgchange -qay vg0")?;
    cowherd.wait_metrics("it is told as imported", EXTENDED, |metrics| {
        metrics.is("cowherd_vg_extendable", &group, 1)
    })?;
    fill("/dev/vg0/origin", Size::mib(14))?;
    wait_until(
        "it is extended",
        EXTENDED,
        is_extended("vg0/snap", Size::mib(16)),
    )?;
    scrapes.stop()?;
    let log = cowherd.stop()?;
    ensure!(!log.contains("ERROR"), "{log}");
    vg.remove()
}

/// The second disk lies below a device of ours, two MiB in, so that LVM finds it there only.
fn missing_disk(lab: &mut Lab) -> Result<()> {
    let [first, second] = lab.disks() else {
        anyhow::bail!("two disks are expected");
    };
    let table = format!("0 1048576 linear {second} 4096");
    let lost = dm_create("lost", &table)?;
    let vg = Vg::create("vg0", &[first.clone(), lost])?;
    sh(&format!("lvcreate -qy -L 64M -n origin vg0 {first}"))?;
    sh(&format!(
        "lvcreate -qy -s -L 16M -n snap vg0/origin {first}"
    ))?;
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    sh("dmsetup remove --retry lost")?;
    fill("/dev/vg0/origin", Size::mib(14))?;
    let held = [("vg", "vg0"), ("lv", "snap"), ("reason", "partial")];
    cowherd.wait_metrics("the hold tells why", EXTENDED, |metrics| {
        metrics.is("cowherd_extend_held", &held, 1)
    })?;
    dm_create("lost", &table)?;
    wait_until(
        "it is extended",
        DEADLINE,
        is_extended("vg0/snap", Size::mib(16)),
    )?;
    scrapes.stop()?;
    cowherd.stop()?;
    // As udev does for a disk that comes: LVM's hints may have been written while it had no table.
    sh("pvscan --cache")?;
    vg.remove()?;
    sh("dmsetup remove --retry lost").map(drop)
}

fn switched_off(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", POOL, Size::mib(8), "")?;
    let device = vg.thin("pool", "thin", Size::gib(1))?;
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    fill(&device, Size::mib(100))?;
    sh("vgchange -qan vg0")?;
    let pool = [("vg", "vg0"), ("lv", "pool")];
    cowherd.wait_metrics("nothing is told of it", EXTENDED, |metrics| {
        metrics.get("cowherd_volume_answering", &pool).is_none()
    })?;
    ensure!(
        cowherd
            .metrics()?
            .all("cowherd_extend_held", &pool)
            .is_empty()
    );
    sh("vgchange -qay vg0")?;
    fill(&device, Size::mib(220))?;
    wait_until("it is extended", EXTENDED, is_extended("vg0/pool", POOL))?;
    scrapes.stop()?;
    let log = cowherd.stop()?;
    ensure!(!log.contains("ERROR"), "{log}");
    vg.remove()
}

/// LVM delays the merge of an origin that is open: so it lasts until it has been seen.
fn merging(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(64))?;
    vg.cow_snapshot("origin", "snap", Size::mib(32))?;
    fill(&origin, Size::mib(16))?;
    let open = File::open(&origin)?;
    sh("lvconvert -q --merge vg0/snap")?;
    let cowherd = Cowherd::ready(Some("[snapshot]\nthreshold_percent = 5\n"), &[])?;
    let scrapes = Scrapes::start();
    let held = [("reason", "merging")];
    cowherd.wait_metrics("it is held as merging", EXTENDED, |metrics| {
        metrics.sum("cowherd_extends_suppressed_total", &held) >= 1.0
    })?;
    drop(open);
    sh("lvchange -qan vg0/origin && lvchange -qay vg0/origin")?;
    wait_until("it is merged", DEADLINE, || {
        sh("lvs -a --noheadings -o lv_name vg0").is_ok_and(|names| !names.contains("snap"))
    })?;
    cowherd.wait_metrics("nothing is told of it", EXTENDED, |metrics| {
        metrics
            .all("cowherd_snapshot_cow_size_bytes", &[])
            .is_empty()
    })?;
    scrapes.stop()?;
    let log = cowherd.stop()?;
    ensure!(!log.contains("extending"), "{log}");
    vg.remove()
}

fn stopped(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", POOL, Size::mib(8), "")?;
    let device = vg.thin("pool", "thin", Size::gib(1))?;
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    cowherd.kill("STOP")?;
    fill(&device, Size::mib(240))?;
    ensure!(lv_size("vg0/pool")? == POOL.as_bytes(), "it was stopped");
    cowherd.kill("CONT")?;
    wait_until(
        "it is extended",
        Duration::from_secs(5),
        is_extended("vg0/pool", POOL),
    )?;
    scrapes.stop()?;
    cowherd.stop()?;
    vg.remove()
}

fn clock_steps(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(128))?;
    vg.cow_snapshot("origin", "snap", Size::mib(32))?;
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    let writer = Writer::start(&origin, Rate::MibPerSec(10), Size::mib(100))?;
    sh("date -s '+10 years'")?;
    let stepped = || is_extended("vg0/snap", Size::mib(32))();
    wait_until("it is extended ten years ahead", EXTENDED, stepped)?;
    sh("date -s '-10 years'")?;
    writer.wait(DEADLINE)?.complete()?;
    ensure!(lv_size("vg0/snap")? > Size::mib(100).as_bytes());
    let ready = cowherd.get("/-/ready")?;
    ensure!(ready.status == 200, "{}", ready.body);
    scrapes.stop()?;
    cowherd.stop()?;
    vg.remove()
}

fn read_only_folders(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(64))?;
    extended_without_a_backup(&vg, &origin, None)?;
    // Where lvm is the host's, only its options keep it from writing.
    extended_without_a_backup(&vg, &origin, Some("[guard]\nlifeboat = false\n"))?;
    vg.remove()
}

fn extended_without_a_backup(vg: &Vg, origin: &str, config: Option<&str>) -> Result<()> {
    vg.cow_snapshot("origin", "snap", Size::mib(16))?;
    for folder in ["/etc", "/var"] {
        sh(&format!(
            "mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"
        ))?;
        let probe = Path::new(folder).join("x");
        ensure!(
            std::fs::write(probe, "").is_err(),
            "{folder} can be written"
        );
    }
    let cowherd = Cowherd::ready(config, &[])?;
    let scrapes = Scrapes::start();
    fill(origin, Size::mib(14))?;
    wait_until(
        "it is extended",
        EXTENDED,
        is_extended("vg0/snap", Size::mib(16)),
    )?;
    let backups = [("command", "vgcfgbackup")];
    cowherd.wait_metrics("the backup fails and is told", EXTENDED, |metrics| {
        metrics.sum("cowherd_lvm_command_failures_total", &backups) >= 1.0
    })?;
    ensure!(cowherd.metrics()?.sum("cowherd_extend_failures_total", &[]) < 1.0);
    scrapes.stop()?;
    cowherd.stop()?;
    sh("umount /etc /var && lvremove -qqy vg0/snap").map(drop)
}

fn device_storm(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", POOL, Size::mib(8), "")?;
    let device = vg.thin("pool", "thin", Size::gib(1))?;
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    let storm = sh(
        "(while :; do for n in 1 2 3 4 5 6 7 8; do dmsetup create storm$n --table '0 8 zero'; done; \
         for n in 1 2 3 4 5 6 7 8; do dmsetup remove storm$n; done; done) > /dev/null 2>&1 & echo $!",
    )?;
    fill(&device, Size::mib(220))?;
    wait_until("it is extended", EXTENDED, is_extended("vg0/pool", POOL))?;
    signal(storm.trim().parse()?, "KILL")?;
    let metrics = cowherd.metrics()?;
    ensure!(metrics.sum("cowherd_extend_failures_total", &[]) < 1.0);
    scrapes.stop()?;
    cowherd.stop()?;
    sh("dmsetup ls | grep -o '^storm[0-9]' | xargs -r -n1 dmsetup remove")?;
    vg.remove()
}
