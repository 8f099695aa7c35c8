//! What cowherd must not do: extend what cannot be saved, or take what is not there. And that it says why.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Scenario;
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::dm::{dm_create, dm_reload, dm_status};
use crate::guest::lvm::{Vg, lv_size};
use crate::guest::scrapes::Scrapes;
use crate::guest::sh::{sh, try_sh};
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "a_full_group_gives_what_is_left_then_holds",
        "the last extents are granted, then the reason is in metrics, log and plan",
        full_group,
    )
    .timed(),
    Scenario::new(
        "a_hold_ends_as_soon_as_the_group_gets_room",
        "vgextend changes no device: LVM's own backup tells of it, and the snapshot is extended",
        room_comes,
    )
    .timed(),
    Scenario::new(
        "a_pool_grows_where_lvextend_use_policies_refuses",
        "a group as Proxmox VE leaves it, a thousandth of the size: LVM's step does not fit, what fits is taken",
        nearly_full_like_pve,
    )
    .timed()
    .deadline(Duration::from_secs(180)),
    Scenario::new(
        "a_rule_by_tag_holds_until_the_tag_is_gone",
        "[[rule]] with an LVM tag: lvchange --deltag changes no device, and still the rule ends at once",
        rule_by_tag,
    ),
    Scenario::new(
        "an_invalid_snapshot_is_left_alone_and_reported",
        "no extent is wasted on a lost snapshot, and somebody is told",
        invalid,
    )
    .timed(),
    Scenario::new(
        "a_pool_that_needs_a_check_is_never_extended",
        "needs_check: nothing is spent on a pool whose growth the kernel refuses",
        needs_check,
    )
    .timed()
    .disks(&[Size::gib(1), Size::mib(64)]),
    Scenario::new(
        "a_dry_run_changes_nothing_and_says_what_it_would",
        "dry_run: decisions are reported and nothing is extended",
        dry_run,
    ),
];

const TOLD: Duration = Duration::from_secs(20);

fn room_comes(lab: &mut Lab) -> Result<()> {
    let [first, second] = lab.disks() else {
        anyhow::bail!("two disks are expected");
    };
    let vg = Vg::create("vg0", std::slice::from_ref(first))?;
    let origin = vg.thick("origin", Size::mib(64))?;
    vg.cow_snapshot("origin", "snap", Size::mib(8))?;
    vg.leave_free(Size::mib(0))?;
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    let writer = Writer::start(&origin, Rate::MibPerSec(4), Size::mib(7))?;
    writer.wait(Duration::from_secs(60))?.complete()?;
    cowherd.wait_log("the volume group has 0 B free", TOLD)?;
    sh(&format!("vgextend vg0 {second}"))?;
    wait_until("the snapshot is extended", TOLD, || {
        lv_size("vg0/snap").is_ok_and(|size| size > Size::mib(8).as_bytes())
    })?;
    scrapes.stop()?;
    cowherd.stop()?;
    vg.remove()
}

/// 931 GiB of which 16 are free, and a pool of 794, with MiB for GiB. Not Proxmox VE itself, which cannot run here.
fn nearly_full_like_pve(lab: &mut Lab) -> Result<()> {
    let [first, _] = lab.disks() else {
        anyhow::bail!("two disks are expected");
    };
    let vg = Vg::create_with("pve", std::slice::from_ref(first), "-s 64k")?;
    vg.pool("data", Size::mib(794), Size::mib(8), "")?;
    let device = vg.thin("data", "vm-100-disk-0", Size::mib(1024))?;
    vg.leave_free(Size::mib(16))?;
    Writer::start(&device, Rate::Unlimited, Size::mib(660))?
        .wait(DEADLINE)?
        .complete()?;

    let settings =
        "activation { thin_pool_autoextend_threshold=80 thin_pool_autoextend_percent=20 }";
    let theirs = try_sh(&format!(
        "lvextend --use-policies --config '{settings}' pve/data"
    ))?;
    let before = lv_size("pve/data")?;
    ensure!(!theirs.success(), "lvextend --use-policies: {theirs}");
    ensure!(before == Size::mib(794).as_bytes(), "{before} bytes");

    let cowherd_ = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    wait_until("the pool grows", TOLD, || {
        lv_size("pve/data").is_ok_and(|size| size > before)
    })?;
    cowherd_.wait_log("in reserve: add a physical volume", TOLD)?;
    let added = lv_size("pve/data")? - before;
    let left = vg.free_bytes()?;
    println!("pve/data: {added} bytes added, {left} left for the next step of its metadata");
    ensure!(
        added >= Size::mib(12).as_bytes(),
        "{added} bytes added of 16 MiB"
    );
    ensure!(
        left > 0 && added + left == Size::mib(16).as_bytes(),
        "{added} added, {left} left"
    );
    scrapes.stop()?;
    cowherd_.stop()?;
    vg.remove()
}

fn rule_by_tag(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(64))?;
    vg.cow_snapshot_with("origin", "snap", Size::mib(16), "--addtag scratch")?;
    let config = "[[rule]]\nname = \"sn*\"\ntag = \"scratch\"\nsnapshot.enabled = false\n";
    let cowherd_ = Cowherd::ready(Some(config), &[])?;
    let writer = Writer::start(&origin, Rate::MibPerSec(4), Size::mib(14))?;
    writer.wait(DEADLINE)?.complete()?;
    cowherd_.wait_log("extension is disabled by policy", TOLD)?;
    let enabled = [("vg", "vg0"), ("lv", "snap")];
    ensure!(cowherd_.metrics()?.get("cowherd_guard_enabled", &enabled) == Some(0.0));
    ensure!(lv_size("vg0/snap")? == Size::mib(16).as_bytes());
    sh("lvchange --deltag scratch vg0/snap")?;
    wait_until("the snapshot is extended", TOLD, || {
        lv_size("vg0/snap").is_ok_and(|size| size > Size::mib(16).as_bytes())
    })?;
    cowherd_.stop()?;
    vg.remove()
}

fn full_group(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(256))?;
    vg.cow_snapshot("origin", "snap", Size::mib(64))?;
    vg.leave_free(Size::mib(12))?;
    let cowherd_ = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();

    let writer = Writer::start(&origin, Rate::MibPerSec(4), Size::mib(68))?;
    writer.wait(Duration::from_secs(60))?.complete()?;

    ensure!(vg.free_bytes()? == 0, "not everything was taken");
    ensure!(lv_size("vg0/snap")? == Size::mib(76).as_bytes());
    ensure!(
        !dm_status("vg0-snap")?.contains("Invalid"),
        "68 of 76 MiB cannot overflow"
    );
    let suppressed = [("reason", "no_room")];
    cowherd_.wait_metrics("the hold is counted", TOLD, |m| {
        m.get("cowherd_extends_suppressed_total", &suppressed)
            .is_some_and(|count| count >= 1.0)
    })?;
    cowherd_.wait_log("the volume group has 0 B free", TOLD)?;
    let plan = cowherd(&["plan"])?;
    ensure!(
        plan.stdout.contains("the volume group has 0 B free"),
        "{plan}"
    );
    let growable = [("vg", "vg0"), ("lv", "snap")];
    ensure!(
        cowherd_
            .metrics()?
            .get("cowherd_snapshot_growable_bytes", &growable)
            == Some(0.0)
    );
    scrapes.stop()?;
    cowherd_.stop()?;
    vg.remove()
}

fn invalid(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(64))?;
    vg.cow_snapshot("origin", "snap", Size::mib(8))?;
    Writer::start(&origin, Rate::Unlimited, Size::mib(32))?
        .wait(DEADLINE)?
        .complete()?;
    ensure!(
        dm_status("vg0-snap")?.contains("Invalid"),
        "32 MiB fit into 8"
    );
    let free = vg.free_bytes()?;

    let cowherd_ = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();

    cowherd_.wait_log("the snapshot is invalid", TOLD)?;
    let state = [("vg", "vg0"), ("lv", "snap"), ("state", "invalid")];
    cowherd_.wait_metrics("the state is exported", TOLD, |m| {
        m.get("cowherd_snapshot_state", &state) == Some(1.0)
    })?;
    let status = cowherd(&["status"])?;
    ensure!(status.stdout.contains("invalid"), "{status}");
    ensure!(
        vg.free_bytes()? == free,
        "extents were spent on a lost snapshot"
    );
    ensure!(
        cowherd_
            .metrics()?
            .sum("cowherd_extends_total", &[("lv", "snap")])
            < 1.0
    );
    scrapes.stop()?;
    cowherd_.stop()?;
    vg.remove()
}

fn needs_check(lab: &mut Lab) -> Result<()> {
    let [good, flaky_disk] = lab.disks() else {
        anyhow::bail!("two disks")
    };
    sh("modprobe dm-flakey")?;
    let sectors = sh(&format!("blockdev --getsz {flaky_disk}"))?;
    let sectors = sectors.trim();
    let flaky = dm_create("flaky", &format!("0 {sectors} linear {flaky_disk} 0"))?;
    sh(&format!(
        "vgcreate -s 1M vg0 {good} {flaky} --config 'devices{{global_filter=[\"r,{flaky_disk},\"]}}'"
    ))?;
    let lvm = |command: &str| {
        sh(&format!(
            "{command} --config 'devices{{global_filter=[\"r,{flaky_disk},\"]}}'"
        ))
    };
    lvm(&format!("lvcreate -y -L 4M -n pmeta vg0 {flaky}"))?;
    lvm(&format!("lvcreate -y -L 64M -n pool vg0 {good}"))?;
    lvm("lvconvert -y --type thin-pool --poolmetadata vg0/pmeta vg0/pool")?;
    lvm("lvcreate -y -V 200M --thinpool vg0/pool -n thin")?;
    Writer::start("/dev/vg0/thin", Rate::Unlimited, Size::mib(56))?
        .wait(DEADLINE)?
        .complete()?;
    dm_reload(
        "flaky",
        &format!("0 {sectors} flakey {flaky_disk} 0 0 600 1 error_writes"),
    )?;
    try_sh("dd if=/dev/urandom of=/dev/vg0/thin bs=64k count=8 seek=1000 oflag=direct,sync")?;
    dm_reload("flaky", &format!("0 {sectors} linear {flaky_disk} 0"))?;
    let status = dm_status("vg0-pool-tpool")?;
    ensure!(
        status.contains("needs_check"),
        "the pool is not sick: {status}"
    );
    let tables = sh("dmsetup table vg0-pool_tdata")?;

    let cowherd_ = Cowherd::ready(Some("[thin_pool.data]\nthreshold_percent = 50\n"), &[])?;
    let scrapes = Scrapes::start();

    cowherd_.wait_log("the pool needs a metadata check", TOLD)?;
    let pool = [("vg", "vg0"), ("lv", "pool")];
    cowherd_.wait_metrics("needs_check is exported", TOLD, |m| {
        m.get("cowherd_thin_pool_needs_check", &pool) == Some(1.0)
    })?;
    // Three more looks and a report later still nothing has been spent.
    cowherd_.wait_metrics("it goes on looking", TOLD, |m| {
        m.sum("cowherd_polls_total", &[("trigger", "timer")]) >= 3.0
    })?;
    ensure!(
        sh("dmsetup table vg0-pool_tdata")? == tables,
        "the data device was extended"
    );
    ensure!(cowherd_.metrics()?.sum("cowherd_extends_total", &pool) < 1.0);
    scrapes.stop()?;
    cowherd_.stop()?;
    sh(
        "dmsetup remove vg0-thin && vgchange -an vg0 && vgremove -ff vg0; pvremove -ff -y /dev/mapper/flaky; dmsetup remove --retry flaky; rm -rf /dev/vg0",
    )?;
    Ok(())
}

fn dry_run(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(128))?;
    vg.cow_snapshot("origin", "snap", Size::mib(64))?;
    Writer::start(&origin, Rate::Unlimited, Size::mib(56))?
        .wait(DEADLINE)?
        .complete()?;
    let cowherd_ = Cowherd::ready(None, &["--dry-run"])?;
    cowherd_.wait_log("dry run: would extend", TOLD)?;
    cowherd_.wait_metrics("the mode is exported", TOLD, |m| {
        m.get("cowherd_guard_mode", &[("mode", "dry_run")]) == Some(1.0)
    })?;
    ensure!(
        lv_size("vg0/snap")? == Size::mib(64).as_bytes(),
        "a dry run extended"
    );
    let plan = cowherd(&["plan"])?;
    ensure!(plan.stdout.contains("vg0/snap"), "{plan}");
    ensure!(
        lv_size("vg0/snap")? == Size::mib(64).as_bytes(),
        "plan extended"
    );
    cowherd_.stop()?;
    vg.remove()
}
