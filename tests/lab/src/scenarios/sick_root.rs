//! The deadlock that ends other guards: the root file system, with cowherd, lvm, their libraries, their
//! settings and their logs, lies on the very pool that is full.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Scenario;
use crate::guest::bench::stores::Devices;
use crate::guest::cowherd::Cowherd;
use crate::guest::dm::{KernelLog, dm_status};
use crate::guest::lvm::{Vg, lock_group};
use crate::guest::memory::Hog;
use crate::guest::root::{Root, Task, drop_caches};
use crate::guest::scrapes::Scrapes;
use crate::guest::sh::sh;
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    sick(
        "a_full_pool_is_extended_from_a_root_that_lies_on_it",
        "root on the queueing pool, caches dropped: extended within 2 s, nothing fails",
        |lab| drown(lab, Trouble::None),
    ),
    sick(
        "a_full_pool_under_the_root_outlasts_a_held_lock",
        "the same, and another command holds the group's lock for 20 s",
        |lab| drown(lab, Trouble::HeldLock),
    ),
    sick(
        "a_full_pool_under_the_root_outlasts_a_lack_of_memory",
        "the same, and a program takes all memory but 64 MiB",
        |lab| drown(lab, Trouble::LittleMemory),
    ),
];

const fn sick(
    name: &'static str,
    about: &'static str,
    run: fn(&mut Lab) -> Result<()>,
) -> Scenario {
    Scenario::new(name, about, run)
        .own_guest()
        .timed()
        .deadline(Duration::from_secs(180))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    HeldLock,
    LittleMemory,
}

/// A wedged guard never comes back, and the kernel fails the queued writes after 60 s.
const RESCUED: Duration = Duration::from_secs(2);
/// A wait for a disk that works is over by then.
const STUCK: Duration = Duration::from_secs(1);
const HELD: Duration = Duration::from_secs(20);
const LEFT: Size = Size::mib(64);
const POOL: &str = "vg0-pool-tpool";

fn drown(lab: &mut Lab, trouble: Trouble) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", Size::mib(320), Size::mib(4), "")?;
    let root = Root::make(&vg.thin("pool", "root", Size::gib(1))?)?;
    let filler = vg.thin("pool", "filler", Size::gib(1))?;
    // What a snapshot shares is copied when it is written, and that needs room.
    sh("lvcreate -qy -s -n before vg0/root")?;
    let cowherd = Cowherd::start_in(&root, None)?;
    let mut cowherd = cowherd.until_ready()?;
    ensure!(cowherd.metrics()?.get("cowherd_lifeboat_ready", &[]) == Some(1.0));
    let kernel = KernelLog::mark("a sick root")?;
    let _hog = match trouble {
        Trouble::LittleMemory => Some(Hog::start(LEFT)?),
        Trouble::None | Trouble::HeldLock => None,
    };

    // Starting a program for each look would take the guest's CPUs from whom it waits for.
    let devices = Devices::find(POOL, &["vg0-pool", "vg0-root", "vg0-filler"])?;
    let before = devices.sectors()?;
    cowherd.kill("STOP")?;
    let lock = match trouble {
        Trouble::HeldLock => Some(lock_group("vg0")?),
        Trouble::None | Trouble::LittleMemory => None,
    };
    let scrapes = Scrapes::start();
    let sick = Sick::make(&root, &filler)?;
    cowherd.kill("CONT")?;
    if let Some(lock) = lock {
        // The time the lock is held is what is tried here.
        let since = Instant::now();
        wait_until("the lock was held for long", HELD * 2, || {
            since.elapsed() >= HELD
        })?;
        ensure!(is_full()?, "extended under a held lock");
        lock.unlock()?;
    }
    let began = Instant::now();
    wait_until("the pool is extended", DEADLINE, || {
        devices.is_larger_than(before).unwrap_or(false)
    })?;
    let took = began.elapsed();

    println!(
        "from the end of the trouble to a writable pool: {:.2} s",
        took.as_secs_f64()
    );
    sick.recover()?;
    scrapes.stop()?;
    println!("{}", cowherd.log()?);
    ensure!(took <= RESCUED, "the pool was extended after {took:?}");
    let told = kernel.since()?;
    let error = told
        .lines()
        .find(|line| line.contains("I/O error") || line.contains("EXT4-fs error"));
    ensure!(error.is_none(), "{error:?}");
    ensure!(cowherd.is_running()?, "cowherd has ended");
    Ok(())
}

fn is_full() -> Result<bool> {
    Ok(dm_status(POOL)?.contains("out_of_data_space"))
}

/// A pool that queues its writes, a root on it whose journal is stuck, and who waits for both.
struct Sick {
    filler: Writer,
    stop: String,
    waiting: Vec<Task>,
}

impl Sick {
    fn make(root: &Root, filler: &str) -> Result<Self> {
        let stop = "/run/lab/enough".to_owned();
        let filler = Writer::start(filler, Rate::Unlimited, Size::mib(400))?;
        wait_until("the pool is full", Duration::from_secs(60), || {
            is_full().unwrap_or(false)
        })?;
        let busy = root.keep_changing(Path::new(&stop))?;
        wait_until("the journal is stuck", DEADLINE, || busy.hangs_for(STUCK))?;
        drop_caches()?;
        // It may hang by what it looks up, and must end well in any case.
        let reader = root.read_cold()?;
        Ok(Self {
            filler,
            stop,
            waiting: vec![busy, reader],
        })
    }

    /// Everybody goes on as if nothing had been.
    fn recover(self) -> Result<()> {
        let report = self.filler.wait(Duration::from_secs(60))?;
        println!("{report}");
        report.complete()?;
        std::fs::write(&self.stop, "")?;
        self.waiting
            .into_iter()
            .try_for_each(|task| task.wait(DEADLINE))
    }
}
