//! What helps a group without room, each rung of the ladder with the real thing behind it.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Scenario;
use crate::guest::cowherd::Cowherd;
use crate::guest::dm::KernelLog;
use crate::guest::lvm::{Vg, lv_size};
use crate::guest::metrics::Metrics;
use crate::guest::sh::{scratch_file, sh};
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "a_standby_disk_relieves_a_full_group",
        "the physical volume that a rule names is added, and what was held is extended",
        standby_disk,
    ),
    Scenario::new(
        "tagged_snapshots_make_room_and_one_in_use_stays",
        "an expired one that is open is refused by LVM, the oldest expendable one goes, no protected one and no other does",
        expendable,
    ),
    Scenario::new(
        "a_trim_gives_a_full_pool_room",
        "fstrim on a mount of the host, run out of the lifeboat: what was deleted is free, and the hold ends",
        trim,
    ),
    Scenario::new(
        "writers_are_suspended_before_a_pool_is_full_and_resumed",
        "no write fails, a guard killed meanwhile forgets nobody, and room lets the writer go on",
        suspend,
    )
    .timed(),
];

const TOLD: Duration = Duration::from_secs(20);

fn standby_disk(lab: &mut Lab) -> Result<()> {
    let [first, second] = lab.disks() else {
        anyhow::bail!("two disks are expected");
    };
    let vg = Vg::create("vg0", std::slice::from_ref(first))?;
    let origin = vg.thick("origin", Size::mib(64))?;
    vg.cow_snapshot("origin", "snap", Size::mib(16))?;
    vg.leave_free(Size::mib(0))?;
    sh(&format!("pvcreate -qy {second}"))?;
    let uuid = sh(&format!("pvs --noheadings -o pv_uuid {second}"))?;
    let uuid = uuid.trim();
    let config = format!(
        "[[rule]]\nvolume_group = \"vg?\"\nstandby = [\"{}\", \"{uuid}\"]\n",
        "x".repeat(32)
    );
    let guard = Cowherd::ready(Some(&config), &[])?;
    ensure!(
        vg.free_bytes()? == 0,
        "nothing is added before it is needed"
    );
    let writer = Writer::start(&origin, Rate::MibPerSec(4), Size::mib(14))?;
    writer.wait(DEADLINE)?.complete()?;
    wait_until("the snapshot is extended", TOLD, || {
        lv_size("vg0/snap").is_ok_and(|size| size > Size::mib(16).as_bytes())
    })?;
    let added = sh(&format!("pvs --noheadings -o vg_name {second}"))?;
    ensure!(added.trim() == "vg0", "{second} is in {added:?}");
    let done = [("vg", "vg0"), ("rung", "standby_disk"), ("result", "done")];
    guard.wait_metrics("the relief is counted", TOLD, |m| {
        m.is("cowherd_reliefs_total", &done, 1)
    })?;
    let log = guard.stop()?;
    ensure!(log.contains("relieved a full group"), "{log}");
    vg.remove()
}

fn expendable(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(64))?;
    vg.thick("other", Size::mib(64))?;
    vg.cow_snapshot("origin", "snap", Size::mib(16))?;
    for (name, tag) in [
        ("kept", "cowherd.expendable --addtag cowherd.protected"),
        ("older", "cowherd.expendable"),
        ("younger", "cowherd.expendable"),
        ("expired", "cowherd.expires=1600000000"),
        ("unexpired", "cowherd.expires=4000000000"),
        ("plain", "expendable"),
    ] {
        vg.cow_snapshot_with("other", name, Size::mib(8), &format!("--addtag {tag}"))?;
        let made = sh(&format!(
            "lvs --noheadings -o lv_time --config 'report/time_format=\"%s\"' vg0/{name}"
        ))?;
        // The order of two made in one second would be that of their names.
        wait_until("the second is over", DEADLINE, || {
            sh("date +%s").is_ok_and(|now| now > made)
        })?;
    }
    vg.leave_free(Size::mib(0))?;
    let config = "[[rule]]\nvolume_group = \"vg0\"\nremove_snapshots = true\n";
    let guard = Cowherd::ready(Some(config), &[])?;
    let open = sh("sleep 1000 < /dev/vg0/expired > /dev/null 2>&1 & echo $!")?;
    let writer = Writer::start(&origin, Rate::MibPerSec(4), Size::mib(14))?;
    writer.wait(DEADLINE)?.complete()?;
    wait_until("the snapshot is extended", TOLD, || {
        lv_size("vg0/snap").is_ok_and(|size| size > Size::mib(16).as_bytes())
    })?;
    let left = sh("lvs --noheadings -o lv_name vg0 | tr -d ' ' | sort | tr '\\n' ' '")?;
    ensure!(
        left == "expired filler kept origin other plain snap unexpired younger",
        "left are {left}"
    );
    for (result, count) in [("failed", 1), ("done", 1)] {
        let labels = [("vg", "vg0"), ("rung", "snapshot"), ("result", result)];
        guard.wait_metrics("the relief is counted", TOLD, |m| {
            m.is("cowherd_reliefs_total", &labels, count)
        })?;
    }
    sh(&format!("kill {open}"))?;
    let log = guard.stop()?;
    ensure!(
        log.contains("remove vg0/older (cowherd.expendable)"),
        "{log}"
    );
    vg.remove()
}

fn trim(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", Size::mib(256), Size::mib(8), "")?;
    let device = vg.thin("pool", "root", Size::mib(512))?;
    vg.leave_free(Size::mib(0))?;
    let mount = scratch_file("mount");
    sh(&format!(
        "modprobe ext4 && mkfs.ext4 -q {device} && mkdir {mount} && mount {device} {mount}"
    ))?;
    // All that is left to do is to tell the pool.
    sh(&format!(
        "head -c 215M /dev/zero > {mount}/file && sync && rm {mount}/file && sync"
    ))?;
    let config =
        format!("[[rule]]\nvolume_group = \"vg0\"\ntrim = [\"/usr/sbin/fstrim\", \"{mount}\"]\n");
    let guard = Cowherd::ready(Some(&config), &[])?;
    let label = [("vg", "vg0"), ("lv", "pool")];
    let freed = |m: &Metrics| {
        let used = m.get("cowherd_thin_pool_data_used_bytes", &label);
        used.is_some_and(|used| used < 100e6)
    };
    guard.wait_metrics("the pool has room again", TOLD, freed)?;
    let done = [("vg", "vg0"), ("rung", "trim"), ("result", "done")];
    guard.wait_metrics("the relief is counted", TOLD, |m| {
        m.is("cowherd_reliefs_total", &done, 1)
    })?;
    guard.stop()?;
    sh(&format!("umount {mount}"))?;
    vg.remove()
}

fn suspend(lab: &mut Lab) -> Result<()> {
    let [first, second] = lab.disks() else {
        anyhow::bail!("two disks are expected");
    };
    let vg = Vg::create("vg0", std::slice::from_ref(first))?;
    vg.pool("pool", Size::mib(128), Size::mib(4), "--errorwhenfull y")?;
    let device = vg.thin("pool", "guest", Size::mib(256))?;
    vg.leave_free(Size::mib(0))?;
    let (pid, told) = (scratch_file("pid"), scratch_file("told"));
    let hook = |signal: &str| {
        let script = format!(
            "kill -{signal} $(cat {pid}) && echo {signal} $COWHERD_VG $COWHERD_POOLS >> {told}"
        );
        format!("[\"/usr/bin/bash\", \"-c\", \"{script}\"]")
    };
    let (stop, go_on) = (hook("STOP"), hook("CONT"));
    let config = format!("[[rule]]\nvolume_group = \"vg0\"\nsuspend = {stop}\nresume = {go_on}\n");
    // Nearly where it is held already: what counts comes after.
    let before = Size::mib(90);
    let writer = Writer::start(&device, Rate::Unlimited, before)?;
    writer.wait(DEADLINE)?.complete()?;
    let mut guard = Cowherd::ready(Some(&config), &[])?;
    let kernel = KernelLog::mark("suspend")?;
    let writer = Writer::start_from(&device, before, Rate::MibPerSec(4), Size::mib(70))?;
    sh(&format!("echo {} > {pid}", writer.pid()))?;
    let has_told = |text: &str| sh(&format!("cat {told}")).is_ok_and(|told| told.starts_with(text));
    wait_until("the writer is suspended", Duration::from_secs(60), || {
        has_told("STOP vg0 pool")
    })?;
    guard.kill("KILL")?;
    guard.wait_ended(DEADLINE)?;
    let guard = Cowherd::ready(Some(&config), &[])?;
    let resumed = [("vg", "vg0"), ("rung", "resume"), ("result", "done")];
    ensure!(
        guard.metrics()?.is("cowherd_reliefs_total", &resumed, 0),
        "there is no room yet"
    );
    sh(&format!("vgextend vg0 {second}"))?;
    guard.wait_metrics("the resume is counted", TOLD, |m| {
        m.is("cowherd_reliefs_total", &resumed, 1)
    })?;
    writer.wait(Duration::from_secs(100))?.complete()?;
    kernel.never_out_of_space()?;
    guard.stop()?;
    vg.remove()
}
