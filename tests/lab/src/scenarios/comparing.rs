//! cowherd beside dmeventd and LVM: the short form of `cargo lab bench`. Only
//! ratios and losses are asserted; the figures are the benchmark's.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Scenario;
use crate::figures::figures;
use crate::guest::bench::stores::Devices;
use crate::guest::bench::{reaction, survival};
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::crowd::Crowd;
use crate::guest::lvm::Vg;
use crate::guest::sh::sh;
use crate::guest::slow::SlowClients;
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::samples::{By, Guard, Store};
use crate::size::Size;
use crate::wait::wait_until;

/// A snapshot written to four times its size, or a pool.
const DISKS: &[Size] = &[Size::gib(3), Size::gib(3)];

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "a_cow_snapshot_survives_what_dmeventd_loses",
        "64 MiB: saved from an unlimited writer, by dmeventd not even from one of 4 MiB/s",
        cow,
    )
    .timed()
    .disks(DISKS)
    .deadline(Duration::from_secs(180)),
    Scenario::new(
        "a_pool_that_fails_writes_survives_an_unlimited_writer",
        "512 MiB, error_if_no_space, 2 GiB: no failed write, never out of data space",
        pool,
    )
    .timed()
    .disks(DISKS)
    .deadline(Duration::from_secs(180)),
    Scenario::new(
        "a_crossing_is_answered_as_fast_as_by_a_bare_lvextend",
        "median of 3 crossings, each beside a bare lvextend: 50 ms more; the slowest: a third of dmeventd's",
        crossing,
    )
    .timed()
    .disks(DISKS)
    .deadline(Duration::from_secs(240)),
    Scenario::new(
        "slow_clients_do_not_delay_the_guard",
        "a crossing is answered as fast while 200 clients send and read a byte at a time",
        slow_clients,
    )
    .timed()
    .disks(DISKS)
    .deadline(Duration::from_secs(240)),
    Scenario::new(
        "a_crowd_of_callers_is_served_and_does_not_delay_the_guard",
        "20 callers make and remove snapshots for 20 s: nothing lost, nothing left, and crossings answered as before",
        |lab| crowd(lab, 20, Duration::from_secs(20)),
    )
    .timed()
    .on_demand()
    .disks(DISKS)
    .deadline(Duration::from_secs(400)),
    Scenario::new(
        "a_hundred_callers_are_served_and_do_not_delay_the_guard",
        "the same with 100 callers for a minute",
        |lab| crowd(lab, 100, Duration::from_secs(60)),
    )
    .timed()
    .on_demand()
    .disks(DISKS)
    .deadline(Duration::from_secs(1200)),
];

/// The least rate that dmeventd was seen to lose such a snapshot at, every time:
/// it looks after 10 s at 40 MiB, and again after 20 s.
const LOST_BY_DMEVENTD: u32 = 4;
/// Of what a bare lvextend takes, in milliseconds.
const BEYOND_LVEXTEND_MS: f64 = 50.0;
const CROSSINGS: u32 = 3;

fn cow(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let run = |guard, rate| survival::run(&vg, Store::Cow64, guard, rate, Duration::ZERO);
    let ours = run(Guard::Cowherd, Rate::Unlimited)?;
    ensure!(ours.survived(), "lost: {ours:?}");
    let theirs = run(Guard::Dmeventd, Rate::MibPerSec(LOST_BY_DMEVENTD))?;
    ensure!(!theirs.survived(), "dmeventd saved it: {theirs:?}");
    vg.remove()
}

/// Two emulated CPUs share what the clients themselves take: noise is this factor and the spread.
const NOISE: f64 = 1.25;
const CLIENTS: usize = 200;

fn slow_clients(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..CROSSINGS {
        alone.push(reaction::during(&vg, Store::Cow64, || Ok(()))?);
        beside.push(reaction::during(&vg, Store::Cow64, || {
            SlowClients::start(CLIENTS)
        })?);
    }
    is_unchanged(alone, beside, &format!("{CLIENTS} slow clients"))?;
    vg.remove()
}

/// Whether crossings were answered as fast beside others as without them.
fn is_unchanged(mut alone: Vec<Duration>, mut beside: Vec<Duration>, others: &str) -> Result<()> {
    alone.sort_unstable();
    beside.sort_unstable();
    println!("alone {alone:?}, beside {others} {beside:?}");
    let (slowest, median) = (alone[alone.len() - 1], beside[beside.len() / 2]);
    ensure!(
        median <= slowest.mul_f64(NOISE),
        "{median:?} beside {others}, {slowest:?} at most without"
    );
    Ok(())
}

const OPEN: &str = r#"
[snapshot]
threshold_percent = 70
[api]
actions = ["create", "remove"]
thin_snapshots_max = 200
"#;
/// Just below the threshold of a snapshot of 64 MiB.
const ALMOST: Size = Size::mib(44);

fn crowd(lab: &mut Lab, callers: u32, span: Duration) -> Result<()> {
    let [first, second] = lab.disks() else {
        bail!("two disks are expected");
    };
    let guarded = Vg::create("vg0", std::slice::from_ref(first))?;
    let asked = Vg::create("vg1", std::slice::from_ref(second))?;
    asked.pool("pool", Size::mib(512), Size::mib(16), "")?;
    asked.thin("pool", "thin", Size::mib(64))?;
    for number in 0..CROSSINGS * 2 {
        almost_full(&guarded, number)?;
    }
    let before = volumes(&asked)?;
    let guard = Cowherd::ready(Some(OPEN), &[])?;
    let crossings = |numbers: Range<u32>| numbers.map(cross).collect::<Result<Vec<Duration>>>();
    let alone = crossings(0..CROSSINGS)?;
    let crowd = Crowd::start(callers, asked.name(), "thin")?;
    let began = Instant::now();
    let beside = crossings(CROSSINGS..CROSSINGS * 2)?;
    wait_until("they have asked for long enough", span * 2, || {
        began.elapsed() > span
    })?;
    let made = crowd.end()?;
    println!("{made} snapshots were made and removed");

    ensure!(made >= callers, "{made} snapshots for {callers} callers");
    let after = volumes(&asked)?;
    ensure!(after == before, "{before}\nhas become\n{after}");
    let jobs = cowherd(&["jobs", "--json"])?.stdout;
    let jobs: Vec<Value> = serde_json::from_str(&jobs).context("the jobs")?;
    let done = jobs.iter().filter(|job| job["state"] == "succeeded");
    ensure!(done.count() == jobs.len(), "{jobs:?}");
    let expected = usize::try_from(made)? * 2;
    ensure!(jobs.len() == expected, "{} jobs of {expected}", jobs.len());
    is_unchanged(alone, beside, &format!("{callers} callers"))?;
    guard.stop()?;
    guarded.remove()?;
    asked.remove()
}

/// A snapshot that one MiB more makes the guard extend.
fn almost_full(vg: &Vg, number: u32) -> Result<()> {
    let origin = vg.thick(&format!("origin{number}"), Size::mib(96))?;
    vg.cow_snapshot(
        &format!("origin{number}"),
        &format!("snap{number}"),
        Size::mib(64),
    )?;
    Writer::start(&origin, Rate::Unlimited, ALMOST)?
        .wait(DEADLINE)?
        .complete()
}

fn cross(number: u32) -> Result<Duration> {
    let (snap, origin) = (format!("vg0-snap{number}"), format!("vg0-origin{number}"));
    let devices = Devices::find(&format!("{snap}-cow"), &[&snap, &origin])?;
    reaction::answered(&devices, &format!("/dev/mapper/{origin}"), ALMOST)
}

fn volumes(vg: &Vg) -> Result<String> {
    sh(&format!(
        "lvs -a --noheadings -o lv_name,lv_uuid {}",
        vg.name()
    ))
}

fn pool(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let run = survival::run(
        &vg,
        Store::PoolFails,
        Guard::Cowherd,
        Rate::Unlimited,
        Duration::ZERO,
    )?;
    ensure!(run.survived() && !run.ran_out, "lost: {run:?}");
    vg.remove()
}

fn crossing(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let crossings = reaction::all(&vg, &[Store::Cow64], CROSSINGS)?;
    let millis = |by: By| {
        let chosen = crossings.iter().filter(move |crossing| crossing.by == by);
        chosen.map(|crossing| crossing.millis)
    };
    // Each with the lvextend of the same moment: a machine that is slow for a while is slow for both.
    let beyond = millis(By::Cowherd).zip(millis(By::Lvextend));
    let beyond = figures(beyond.map(|(ours, bare)| ours - bare)).context("no crossing")?;
    let told = format!("cowherd takes {:.0} ms more than lvextend", beyond.median);
    ensure!(beyond.median <= BEYOND_LVEXTEND_MS, "{told}");
    // dmeventd looks every 10 s: how soon it happens to look says nothing, how late it may does.
    let slowest = |by: By| millis(by).fold(0.0_f64, f64::max);
    let (ours, theirs) = (slowest(By::Cowherd), slowest(By::Dmeventd));
    let slow = format!("at their slowest: cowherd {ours:.0} ms, dmeventd {theirs:.0} ms");
    println!("{told}; {slow}");
    ensure!(
        ours * 3.0 <= theirs,
        "not three times as fast as dmeventd {slow}"
    );
    vg.remove()
}
