//! `cargo lab exec`: one shell command in a fresh guest.

use std::fs;

use anyhow::{Result, bail};

use super::Host;
use super::machine::{Boot, End, Event, Guest};
use crate::args::Exec;

pub fn exec(exec: Exec) -> Result<u8> {
    let host = Host::prepare()?;
    let boot = Boot {
        name: "exec",
        verb: "exec",
        disks: &exec.disks,
        memory: exec.memory,
        forward: None,
        cowherd: false,
    };
    let mut guest = Guest::boot(&host, &boot)?;
    fs::write(guest.run_dir.out().join("command"), exec.command)?;
    let end = guest.watch(&host.interrupt, Some(exec.timeout), |event| match event {
        Event::Line(line) => println!("{line}"),
        Event::Tick => {}
    })?;
    let console = guest.console_file.display();
    match (end, guest.exit_code()) {
        (End::PoweredOff, Some(code)) => Ok(code),
        (End::PoweredOff, None) => bail!("the guest died; its console: {console}"),
        (End::Deadline, _) => bail!("ended after {} s; console: {console}", exec.timeout.as_secs()),
        (End::Interrupted, _) => bail!("interrupted"),
    }
}
