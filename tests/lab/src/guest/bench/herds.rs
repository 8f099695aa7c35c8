//! Scrapes and footprints at growing numbers of volumes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::guards::{self, Running};
use super::stores::make_vg;
use super::{disks, load};
use crate::guest::DEADLINE;
use crate::guest::cowherd::Cowherd;
use crate::guest::herd::Herd;
use crate::guest::http::http_get;
use crate::guest::lvm::Vg;
use crate::guest::sh::{run_for, scratch_file, sh, signal};
use crate::guest::writer::{Rate, Writer};
use crate::samples::{Footprint, Guard, Part, Scrapes};
use crate::size::Size;
use crate::wait::wait_until;

const VOLUMES: [u32; 3] = [10, 300, 1000];
const SNAPSHOTS: u32 = 10;
/// What the busy writer writes: more than the pool has, so that it is extended.
const BUSY: Size = Size::gib(2);
/// While nothing happens a view is published every ten seconds: one scrape for each, so that none is of a view that
/// was rendered for another.
pub const VIEW: Duration = Duration::from_millis(10_100);
/// Between requests that ask for no view.
pub const REST: Duration = Duration::from_secs(1);
/// They are quick beside fullreports.
const SCRAPES_PER_RUN: u32 = 2;
/// Scraped while every program that is started is written down.
const TRACED: u32 = 10;
/// Until a guard that was started idles: a first report, its backups, the looks at what is new.
const STARTED: Duration = Duration::from_secs(20);
/// A processor's time is told in hundredths of a second.
const IDLE: Duration = Duration::from_secs(60);
/// At the slowest disk's pace.
const WRITTEN: Duration = Duration::from_secs(600);
/// Of `vgchange` with a thousand volumes.
const CHANGED: Duration = Duration::from_secs(180);

#[derive(Debug, Default)]
pub struct Samples {
    pub scrapes: Vec<Scrapes>,
    pub footprints: Vec<Footprint>,
}

pub(super) fn measure(runs: u32, parts: &BTreeSet<Part>) -> Result<Samples> {
    let mut samples = Samples::default();
    for volumes in VOLUMES {
        for guard in Guard::BOTH {
            measure_herd(volumes, guard, runs, parts, &mut samples)?;
        }
    }
    Ok(samples)
}

/// A herd for each guard: the pool of the first has been extended.
fn measure_herd(
    volumes: u32,
    guard: Guard,
    runs: u32,
    parts: &BTreeSet<Part>,
    samples: &mut Samples,
) -> Result<()> {
    let is_scraped = parts.contains(&Part::Scrape) && guard == Guard::Cowherd;
    let is_weighed = parts.contains(&Part::Footprint);
    if !is_scraped && !is_weighed {
        return Ok(());
    }
    guards::configure(Guard::Cowherd)?;
    let vg = make_vg()?;
    let herd = Herd {
        volumes,
        snapshots: SNAPSHOTS,
        busy: BUSY,
    };
    herd.make(&vg)?;
    println!("bench: {volumes} volumes are active");
    if is_scraped {
        samples.scrapes.push(scrapes(herd, runs)?);
    }
    if is_weighed {
        samples.footprints.push(footprint(&vg, herd, guard)?);
    }
    forget(vg)
}

/// Without removing each volume: that takes minutes for a thousand.
fn forget(vg: Vg) -> Result<()> {
    guards::configure(Guard::Cowherd)?;
    quiet(&format!("vgchange -q -an {}", vg.name()))?;
    drop(vg);
    sh(&format!("wipefs -aq {}", disks().join(" "))).map(drop)
}

fn quiet(script: &str) -> Result<()> {
    let output = run_for(CHANGED, "bash", &["-c", script])?;
    ensure!(output.success(), "{script}: {output}");
    Ok(())
}

/// Waits until cowherd's view has the whole herd.
pub fn seen(cowherd: &Cowherd, herd: Herd) -> Result<()> {
    let labels = [("lv", "pool"), ("kind", "volume")];
    cowherd.wait_metrics("the whole herd is seen", DEADLINE, |metrics| {
        // `busy` is one more.
        metrics.is("cowherd_thin_pool_volumes", &labels, herd.volumes + 1)
            && metrics.all("cowherd_snapshot_cow_size_bytes", &[]).len() == herd.snapshots as usize
    })?;
    Ok(())
}

fn scrapes(herd: Herd, runs: u32) -> Result<Scrapes> {
    let running = Running::ready(Guard::Cowherd, &[])?;
    let Running::Cowherd(cowherd) = &running else {
        anyhow::bail!("cowherd was started, not dmeventd");
    };
    seen(cowherd, herd)?;
    let times = runs * SCRAPES_PER_RUN;
    let (scrapes_ms, exposition_bytes) = get("/metrics", times, VIEW)?;
    let (answers_ms, _) = get("/-/healthy", times, REST)?;
    let (repeated_ms, _) = get("/metrics", times, Duration::ZERO)?;
    let (programs_started, lvm_commands) = traced(cowherd)?;
    running.stop()?;
    let fullreports_ms = fullreports(runs)?;
    let sample = Scrapes {
        volumes: herd.volumes,
        scrapes_ms,
        answers_ms,
        repeated_ms,
        fullreports_ms,
        exposition_bytes,
        programs_started,
        lvm_commands,
        traced_scrapes: TRACED,
    };
    println!("bench: {sample:?}");
    Ok(sample)
}

/// GET so many times, each after a rest; gives milliseconds, and the size of the
/// last body. After [`VIEW`] a scrape is of another view.
pub fn get(path: &str, times: u32, rest: Duration) -> Result<(Vec<f64>, u64)> {
    let mut took = Vec::new();
    let mut bytes = 0;
    for _ in 0..times {
        thread::sleep(rest);
        let before = Instant::now();
        let response = http_get(path)?;
        took.push(millis(before));
        ensure!(response.status == 200, "{path}: {}", response.status);
        bytes = response.body.len() as u64;
    }
    Ok((took, bytes))
}

/// `lvm fullreport` as it is, its output thrown away.
pub fn fullreports(times: u32) -> Result<Vec<f64>> {
    let report = |_| {
        let before = Instant::now();
        let mut child = Command::new("lvm")
            .arg("fullreport")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting lvm")?;
        let status = child.wait().context("waiting for lvm")?;
        let took = millis(before);
        ensure!(status.success(), "lvm fullreport: {status}");
        Ok(took)
    };
    (0..times).map(report).collect()
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Scrapes under strace: the programs that cowherd's processes started
/// meanwhile, and the LVM commands that it counted.
fn traced(cowherd: &Cowherd) -> Result<(u32, u32)> {
    let trace = scratch_file("trace");
    let mut strace = attach(&[cowherd.pid(), cowherd.front_pid()?], &trace)?;
    let commands =
        || -> Result<f64> { Ok(cowherd.metrics()?.sum("cowherd_lvm_commands_total", &[])) };
    let before = commands()?;
    get("/metrics", TRACED, REST)?;
    let counted = commands()? - before;
    signal(strace.id(), "INT")?;
    strace.wait().context("waiting for strace")?;
    let text = fs::read_to_string(&trace).context("reading the trace")?;
    let started = text.lines().filter(|line| line.contains("execve(")).count();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter's increase within seconds"
    )]
    Ok((u32::try_from(started)?, counted as u32))
}

/// Waits until both processes are traced.
fn attach(pids: &[u32], trace: &str) -> Result<Child> {
    let told = scratch_file("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=execve", "-o", trace]);
    for pid in pids {
        strace.args(["-p", &pid.to_string()]);
    }
    let strace = strace
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&told).context("making a file for strace")?)
        .spawn()
        .context("starting strace")?;
    wait_until("strace has attached", DEADLINE, || {
        let status = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/status"));
        let is_traced = |pid| {
            status(pid).is_ok_and(|text| {
                let tracer = text.lines().find_map(|l| l.strip_prefix("TracerPid:"));
                tracer.is_some_and(|tracer| tracer.trim() != "0")
            })
        };
        pids.iter().all(is_traced)
    })?;
    Ok(strace)
}

fn footprint(vg: &Vg, herd: Herd, guard: Guard) -> Result<Footprint> {
    guards::configure(guard)?;
    let mut lvs = vec![vg.lv("pool")];
    lvs.extend((1..=herd.snapshots).map(|number| vg.lv(&format!("snap-{number}"))));
    if guard == Guard::Dmeventd {
        quiet(&format!("vgchange -q --monitor y {}", vg.name()))?;
    }
    let lvs: Vec<&str> = lvs.iter().map(String::as_str).collect();
    let running = Running::ready(guard, &lvs)?;
    if let Running::Cowherd(cowherd) = &running {
        seen(cowherd, herd)?;
    }
    let pids = running.pids()?;
    // What starting takes is no idling.
    thread::sleep(STARTED);
    let idle = load::during(&pids, || {
        thread::sleep(IDLE);
        Ok(())
    })?;
    let processes = load::processes(&pids)?;
    let busy = load::during(&pids, || {
        let writer = Writer::start(&vg.device("busy"), Rate::Unlimited, BUSY)?;
        writer.wait(WRITTEN)?.complete()
    })?;
    let footprint = Footprint {
        guard,
        volumes: herd.volumes,
        processes,
        tmpfs_kib: load::tmpfs_kib()?,
        idle,
        busy,
    };
    println!("bench: {footprint:?}");
    running.stop()?;
    Ok(footprint)
}
