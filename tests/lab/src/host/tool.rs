//! Runs one program of the host to its end. Where sbin is missing from a
//! user's PATH it is added: depmod and modprobe live there.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// A command with a stable locale, no input, and a PATH that has sbin.
#[must_use]
pub fn command(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command
        .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command
}

/// Runs it with its output passed on; anything but success is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let text = told(command);
    let status = command
        .status()
        .with_context(|| format!("starting {text}"))?;
    ensure!(status.success(), "{text}: {status}");
    Ok(())
}

/// Runs it and gives its stdout; the error carries stderr.
pub fn output(command: &mut Command) -> Result<String> {
    let text = told(command);
    let output = command
        .output()
        .with_context(|| format!("starting {text}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{text}: {}: {}",
        output.status,
        stderr.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command line as a person would type it.
#[must_use]
pub fn told(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// A path as text for a command line or script.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
