//! Runs cowherd in the guest and asks it things.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::http::{Response, http_get};
use super::metrics::Metrics;
use super::root::Root;
use super::sh::{Output, run, scratch_file, signal};
use super::{DEADLINE, SCRATCH, processes};
use crate::wait::{wait_for, wait_until};

/// Where the guest's init has put the built binary.
pub const BINARY: &str = "/usr/sbin/cowherd";
/// From start to the first complete look: reading LVM takes a second, emulated.
const READY: Duration = Duration::from_secs(20);
/// A clean stop ends what runs and writes nothing large.
const STOP: Duration = Duration::from_secs(15);
/// Lines of the log in an error.
const LOG_TAIL: usize = 30;

/// A running `cowherd run`; killed when dropped.
#[derive(Debug)]
pub struct Cowherd {
    child: Child,
    log: PathBuf,
}

/// Runs one command of cowherd's to its end.
pub fn cowherd(arguments: &[&str]) -> Result<Output> {
    println!("+ cowherd {}", arguments.join(" "));
    let output = run(BINARY, arguments)?;
    println!("{output}");
    Ok(output)
}

impl Cowherd {
    /// `cowherd run`, with `config` in a file when there is one, and further
    /// arguments. Its output goes to a log.
    pub fn start(config: Option<&str>, arguments: &[&str]) -> Result<Self> {
        let log = PathBuf::from(scratch_file("cowherd.log"));
        let file = File::create(&log).context("making cowherd's log")?;
        Self::start_as(Command::new(BINARY), log, file, config, arguments)
    }

    /// With its output there, where nobody collects it: its log is empty.
    pub fn start_into(output: File) -> Result<Self> {
        let log = PathBuf::from(scratch_file("cowherd.log"));
        File::create(&log).context("making cowherd's log")?;
        Self::start_as(Command::new(BINARY), log, output, None, &[])
    }

    /// The same from another root, with its log there.
    pub fn start_in(root: &Root, config: Option<&str>) -> Result<Self> {
        let (log, file) = root.log("cowherd.log")?;
        Self::start_as(root.command(BINARY), log, file, config, &[])
    }

    fn start_as(
        mut command: Command,
        log: PathBuf,
        file: File,
        config: Option<&str>,
        arguments: &[&str],
    ) -> Result<Self> {
        command.arg("run");
        if let Some(config) = config {
            let path = scratch_file("cowherd.toml");
            fs::write(&path, config).context("writing cowherd's configuration")?;
            command.args(["--config", &path]);
        }
        command.args(arguments).stdin(Stdio::null());
        command.stdout(file.try_clone()?).stderr(file);
        println!("+ cowherd run {}", arguments.join(" "));
        let child = command
            .spawn()
            .with_context(|| format!("starting {BINARY}"))?;
        Ok(Self { child, log })
    }

    /// Starts it and waits until it guards.
    pub fn ready(config: Option<&str>, arguments: &[&str]) -> Result<Self> {
        Self::start(config, arguments)?.until_ready()
    }

    /// As [`Self::wait_ready`], for whoever has just started it.
    pub fn until_ready(mut self) -> Result<Self> {
        self.wait_ready()?;
        Ok(self)
    }

    /// Waits until `/-/ready` answers 200; fails at once when cowherd ends.
    pub fn wait_ready(&mut self) -> Result<()> {
        let child = &mut self.child;
        let mut ended = None;
        let waited = wait_until("cowherd is ready", READY, || {
            ended = child.try_wait().ok().flatten();
            ended.is_some() || http_get("/-/ready").is_ok_and(|r| r.status == 200)
        });
        match (waited, ended) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(status)) => bail!("cowherd ended ({status}):\n{}", self.log_tail()),
            (Err(late), _) => bail!("{late}; its log:\n{}", self.log_tail()),
        }
    }

    /// The guard's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The front: the guard's child `cowherd front`, waited for.
    pub fn front_pid(&self) -> Result<u32> {
        wait_for("cowherd has its front", DEADLINE, || front_of(self.pid()))
    }

    /// Whether the guard still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self
            .child
            .try_wait()
            .context("asking for cowherd")?
            .is_none())
    }

    /// What it has logged so far.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).context("reading cowherd's log")
    }

    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    fn log_tail(&self) -> String {
        tail(&self.log().unwrap_or_default())
    }

    /// Waits until the log contains the text.
    pub fn wait_log(&self, text: &str, deadline: Duration) -> Result<()> {
        let what = format!("cowherd's log says {text:?}");
        wait_until(&what, deadline, || {
            self.log().is_ok_and(|l| l.contains(text))
        })
    }

    pub fn get(&self, path: &str) -> Result<Response> {
        http_get(path)
    }

    /// Scrapes `/metrics`, as strictly as Prometheus.
    pub fn metrics(&self) -> Result<Metrics> {
        let response = http_get("/metrics")?;
        ensure!(
            response.status == 200,
            "/metrics: {} {}",
            response.status,
            response.body
        );
        Metrics::parse(&response.body)
    }

    /// Scrapes until the condition holds.
    pub fn wait_metrics(
        &self,
        what: &str,
        deadline: Duration,
        condition: impl Fn(&Metrics) -> bool,
    ) -> Result<Metrics> {
        wait_for(what, deadline, || {
            self.metrics().ok().filter(|m| condition(m))
        })
    }

    /// Sends a signal (`"HUP"`, `"STOP"`, ...) to the guard.
    pub fn kill(&self, name: &str) -> Result<()> {
        signal(self.pid(), name)
    }

    /// Waits for the guard's end, however it came.
    pub fn wait_ended(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let child = &mut self.child;
        let ended = wait_for("cowherd has ended", deadline, || {
            child.try_wait().transpose()
        });
        let status = ended.with_context(|| format!("its log:\n{}", self.log_tail()))?;
        status.context("waiting for cowherd")
    }

    /// Stops it as systemd would; it must exit 0 and leave no process. Gives
    /// its whole log.
    pub fn stop(mut self) -> Result<String> {
        let front = front_of(self.pid());
        self.kill("TERM")?;
        let status = self.wait_ended(STOP)?;
        ensure!(
            status.success(),
            "cowherd stopped with {status}:\n{}",
            self.log_tail()
        );
        if let Some(front) = front {
            let is_gone = || !processes::is_running(front);
            wait_until("the front is gone too", DEADLINE, is_gone)?;
        }
        self.log()
    }
}

impl Drop for Cowherd {
    fn drop(&mut self) {
        self.child.kill().ok();
        // Not waited for: it may be stuck in the kernel. The runner reaps.
    }
}

/// The last lines of every log of this scenario, for its failure report.
#[must_use]
pub fn log_tails() -> Vec<String> {
    let entries = fs::read_dir(SCRATCH).into_iter().flatten().flatten();
    let paths = entries.map(|e| e.path());
    let logs = paths.filter(|p| p.to_string_lossy().ends_with(".cowherd.log"));
    logs.filter_map(|p| fs::read_to_string(p).ok())
        .map(|log| format!("cowherd's log ends:\n{}", tail(&log)))
        .collect()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
}

fn front_of(guard: u32) -> Option<u32> {
    let is_front = |pid: u32, line: &str| {
        line.split(' ').nth(1) == Some("front") && processes::parent(pid) == Some(guard)
    };
    let found = processes::programs()
        .into_iter()
        .find(|(pid, line)| is_front(*pid, line));
    found.map(|(pid, _)| pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_end() {
        let text: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert!(tail(&text.join("\n")).starts_with("70\n"));
        assert_eq!(tail("one"), "one");
    }
}
