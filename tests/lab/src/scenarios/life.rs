//! cowherd's own life: start, readiness, front, stop.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Scenario;
use crate::guest::cowherd::Cowherd;
use crate::guest::lvm::Vg;
use crate::guest::sh::sh;
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "cowherd_guards_an_empty_host_and_stops_cleanly",
        "ready without any volume group, a front that comes back, exit 0 on SIGTERM",
        guards_nothing,
    ),
    Scenario::new(
        "the_lifeboat_leaves_the_host_alone_and_follows_it",
        "what was mounted before can be removed, settings are renewed, backups reach the host",
        lifeboat,
    )
    .deadline(Duration::from_secs(150)),
];

/// Compared every ten seconds, and renewed when nothing has changed in between.
const RENEWED: Duration = Duration::from_secs(60);
/// A backup waits for ten quiet seconds.
const BACKED_UP: Duration = Duration::from_secs(60);

fn lifeboat(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(128))?;
    vg.cow_snapshot("origin", "snap", Size::mib(32))?;
    let mounted = vg.thick("mounted", Size::mib(64))?;
    sh(&format!(
        "modprobe ext4 && mkfs.ext4 -q {mounted} && mkdir -p /run/lab/mounted && mount {mounted} /run/lab/mounted"
    ))?;
    let cowherd = Cowherd::ready(None, &[])?;
    ensure!(cowherd.metrics()?.get("cowherd_lifeboat_ready", &[]) == Some(1.0));

    sh("umount /run/lab/mounted && lvremove -qqy vg0/mounted")?;
    sh("rm -f /etc/lvm/backup/vg0 && touch /etc/lvm/lvm.conf")?;
    Writer::start(&origin, Rate::MibPerSec(8), Size::mib(30))?
        .wait(DEADLINE)?
        .complete()?;

    cowherd.wait_metrics("the lifeboat is renewed", RENEWED, |metrics| {
        metrics.get("cowherd_lifeboat_renewals_total", &[]) == Some(1.0)
    })?;
    wait_until("LVM's backup is on the host", BACKED_UP, || {
        Path::new("/etc/lvm/backup/vg0").exists()
    })?;
    ensure!(cowherd.metrics()?.get("cowherd_lifeboat_stale", &[]) == Some(0.0));
    cowherd.stop()?;
    vg.remove()
}

fn guards_nothing(_lab: &mut Lab) -> Result<()> {
    let mut cowherd = Cowherd::ready(None, &[])?;
    ensure!(cowherd.get("/-/healthy")?.status == 200);
    ensure!(cowherd.get("/")?.status == 200);
    cowherd.metrics()?;
    let front = cowherd.front_pid()?;
    let nice = |pid: u32| sh(&format!("ps -o ni= -p {pid}"));
    let (guard, web) = (nice(cowherd.pid())?, nice(front)?);
    ensure!(
        (guard.as_str(), web.as_str()) == ("-10", "0"),
        "nice {guard} and {web}"
    );
    crate::guest::sh::signal(front, "KILL")?;
    wait_until("another front answers", DEADLINE, || {
        cowherd.front_pid().is_ok_and(|pid| pid != front) && cowherd.metrics().is_ok()
    })?;
    ensure!(cowherd.is_running()?, "the guard went with its front");
    cowherd.stop()?;
    Ok(())
}
