//! A host that lacks what the guard needs: settings, programs, room below /run, descriptors, processors. Each is
//! told, is no reason to stop, and what it kept from being extended is extended once it is there again.

use std::fs::{self, File};
use std::io::Write as _;
use std::iter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Scenario;
use super::coexisting::{EXTENDED, fill, is_extended};
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::dm::{dm_create, dm_status};
use crate::guest::lvm::{Vg, lv_size};
use crate::guest::scrapes::Scrapes;
use crate::guest::sh::{scratch_file, sh, signal};
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "a_broken_lvm_conf_does_not_reach_the_lifeboat",
        "a syntax error in lvm.conf: told as stale, and a snapshot is extended with the settings of before",
        broken_settings_aboard,
    )
    .timed(),
    Scenario::new(
        "a_broken_lvm_conf_is_told_until_it_is_mended",
        "the same without a lifeboat: LVM's own words, and an extension after the repair",
        broken_settings_ashore,
    )
    .timed(),
    Scenario::new(
        "an_lvm_that_is_gone_or_no_program_is_told_until_it_is_back",
        "without a lifeboat: lvm moved away, then not executable, then back",
        no_lvm,
    )
    .timed(),
    Scenario::new(
        "no_room_for_the_guards_own_notes_stops_no_extension",
        "/run/cowherd is a full file system: extended all the same, and the path is told",
        no_room_for_notes,
    )
    .timed(),
    Scenario::new(
        "a_guard_out_of_descriptors_extends_when_it_has_some",
        "no descriptor more by prlimit: told as a failed extension, served all the time, done after",
        no_descriptors,
    )
    .timed(),
    Scenario::new(
        "a_control_node_that_is_gone_is_made_again_and_costs_nothing",
        "no /dev/mapper/control under a running guard: the guard's lvm makes it, and a snapshot is extended",
        no_control_node,
    )
    .timed(),
    Scenario::new(
        "a_group_that_lvm_no_longer_sees_is_watched_and_held",
        "a devices file without its disks: looked at as before, held with the reason, and extended once it is seen again",
        hidden_group,
    )
    .timed(),
    Scenario::new(
        "a_log_that_nobody_reads_delays_no_extension",
        "standard error is a full pipe: a snapshot is extended, metrics are served, and the guard ends when told to",
        stuck_log,
    )
    .timed(),
    Scenario::new(
        "busy_processors_cost_no_snapshot",
        "eight busy loops on two processors while a snapshot fills: extended, and metrics within a second",
        starved,
    )
    .timed()
    .deadline(Duration::from_secs(180)),
];

const SNAP: Size = Size::mib(16);
const CONF: &str = "/etc/lvm/lvm.conf";
const STANDARD_STREAMS: u32 = 3;
/// Linux's value on `x86_64`.
const O_NONBLOCK: i32 = 0o4000;
const BROKEN: &str = "devices {\n\tuse_devicesfile = \n";
/// Where lvm is the host's.
const ASHORE: Option<&str> = Some("[guard]\nlifeboat = false\n");
/// The host's files are compared twice, fifteen seconds apart.
const NOTICED: Duration = Duration::from_secs(60);
/// The longest pause of a guard that failed a few times.
const TRIED_AGAIN: Duration = Duration::from_secs(40);

/// A snapshot under guard, with scrapes all the time.
struct Guarded {
    vg: Vg,
    origin: String,
    guard: Cowherd,
    scrapes: Scrapes,
}

impl Guarded {
    fn make(lab: &Lab, config: Option<&str>) -> Result<Self> {
        Self::made(lab, || Cowherd::ready(config, &[]))
    }

    /// With a guard that guards.
    fn made(lab: &Lab, start: impl FnOnce() -> Result<Cowherd>) -> Result<Self> {
        let vg = Vg::create("vg0", lab.disks())?;
        let origin = vg.thick("origin", Size::mib(64))?;
        vg.cow_snapshot("origin", "snap", SNAP)?;
        let guard = start()?;
        Ok(Self {
            vg,
            origin,
            guard,
            scrapes: Scrapes::start(),
        })
    }

    /// Puts the snapshot past its threshold.
    fn fill(&self) -> Result<()> {
        fill(&self.origin, Size::mib(14))
    }

    fn wait_failure(&self, reason: &str) -> Result<()> {
        let failed = [("vg", "vg0"), ("lv", "snap"), ("reason", reason)];
        let what = format!("a failure is counted as {reason}");
        self.guard.wait_metrics(&what, EXTENDED, |m| {
            m.get("cowherd_extend_failures_total", &failed) >= Some(1.0)
        })?;
        let held = [("vg", "vg0"), ("lv", "snap"), ("reason", "cooling_down")];
        self.guard
            .wait_metrics("the hold tells why", TRIED_AGAIN, |m| {
                m.is("cowherd_extend_held", &held, 1)
            })?;
        self.guard.wait_log("could not extend", EXTENDED)
    }

    /// Every scrape was answered in time.
    fn end(self) -> Result<String> {
        ensure!(!dm_status("vg0-snap")?.contains("Invalid"));
        self.scrapes.stop()?;
        let log = self.guard.stop()?;
        self.vg.remove()?;
        Ok(log)
    }
}

fn wait_extended() -> Result<()> {
    wait_until("it is extended", TRIED_AGAIN, is_extended("vg0/snap", SNAP))
}

fn broken_settings_aboard(lab: &mut Lab) -> Result<()> {
    let guarded = Guarded::make(lab, None)?;
    let good = fs::read_to_string(CONF).context("the settings")?;
    fs::write(CONF, BROKEN)?;
    guarded
        .guard
        .wait_metrics("the lifeboat is told as stale", NOTICED, |m| {
            m.is("cowherd_lifeboat_stale", &[], 1)
        })?;
    guarded
        .guard
        .wait_log("cannot renew the lifeboat", EXTENDED)?;
    guarded.fill()?;
    let snap = [("vg", "vg0"), ("lv", "snap")];
    guarded
        .guard
        .wait_metrics("it is extended", EXTENDED, |m| {
            m.sum("cowherd_extended_bytes_total", &snap) > 0.0
        })?;
    fs::write(CONF, good)?;
    ensure!(is_extended("vg0/snap", SNAP)());
    let log = guarded.end()?;
    ensure!(
        log.contains("Failed to load config file"),
        "not in LVM's words: {log}"
    );
    Ok(())
}

fn broken_settings_ashore(lab: &mut Lab) -> Result<()> {
    let guarded = Guarded::make(lab, ASHORE)?;
    let good = fs::read_to_string(CONF).context("the settings")?;
    fs::write(CONF, BROKEN)?;
    guarded.fill()?;
    guarded.wait_failure("refused")?;
    let reports = [("collector", "lvm")];
    guarded
        .guard
        .wait_metrics("the report fails, too", TRIED_AGAIN, |m| {
            m.is("cowherd_collector_success", &reports, 0)
        })?;
    let status = cowherd(&["status"])?;
    ensure!(
        status.code == Some(1) && status.stderr.contains("Failed to load config file"),
        "{status}"
    );
    fs::write(CONF, good)?;
    wait_extended()?;
    let log = guarded.end()?;
    ensure!(
        log.contains("Failed to load config file"),
        "not in LVM's words: {log}"
    );
    Ok(())
}

fn no_lvm(lab: &mut Lab) -> Result<()> {
    let guarded = Guarded::make(lab, ASHORE)?;
    sh("mv /usr/sbin/lvm /usr/sbin/lvm.away")?;
    guarded.fill()?;
    guarded.wait_failure("spawn")?;
    let status = cowherd(&["status"])?;
    ensure!(
        status.code == Some(1) && status.stderr.contains("install the package lvm2"),
        "{status}"
    );
    sh("chmod -x /usr/sbin/lvm.away && mv /usr/sbin/lvm.away /usr/sbin/lvm")?;
    guarded.guard.wait_log("Permission denied", TRIED_AGAIN)?;
    let status = cowherd(&["status"])?;
    ensure!(
        status.code == Some(1) && status.stderr.contains("Permission denied"),
        "{status}"
    );
    sh("chmod +x /usr/sbin/lvm")?;
    wait_extended()?;
    let log = guarded.end()?;
    ensure!(log.contains("No such file"), "{log}");
    Ok(())
}

fn no_room_for_notes(lab: &mut Lab) -> Result<()> {
    sh("mkdir -p /run/cowherd && mount -t tmpfs -o size=64k tiny /run/cowherd")?;
    let guarded = Guarded::make(lab, None)?;
    // As much as there is room for.
    sh("cat /dev/zero > /run/cowherd/rest 2> /dev/null; [ -s /run/cowherd/rest ]")?;
    guarded.fill()?;
    wait_extended()?;
    guarded
        .guard
        .wait_log("cannot note what is done", EXTENDED)?;
    ensure!(
        guarded
            .guard
            .metrics()?
            .sum("cowherd_extend_failures_total", &[])
            < 1.0
    );
    let log = guarded.end()?;
    ensure!(log.contains("/run/cowherd/intents"), "no path: {log}");
    sh("umount -l /run/cowherd").map(drop)
}

fn no_descriptors(lab: &mut Lab) -> Result<()> {
    let guarded = Guarded::make(lab, None)?;
    let pid = guarded.guard.pid();
    let before = sh(&format!(
        "prlimit --pid {pid} --nofile --noheadings -o SOFT"
    ))?;
    // What is open stays open, also above the limit. Below it are the standard streams alone, so that no descriptor
    // that the guard happened to close makes room for a new one.
    sh(&format!("prlimit --pid {pid} --nofile={STANDARD_STREAMS}:"))?;
    guarded.fill()?;
    let snap = [("vg", "vg0"), ("lv", "snap")];
    guarded
        .guard
        .wait_metrics("the failure is counted", EXTENDED, |m| {
            m.sum("cowherd_extend_failures_total", &snap) >= 1.0
        })?;
    guarded.guard.wait_log("Too many open files", EXTENDED)?;
    ensure!(lv_size("vg0/snap")? == SNAP.as_bytes());
    sh(&format!("prlimit --pid {pid} --nofile={}:", before.trim()))?;
    wait_extended()?;
    guarded.end().map(drop)
}

/// Whichever lvm of the guard's comes first makes it again: a report, or one after an extension that found none.
fn no_control_node(lab: &mut Lab) -> Result<()> {
    let guarded = Guarded::make(lab, None)?;
    let node = Path::new("/dev/mapper/control");
    sh("rm /dev/mapper/control")?;
    guarded.fill()?;
    let snap = [("vg", "vg0"), ("lv", "snap")];
    guarded
        .guard
        .wait_metrics("it is extended", TRIED_AGAIN, |m| {
            m.sum("cowherd_extended_bytes_total", &snap) > 0.0
        })?;
    ensure!(node.exists(), "the node is still gone");
    ensure!(is_extended("vg0/snap", SNAP)());
    guarded.end().map(drop)
}

fn hidden_group(lab: &mut Lab) -> Result<()> {
    let guarded = Guarded::make(lab, ASHORE)?;
    let good = fs::read_to_string(CONF).context("the settings")?;
    let (off, on) = ("use_devicesfile = 0", "use_devicesfile = 1");
    ensure!(good.contains(off), "{good}");
    let devices = "/etc/lvm/devices/system.devices";
    sh(&format!(
        "mkdir -p /etc/lvm/devices && echo VERSION=1.1.1 > {devices}"
    ))?;
    fs::write(CONF, good.replace(off, on))?;
    // Any change of a device is a reason to ask LVM.
    dm_create("stir", "0 8 zero")?;
    guarded
        .guard
        .wait_log("LVM does not tell of a volume group", EXTENDED)?;
    guarded.fill()?;
    let held = [("vg", "vg0"), ("lv", "snap"), ("reason", "hidden")];
    guarded
        .guard
        .wait_metrics("the hold tells why", EXTENDED, |m| {
            m.is("cowherd_extend_held", &held, 1)
        })?;
    let snap = [("vg", "vg0"), ("lv", "snap")];
    let told = guarded
        .guard
        .wait_metrics("its usage is followed", EXTENDED, |m| {
            m.get("cowherd_snapshot_cow_used_bytes", &snap) > Some(13.0 * 1024.0 * 1024.0)
        })?;
    ensure!(told.sum("cowherd_extends_total", &snap) < 1.0);
    guarded.guard.wait_log("is not told of by LVM", EXTENDED)?;
    sh(&format!("rm {devices}"))?;
    fs::write(CONF, good)?;
    wait_extended()?;
    sh("dmsetup remove --retry stir")?;
    guarded.end().map(drop)
}

fn stuck_log(lab: &mut Lab) -> Result<()> {
    let pipe = scratch_file("pipe");
    sh(&format!("mkfifo {pipe}"))?;
    // Both ends, so that there is a reader, who never reads.
    let _reader = File::options().read(true).write(true).open(&pipe)?;
    let output = File::options().write(true).open(&pipe)?;
    let fill = || -> Result<usize> {
        let mut filler = File::options();
        let mut filler = filler.write(true).custom_flags(O_NONBLOCK).open(&pipe)?;
        let lines = [b'\n'; 4096];
        Ok(iter::from_fn(|| filler.write(&lines).ok()).sum())
    };
    ensure!(fill()? > 0, "the pipe takes nothing");
    let guarded = Guarded::made(lab, || Cowherd::start_into(output)?.until_ready())?;
    guarded.fill()?;
    wait_extended()?;
    ensure!(fill()? == 0, "somebody reads the log");
    let told = guarded.guard.metrics()?;
    ensure!(told.sum("cowherd_log_messages_total", &[("level", "info")]) >= 2.0);
    guarded.end().map(drop)
}

fn starved(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(256))?;
    let snap = Size::mib(64);
    vg.cow_snapshot("origin", "snap", snap)?;
    let guard = Cowherd::ready(None, &[])?;
    let hogs = sh("for n in 1 2 3 4 5 6 7 8; do sh -c 'while :; do :; done' & echo $!; done")?;
    let writer = Writer::start(&origin, Rate::MibPerSec(4), Size::mib(80))?;
    // Who measures is not what is measured.
    let own = std::process::id();
    sh(&format!("renice -n -15 -p {own} > /dev/null"))?;
    let scrapes = Scrapes::start();
    writer.wait(Duration::from_secs(120))?.complete()?;
    let status = dm_status("vg0-snap")?;
    ensure!(!status.contains("Invalid"), "the snapshot is lost");
    scrapes.stop()?;
    for pid in hogs.lines() {
        signal(pid.trim().parse()?, "KILL")?;
    }
    ensure!(lv_size("vg0/snap")? > Size::mib(80).as_bytes());
    let labels = [("vg", "vg0"), ("lv", "snap")];
    let metrics = guard.wait_metrics("metrics", DEADLINE, |_| true)?;
    ensure!(metrics.sum("cowherd_extend_failures_total", &labels) < 1.0);
    guard.stop()?;
    vg.remove()
}
