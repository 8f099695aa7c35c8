//! What becomes of what callers asked for when the guard dies meanwhile, on the real kernel.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::Scenario;
use super::asking::{CONFIG, cowherd_history, done, origins, snapshot};
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::dm::dm_suspended;
use crate::guest::http::socket_request;
use crate::guest::lvm::lv_size;
use crate::guest::sh::sh;
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "a_guard_killed_in_an_action_tells_what_became_of_it",
        "SIGKILL while lvm runs in five actions: the next guard says what LVM says, nothing is half done",
        |lab| killed(lab, &STEPS[3..4]),
    )
    .deadline(Duration::from_secs(600)),
    Scenario::new(
        "a_guard_killed_at_any_step_of_an_action_tells_what_became_of_it",
        "the same at all five steps",
        |lab| killed(lab, &STEPS),
    )
    .on_demand()
    .deadline(Duration::from_secs(1800)),
];

/// What a job that has come so far says of itself.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The request is on its way.
    Asked,
    /// On record.
    Accepted,
    At(&'static str),
}

const STEPS: [Step; 5] = [
    Step::Asked,
    Step::Accepted,
    Step::At("looking"),
    Step::At("running lvm"),
    Step::At("looking at what was done"),
];
/// In their order. Some are over too soon to be seen: whatever comes later has them behind it.
const PHASES: [&str; 7] = [
    "waiting",
    "looking",
    "waiting for the volume group",
    "running lvm",
    "looking at what was done",
    "merging",
    "putting it on record",
];

impl Step {
    /// Whether a job later than `before` has come so far.
    fn is_reached(self, before: &str) -> Result<bool> {
        let wanted = match self {
            Self::Asked => return Ok(true),
            Self::Accepted => return Ok(newest(&asked_jobs()?).as_str() > before),
            Self::At(phase) => phase,
        };
        let rank = |phase: &str| PHASES.iter().position(|known| *known == phase);
        let wanted = rank(wanted).context("a phase that jobs have")?;
        let all = asked_jobs()?;
        let job = all.iter().find(|job| job["id"].as_str() > Some(before));
        let Some(job) = job else {
            return Ok(false);
        };
        if job["state"] != "queued" && job["state"] != "running" {
            return Ok(true);
        }
        let phase = job["progress"]["phase"].as_str().unwrap_or_default();
        let found = rank(phase).with_context(|| format!("an unknown phase {phase:?}"))?;
        Ok(found >= wanted)
    }
}

/// As `jobs`, without a process of its own: steps are short.
fn asked_jobs() -> Result<Vec<Value>> {
    let socket = Path::new("/run/cowherd/api.sock");
    let answer = socket_request(socket, "GET", "/api/v1/jobs", &[], "")?;
    ensure!(answer.status == 200, "{}", answer.body);
    serde_json::from_str(&answer.body).context("the jobs")
}

fn killed(lab: &mut Lab, steps: &[Step]) -> Result<()> {
    let (vg, _, _) = origins(lab)?;
    let mut ends = Vec::new();
    for step in steps {
        let mut cowherd = Cowherd::ready(Some(CONFIG), &[])?;
        done(&["create", "vg0/thin", "--name", "other", "--expendable"])?;
        for arguments in [
            &["create", "vg0/thick", "--name", "t1", "--size", "32MiB"][..],
            &["extend", "vg0/t1", "--size", "40MiB"],
            &["merge", "--yes", "vg0/t1"],
            &["create", "vg0/thin", "--name", "thin1"],
            &["remove", "--yes", "vg0/thin1"],
        ] {
            let before = newest(&jobs()?);
            let end;
            (cowherd, end) = killed_at(cowherd, arguments, *step, &before)?;
            ends.push(end);
            if !settled(arguments, &before)? {
                // Whoever asked is told to ask again.
                done(arguments)?;
                ensure!(
                    settled(arguments, &before)?,
                    "asked for again, {arguments:?} is not done"
                );
            }
        }
        let left = sh("lvs -a --noheadings -o lv_name vg0 | xargs")?;
        ensure!(
            !left.contains("t1") && !left.contains("thin1"),
            "left: {left}"
        );
        done(&["remove", "--yes", "vg0/other"])?;
        ensure!(cowherd_history()?.contains("OK"));
        drop(cowherd.stop()?);
    }
    println!("the clients ended with {ends:?}");
    vg.remove()
}

/// Kills the guard while a client asks it for something. Gives the next guard, and how the client ended.
fn killed_at(
    cowherd: Cowherd,
    arguments: &[&str],
    step: Step,
    before: &str,
) -> Result<(Cowherd, Option<i32>)> {
    let words: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let client = thread::spawn(move || {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        snapshot(&words)
    });
    let mut failed = Ok(());
    wait_until("the step is reached", DEADLINE, || {
        step.is_reached(before).unwrap_or_else(|error| {
            failed = Err(error);
            true
        })
    })?;
    failed?;
    drop(cowherd);
    let next = Cowherd::ready(Some(CONFIG), &[])?;
    let output = client
        .join()
        .map_err(|_| anyhow!("the client panicked"))??;
    Ok((next, output.code))
}

/// Every job has ended, and the one after `before` says what LVM says: whether what was asked for is done. Without
/// such a job nothing is.
fn settled(arguments: &[&str], before: &str) -> Result<bool> {
    let mut all = Vec::new();
    wait_until("all jobs have ended", DEADLINE * 3, || {
        let has_ended = |job: &Value| job["state"] != "queued" && job["state"] != "running";
        all = jobs().unwrap_or_default();
        !all.is_empty() && all.iter().all(has_ended)
    })
    .with_context(|| format!("{all:#?}"))?;
    let suspended = dm_suspended()?;
    ensure!(suspended.is_empty(), "suspended: {suspended:?}");
    let mut later = all.iter().filter(|job| job["id"].as_str() > Some(before));
    let is_done = later.any(|job| job["state"] == "succeeded");
    let names = sh("lvs -a --noheadings -o lv_name vg0 | xargs")?;
    let has = |name: &str| {
        names
            .split(' ')
            .any(|found| found.trim_matches(['[', ']']) == name)
    };
    let is_there = match arguments {
        ["create", _, "--name", name, ..] => has(name),
        ["extend", ..] => lv_size("vg0/t1")? == Size::mib(40).as_bytes(),
        ["merge", ..] => !has("t1"),
        _ => !has("thin1"),
    };
    ensure!(
        is_done == is_there,
        "{arguments:?} after {before}: LVM has {names}; jobs: {all:#?}"
    );
    Ok(is_done)
}

fn jobs() -> Result<Vec<Value>> {
    let output = cowherd(&["jobs", "--json"])?;
    ensure!(output.success(), "{output}");
    serde_json::from_str(&output.stdout).context("the jobs")
}

fn newest(jobs: &[Value]) -> String {
    let ids = jobs.iter().filter_map(|job| job["id"].as_str());
    ids.max().unwrap_or_default().to_owned()
}
