//! `cargo lab demo`: cowherd at work in a guest, its page on this machine's
//! loopback.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::machine::{Boot, End, Event, Guest};
use super::qemu::Forward;
use super::{Host, checks};
use crate::args::{Demo, PAGE_PORT};
use crate::size::Size;
use crate::verdict::DEMO_READY;

const DISKS: [Size; 2] = [Size::gib(3), Size::gib(3)];
/// Boot, volumes and their first filling, and the last look, on a busy machine.
const AROUND: Duration = Duration::from_secs(180);

/// Lines shown of a guest that did not come to cowherd.
const LINES_BEFORE: usize = 30;

pub fn demo(demo: Demo) -> Result<u8> {
    let page = (Ipv4Addr::LOCALHOST, demo.port);
    // Asked before minutes are spent on building and booting.
    TcpListener::bind(page).with_context(|| {
        format!(
            "port {} of 127.0.0.1 is taken: choose one with --port",
            demo.port
        )
    })?;
    let host = Host::prepare()?;
    checks::build()?;
    println!("lab: booting a guest, making volumes, starting cowherd ...");
    let lasts = demo.lasts.map(|d| d.as_secs().to_string());
    let mut guest = Guest::boot(
        &host,
        &Boot {
            name: "demo",
            verb: &format!("demo {}", lasts.as_deref().unwrap_or("until-stopped")),
            disks: &DISKS,
            memory: Size::gib(1),
            forward: Some(Forward {
                host_port: demo.port,
                guest_port: PAGE_PORT,
            }),
            cowherd: true,
        },
    )?;
    let mut is_ready = false;
    let mut before = Vec::new();
    let deadline = demo.lasts.map(|lasts| lasts + AROUND);
    let end = guest.watch(&host.interrupt, deadline, |event| match event {
        Event::Line(DEMO_READY) => {
            is_ready = true;
            explain(demo);
        }
        Event::Line(line) if is_ready => println!("{line}"),
        Event::Line(line) => before.push(line.to_owned()),
        Event::Tick => {}
    })?;
    if !is_ready && end != End::Interrupted {
        // What went wrong is in the last lines.
        let from = before.len().saturating_sub(LINES_BEFORE);
        before[from..].iter().for_each(|line| println!("{line}"));
    }
    conclude(demo, end, &guest)
}

fn explain(demo: Demo) {
    let port = demo.port;
    let ends = match demo.lasts {
        Some(lasts) => format!("It ends by itself in {} s.", lasts.as_secs()),
        None => "Ctrl-C ends it and removes all of it.".to_owned(),
    };
    println!(
        "
  page      http://127.0.0.1:{port}/
  metrics   curl -s http://127.0.0.1:{port}/metrics | grep ^cowherd_

  A thin pool of 256 MiB (vg0/pool) fills at 3 MiB/s, the COW snapshot vg0/snap of 64 MiB at
  2 MiB/s. Without cowherd both would be lost within a minute; it extends them as they fill,
  for ten minutes. {ends} Below is cowherd's log.
"
    );
}

fn conclude(demo: Demo, end: End, guest: &Guest) -> Result<u8> {
    let console = guest.console_file.display();
    match (end, guest.exit_code(), demo.lasts) {
        (End::Interrupted, _, None) => {
            println!("lab: the demo is over");
            Ok(0)
        }
        (End::Interrupted, _, Some(_)) => bail!("interrupted"),
        (End::Deadline, _, _) => bail!("the guest hangs; its console: {console}"),
        (End::PoweredOff, Some(0), _) => {
            println!("lab: both volumes were extended and nothing was lost");
            Ok(0)
        }
        (End::PoweredOff, _, _) => bail!("the demo failed; the guest's console: {console}"),
    }
}
