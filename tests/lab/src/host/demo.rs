//! `cargo lab demo`: cowherd at work in a guest, its page on this machine's
//! loopback.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::machine::{Boot, Build, End, Event, Guest};
use super::qemu::{Forward, PROCESSORS};
use super::{Host, checks};
use crate::args::{Demo, PAGE_PORT};
use crate::size::Size;
use crate::verdict::DEMO_READY;

const DISKS: [Size; 2] = [Size::gib(3), Size::gib(3)];
/// The kernel, the overlay with cowherd in it, LVM and two writers.
const MEMORY: Size = Size::gib(1);
/// Boot, volumes and their first filling, and the last look, on a busy machine.
const AROUND: Duration = Duration::from_secs(180);

/// Lines shown of a guest that did not come to cowherd.
const LINES_BEFORE: usize = 30;

pub fn demo(demo: Demo) -> Result<u8> {
    // Asked before minutes are spent on building and booting.
    let port = demo.port;
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("port {port} of 127.0.0.1 is taken: choose one with --port"))?;
    let host = Host::prepare()?;
    checks::build()?;
    println!("lab: booting a guest, making volumes, starting cowherd ...");
    let mut guest = boot(&host, demo)?;
    let end = follow(&host, demo, &mut guest)?;
    conclude(demo, end, &guest)
}

fn boot(host: &Host, demo: Demo) -> Result<Guest> {
    let lasts = demo.lasts.map(|d| d.as_secs().to_string());
    Guest::boot(
        host,
        &Boot {
            name: "demo",
            verb: &format!("demo {}", lasts.as_deref().unwrap_or("until-stopped")),
            disks: &DISKS,
            processors: PROCESSORS,
            memory: MEMORY,
            forward: Some(Forward {
                host_port: demo.port,
                guest_port: PAGE_PORT,
            }),
            cowherd: Build::Dev,
        },
    )
}

/// Passes on what the guest prints once cowherd runs; before that only when it
/// never came to it.
fn follow(host: &Host, demo: Demo, guest: &mut Guest) -> Result<End> {
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
        let from = before.len().saturating_sub(LINES_BEFORE);
        println!("{}", before[from..].join("\n"));
    }
    Ok(end)
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
