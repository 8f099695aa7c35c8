//! What is served: the exposition is what Prometheus expects, and a scrape costs nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Scenario;
use crate::figures::figures;
use crate::guest::bench::guards::{self, Running};
use crate::guest::bench::{herds, load};
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::herd::Herd;
use crate::guest::http::http_get;
use crate::guest::lvm::Vg;
use crate::guest::sh::{sh, try_sh};
use crate::guest::{DEADLINE, Lab};
use crate::samples::Guard;
use crate::size::Size;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "promtool_has_nothing_to_say_about_the_exposition",
        "promtool check metrics is silent on a host with pools and snapshots",
        promtool,
    ),
    Scenario::new(
        "a_scrape_of_300_volumes_takes_under_10_ms",
        "300 thin volumes: no LVM command, a hundredth of a fullreport, no more memory than dmeventd and a fifth",
        scrape,
    )
    .timed()
    .own_guest()
    .deadline(Duration::from_secs(240)),
    Scenario::new(
        "status_works_without_the_guard",
        "the table shows pools and snapshots with nothing running",
        status,
    ),
];

fn promtool(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", Size::mib(64), Size::mib(4), "")?;
    vg.thin("pool", "thin", Size::mib(100))?;
    vg.thick("origin", Size::mib(64))?;
    vg.cow_snapshot("origin", "snap", Size::mib(16))?;
    let guard = Cowherd::ready(None, &[])?;
    guard.wait_metrics("the pool is seen", DEADLINE, |m| {
        m.get("cowherd_thin_pool_data_used_bytes", &[("lv", "pool")])
            .is_some()
    })?;
    std::fs::write("/run/lab/exposition", http_get("/metrics")?.body)?;
    let told = try_sh("promtool check metrics < /run/lab/exposition")?;
    let silent = told.code == Some(0) && told.stdout.is_empty() && told.stderr.is_empty();
    ensure!(silent, "promtool complains: {told}");
    guard.stop()?;
    vg.remove()
}

fn scrape(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    guards::configure(Guard::Cowherd)?;
    let herd = Herd {
        volumes: 300,
        snapshots: 2,
        busy: Size::mib(16),
    };
    herd.make(&vg)?;
    let guard = Cowherd::ready(None, &[])?;
    herds::seen(&guard, herd)?;
    let commands = guard.metrics()?.sum("cowherd_lvm_commands_total", &[]);
    let repeated = median(herds::get("/metrics", 21, Duration::ZERO)?.0)?;
    let fresh = median(herds::get("/metrics", 5, herds::VIEW)?.0)?;
    let empty = median(herds::get("/-/healthy", 5, herds::REST)?.0)?;
    let after = guard.metrics()?.sum("cowherd_lvm_commands_total", &[]);
    // A report falls due now and then, scraped or not.
    ensure!(
        after <= commands + 1.0,
        "scrapes ran {} LVM commands",
        after - commands
    );
    let ours = resident_kib(&[guard.pid(), guard.front_pid()?])?;
    guard.stop()?;
    let report = median(herds::fullreports(3)?)?;
    let told = format!(
        "scrape: {repeated:.2} ms, {fresh:.2} ms of a new view; an empty answer {empty:.2} ms; \
         fullreport {report:.0} ms"
    );
    println!("{told}");
    ensure!(repeated < 10.0, "10 ms and more: {told}");
    ensure!(repeated * 100.0 <= report, "not a hundredth: {told}");
    let theirs = dmeventd_kib(&vg)?;
    println!("memory: cowherd {ours} KiB, dmeventd {theirs} KiB");
    ensure!(
        ours * 10 <= theirs * 12,
        "{ours} KiB resident, dmeventd {theirs} KiB: more than a fifth above"
    );
    // Its disks are wiped; removing each volume would take minutes.
    Ok(())
}

/// What dmeventd takes when it monitors all of the group.
fn dmeventd_kib(vg: &Vg) -> Result<u64> {
    guards::configure(Guard::Dmeventd)?;
    sh(&format!("vgchange -q --monitor y {}", vg.name()))?;
    let lvs = [vg.lv("pool"), vg.lv("snap-1"), vg.lv("snap-2")];
    let running = Running::ready(Guard::Dmeventd, &lvs.each_ref().map(String::as_str))?;
    let kib = resident_kib(&running.pids()?)?;
    running.stop()?;
    Ok(kib)
}

fn resident_kib(pids: &[u32]) -> Result<u64> {
    let processes = load::processes(pids)?;
    Ok(processes.iter().map(|process| process.resident_kib).sum())
}

fn median(samples: Vec<f64>) -> Result<f64> {
    let figures = figures(samples).context("no sample")?;
    Ok(figures.median)
}

fn status(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", Size::mib(64), Size::mib(4), "")?;
    vg.thick("origin", Size::mib(64))?;
    vg.cow_snapshot("origin", "snap", Size::mib(16))?;
    let table = cowherd(&["status"])?;
    ensure!(table.code == Some(0), "{table}");
    for name in ["vg0", "pool", "snap"] {
        ensure!(table.stdout.contains(name), "{name} is missing: {table}");
    }
    let json = cowherd(&["status", "--json"])?;
    ensure!(
        json.code == Some(0) && json.stdout.contains("\"inventory\""),
        "{json}"
    );
    vg.remove()
}
