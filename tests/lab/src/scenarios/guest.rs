//! What every other scenario builds on: the guest's kernel and LVM do what the
//! lab needs, and the lab's own verbs see it.

use anyhow::{Result, ensure};

use super::Scenario;
use crate::guest::dm::{KernelLog, Watch, dm_info_suspended, dm_status};
use crate::guest::lvm::{Vg, lv_size, lvs_field};
use crate::guest::sh::{sh, try_sh};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "lab_guest_has_thin_and_snapshot_targets",
        "thin pool and COW snapshot can be made, grown and read",
        has_targets,
    ),
    Scenario::new(
        "lab_sees_a_pool_run_out_of_space",
        "the kernel log and the status sampler both catch out_of_data_space",
        sees_out_of_space,
    ),
    Scenario::new(
        "lab_gives_each_scenario_clean_disks",
        "no volume group, device or suspended device of another scenario is here",
        clean_disks,
    ),
];

fn has_targets(lab: &mut Lab) -> Result<()> {
    let targets = sh("dmsetup targets")?;
    for target in ["thin-pool", "thin", "snapshot", "snapshot-merge"] {
        ensure!(
            targets.lines().any(|l| l.starts_with(target)),
            "no {target}: {targets}"
        );
    }
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", Size::mib(64), Size::mib(4), "")?;
    vg.thin("pool", "thin", Size::mib(200))?;
    vg.thick("origin", Size::mib(64))?;
    vg.cow_snapshot("origin", "snap", Size::mib(16))?;
    sh("lvextend -L 128m vg0/pool && lvextend -L 32m vg0/snap")?;
    ensure!(lv_size("vg0/pool")? == Size::mib(128).as_bytes());
    ensure!(lvs_field("vg0/snap", "lv_attr")?.starts_with("swi-a-s"));
    let status = dm_status("vg0-pool-tpool")?;
    ensure!(
        status.contains(" thin-pool ") && status.contains(" rw "),
        "{status}"
    );
    ensure!(!dm_info_suspended("vg0-pool")?);
    vg.remove()
}

fn sees_out_of_space(lab: &mut Lab) -> Result<()> {
    let log = KernelLog::mark("out of space")?;
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", Size::mib(64), Size::mib(4), "--errorwhenfull y")?;
    let device = vg.thin("pool", "thin", Size::mib(200))?;
    let watch = Watch::start("vg0-pool-tpool");
    let writer = crate::guest::writer::Writer::start(
        &device,
        crate::guest::writer::Rate::Unlimited,
        Size::mib(100),
    )?;
    let report = writer.wait(DEADLINE)?;
    ensure!(report.error.is_some(), "wrote 100 MiB into 64: {report}");
    wait_until("the sampler saw out_of_data_space", DEADLINE, || {
        watch.saw("out_of_data_space")
    })?;
    let lines = log.since()?;
    ensure!(
        lines.contains("out-of-data-space"),
        "the kernel did not log it:\n{lines}"
    );
    watch.stop();
    vg.remove()
}

fn clean_disks(lab: &mut Lab) -> Result<()> {
    ensure!(lab.disks().len() == 2, "{:?}", lab.disks());
    for disk in lab.disks() {
        let found = try_sh(&format!("wipefs {disk}"))?;
        ensure!(found.stdout.is_empty(), "{disk} holds {}", found.stdout);
    }
    let vgs = sh("vgs --noheadings -o vg_name")?;
    ensure!(vgs.is_empty(), "left: {vgs}");
    let devices = sh("dmsetup ls")?;
    ensure!(devices == "No devices found", "left: {devices}");
    Ok(())
}
