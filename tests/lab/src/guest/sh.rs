//! Runs programs inside the guest: bounded, echoed to the console, with their
//! output in the error. Output goes through files, because a daemon that a
//! command leaves behind (dmeventd) would hold a pipe open for ever.

use std::fmt;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::SCRATCH;
use crate::wait::wait_for;

/// For a command that a scenario waits for; a hung lvm is a finding.
const DEADLINE: Duration = Duration::from_secs(40);

/// How a program ended and what it said, both without the last line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "exit {code}")?,
            None => write!(f, "ended by a signal")?,
        }
        for text in [&self.stdout, &self.stderr] {
            if !text.is_empty() {
                write!(f, "\n{text}")?;
            }
        }
        Ok(())
    }
}

/// Runs a bash script; anything but exit 0 is an error. Gives its stdout, trimmed.
pub fn sh(script: &str) -> Result<String> {
    let output = try_sh(script)?;
    ensure!(output.success(), "{script}: {output}");
    Ok(output.stdout.trim().to_owned())
}

/// Runs a bash script that may fail; an error is one that did not end.
pub fn try_sh(script: &str) -> Result<Output> {
    println!("+ {script}");
    let output = run("bash", &["-c", script])?;
    println!("{output}");
    Ok(output)
}

/// Runs one program without a word on the console.
pub fn run(program: &str, arguments: &[&str]) -> Result<Output> {
    run_for(DEADLINE, program, arguments)
}

/// As [`run`]; at the deadline the program is killed.
pub fn run_for(deadline: Duration, program: &str, arguments: &[&str]) -> Result<Output> {
    let (out, err) = (scratch_file("stdout"), scratch_file("stderr"));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(File::create(&out).context("making a file for stdout")?)
        .stderr(File::create(&err).context("making a file for stderr")?)
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let what = format!("{program} {} ended", arguments.join(" "));
    let ended = wait_for(&what, deadline, || child.try_wait().transpose());
    if ended.is_err() {
        child.kill().ok();
    }
    let read =
        |path| Ok::<_, anyhow::Error>(String::from_utf8_lossy(&fs::read(path)?).into_owned());
    let (stdout, stderr) = (read(&out)?, read(&err)?);
    fs::remove_file(&out).and_then(|()| fs::remove_file(&err))?;
    match ended {
        Ok(status) => Ok(Output {
            code: status.context("waiting for it")?.code(),
            stdout: stdout.trim_end_matches('\n').to_owned(),
            stderr: stderr.trim_end_matches('\n').to_owned(),
        }),
        Err(late) => bail!("{late}; so far it said:\n{stdout}{stderr}"),
    }
}

/// A path nobody else in this guest uses.
#[must_use]
pub fn scratch_file(purpose: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{SCRATCH}/{}-{number}.{purpose}", std::process::id())
}

/// Sends a signal (`"TERM"`, `"STOP"`, ...) to a process.
pub fn signal(pid: u32, signal: &str) -> Result<()> {
    sh(&format!("kill -{signal} {pid}")).map(drop)
}
