//! What callers have done to snapshots: each action on the real kernel, and what is refused.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Scenario;
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::lvm::{Vg, lv_size, lvs_field};
use crate::guest::sh::{Output, sh, signal};
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "snapshots_hold_what_was_and_give_it_back",
        "of a classic and a thin volume, by checksum: taken, grown, switched, merged, removed",
        held_and_given_back,
    )
    .deadline(LONG),
    Scenario::new(
        "a_merge_into_a_volume_in_use_is_deferred_and_says_so",
        "refused at first, accepted when that is allowed, done when the origin is activated again",
        deferred,
    )
    .deadline(LONG),
    Scenario::new(
        "what_would_do_harm_is_refused_and_put_on_record",
        "each interlock on the real kernel: its code, nothing changed, a line in the journal",
        refused_and_recorded,
    )
    .deadline(LONG),
    Scenario::new(
        "without_a_journal_nothing_is_done_for_callers_and_the_guard_goes_on",
        "a read-only /var/lib/cowherd: refused, nothing changed, extended all the same",
        without_journal,
    ),
];

/// Each change is three reports of LVM's and a command: dozens of them take a minute, and thrice that on a slow machine.
const LONG: Duration = Duration::from_secs(300);

pub(super) const CONFIG: &str = r#"
[api]
actions = ["create", "extend", "activate", "deactivate", "merge", "remove", "label"]
"#;
const ORIGIN: Size = Size::mib(64);
/// Exit codes of `cowherd snapshot`.
const REFUSED: i32 = 3;

pub(super) fn snapshot(arguments: &[&str]) -> Result<Output> {
    cowherd(&[&["snapshot"], arguments].concat())
}

pub(super) fn done(arguments: &[&str]) -> Result<String> {
    let output = snapshot(arguments)?;
    ensure!(output.success(), "{arguments:?}: {output}");
    Ok(output.stdout)
}

fn refused(arguments: &[&str], code: &str) -> Result<()> {
    let before = volumes()?;
    let output = snapshot(arguments)?;
    let is_refused = output.code == Some(REFUSED) && output.stderr.contains(&format!("{code}: "));
    ensure!(is_refused, "{arguments:?}, expected {code}: {output}");
    let after = volumes()?;
    ensure!(
        before == after,
        "{arguments:?} was refused and changed\n{before}\ninto\n{after}"
    );
    let last = sh("tail -1 /var/lib/cowherd/journal.jsonl")?;
    let last: Value = serde_json::from_str(&last).context("a line of the journal")?;
    let is_recorded = last["kind"] == "refused" && last["code"] == *code;
    ensure!(is_recorded, "{arguments:?}: the journal ends with {last}");
    Ok(())
}

/// All that LVM has of the groups.
fn volumes() -> Result<String> {
    sh("lvs -a --noheadings -o vg_name,lv_name,lv_uuid,lv_attr,lv_size,lv_tags,origin")
}

/// A checksum of what is there, read from the disk.
fn checksum(device: &str) -> Result<String> {
    sh(&format!("blockdev --flushbufs {device}; md5sum < {device}"))
}

fn change(device: &str, mib: u32) -> Result<()> {
    sh(&format!(
        "dd if=/dev/urandom of={device} bs=1M count={mib} oflag=direct 2>/dev/null; sync"
    ))
    .map(drop)
}

/// A classic volume and a thin one, with something in them.
pub(super) fn origins(lab: &mut Lab) -> Result<(Vg, String, String)> {
    let vg = Vg::create("vg0", lab.disks())?;
    let thick = vg.thick("thick", ORIGIN)?;
    vg.pool("pool", Size::mib(256), Size::mib(8), "")?;
    let thin = vg.thin("pool", "thin", ORIGIN)?;
    change(&thick, 24)?;
    change(&thin, 24)?;
    Ok((vg, thick, thin))
}

fn held_and_given_back(lab: &mut Lab) -> Result<()> {
    let (vg, thick, thin) = origins(lab)?;
    let cowherd = Cowherd::ready(Some(CONFIG), &[])?;
    let (was_thick, was_thin) = (checksum(&thick)?, checksum(&thin)?);
    done(&["create", "vg0/thick", "--name", "t1", "--size", "32MiB"])?;
    done(&["extend", "vg0/t1", "--size", "40MiB"])?;
    ensure!(
        lv_size("vg0/t1")? == Size::mib(40).as_bytes(),
        "the store was not extended"
    );
    done(&["create", "vg0/thin", "--name", "parent", "--activate"])?;
    done(&["create", "vg0/parent", "--name", "child", "--read-only"])?;
    change(&thick, 8)?;
    change(&thin, 8)?;
    ensure!(checksum(&thick)? != was_thick && checksum(&thin)? != was_thin);
    ensure!(
        checksum(&vg.device("t1"))? == was_thick,
        "the classic snapshot holds something else"
    );
    ensure!(
        checksum(&vg.device("parent"))? == was_thin,
        "the thin snapshot holds something else"
    );

    // A parent that goes leaves its child as it is.
    done(&["remove", "--yes", "vg0/parent"])?;
    done(&["activate", "vg0/child"])?;
    ensure!(
        checksum(&vg.device("child"))? == was_thin,
        "the child holds something else"
    );
    ensure!(lvs_field("vg0/child", "lv_permissions")?.starts_with("read-only"));
    done(&["deactivate", "vg0/child"])?;
    ensure!(
        lvs_field("vg0/child", "lv_active")?.is_empty(),
        "the child is still active"
    );

    done(&["merge", "--yes", "vg0/t1"])?;
    ensure!(
        checksum(&thick)? == was_thick,
        "the merge gave something else back"
    );
    done(&["create", "vg0/thin", "--name", "again"])?;
    let now_thin = checksum(&thin)?;
    change(&thin, 16)?;
    done(&["merge", "--yes", "vg0/again"])?;
    ensure!(
        checksum(&thin)? == now_thin,
        "the thin merge gave something else back"
    );
    // What was merged into is nobody's snapshot, whatever LVM made of its tags.
    refused(&["remove", "--yes", "vg0/thin"], "wrong_kind")?;
    done(&["remove", "--yes", "vg0/child"])?;
    let left = sh("lvs --noheadings -o lv_name vg0 | xargs")?;
    ensure!(left == "pool thick thin", "left: {left}");
    let verified = cowherd_history()?;
    ensure!(verified.contains("OK"), "{verified}");
    let log = cowherd.stop()?;
    ensure!(!log.contains("ERROR"), "{log}");
    vg.remove()
}

pub(super) fn cowherd_history() -> Result<String> {
    let output = cowherd(&["history", "--verify"])?;
    ensure!(output.success(), "{output}");
    Ok(output.stdout)
}

fn deferred(lab: &mut Lab) -> Result<()> {
    let (vg, thick, _) = origins(lab)?;
    let cowherd = Cowherd::ready(Some(CONFIG), &[])?;
    let was = checksum(&thick)?;
    done(&["create", "vg0/thick", "--name", "t1", "--size", "32MiB"])?;
    change(&thick, 8)?;
    let open = File::open(&thick)?;
    refused(&["merge", "--yes", "vg0/t1"], "busy")?;
    let told = done(&["merge", "--yes", "--allow-deferred", "vg0/t1"])?;
    ensure!(
        told.contains("deferred") || told.contains("next activated"),
        "{told}"
    );
    let list = done(&["list"])?;
    ensure!(
        list.contains("merge deferred") || list.contains("merge_deferred"),
        "{list}"
    );
    refused(&["create", "vg0/thick"], "merging")?;
    drop(open);
    sh("lvchange -qan vg0/thick && lvchange -qay vg0/thick")?;
    wait_until("it is merged", DEADLINE, || {
        sh("lvs -a --noheadings -o lv_name vg0").is_ok_and(|names| !names.contains("t1"))
    })?;
    ensure!(
        checksum(&thick)? == was,
        "the merge gave something else back"
    );
    drop(cowherd.stop()?);
    vg.remove()
}

fn refused_and_recorded(lab: &mut Lab) -> Result<()> {
    let (vg, thick, thin) = origins(lab)?;
    vg.thin("pool", "vm-100-disk-0", ORIGIN)?;
    sh("lvcreate -q -s -n theirs vg0/thin")?;
    let config = format!("[volume_group]\nreserve = \"3 GiB\"\n{CONFIG}");
    let cowherd = Cowherd::ready(Some(&config), &[])?;
    done(&["create", "vg0/thin", "--name", "mine", "--activate"])?;
    done(&["create", "vg0/thin", "--name", "kept", "--protect"])?;

    refused(&["create", "vg0/nowhere"], "not_found")?;
    refused(&["create", "vg0/thin", "--name", "mine"], "exists")?;
    refused(&["create", "vg0/thin", "--name", "x_tdata"], "invalid_name")?;
    refused(&["create", "vg0/pool"], "wrong_kind")?;
    refused(&["create", "vg0/thin", "--type", "thick"], "wrong_kind")?;
    refused(&["create", "vg0/thick", "--type", "thin"], "wrong_kind")?;
    refused(&["create", "vg0/thick", "--size", "1KiB"], "invalid_size")?;
    refused(&["create", "vg0/thick", "--size", "1GiB"], "vg_reserve")?;
    refused(&["create", "vg0/vm-100-disk-0"], "foreign_owner")?;
    refused(&["remove", "--yes", "vg0/theirs"], "foreign_owner")?;
    refused(&["remove", "--yes", "vg0/thick"], "wrong_kind")?;
    refused(&["remove", "--yes", "vg0/kept"], "protected")?;
    refused(&["merge", "--yes", "vg0/kept"], "protected")?;
    {
        let _open = File::open(vg.device("mine"))?;
        refused(&["remove", "--yes", "vg0/mine"], "busy")?;
        refused(&["deactivate", "vg0/mine"], "busy")?;
    }
    refused(&["activate", "vg0/thick"], "wrong_kind")?;
    refused(&["extend", "vg0/mine", "--size", "1GiB"], "wrong_kind")?;

    lost_is_refused(&cowherd, &thick)?;

    // A pool that is too full.
    change(&thin, 60)?;
    sh("lvcreate -q -V 256M -T vg0/pool -n filler 2>/dev/null")?;
    let cowherd = restarted(cowherd, "[thin_pool.data]\nenabled = false\n")?;
    change(&vg.device("filler"), 170)?;
    refused(&["create", "vg0/thin"], "pool_too_full")?;
    sh("vgchange -qan vg0 && vgexport -q vg0")?;
    refused(&["remove", "--yes", "vg0/mine"], "vg_obstacle")?;
    sh("vgimport -q vg0 && vgchange -qay vg0")?;

    // Nobody who is not named, and nothing that is not allowed.
    sh("chmod 666 /run/cowherd/api.sock")?;
    let output =
        sh("setpriv --reuid 34 --regid 34 --clear-groups cowherd snapshot list 2>&1; echo $?")?;
    ensure!(
        output.contains("forbidden") && output.ends_with('3'),
        "{output}"
    );
    let cowherd = {
        drop(cowherd.stop()?);
        Cowherd::ready(None, &[])?
    };
    refused(&["create", "vg0/thin"], "forbidden")?;
    ensure!(cowherd_history()?.contains("OK"));
    drop(cowherd.stop()?);
    vg.remove()
}

/// A snapshot that ran full can be removed, and nothing else.
fn lost_is_refused(cowherd: &Cowherd, thick: &str) -> Result<()> {
    sh("lvcreate -qs -L 4M -n lost vg0/thick")?;
    sh("lvchange -q --addtag cowherd vg0/lost")?;
    signal(cowherd.pid(), "STOP")?;
    change(thick, 24)?;
    signal(cowherd.pid(), "CONT")?;
    wait_until("it is lost", DEADLINE, || {
        lvs_field("vg0/lost", "lv_attr").is_ok_and(|attr| attr.get(4..5) == Some("I"))
    })?;
    wait_until("the guard knows", DEADLINE, || {
        snapshot(&["list"]).is_ok_and(|list| list.stdout.contains("invalid"))
    })?;
    refused(&["merge", "--yes", "vg0/lost"], "invalid_snapshot")?;
    refused(
        &["extend", "vg0/lost", "--size", "64MiB"],
        "invalid_snapshot",
    )?;
    done(&["remove", "--yes", "vg0/lost"]).map(drop)
}

fn restarted(cowherd: Cowherd, more: &str) -> Result<Cowherd> {
    drop(cowherd.stop()?);
    Cowherd::ready(Some(&format!("{more}{CONFIG}")), &[])
}

fn without_journal(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let thick = vg.thick("thick", Size::mib(256))?;
    vg.cow_snapshot("thick", "snap", Size::mib(64))?;
    sh("mkdir -p /var/lib/cowherd && mount -t tmpfs -o ro tmpfs /var/lib/cowherd")?;
    let config = "[snapshot]\nthreshold_percent = 50\n[api]\nactions = [\"create\"]\n";
    let guard = Cowherd::ready(Some(config), &[])?;
    let output = cowherd(&["snapshot", "create", "vg0/thick"])?;
    let is_refused = output.code == Some(4) && output.stderr.contains("journal_unavailable");
    ensure!(is_refused, "{output}");
    let names = sh("lvs --noheadings -o lv_name vg0 | xargs")?;
    ensure!(names == "snap thick", "there is {names}");
    Writer::start(&thick, Rate::Unlimited, Size::mib(48))?
        .wait(DEADLINE)?
        .complete()?;
    wait_until("the snapshot is extended", DEADLINE, || {
        lv_size("vg0/snap").is_ok_and(|size| size > Size::mib(64).as_bytes())
    })?;
    sh("umount /var/lib/cowherd")?;
    // What kept it away has passed: nobody has to start the guard again.
    let output = cowherd(&["snapshot", "create", "vg0/thick", "--name", "now"])?;
    ensure!(output.success(), "{output}");
    drop(guard.stop()?);
    vg.remove()
}
