//! Processes that die: the guard in the middle of an extension, the front at any time, lvextend by
//! somebody's hand, which may also only stop it. And what keeps cowherd from starting at all.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Scenario;
use crate::guest::cowherd::{BINARY, Cowherd};
use crate::guest::dm::{dm_status, dm_suspended};
use crate::guest::http::http_get;
use crate::guest::lvm::{Vg, lv_size};
use crate::guest::processes;
use crate::guest::scrapes::Scrapes;
use crate::guest::sh::{Output, run, sh, signal, try_sh};
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::{wait_for, wait_until};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "a_guard_killed_before_lvm_commits_leaves_nothing_suspended",
        "guard and lvextend die with devices suspended; the next guard mends and extends",
        |lab| killed_guard(lab, Point::Uncommitted),
    ),
    Scenario::new(
        "a_guard_killed_after_lvm_commits_leaves_nothing_suspended",
        "the same with LVM's metadata already written",
        |lab| killed_guard(lab, Point::Committed),
    ),
    Scenario::new(
        "an_lvextend_killed_by_others_is_mended_at_once",
        "the guard lives, its lvextend is killed with devices suspended, and writers go on",
        killed_lvextend,
    )
    .timed(),
    Scenario::new(
        "an_lvextend_of_the_guard_that_was_stopped_is_woken_at_its_deadline",
        "SIGSTOP of the guard's own lvextend with devices suspended: woken, it ends what it began, and writers go on",
        stopped_lvextend,
    )
    .timed()
    .deadline(Duration::from_secs(240)),
    Scenario::new(
        "a_killed_front_comes_back_and_the_guard_goes_on",
        "the front is killed again and again while a snapshot is saved",
        killed_front,
    ),
    Scenario::new(
        "a_front_whose_guard_was_killed_answers_until_the_next_one",
        "an orphaned front shows its last view, and gives way to the next guard's front",
        orphaned_front,
    ),
    Scenario::new(
        "what_keeps_it_from_starting_is_one_clear_error",
        "no device-mapper, no permission, an address in use, a second guard",
        refusals,
    ),
];

/// Where lvextend is stopped.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// Devices suspended, LVM's metadata as before.
    Uncommitted,
    /// Devices suspended, LVM's metadata written.
    Committed,
}

/// A wrapper is no program that a lifeboat could carry.
const ASHORE: Option<&str> = Some("[guard]\nlifeboat = false\n");
const REAL_LVM: &str = "/run/lab-lvm/lvm";
const FILLED: Size = Size::mib(56);
const TRACE: &str = "/run/lab-lvm/trace";
/// An lvextend of the guard's has a minute.
const ENDED: Duration = Duration::from_secs(100);
const MENDED: Duration = Duration::from_secs(40);

/// A pool about to be past its threshold, with a writer's device.
fn pool_under_guard(lab: &Lab) -> Result<(Vg, String)> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.pool("pool", Size::mib(64), Size::mib(4), "")?;
    let thin = vg.thin("pool", "thin", Size::mib(256))?;
    Ok((vg, thin))
}

fn killed_guard(lab: &mut Lab, point: Point) -> Result<()> {
    let (vg, thin) = pool_under_guard(lab)?;
    let wrapper = Wrapper::install(point, "SIGKILL", "kill -STOP $PPID")?;
    let mut first = Cowherd::ready(ASHORE, &[])?;
    let writer = fill(&thin)?;
    wrapper.wait_killed()?;
    first.kill("KILL")?;
    first.wait_ended(DEADLINE)?;
    Wrapper::remove()?;
    ensure!(
        !dm_suspended()?.is_empty(),
        "the kill left nothing suspended"
    );

    let second = Cowherd::start(None, &[])?;

    second.wait_log("mended devices", MENDED)?;
    finish(vg, &thin, writer, second)
}

fn killed_lvextend(lab: &mut Lab) -> Result<()> {
    let (vg, thin) = pool_under_guard(lab)?;
    Wrapper::install(Point::Uncommitted, "SIGKILL", "")?;
    let cowherd = Cowherd::ready(ASHORE, &[])?;
    let scrapes = Scrapes::start();
    let writer = fill(&thin)?;
    cowherd.wait_log("mended devices", MENDED)?;
    scrapes.stop()?;
    finish(vg, &thin, writer, cowherd)
}

fn stopped_lvextend(lab: &mut Lab) -> Result<()> {
    let (vg, thin) = pool_under_guard(lab)?;
    Wrapper::install(Point::Uncommitted, "SIGSTOP", "")?;
    let cowherd = Cowherd::ready(ASHORE, &[])?;
    let scrapes = Scrapes::start();
    let writer = fill(&thin)?;
    wait_until("lvextend is stopped", DEADLINE, || {
        fs::read_to_string(TRACE).is_ok_and(|told| told.contains("stopped by SIGSTOP"))
    })?;
    let lvextend = processes::programs()
        .into_iter()
        .find(|(_, line)| line.starts_with(REAL_LVM))
        .context("no lvextend")?;
    ensure!(processes::parent(lvextend.0) == Some(cowherd.pid()));
    ensure!(!dm_suspended()?.is_empty(), "nothing is suspended");
    wait_until("it is woken and ends", ENDED, || {
        !processes::is_running(lvextend.0)
    })?;
    scrapes.stop()?;
    finish(vg, &thin, writer, cowherd)
}

/// Puts the pool of 64 MiB past its threshold; who writes waits for what is suspended.
fn fill(thin: &str) -> Result<Writer> {
    Writer::start(thin, Rate::Unlimited, FILLED)
}

/// Nothing is suspended, writing goes on, and LVM and the kernel agree about the size.
fn finish(vg: Vg, thin: &str, first: Writer, cowherd: Cowherd) -> Result<()> {
    wait_until("nothing is suspended", MENDED, || {
        dm_suspended().is_ok_and(|list| list.is_empty())
    })?;
    first.wait(DEADLINE)?.complete()?;
    let writer = Writer::start_from(thin, FILLED, Rate::MibPerSec(20), Size::mib(60))?;
    writer.wait(DEADLINE)?.complete()?;
    let sizes = || -> Result<(u64, u64)> { Ok((lv_size("vg0/pool")?, kernel_size()?)) };
    let agreed = wait_until("LVM and the kernel agree", DEADLINE, || {
        sizes().is_ok_and(|(lvm, kernel)| lvm == kernel && lvm > Size::mib(64).as_bytes())
    });
    agreed.with_context(|| format!("LVM and the kernel say {:?}", sizes()))?;
    sh("vgck vg0")?;
    Wrapper::remove()?;
    let log = cowherd.stop()?;
    ensure!(!log.contains("could not mend"), "{log}");
    vg.remove()
}

/// What the kernel has room for in the pool of these scenarios.
fn kernel_size() -> Result<u64> {
    let status = dm_status("vg0-pool-tpool")?;
    let data = status
        .split_whitespace()
        .filter(|field| field.contains('/'))
        .nth(1);
    let blocks: u64 = data
        .and_then(|field| field.split('/').nth(1))
        .unwrap_or_default()
        .parse()?;
    Ok(blocks * 64 * 1024)
}

/// Stands in lvm's place: the first lvextend gets a signal at one of its device-mapper calls.
struct Wrapper {
    hit: &'static str,
}

impl Wrapper {
    /// `first` is run by the wrapper before lvextend, as a child of the guard. So is lvextend: strace is not in between.
    fn install(point: Point, signal: &str, first: &str) -> Result<Self> {
        let at = call_number(point)?;
        let hit = "/run/lab-lvm/hit";
        sh(&format!(
            "mkdir -p /run/lab-lvm && cp /usr/sbin/lvm {REAL_LVM} && rm -f {hit} && \
             cat > /run/lab-lvm/wrapper <<'EOF'\n\
             #!/bin/sh\n\
             [ \"${{0##*/}}\" = lvm ] || exec {REAL_LVM} \"${{0##*/}}\" \"$@\"\n\
             [ \"$1\" = lvextend ] && [ ! -e {hit} ] || exec {REAL_LVM} \"$@\"\n\
             echo > {hit}\n\
             {first}\n\
             exec strace -D -o {TRACE} -e trace=ioctl -e inject=ioctl:signal={signal}:when={at} {REAL_LVM} \"$@\"\n\
             EOF\n\
             chmod +x /run/lab-lvm/wrapper && cp /run/lab-lvm/wrapper /usr/sbin/lvm"
        ))?;
        Ok(Self { hit })
    }

    /// An lvextend that had ended by itself would have left nothing suspended.
    fn wait_killed(&self) -> Result<()> {
        wait_until(
            "lvextend has been killed with devices suspended",
            DEADLINE,
            || {
                let running = try_sh("pgrep -f '^/run/lab-lvm/lvm lvextend'");
                std::path::Path::new(self.hit).exists()
                    && dm_suspended().is_ok_and(|list| !list.is_empty())
                    && running.is_ok_and(|found| found.stdout.is_empty())
            },
        )
    }

    fn remove() -> Result<()> {
        sh(&format!("cp {REAL_LVM} /usr/sbin/lvm")).map(drop)
    }
}

/// Watches a real extension of the same pool and counts to the call at which to stop the next one.
fn call_number(point: Point) -> Result<usize> {
    sh(
        "strace -o /run/lab-trace -e trace=ioctl lvextend -An --noudevsync -L 68m vg0/pool \
        --config 'backup{archive=0 backup=0} activation{monitoring=0}'",
    )?;
    let trace = fs::read_to_string("/run/lab-trace").context("reading the trace")?;
    let calls: Vec<&str> = trace
        .lines()
        .filter(|line| line.starts_with("ioctl("))
        .collect();
    let is_suspend =
        |call: &&str| call.contains("DM_DEV_SUSPEND") && call.contains("DM_SUSPEND_FLAG");
    let suspends = calls.iter().filter(|call| is_suspend(call)).count();
    ensure!(
        suspends > 0,
        "no suspend among {} calls:\n{trace}",
        calls.len()
    );
    let last_suspend = calls
        .iter()
        .rposition(&is_suspend)
        .context("counted above")?;
    let at = match point {
        Point::Uncommitted => last_suspend,
        Point::Committed => {
            let resumes = |call: &&str| call.contains("DM_DEV_SUSPEND") && !is_suspend(call);
            let after = calls[last_suspend + 1..].iter().position(resumes);
            // The call before the first resume after the last suspend: LVM has committed by then.
            last_suspend + after.context("no resume after the last suspend")?
        }
    };
    println!(
        "stopping at call {} of {}: {}",
        at + 1,
        calls.len(),
        calls[at]
    );
    Ok(at + 1)
}

fn killed_front(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(512))?;
    vg.cow_snapshot("origin", "snap", Size::mib(64))?;
    let mut cowherd = Cowherd::ready(None, &[])?;
    let guard = cowherd.pid();
    let mut writer = Writer::start(&origin, Rate::MibPerSec(10), Size::mib(200))?;
    let mut fronts = vec![cowherd.front_pid()?];
    while !writer.has_ended()? {
        let front = *fronts.last().context("there is a first one")?;
        signal(front, "KILL")?;
        let next = wait_for("another front", DEADLINE, || {
            cowherd.front_pid().ok().filter(|pid| *pid != front)
        })?;
        fronts.push(next);
        wait_until("it serves", DEADLINE, || {
            http_get("/metrics").is_ok_and(|r| r.status == 200)
        })?;
    }
    writer.wait(DEADLINE)?.complete()?;
    println!("{} fronts", fronts.len());
    ensure!(
        fronts.len() > 2,
        "the front was killed {} times only",
        fronts.len() - 1
    );
    ensure!(cowherd.is_running()? && cowherd.pid() == guard);
    ensure!(
        !dm_status("vg0-snap")?.contains("Invalid"),
        "the snapshot is lost"
    );
    cowherd.wait_metrics("the new front knows of the extension", DEADLINE, |m| {
        m.sum("cowherd_extends_total", &[("lv", "snap")]) >= 1.0
    })?;
    cowherd.stop()?;
    vg.remove()
}

fn orphaned_front(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let mut first = Cowherd::ready(None, &[])?;
    let orphan = first.front_pid()?;
    first.kill("KILL")?;
    first.wait_ended(DEADLINE)?;
    let page = http_get("/metrics")?;
    ensure!(
        page.status == 200,
        "the orphan does not answer: {}",
        page.status
    );
    let second = Cowherd::ready(None, &[])?;
    wait_until("the orphan has given way", DEADLINE, || {
        !std::path::Path::new(&format!("/proc/{orphan}")).exists()
    })?;
    ensure!(second.front_pid()? != orphan);
    second.stop()?;
    vg.remove()
}

fn refusals(_: &mut Lab) -> Result<()> {
    let control = "/dev/mapper/control";
    sh(&format!("mv {control} /dev/mapper/away"))?;
    let without = run(BINARY, &["status"]);
    sh(&format!("mv /dev/mapper/away {control}"))?;
    refused(
        &without?,
        1,
        "open /dev/mapper/control: device-mapper is not available",
    )?;
    nothing_runs()?;

    let guard = Cowherd::ready(None, &[])?;
    refused(
        &run(BINARY, &["run"])?,
        1,
        "another cowherd guards this host",
    )?;
    guard.stop()?;

    let taken = std::net::TcpListener::bind("127.0.0.1:10845").context("taking the port")?;
    refused(&run(BINARY, &["run"])?, 1, "127.0.0.1:10845")?;
    drop(taken);
    nothing_runs()?;

    let nobody = sh_as_nobody("run")?;
    refused(&nobody, 1, "root")?;
    let nobody = sh_as_nobody("status")?;
    refused(&nobody, 1, "root")?;

    let bad = ["run", "--config", "/nonexistent.toml"];
    refused(&run(BINARY, &bad)?, 2, "/nonexistent.toml")?;
    std::fs::write("/run/lab/bad.toml", "[snapshot]\nthreshold_percent = 101\n")?;
    let bad = ["run", "--config", "/run/lab/bad.toml"];
    refused(
        &run(BINARY, &bad)?,
        2,
        "snapshot.threshold_percent is 101, expected a whole number from 1 to 99",
    )?;
    nothing_runs()
}

fn sh_as_nobody(command: &str) -> Result<Output> {
    try_sh(&format!(
        "setpriv --reuid=65534 --regid=65534 --clear-groups {BINARY} {command}"
    ))
}

/// One line on stderr, and this exit code.
fn refused(output: &Output, code: i32, text: &str) -> Result<()> {
    println!("{output}");
    ensure!(
        output.code == Some(code),
        "exit code {:?}, expected {code}: {output}",
        output.code
    );
    let told = output
        .stderr
        .lines()
        .filter(|line| line.starts_with("cowherd: "))
        .count();
    ensure!(
        told == 1 && output.stderr.contains(text),
        "expected one message with {text:?}: {output}"
    );
    Ok(())
}

fn nothing_runs() -> Result<()> {
    let left = try_sh("pgrep -x cowherd")?;
    ensure!(left.stdout.is_empty(), "still running: {}", left.stdout);
    Ok(())
}
