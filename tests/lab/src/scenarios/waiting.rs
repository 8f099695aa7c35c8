//! What becomes of requests that have to wait: of those that others have overtaken when it is their turn, and of those
//! for which applications hold still when the guard is stopped.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Scenario;
use super::asking::{done, origins};
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::lvm::{lv_size, lvs_field};
use crate::guest::sh::sh;
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::{wait_for, wait_until};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "what_was_accepted_is_done_to_no_other_volume_and_loses_nothing_more",
        "while they wait: renamed, made the last one, labelled otherwise; each is decided anew when it is its turn",
        overtaken,
    )
    .deadline(LONG),
    Scenario::new(
        "a_guard_that_is_stopped_lets_go_what_it_had_held",
        "SIGTERM while a second hook gets ready: what lets the first one go is run before the guard ends",
        stopped,
    )
    .deadline(LONG),
    Scenario::new(
        "what_became_of_a_job_is_told_once_its_group_is_there",
        "SIGKILL before a removal, and LVM does not see the group when the next guard starts: nothing is told as done",
        not_there_yet,
    )
    .deadline(LONG),
];

/// A dozen changes, and thrice as long on a slow machine.
const LONG: Duration = Duration::from_secs(240);
/// Who is asked is held until somebody writes to it.
const HELD: &str = "/run/held";
/// There while the first hook holds.
const FLAG: &str = "/run/flag";
const CONF: &str = "/etc/lvm/lvm.conf";
const DEVICES: &str = "/etc/lvm/devices/system.devices";
const LEASES: &str = "/var/lib/cowherd/leases";

fn config(ready_s: u32) -> String {
    format!(
        "[api]\nactions = [\"create\", \"extend\", \"remove\", \"label\"]\nthick_snapshots_max = 4\n\
         [[api.hook]]\nname = \"flag\"\nmode = \"pair\"\nbefore = [\"/usr/bin/touch\", \"{FLAG}\"]\n\
         after = [\"/usr/bin/rm\", \"{FLAG}\"]\n\
         [[api.hook]]\nname = \"held\"\nmode = \"pair\"\nready_s = {ready_s}\n\
         before = [\"/usr/bin/cat\", \"{HELD}\"]\nafter = [\"/usr/bin/true\"]\n"
    )
}

fn overtaken(lab: &mut Lab) -> Result<()> {
    let (vg, _, _) = origins(lab)?;
    sh(&format!("mkfifo {HELD}"))?;
    let guard = Cowherd::ready(Some(&config(60)), &[])?;
    for (origin, name) in [("thin", "a"), ("thin", "b"), ("thick", "x"), ("thick", "y")] {
        let thick = ["--size", "16MiB"];
        let size = if origin == "thick" { &thick[..] } else { &[] };
        let words = ["create", &format!("vg0/{origin}"), "--name", name];
        done(&[&words[..], size].concat())?;
    }
    done(&["protect", "vg0/y"])?;

    later(&[
        "create",
        "vg0/thick",
        "--name",
        "held",
        "--size",
        "16MiB",
        "--hook",
        "held",
    ])?;
    is_asked()?;
    let wanted = [
        later(&["remove", "vg0/a"])?,
        // By then it is the last one of its origin.
        later(&["remove", "vg0/b"])?,
        later(&["extend", "vg0/x", "--size", "24MiB"])?,
        later(&["protect", "--off", "vg0/y"])?,
        // It is protected now, and is not when it is its turn.
        later(&["protect", "vg0/y"])?,
    ];
    sh("lvrename -q vg0 x other && lvcreate -qqs -n x -L 16M vg0/thick")?;
    drop(File::create(HELD).context("letting go")?);

    let ends = wanted
        .iter()
        .map(|id| ended(id))
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        ends == ["", "confirmation_required", "precondition_failed", "", ""],
        "{ends:?}"
    );
    let names = sh("lvs --noheadings -o lv_name vg0 | xargs")?;
    ensure!(
        names == "b held other pool thick thin x y",
        "left are {names}"
    );
    for name in ["vg0/x", "vg0/other"] {
        ensure!(lv_size(name)? == Size::mib(16).as_bytes(), "{name}");
    }
    let tags = lvs_field("vg0/y", "lv_tags")?;
    ensure!(tags.contains("cowherd.protected"), "{tags}");
    guard.stop()?;
    sh(&format!("rm {HELD}"))?;
    vg.remove()
}

fn stopped(lab: &mut Lab) -> Result<()> {
    let (vg, _, _) = origins(lab)?;
    sh(&format!("mkfifo {HELD}"))?;
    let guard = Cowherd::ready(Some(&config(4)), &[])?;
    let both = ["--hook", "flag", "--hook", "held"];
    let create = ["create", "vg0/thin", "--name", "new"];
    let id = later(&[&create[..], &both].concat())?;
    is_asked()?;
    ensure!(Path::new(FLAG).exists(), "the first hook does not hold");
    let waits = later(&["create", "vg0/thin", "--name", "waits"])?;
    let log = guard.stop()?;
    ensure!(
        !Path::new(FLAG).exists(),
        "what was held is held yet: {log}"
    );
    let leases = sh(&format!("ls {LEASES}"))?;
    ensure!(leases.is_empty(), "left are {leases}");

    let guard = Cowherd::ready(Some(&config(4)), &[])?;
    ensure!(ended(&id)? == "guard_unavailable", "{id}");
    ensure!(ended(&waits)? == "interrupted", "{waits}");
    let names = sh("lvs --noheadings -o lv_name vg0 | xargs")?;
    ensure!(names == "pool thick thin", "left are {names}");
    let log = guard.stop()?;
    ensure!(!log.contains("let go what a former guard"), "{log}");
    sh(&format!("rm {HELD}"))?;
    vg.remove()
}

fn not_there_yet(lab: &mut Lab) -> Result<()> {
    let (vg, _, _) = origins(lab)?;
    sh(&format!("mkfifo {HELD}"))?;
    let config = format!("{}[guard]\nlifeboat = false\n", config(60));
    let guard = Cowherd::ready(Some(&config), &[])?;
    done(&["create", "vg0/thin", "--name", "a", "--expendable"])?;
    later(&["create", "vg0/thick", "--name", "held", "--hook", "held"])?;
    is_asked()?;
    let removal = later(&["remove", "vg0/a"])?;
    drop(guard);

    let good = fs::read_to_string(CONF).context("LVM's settings")?;
    let hidden = good.replace("use_devicesfile = 0", "use_devicesfile = 1");
    ensure!(hidden != good, "{good}");
    sh(&format!(
        "mkdir -p /etc/lvm/devices && echo VERSION=1.1.1 > {DEVICES}"
    ))?;
    fs::write(CONF, hidden).context("hiding the group")?;
    let guard = Cowherd::ready(Some(&config), &[])?;
    guard.wait_log("what the guard before did cannot be seen yet", DEADLINE * 2)?;
    let job = job(&removal)?;
    ensure!(job["state"] == "running", "{job}");

    sh(&format!("rm {DEVICES}"))?;
    fs::write(CONF, good).context("showing the group again")?;
    ensure!(ended(&removal)? == "interrupted", "{removal}");
    ensure!(lvs_field("vg0/a", "origin")? == "thin");
    guard.stop()?;
    sh(&format!("rm {HELD}"))?;
    vg.remove()
}

/// Has it accepted, and gives the job's number.
fn later(arguments: &[&str]) -> Result<String> {
    let words = ["--no-wait", "--json"];
    let told = done(&[arguments, &words[..]].concat())?;
    let job: Value = serde_json::from_str(&told).context("a job")?;
    Ok(job["id"].as_str().context("its number")?.to_owned())
}

fn is_asked() -> Result<()> {
    wait_until("the hook is asked", DEADLINE, || {
        sh(&format!("pgrep -fx '/usr/bin/cat {HELD}'")).is_ok()
    })
}

fn job(id: &str) -> Result<Value> {
    let told = cowherd(&["jobs", id, "--json"])?;
    serde_json::from_str(&told.stdout).context("a job")
}

/// The code of what it failed by; nothing for one that was done.
fn ended(id: &str) -> Result<String> {
    let job = wait_for("the job has ended", DEADLINE * 3, || {
        let job = job(id).ok()?;
        let has_ended = job["state"] != "queued" && job["state"] != "running";
        has_ended.then_some(job)
    })?;
    let code = job["error"]["code"].as_str();
    ensure!(
        code.is_some() || job["state"] == "succeeded",
        "{job} has no reason"
    );
    Ok(code.unwrap_or_default().to_owned())
}
