//! Gives a shared guest back as it was: no process, volume group, device or
//! mount of the scenario before. What cannot be removed is an error, and ends
//! the guest.

use std::time::Duration;
use std::{fs, iter, process};

use anyhow::{Context, Result, ensure};

use super::dm::dm_suspended;
use super::sh::{Output, run_for};
use super::{SCRATCH, processes};
use crate::wait::wait_until;

/// For processes to go that nothing holds.
const QUICKLY: Duration = Duration::from_secs(3);
/// For those that waited behind a pool, once it fails their writes.
const AT_LAST: Duration = Duration::from_secs(15);
/// Bounds one command: a hanging lvm means the guest is lost.
const COMMAND: Duration = Duration::from_secs(15);
/// Where LVM's and file systems' signatures are.
const WIPED_MIB: u32 = 4;

pub(super) fn clean(disks: &[String]) -> Result<()> {
    end_processes()?;
    unmount()?;
    remove_volumes()?;
    for disk in disks {
        wipe(disk)?;
    }
    fs::remove_dir_all(SCRATCH).and_then(|()| fs::create_dir(SCRATCH))?;
    // What a lifeboat or a state file of cowherd's would tell the next one.
    let forgotten = sh("rm -rf /run/cowherd* /etc/cowherd /var/lib/cowherd")?;
    ensure!(forgotten.success(), "removing cowherd's state: {forgotten}");
    // As the guest's init did: a comparison sets thresholds there.
    fs::copy("/out/lvm.conf", "/etc/lvm/lvm.conf").context("putting lvm.conf back")?;
    Ok(())
}

/// Everything but init, ourselves and the kernel's threads: dmeventd, too.
fn end_processes() -> Result<()> {
    kill_all()?;
    if wait_until("all processes are gone", QUICKLY, || others().is_empty()).is_ok() {
        return Ok(());
    }
    // Likely a writer behind a suspended device or a pool that queues.
    resume_all()?;
    fail_queued_writes()?;
    kill_all()?;
    wait_until("all processes are gone", AT_LAST, || others().is_empty())
        .with_context(|| format!("still there: {:?}", others()))
}

fn kill_all() -> Result<()> {
    let pids: Vec<String> = others()
        .into_iter()
        .map(|(pid, _)| pid.to_string())
        .collect();
    if !pids.is_empty() {
        sh(&format!("kill -KILL {} 2>/dev/null; true", pids.join(" ")))?;
    }
    Ok(())
}

/// All but ourselves and who started us, up to init.
fn others() -> Vec<(u32, String)> {
    let spared: Vec<u32> =
        iter::successors(Some(process::id()), |p| processes::parent(*p)).collect();
    let mut found = processes::programs();
    found.retain(|(pid, _)| !spared.contains(pid));
    found
}

/// A bare resume is what cowherd must never do; here the volumes go anyway.
fn resume_all() -> Result<()> {
    for name in dm_suspended()? {
        sh(&format!("dmsetup resume {name}"))?;
    }
    Ok(())
}

/// Reloads each pool that is out of space so that it fails what it queued. In a
/// thin-pool table the features' count follows the low water mark.
fn fail_queued_writes() -> Result<()> {
    let output = sh("full='s/^\\(.*\\): .* out_of_data_space .*/\\1/p'
        for pool in $(dmsetup status --noflush --target thin-pool | sed -n \"$full\"); do
            set -- $(dmsetup table $pool)
            table=\"$1 $2 $3 $4 $5 $6 $7 $(($8 + 1)) error_if_no_space\"
            shift 8
            dmsetup suspend --noflush --nolockfs $pool
            dmsetup load $pool --table \"$table $*\"
            dmsetup resume $pool || exit
        done")?;
    ensure!(output.success(), "failing queued writes: {output}");
    Ok(())
}

fn unmount() -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts").context("reading the mounts")?;
    // Those last mounted first.
    for line in mounts.lines().rev() {
        let mut words = line.split(' ');
        let (device, point) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let is_ours = device.starts_with("/dev/mapper") || device.starts_with("/dev/dm-");
        if is_ours || point.starts_with("/run/cowherd") {
            let output = sh(&format!("umount '{point}'"))?;
            ensure!(output.success(), "unmounting {point}: {output}");
        }
    }
    Ok(())
}

/// Through LVM, so that it is LVM's own way down; then whatever is left.
fn remove_volumes() -> Result<()> {
    sh("for vg in $(vgs --noheadings -o vg_name); do
            vgimport $vg; vgchange -an $vg; vgremove -ff $vg
        done
        [ \"$(dmsetup ls)\" = 'No devices found' ] || dmsetup remove_all --force")?;
    // LVM starts dmeventd again when it unregisters volumes.
    kill_all()?;
    let left = sh("dmsetup ls")?;
    ensure!(left.stdout == "No devices found", "devices left: {left}");
    remove_links()
}

/// Of volumes that went without LVM: it makes no group whose folder is there.
fn remove_links() -> Result<()> {
    let output = sh("set -e -o pipefail
        find /dev -mindepth 2 -maxdepth 2 -type l -lname '/dev/mapper/*' -printf '%h\\n' -delete |
            sort -u | xargs -r rmdir
        dmsetup mknodes")?;
    ensure!(output.success(), "removing links of volumes: {output}");
    Ok(())
}

fn wipe(disk: &str) -> Result<()> {
    let output = sh(&format!(
        "wipefs -aq {disk} && dd if=/dev/zero of={disk} bs=1M count={WIPED_MIB} oflag=direct status=none"
    ))?;
    ensure!(output.success(), "wiping {disk}: {output}");
    Ok(())
}

fn sh(script: &str) -> Result<Output> {
    run_for(COMMAND, "bash", &["-c", script])
}
