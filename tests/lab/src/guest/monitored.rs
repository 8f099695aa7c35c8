//! The guest's half of the check of monitoring: a host on which everything has happened, and then the things
//! that somebody must be woken for, each when the host says so.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::cowherd::Cowherd;
use super::dm::dm_status;
use super::lvm::{Vg, lock_group, lv_size};
use super::sh::{run_for, sh};
use super::writer::{Rate, Writer};
use crate::args::PAGE_PORT;
use crate::size::Size;
use crate::verdict::{STEP, Step};
use crate::wait::wait_until;

/// What happens next is asked for by the host, which waits for servers and pages.
const ASKED: Duration = Duration::from_secs(600);
const TOLD: Duration = Duration::from_secs(60);
/// Short, so that a lock that somebody holds becomes a failed extension soon.
const CONFIG: &str = "\
[timing]
lock_wait_ms = 200

[[rule]]
volume_group = \"relieved\"
standby = [\"STANDBY\"]

[[rule]]
name = \"lost\"
snapshot.enabled = false
";

/// `monitored`: does each step when asked and says so.
pub(super) fn monitored() -> Result<u8> {
    let host = Monitored::make()?;
    host.everything_happens()?;
    done(Step::Everything);
    asked_for(Step::Restart)?;
    let host = host.restarted()?;
    done(Step::Restart);
    asked_for(Step::Lose)?;
    let full = lose()?;
    done(Step::Lose);
    asked_for(Step::Mend)?;
    host.mend(full)?;
    done(Step::Mend);
    asked_for(Step::Kill)?;
    sh("pkill -KILL -x cowherd")?;
    done(Step::Kill);
    asked_for(Step::End)?;
    Ok(0)
}

fn done(step: Step) {
    println!("{STEP} {}", step.word());
}

fn asked_for(step: Step) -> Result<()> {
    let path = Path::new("/out").join(step.word());
    wait_until(&format!("the host asks to {}", step.word()), ASKED, || {
        path.exists()
    })
}

/// `main` has room, `relieved` gets it from a standby disk, and `tight` has none.
struct Monitored {
    main: Vg,
    tight: Vg,
    spare: String,
    config: String,
    cowherd: Cowherd,
}

impl Monitored {
    fn make() -> Result<Self> {
        let disk = |letter: char| format!("/dev/vd{letter}");
        let main = Vg::create("main", &[disk('a')])?;
        main.pool("pool", Size::mib(128), Size::mib(4), "")?;
        main.thin("pool", "guest", Size::gib(1))?;
        sh("lvcreate -qys -n guest-before main/guest")?;
        main.thick("disk", Size::mib(256))?;
        main.cow_snapshot("disk", "backup", Size::mib(32))?;
        main.cow_snapshot("disk", "lost", Size::mib(64))?;
        let relieved = Vg::create("relieved", &[disk('b')])?;
        relieved.thick("disk", Size::mib(64))?;
        relieved.cow_snapshot("disk", "backup", Size::mib(16))?;
        relieved.leave_free(Size::mib(0))?;
        sh(&format!("pvcreate -qy {}", disk('c')))?;
        let uuid = sh(&format!("pvs --noheadings -o pv_uuid {}", disk('c')))?;
        let tight = Vg::create("tight", &[disk('d')])?;
        tight.pool("pool", Size::mib(64), Size::mib(4), "")?;
        tight.thin("pool", "guest", Size::gib(1))?;
        tight.leave_free(Size::mib(0))?;
        let config = CONFIG.replace("STANDBY", uuid.trim());
        let cowherd = started(&config)?;
        let spare = disk('e');
        Ok(Self {
            main,
            tight,
            spare,
            config,
            cowherd,
        })
    }

    /// What marks restarts has something to mark.
    fn restarted(self) -> Result<Self> {
        self.cowherd.stop()?;
        let cowherd = started(&self.config)?;
        Ok(Self { cowherd, ..self })
    }

    /// Extensions that succeed and one that fails, a relief, a snapshot that grows.
    fn everything_happens(&self) -> Result<()> {
        grow("relieved/disk", "relieved/backup", Size::mib(14))?;
        grow("main/guest", "main/pool", Size::mib(120))?;
        let lock = lock_group("main")?;
        let writer = Writer::start("/dev/main/disk", Rate::MibPerSec(8), Size::mib(28))?;
        let failed = self
            .cowherd
            .wait_metrics("an extension fails", TOLD, |metrics| {
                metrics.sum("cowherd_extend_failures_total", &[("lv", "backup")]) >= 1.0
            });
        lock.unlock()?;
        failed?;
        writer.wait(TOLD)?.complete()?;
        wait_until("main/backup is extended", TOLD, || {
            lv_size("main/backup").is_ok_and(|size| size > Size::mib(32).as_bytes())
        })
    }

    /// Room comes, and the lost snapshot goes. The writer may have been refused: the pages were waited for longer
    /// than the kernel lets writes wait.
    fn mend(&self, full: Writer) -> Result<()> {
        run_for(
            TOLD,
            "bash",
            &["-c", &format!("vgextend -qy tight {}", self.spare)],
        )?;
        full.wait(TOLD)?;
        sh(&format!("lvremove -qy {}", self.main.lv("lost")))?;
        wait_until("the pool is extended and takes writes", TOLD, || {
            let size = lv_size(&self.tight.lv("pool"));
            let status = dm_status("tight-pool-tpool").unwrap_or_default();
            size.is_ok_and(|size| size > Size::mib(64).as_bytes()) && status.contains(" rw ")
        })
    }
}

fn started(config: &str) -> Result<Cowherd> {
    let listen = format!("0.0.0.0:{PAGE_PORT}");
    Cowherd::ready(Some(config), &["--web.listen-address", &listen])
}

/// Writes until the store is extended.
fn grow(volume: &str, store: &str, to: Size) -> Result<()> {
    let before = lv_size(store)?;
    let writer = Writer::start(&format!("/dev/{volume}"), Rate::MibPerSec(8), to)?;
    writer.wait(TOLD)?.complete()?;
    wait_until(&format!("{store} is extended"), TOLD, || {
        lv_size(store).is_ok_and(|size| size > before)
    })
}

/// A pool of a group without room is full, and a snapshot is lost.
fn lose() -> Result<Writer> {
    let full = Writer::start("/dev/tight/guest", Rate::Unlimited, Size::mib(80))?;
    let lost = Writer::start_from(
        "/dev/main/disk",
        Size::mib(28),
        Rate::Unlimited,
        Size::mib(60),
    )?;
    lost.wait(TOLD)?.complete()?;
    wait_until("the pool is full and the snapshot lost", TOLD, || {
        let pool = dm_status("tight-pool-tpool").unwrap_or_default();
        let snapshot = dm_status("main-lost").unwrap_or_default();
        pool.contains("out_of_data_space") && snapshot.contains("Invalid")
    })?;
    Ok(full)
}
