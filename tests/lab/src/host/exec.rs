//! `cargo lab exec`: one shell command in a fresh guest.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use super::machine::{Boot, Build, End, Event, Guest};
use super::qemu::PROCESSORS;
use super::{Host, tool};
use crate::args::Exec;

pub fn exec(exec: Exec) -> Result<u8> {
    let host = Host::prepare()?;
    let boot = Boot {
        name: "exec",
        verb: "exec",
        disks: &exec.disks,
        processors: PROCESSORS,
        memory: exec.memory,
        forward: None,
        cowherd: Build::AsFound,
    };
    let mut guest = Guest::boot(&host, &boot)?;
    fs::write(guest.run_dir.out().join("command"), exec.command)?;
    let end = guest.watch(&host.interrupt, Some(exec.timeout), |event| match event {
        Event::Line(line) => println!("{line}"),
        Event::Tick => {}
    })?;
    if let Some(target) = &exec.save {
        save(&guest.run_dir.out().join("saved"), target)?;
    }
    let console = guest.console_file.display();
    match (end, guest.exit_code()) {
        (End::PoweredOff, Some(code)) => Ok(code),
        (End::PoweredOff, None) => bail!("the guest died; its console: {console}"),
        (End::Deadline, _) => bail!(
            "ended after {} s; console: {console}",
            exec.timeout.as_secs()
        ),
        (End::Interrupted, _) => bail!("interrupted"),
    }
}

fn save(saved: &Path, target: &Path) -> Result<()> {
    if !saved.exists() {
        bail!("the command left nothing in /out/saved");
    }
    fs::create_dir_all(target)?;
    // With its trailing dot cp copies the folder's content, not the folder.
    tool::run(
        tool::command("cp")
            .arg("-r")
            .arg(saved.join("."))
            .arg(target),
    )
}
