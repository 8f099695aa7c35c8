//! Runs scenarios one after the other, each as a process of its own, so that one
//! that hangs or crashes costs only itself; writes the verdicts and, for each
//! failure, a report.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::panic;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};

use super::dm::KernelLog;
use super::sh::run;
use super::{Lab, SCRATCH, cleanup, cowherd};
use crate::scenarios::{self, Boot, Scenario};
use crate::verdict::{self, Outcome, Verdict};
use crate::wait::wait_for;

/// After this long a killed process that is still there is stuck in the kernel.
const KILLED_BY: Duration = Duration::from_secs(5);
/// Lines of the kernel's log in a report.
const KERNEL_LINES: usize = 20;

/// `scenarios NAME...`: all of a guest's, with the disks in the table's order.
pub(super) fn scenarios(names: &[&str]) -> Result<u8> {
    let mut first_disk = 0;
    for name in names {
        let scenario = scenarios::find(name).with_context(|| format!("no scenario {name}"))?;
        let disks: Vec<String> = (0..scenario.disks.len())
            .map(|n| format!("/dev/{}", disk_name(first_disk + n)))
            .collect();
        first_disk += disks.len();
        if judge(&scenario, &disks)? == Outcome::Wedged {
            return Ok(1);
        }
    }
    Ok(0)
}

/// The kernel's name of the virtio disk with this number.
fn disk_name(number: usize) -> String {
    let letter = |n: usize| char::from(b"abcdefghijklmnopqrstuvwxyz"[n % 26]);
    match number / 26 {
        0 => format!("vd{}", letter(number)),
        more => format!("vd{}{}", letter(more - 1), letter(number)),
    }
}

/// Runs one, cleans up after it, and leaves the verdict.
fn judge(scenario: &Scenario, disks: &[String]) -> Result<Outcome> {
    println!("\n=== {}", scenario.name);
    let kernel = KernelLog::mark(scenario.name)?;
    let start = Instant::now();
    let ended = run_child(scenario, disks);
    let took = start.elapsed();
    let (mut outcome, mut report) = match ended {
        Ok(()) => (Outcome::Passed, String::new()),
        Err(error) => (Outcome::Failed, failure_report(&error, &kernel)),
    };
    // An own guest is thrown away with all that is in it.
    if scenario.boot == Boot::Shared
        && let Err(error) = cleanup::clean(disks)
    {
        outcome = Outcome::Wedged;
        report = format!("{report}cannot be cleaned up after: {error:#}\n");
    }
    if !report.is_empty() {
        println!("{report}");
        fs::write(Path::new("/out").join(scenario.name), report)?;
    }
    announce(&Verdict {
        name: scenario.name.to_owned(),
        outcome,
        took,
    })?;
    Ok(outcome)
}

fn announce(verdict: &Verdict) -> Result<()> {
    println!("{verdict}");
    let path = Path::new("/out").join(verdict::FILE);
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{verdict}\n").as_bytes())
        .context("writing the verdict")
}

fn failure_report(error: &Error, kernel: &KernelLog) -> String {
    let kernel = kernel.since().unwrap_or_else(|error| format!("{error:#}"));
    let lines: Vec<&str> = kernel.lines().collect();
    let mut report = vec![format!("{error:#}")];
    report.extend(cowherd::log_tails());
    if !lines.is_empty() {
        let from = lines.len().saturating_sub(KERNEL_LINES);
        report.push(format!(
            "the kernel's log ends:\n{}",
            lines[from..].join("\n")
        ));
    }
    report.join("\n") + "\n"
}

/// The scenario in its own process and process group.
fn run_child(scenario: &Scenario, disks: &[String]) -> Result<()> {
    let error_file = error_file();
    fs::remove_file(&error_file).ok();
    let mut child = Command::new("/proc/self/exe")
        .args(["guest", "scenario", scenario.name])
        .args(disks)
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .context("starting the scenario")?;
    let what = format!("{} ended", scenario.name);
    match wait_for(&what, scenario.deadline, || child.try_wait().transpose()) {
        Ok(status) => judge_status(status?, &error_file),
        Err(late) => {
            kill_group(&mut child);
            Err(late)
        }
    }
}

fn judge_status(status: ExitStatus, error_file: &str) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let told = fs::read_to_string(error_file);
    Err(anyhow!(told.unwrap_or_else(|_| format!(
        "the scenario's process: {status}"
    ))))
}

fn kill_group(child: &mut Child) {
    run("bash", &["-c", &format!("kill -KILL -- -{}", child.id())]).ok();
    // Stuck or not: cleaning up finds out.
    wait_for("it is gone", KILLED_BY, || child.try_wait().transpose()).ok();
}

/// `scenario NAME DISK...`: the child. Its error goes to a file, because the
/// console is everybody's.
pub(super) fn scenario(name: &str, disks: &[&str]) -> Result<u8> {
    let scenario = scenarios::find(name).with_context(|| format!("no scenario {name}"))?;
    let mut lab = Lab {
        name: name.to_owned(),
        disks: disks.iter().map(ToString::to_string).collect(),
    };
    // A panic is an error like others; its process then ends by itself.
    panic::set_hook(Box::new(|panic| {
        fs::write(error_file(), panic.to_string()).ok();
    }));
    let outcome = (scenario.run)(&mut lab);
    let Err(error) = outcome else {
        return Ok(0);
    };
    fs::write(error_file(), format!("{error:#}")).context("saving the error")?;
    Ok(1)
}

fn error_file() -> String {
    format!("{SCRATCH}/error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_the_kernel_does() {
        let names = [0, 25, 26, 51, 52, 127].map(disk_name);
        assert_eq!(names, ["vda", "vdz", "vdaa", "vdaz", "vdba", "vddx"]);
    }
}
