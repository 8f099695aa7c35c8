//! The guest's half of `cargo lab demo`: volumes that fill, cowherd that extends
//! them, its log on the console, and at the end what became of them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::DEADLINE;
use super::cowherd::Cowherd;
use super::dm::dm_status;
use super::lvm::{Vg, lv_size};
use super::writer::{Rate, Writer};
use crate::args::PAGE_PORT;
use crate::size::Size;
use crate::verdict::DEMO_READY;

/// How often the log is passed on.
const TICK: Duration = Duration::from_millis(500);

/// Filled to about 60 % at once, so that the first extension is seen soon.
const POOL: Size = Size::mib(256);
const POOL_AT_START: Size = Size::mib(150);
const COW: Size = Size::mib(64);
const COW_AT_START: Size = Size::mib(36);
/// Slow enough to follow by eye.
const POOL_RATE: Rate = Rate::MibPerSec(3);
const COW_RATE: Rate = Rate::MibPerSec(2);
/// Ten minutes of writing, and room in the volume group for all of it.
const THIN: Size = Size::mib(150 + 3 * 600);
const ORIGIN: Size = Size::mib(36 + 2 * 600);

/// The volumes and who writes to them.
struct Herd {
    writers: [(&'static str, Writer); 2],
    pool_at_start: u64,
    snap_at_start: u64,
}

/// `demo SECONDS`, or `demo until-stopped`.
pub(super) fn demo(words: &[&str]) -> Result<u8> {
    let lasts = match words {
        ["until-stopped"] => None,
        [seconds] => Some(Duration::from_secs(seconds.parse().context("seconds")?)),
        other => bail!("demo SECONDS|until-stopped, not {other:?}"),
    };
    let mut herd = Herd::make()?;
    let listen = format!("0.0.0.0:{PAGE_PORT}");
    let cowherd = Cowherd::ready(None, &["--web.listen-address", &listen])?;
    println!("{DEMO_READY}");
    follow(&cowherd, lasts)?;
    herd.check(&cowherd)?;
    Ok(0)
}

impl Herd {
    fn make() -> Result<Self> {
        let disks = ["/dev/vda".to_owned(), "/dev/vdb".to_owned()];
        let vg = Vg::create("vg0", &disks)?;
        vg.pool("pool", POOL, Size::mib(8), "")?;
        let thin = vg.thin("pool", "thin", THIN)?;
        let origin = vg.thick("thick", ORIGIN)?;
        vg.cow_snapshot("thick", "snap", COW)?;
        for (device, size) in [(&thin, POOL_AT_START), (&origin, COW_AT_START)] {
            Writer::start(device, Rate::Unlimited, size)?
                .wait(DEADLINE)?
                .complete()?;
        }
        let pool_rest = Size::mib(THIN.as_mib() - POOL_AT_START.as_mib());
        let cow_rest = Size::mib(ORIGIN.as_mib() - COW_AT_START.as_mib());
        Ok(Self {
            writers: [
                (
                    "thin",
                    Writer::start_from(&thin, POOL_AT_START, POOL_RATE, pool_rest)?,
                ),
                (
                    "thick",
                    Writer::start_from(&origin, COW_AT_START, COW_RATE, cow_rest)?,
                ),
            ],
            pool_at_start: lv_size("vg0/pool")?,
            snap_at_start: lv_size("vg0/snap")?,
        })
    }

    /// Both grew, by cowherd, and nothing was lost.
    fn check(&mut self, cowherd: &Cowherd) -> Result<()> {
        for (name, writer) in &mut self.writers {
            let ended = writer.has_ended()?;
            let report = writer
                .so_far()
                .with_context(|| format!("{name}: no write"))?;
            println!("{name}: {report}");
            ensure!(report.error.is_none(), "a write to {name} failed: {report}");
            ensure!(
                !ended || report.complete().is_ok(),
                "the writer of {name} died: {report}"
            );
        }
        let pool = dm_status("vg0-pool-tpool")?;
        ensure!(pool.contains(" rw "), "the pool is not writable: {pool}");
        let snap = dm_status("vg0-snap")?;
        ensure!(snap.contains('/'), "the snapshot is lost: {snap}");
        self.check_growth(cowherd)
    }

    fn check_growth(&self, cowherd: &Cowherd) -> Result<()> {
        let metrics = cowherd.metrics()?;
        for (lv, before) in [("pool", self.pool_at_start), ("snap", self.snap_at_start)] {
            let after = lv_size(&format!("vg0/{lv}"))?;
            let times = metrics.sum("cowherd_extends_total", &[("vg", "vg0"), ("lv", lv)]);
            println!(
                "{lv}: {} MiB -> {} MiB in {times} extensions",
                before >> 20,
                after >> 20
            );
            ensure!(after > before, "{lv} did not grow");
            ensure!(times >= 1.0, "cowherd_extends_total of {lv} is {times}");
        }
        Ok(())
    }
}

/// Passes the log on until the time is over; for ever when there is none.
fn follow(cowherd: &Cowherd, lasts: Option<Duration>) -> Result<()> {
    let start = Instant::now();
    let mut log = File::open(cowherd.log_path()).context("opening cowherd's log")?;
    let mut seen = 0;
    while lasts.is_none_or(|lasts| start.elapsed() < lasts) {
        log.seek(SeekFrom::Start(seen))?;
        let mut new = Vec::new();
        log.read_to_end(&mut new).context("reading cowherd's log")?;
        seen += new.len() as u64;
        io::stdout().write_all(&new)?;
        io::stdout().flush()?;
        thread::sleep(TICK);
    }
    Ok(())
}
