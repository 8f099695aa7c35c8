//! What is served: the exposition is what Prometheus expects, and a scrape costs nothing.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Scenario;
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::http::http_get;
use crate::guest::lvm::Vg;
use crate::guest::sh::{run_for, sh, try_sh};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "promtool_has_nothing_to_say_about_the_exposition",
        "promtool check metrics is silent on a host with pools and snapshots",
        promtool,
    ),
    Scenario::new(
        "a_scrape_of_300_volumes_takes_under_10_ms",
        "300 thin volumes: median of 21 scrapes, and no LVM command for any of them",
        scrape,
    )
    .deadline(Duration::from_secs(360)),
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
    vg.pool("pool", Size::mib(256), Size::mib(16), "")?;
    // One lvm shell: 300 processes take minutes in an emulated guest.
    let script = "for i in $(seq 300); do \
                  echo lvcreate -y -An -V 16M --thinpool vg0/pool -n vm-$i-disk-0 --monitor n; \
                  done | lvm > /run/lab/many 2>&1";
    run_for(Duration::from_secs(240), "bash", &["-c", script])?;
    let made = sh("lvs --noheadings -o lv_name vg0 | grep -c vm-")?;
    ensure!(
        made.trim() == "300",
        "{made} volumes: {}",
        sh("tail -3 /run/lab/many")?
    );
    let guard = Cowherd::ready(None, &[])?;
    let metrics = guard.wait_metrics("all volumes are seen", DEADLINE, |m| {
        m.get(
            "cowherd_thin_pool_volumes",
            &[("lv", "pool"), ("kind", "volume")],
        ) == Some(300.0)
    })?;
    let commands = metrics.sum("cowherd_lvm_commands_total", &[]);
    let mut times = Vec::new();
    for _ in 0..21 {
        let started = Instant::now();
        let page = http_get("/metrics")?;
        times.push(started.elapsed());
        ensure!(page.status == 200);
    }
    times.sort_unstable();
    println!("scrape: median {:?}, slowest {:?}", times[10], times[20]);
    ensure!(
        times[10] < Duration::from_millis(10),
        "median {:?} of {times:?}",
        times[10]
    );
    let after = guard.metrics()?.sum("cowherd_lvm_commands_total", &[]);
    ensure!(
        after <= commands + 1.0,
        "scrapes ran {} LVM commands",
        after - commands
    );
    guard.stop()?;
    vg.remove()
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
