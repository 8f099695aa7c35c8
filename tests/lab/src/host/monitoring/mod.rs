//! The check of monitoring: a guest on which everything happens, a real Prometheus and a real Alertmanager on
//! this machine that watch it with the project's own rules, routes and dashboards, and somebody who is woken.

pub mod fleet;
mod preview;
mod queries;
mod receiver;
mod servers;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver as Queue, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

pub(super) use self::servers::{folder, free_port};

use self::receiver::Receiver;
use self::servers::Server;
use super::Host;
use super::machine::{Boot, Build, Event, Guest};
use super::qemu::{Forward, PROCESSORS};
use crate::args::PAGE_PORT;
use crate::size::Size;
use crate::verdict::{STEP, Step};
use crate::wait::wait_until;

pub const NAME: &str = "monitoring";
/// Two groups with a disk each, one that is standing by, one without room, and what mends it.
const DISKS: [Size; 5] = [
    Size::gib(2),
    Size::mib(128),
    Size::mib(128),
    Size::mib(128),
    Size::gib(1),
];
const MEMORY: Size = Size::gib(1);
/// Of the whole guest.
const GUEST: Duration = Duration::from_secs(900);
/// Of one step of it.
const DONE: Duration = Duration::from_secs(240);
/// Whoever is to be woken must be woken within this.
const PAGE: Duration = Duration::from_secs(60);
/// A guard that is gone is told by the age of what its front still serves, which takes longer.
const SILENT_PAGE: Duration = Duration::from_secs(240);
/// Scrape, evaluation, and the interval at which a group tells what has changed.
const RESOLVED: Duration = Duration::from_secs(400);
/// Of a few scrapes and evaluations.
const SCRAPED: Duration = Duration::from_secs(90);

/// Prints what it saw; an error is a failure.
pub fn check(host: &Host) -> Result<()> {
    let folder = servers::folder(NAME)?;
    let port = servers::free_port()?;
    let receiver = Receiver::listen()?;
    let alertmanager = servers::alertmanager(&folder, &alertmanager_config(receiver.port)?)?;
    for file in ["cowherd.rules.yml", "recording.rules.yml"] {
        fs::write(
            folder.join(file),
            servers::adapted(&format!("alerts/{file}"), &[])?,
        )?;
    }
    let mut guest = boot(host, port)?;
    let out = guest.run_dir.out();
    let (lines, steps) = channel();
    thread::scope(|scope| {
        let watched = &mut guest;
        // The lines end with the guest.
        let watching = scope.spawn(move || {
            watched.watch(&host.interrupt, Some(GUEST), |event| {
                if let Event::Line(line) = event {
                    lines.send(line.to_owned()).ok();
                }
            })
        });
        let ask = |step: Step| fs::write(out.join(step.word()), "").context("asking the guest");
        let watched_by = Monitored {
            prometheus_config: prometheus_config(&folder, port, alertmanager.port)?,
            folder,
            receiver,
            alertmanager,
        };
        let seen = watched_by.run(&steps, &ask);
        // Whatever it still waits for: it comes to its end.
        for step in Step::ALL {
            ask(step)?;
        }
        watching
            .join()
            .map_err(|_| anyhow::anyhow!("watching the guest"))??;
        seen
    })?;
    ensure!(
        guest.exit_code() == Some(0),
        "the guest failed; its console: {}",
        guest.console_file.display()
    );
    Ok(())
}

fn boot(host: &Host, port: u16) -> Result<Guest> {
    Guest::boot(
        host,
        &Boot {
            name: NAME,
            verb: "monitored",
            disks: &DISKS,
            processors: PROCESSORS,
            memory: MEMORY,
            forward: Some(Forward {
                host_port: port,
                guest_port: PAGE_PORT,
            }),
            cowherd: Build::Dev,
        },
    )
}

/// The project's example, with the guest as its one target.
fn prometheus_config(folder: &Path, cowherd: u16, alertmanager: u16) -> Result<String> {
    fs::create_dir_all(folder.join("targets"))?;
    fs::write(
        folder.join("targets/guest.yml"),
        format!("- targets: [127.0.0.1:{cowherd}]\n"),
    )?;
    servers::adapted(
        "alerts/prometheus.yml",
        &[("127.0.0.1:9093", &format!("127.0.0.1:{alertmanager}"))],
    )
}

/// Routes and inhibitions as they are, and every receiver this one.
fn alertmanager_config(port: u16) -> Result<String> {
    servers::adapted(
        "alerts/alertmanager.yml",
        &[("127.0.0.1:9095", &format!("127.0.0.1:{port}"))],
    )
}

/// The servers and who listens to them.
struct Monitored {
    prometheus_config: String,
    folder: PathBuf,
    receiver: Receiver,
    alertmanager: Server,
}

impl Monitored {
    fn run(&self, lines: &Queue<String>, ask: &dyn Fn(Step) -> Result<()>) -> Result<()> {
        let from = now();
        let prometheus = servers::prometheus(&self.folder, &self.prometheus_config)?;
        wait_for_step(lines, Step::Everything)?;
        wait_until("Prometheus sees what happened", SCRAPED, || {
            let query = "cowherd_reliefs_total > 0 and on () cowherd_extend_failures_total > 0";
            has_data(&prometheus, query)
        })?;
        ask(Step::Restart)?;
        wait_for_step(lines, Step::Restart)?;
        wait_until("Prometheus sees the restart", SCRAPED, || {
            let query = "changes(process_start_time_seconds{job=\"cowherd\"}[2m]) > 0";
            has_data(&prometheus, query)
        })?;
        let asked = Instant::now();
        ask(Step::Lose)?;
        wait_for_step(lines, Step::Lose)?;
        // Both happened between the question and the answer: counted from before, it is never told as too quick.
        self.is_paged("CowherdThinPoolOutOfDataSpace", asked, PAGE)?;
        self.is_paged("CowherdSnapshotInvalid", asked, PAGE)?;
        self.is_inhibited()?;
        wait_until(
            "every query of the dashboards has an answer",
            SCRAPED,
            || queries::unanswered(&prometheus, from, now()).is_ok_and(|faults| faults.is_empty()),
        )
        .or_else(|_| {
            bail!(
                "{}",
                queries::unanswered(&prometheus, from, now())?.join("\n")
            )
        })?;
        let faulty = queries::faulty_rules(&prometheus)?;
        ensure!(faulty.is_empty(), "{}", faulty.join("\n"));
        let asked = Instant::now();
        ask(Step::Mend)?;
        wait_for_step(lines, Step::Mend)?;
        for alert in ["CowherdThinPoolOutOfDataSpace", "CowherdSnapshotInvalid"] {
            let (took, _) = self.receiver.wait(alert, true, asked, RESOLVED)?;
            println!("        {alert} resolved after {:.0} s", took.as_secs_f64());
        }
        preview::draw(&prometheus, from, now(), &self.folder)?;
        println!(
            "        the dashboards are drawn in {}",
            self.folder.display()
        );
        let asked = Instant::now();
        ask(Step::Kill)?;
        wait_for_step(lines, Step::Kill)?;
        self.is_paged("CowherdSilent", asked, SILENT_PAGE)
    }

    fn is_paged(&self, alert: &str, since: Instant, within: Duration) -> Result<()> {
        let (took, told) = self.receiver.wait(alert, false, since, within)?;
        println!(
            "        {alert} came after {:.0} s, to {}",
            took.as_secs_f64(),
            told.receiver
        );
        ensure!(
            told.receiver.contains("page"),
            "{alert} went to {}",
            told.receiver
        );
        Ok(())
    }

    /// What a pool without room makes fire besides is muted.
    fn is_inhibited(&self) -> Result<()> {
        wait_until(
            "Alertmanager mutes what follows from a full pool",
            PAGE * 2,
            || {
                let Ok(body) = self
                    .alertmanager
                    .get("/api/v2/alerts", &[("inhibited", "true")])
                else {
                    return false;
                };
                let alerts: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
                alerts.as_array().is_some_and(|alerts| {
                    alerts.iter().any(|alert| {
                        alert["status"]["inhibitedBy"]
                            .as_array()
                            .is_some_and(|by| !by.is_empty())
                            && alert["labels"]["vg"] == "tight"
                    })
                })
            },
        )
    }
}

fn has_data(prometheus: &Server, query: &str) -> bool {
    let answer = prometheus.api("/api/v1/query", &[("query", query)]);
    answer.is_ok_and(|data| !list(&data["result"]).is_empty())
}

fn wait_for_step(lines: &Queue<String>, step: Step) -> Result<()> {
    let wanted = format!("{STEP} {}", step.word());
    let start = Instant::now();
    let mut seen = Vec::new();
    while let Some(left) = DONE.checked_sub(start.elapsed()) {
        match lines.recv_timeout(left) {
            Ok(line) if line == wanted => return Ok(()),
            Ok(line) => seen.push(line),
            Err(_) => break,
        }
    }
    let from = seen.len().saturating_sub(20);
    bail!(
        "the guest did not {}; it said last:\n{}",
        step.word(),
        seen[from..].join("\n")
    )
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

fn list(value: &serde_json::Value) -> &[serde_json::Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
