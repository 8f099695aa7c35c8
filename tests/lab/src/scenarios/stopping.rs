//! Programs that somebody stops or kills at no particular moment: an lvm that holds a lock,
//! the guard. And a pool whose writes the kernel no longer keeps waiting.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Scenario;
use super::coexisting::{EXTENDED, fill, is_extended};
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::dm::{dm_status, dm_suspended};
use crate::guest::lvm::Vg;
use crate::guest::processes;
use crate::guest::scrapes::Scrapes;
use crate::guest::sh::{scratch_file, sh, signal, try_sh};
use crate::guest::writer::{Rate, Writer, verify};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "a_stopped_lvm_that_holds_the_lock_is_told_and_outlasted",
        "SIGSTOP of somebody's lvcreate: the wait for the lock is given up, told, and repeated until SIGCONT",
        foreign_lvm,
    )
    .timed(),
    Scenario::new(
        "a_guard_stopped_in_any_way_at_any_moment_loses_nothing",
        "SIGTERM, SIGKILL and SIGSTOP by turns under two writers: no failed write, every byte as it was",
        any_moment,
    )
    .timed()
    .deadline(Duration::from_secs(240)),
    Scenario::new(
        "a_pool_whose_writes_have_failed_takes_them_again_with_room",
        "no_space_timeout is over in a full group: told, and writable as soon as the group gets room",
        timed_out,
    )
    .timed(),
];

const SNAP: Size = Size::mib(16);
const PAST_THRESHOLD: Size = Size::mib(14);
const NO_SPACE_TIMEOUT: &str = "/sys/module/dm_thin_pool/parameters/no_space_timeout";

fn snapshot(lab: &Lab) -> Result<(Vg, String)> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(64))?;
    vg.cow_snapshot("origin", "snap", SNAP)?;
    Ok((vg, origin))
}

fn foreign_lvm(lab: &mut Lab) -> Result<()> {
    let (vg, origin) = snapshot(lab)?;
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    let theirs = stopped_lvcreate()?;
    fill(&origin, PAST_THRESHOLD)?;
    cowherd.wait_metrics("the wait is given up and told", DEADLINE, |metrics| {
        metrics.sum("cowherd_lvm_lock_timeouts_total", &[]) >= 1.0
    })?;
    cowherd.wait_log("is held by another command for more than 10 s", EXTENDED)?;
    let status = self::cowherd(&["status"])?;
    ensure!(status.stdout.contains("vg0/snap"), "{status}");
    // lvs would wait for the lock.
    let sectors = SNAP.as_bytes() / 512;
    ensure!(dm_status("vg0-snap")?.contains(&format!("/{sectors} ")));
    signal(theirs, "CONT")?;
    let extended = is_extended("vg0/snap", SNAP);
    wait_until("the snapshot is extended", EXTENDED, extended)?;
    scrapes.stop()?;
    cowherd.stop()?;
    vg.remove()
}

/// Stopped by strace when it archives the group's metadata, which LVM does under the lock and before any change.
fn stopped_lvcreate() -> Result<u32> {
    let trace = scratch_file("trace");
    sh(&format!(
        "strace -o {trace} -e trace=link -e inject=link:signal=SIGSTOP:when=1 \
         lvcreate -qqy -Wn -L 8m -n theirs vg0 > {trace}.said 2>&1 &"
    ))?;
    wait_until("lvcreate is stopped", DEADLINE, || {
        fs::read_to_string(&trace).is_ok_and(|told| told.contains("stopped by SIGSTOP"))
    })?;
    let programs = processes::programs().into_iter();
    let mut lvcreates = programs.filter(|(_, line)| line.starts_with("lvcreate "));
    let (pid, _) = lvcreates.next().context("no lvcreate")?;
    let held = try_sh("flock --nonblock /run/lock/lvm/V_vg0 true")?;
    ensure!(!held.success(), "the stopped lvcreate holds no lock");
    Ok(pid)
}

fn nothing_is_suspended() -> Result<()> {
    let is_none = || dm_suspended().is_ok_and(|devices| devices.is_empty());
    wait_until("no device is suspended", DEADLINE, is_none)
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Term,
    Kill,
    Stop,
}

const WAYS: [Way; 3] = [Way::Kill, Way::Stop, Way::Term];
/// Of each way at least so many while the writers write.
const TURNS: usize = 2;
const WRITTEN_TO_POOL: Size = Size::mib(480);
const WRITTEN_TO_ORIGIN: Size = Size::mib(120);
/// Less than is written to the origin. What is free beyond the threshold lasts for 14 s: a slow machine takes 10 until
/// another guard has looked, and nobody extends meanwhile.
const STORE: Size = Size::mib(96);

/// The writers are the clock: how far they are says when the next signal is due.
fn any_moment(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", Size::mib(128), Size::mib(8), "")?;
    let thin = vg.thin("pool", "thin", Size::gib(1))?;
    let origin = vg.thick("origin", Size::mib(256))?;
    let snap = vg.cow_snapshot("origin", "snap", STORE)?;
    let before = checksum(&origin)?;
    let mut cowherd = Cowherd::ready(None, &[])?;
    let mut to_pool = Writer::start(&thin, Rate::MibPerSec(8), WRITTEN_TO_POOL)?;
    let to_origin = Writer::start(&origin, Rate::MibPerSec(2), WRITTEN_TO_ORIGIN)?;

    let mut moments = Moments(0x5eed);
    let mut signals = 0;
    for way in WAYS.into_iter().cycle() {
        if !moments.pass(&mut to_pool)? {
            break;
        }
        signals += 1;
        println!("signal {signals}: {way:?}");
        cowherd = way.stop(cowherd, &mut moments, &mut to_pool)?;
    }

    to_pool.wait(DEADLINE)?.complete()?;
    to_origin.wait(DEADLINE)?.complete()?;
    println!("{signals} signals");
    let least = WAYS.len() * TURNS;
    ensure!(signals >= least, "{signals} signals, expected {least}");
    nothing_is_suspended()?;
    ensure!(!dm_status("vg0-snap")?.contains("Invalid"), "lost");
    verify(&thin, Size::mib(0), WRITTEN_TO_POOL)?;
    verify(&origin, Size::mib(0), WRITTEN_TO_ORIGIN)?;
    ensure!(checksum(&snap)? == before, "the snapshot has changed");
    sh("vgck vg0")?;
    cowherd.stop()?;
    vg.remove()
}

/// Of what is, or was before, where the writer writes.
fn checksum(device: &str) -> Result<String> {
    let bytes = WRITTEN_TO_ORIGIN.as_bytes();
    sh(&format!("head -c {bytes} {device} | sha256sum"))
}

impl Way {
    /// Gives a guard that guards: this one, or the next.
    fn stop(
        self,
        mut guard: Cowherd,
        moments: &mut Moments,
        writer: &mut Writer,
    ) -> Result<Cowherd> {
        match self {
            Self::Stop => {
                guard.kill("STOP")?;
                moments.pass(writer)?;
                guard.kill("CONT")?;
                return Ok(guard);
            }
            Self::Term => drop(guard.stop()?),
            Self::Kill => {
                guard.kill("KILL")?;
                guard.wait_ended(DEADLINE)?;
            }
        }
        Cowherd::ready(None, &[])
    }
}

/// What a writer has written at moments that no one has chosen: the same in each run.
struct Moments(u64);

impl Moments {
    /// Waits until the writer has written one to 16 MiB more, or longer while it waits for a mend; false at its end.
    fn pass(&mut self, writer: &mut Writer) -> Result<bool> {
        // Xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let written = |writer: &Writer| writer.so_far().map_or(0, |told| told.written.as_mib());
        let until = written(writer) + 1 + self.0 % 16;
        let mut has_ended = false;
        wait_until("the writer has come further", DEADLINE, || {
            has_ended = writer.has_ended().unwrap_or(true);
            has_ended || written(writer) >= until
        })?;
        Ok(!has_ended)
    }
}

fn timed_out(lab: &mut Lab) -> Result<()> {
    let [first, second] = lab.disks() else {
        anyhow::bail!("two disks are expected");
    };
    let patience = fs::read_to_string(NO_SPACE_TIMEOUT).context("the kernel's patience")?;
    fs::write(NO_SPACE_TIMEOUT, "3")?;
    let vg = Vg::create("vg0", std::slice::from_ref(first))?;
    vg.pool("pool", Size::mib(64), Size::mib(8), "")?;
    let thin = vg.thin("pool", "thin", Size::gib(1))?;
    vg.leave_free(Size::mib(0))?;
    let cowherd = Cowherd::ready(None, &[])?;
    let scrapes = Scrapes::start();
    let failed = Writer::start(&thin, Rate::Unlimited, Size::mib(100))?.wait(DEADLINE)?;
    ensure!(failed.error.is_some(), "nothing failed: {failed}");

    let pool = [("vg", "vg0"), ("lv", "pool")];
    let full = [pool[0], pool[1], ("mode", "out_of_data_space")];
    cowherd.wait_metrics("the mode is told", EXTENDED, |metrics| {
        metrics.is("cowherd_thin_pool_mode", &full, 1)
    })?;
    let held = [
        pool[0],
        pool[1],
        ("resource", "data"),
        ("reason", "no_room"),
    ];
    cowherd.wait_metrics("the hold tells why", EXTENDED, |metrics| {
        metrics.is("cowherd_extend_held", &held, 1)
    })?;
    cowherd.wait_log("the volume group has 0 B free", EXTENDED)?;
    let status = self::cowherd(&["status"])?;
    ensure!(status.stdout.contains("out of space"), "{status}");

    sh(&format!("vgextend -q vg0 {second}"))?;
    cowherd.wait_metrics("the pool takes writes again", EXTENDED, |metrics| {
        let mode = [pool[0], pool[1], ("mode", "rw")];
        metrics.is("cowherd_thin_pool_mode", &mode, 1)
    })?;
    let again = Writer::start(&thin, Rate::MibPerSec(20), Size::mib(200))?;
    again.wait(DEADLINE)?.complete()?;
    verify(&thin, Size::mib(0), Size::mib(200))?;
    scrapes.stop()?;
    cowherd.stop()?;
    fs::write(NO_SPACE_TIMEOUT, patience)?;
    vg.remove()
}
