//! The guest half: the verbs scenarios are written in, and what the guest's init
//! runs. All of it expects to be root in a lab guest; `run` checks that.

pub mod bench;
pub mod cleanup;
pub mod cowherd;
pub mod crowd;
pub mod demo;
pub mod dm;
pub mod herd;
pub mod http;
pub mod lvm;
pub mod mariadb;
pub mod memory;
pub mod metrics;
pub mod monitored;
pub mod processes;
pub mod root;
pub mod runner;
pub mod scrapes;
pub mod served;
pub mod sh;
pub mod slow;
pub mod writer;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// For what normally takes moments, in an emulated guest with a busy host.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// Scratch files of the running scenario; emptied between scenarios.
pub const SCRATCH: &str = "/run/lab";

/// What a scenario is given.
#[derive(Debug)]
pub struct Lab {
    name: String,
    disks: Vec<String>,
}

impl Lab {
    /// The scenario's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its own disks, empty: `/dev/vda`, ... in the order of the table.
    #[must_use]
    pub fn disks(&self) -> &[String] {
        &self.disks
    }
}

/// One verb, run by the guest's init or by the runner.
pub fn run(words: &[String]) -> Result<u8> {
    ensure!(
        Path::new("/out/env").exists(),
        "`guest` verbs run inside a lab guest only"
    );
    std::fs::create_dir_all(SCRATCH).context("making the scratch folder")?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["exec"] => exec(),
        ["scenarios", names @ ..] => runner::scenarios(names),
        ["scenario", name, disks @ ..] => runner::scenario(name, disks),
        ["writer", rest @ ..] => writer::main(rest),
        ["hog", leave, done] => memory::hog(leave, done),
        ["demo", rest @ ..] => demo::demo(rest),
        ["monitored"] => monitored::monitored(),
        ["served"] => served::served(),
        ["bench", rest @ ..] => bench::bench(rest),
        other => bail!("no guest verb {other:?}"),
    }
}

fn exec() -> Result<u8> {
    let mut command = Command::new("bash");
    let status = command
        .arg("/out/command")
        .status()
        .context("starting bash")?;
    // As a shell: a command ended by a signal is 255 here.
    Ok(status
        .code()
        .and_then(|c| u8::try_from(c).ok())
        .unwrap_or(255))
}
