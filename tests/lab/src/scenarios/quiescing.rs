//! Applications that hold still while a snapshot is made: a real database under load, and a guard that dies meanwhile.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::Scenario;
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::lvm::{Vg, lv_size};
use crate::guest::mariadb::{self, HOOK, Load, Server, TABLES};
use crate::guest::sh::{Output, sh};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "a_database_that_was_held_is_whole_in_the_snapshot",
        "MariaDB under load on ext4 and XFS, held by its hook: tables are clean, all that was committed before is there, \
         nothing torn; without the hook they are not",
        database_is_whole,
    )
    .deadline(LONG)
    .timed(),
    Scenario::new(
        "what_a_killed_guard_had_held_is_released",
        "while they get ready a store in their group is extended; SIGKILL while a lock and a pair are held: the lock is \
         gone, the next guard runs `after`, and there is no snapshot",
        killed_while_held,
    )
    .deadline(LONG),
    Scenario::new(
        "of_several_volumes_all_are_taken_or_none",
        "one that fails takes the others with it; a guard killed meanwhile leaves all or none, and says which",
        all_or_none,
    )
    .deadline(LONG),
];

/// Making a database takes most of a minute, emulated.
const LONG: Duration = Duration::from_secs(600);
/// For which a database may hold still, on an emulated machine.
const HELD_MAX_MS: u64 = 2000;

fn create(arguments: &[&str]) -> Result<Output> {
    cowherd(&[&["snapshot", "create"], arguments].concat())
}

fn jobs() -> Result<Vec<Value>> {
    let output = cowherd(&["jobs", "--json"])?;
    ensure!(output.success(), "{output}");
    serde_json::from_str(&output.stdout).context("the jobs")
}

/// Where a database lives, and how a snapshot of it is mounted read-only beside it.
struct Home {
    volume: &'static str,
    mount: &'static str,
    kind: &'static str,
    options: &'static str,
}

const EXT4: Home = Home {
    volume: "db",
    mount: "/run/database",
    kind: "ext4",
    options: "ro,noload",
};
/// A snapshot has the identity of its origin, which is mounted.
const XFS: Home = Home {
    volume: "dbx",
    mount: "/run/another",
    kind: "xfs",
    options: "ro,nouuid",
};

impl Home {
    fn make(&self, vg: &Vg) -> Result<()> {
        let device = vg.thick(self.volume, Size::mib(400))?;
        let Self { mount, kind, .. } = self;
        sh(&format!(
            "modprobe {kind}; mkfs.{kind} -q {device} && mkdir -p {mount} && mount {device} {mount}"
        ))
        .map(drop)
    }

    fn data(&self) -> String {
        format!("{}/data", self.mount)
    }

    /// Has the database of a snapshot of this one's copied to the other home, as it is.
    fn copy(&self, snapshot: &str, to: &Self) -> Result<Server> {
        let (options, data) = (self.options, to.data());
        sh(&format!(
            "mkdir -p /run/snap && mount -o {options} /dev/vg0/{snapshot} /run/snap && rm -rf {data} && \
             cp -a /run/snap/data {data}; umount /run/snap; ls {data}"
        ))?;
        Server::start(&data)
    }
}

/// The data of a database on a volume of its own.
fn database(vg: &Vg) -> Result<Server> {
    EXT4.make(vg)?;
    mariadb::install(&EXT4.data())?;
    mariadb::install_hook()?;
    let server = Server::start(&EXT4.data())?;
    server.make_tables()?;
    Ok(server)
}

fn config(server: &Server) -> String {
    let socket = server.socket();
    format!(
        "[api]\nactions = [\"create\", \"remove\"]\n[[api.hook]]\nname = \"db\"\nmode = \"hold\"\nready_s = 30\n\
         command = [\"{HOOK}\", \"--no-defaults\", \"--socket={socket}\"]\n"
    )
}

fn database_is_whole(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let server = database(&vg)?;
    let guard = Cowherd::ready(Some(&config(&server)), &[])?;
    let load = server.load()?;
    let span = held(&EXT4, "held", &load)?;
    // The same without: what is checked here can be otherwise.
    wait_until("the load goes on", DEADLINE, || {
        load.acknowledged() > span.1 + 20
    })?;
    let output = create(&["vg0/db", "--name", "torn", "--size", "200MiB"])?;
    ensure!(output.success(), "{output}");
    drop(load);
    drop(guard.stop()?);
    server.stop()?;

    XFS.make(&vg)?;
    let torn = EXT4.copy("torn", &XFS)?;
    let told = torn.check("myisam")?;
    ensure!(
        told != "OK",
        "the check finds nothing in a snapshot that nobody held still for"
    );
    println!("without a hook: {told}");
    torn.stop()?;
    let copied = EXT4.copy("held", &XFS)?;
    is_whole(&copied, span)?;

    // The other way round: from XFS.
    copied.ask("DROP DATABASE held")?;
    copied.make_tables()?;
    let guard = Cowherd::ready(Some(&config(&copied)), &[])?;
    let load = copied.load()?;
    let span = held(&XFS, "heldx", &load)?;
    drop(load);
    drop(guard.stop()?);
    let back = XFS.copy("heldx", &EXT4)?;
    is_whole(&back, span)?;
    back.stop()?;
    copied.stop()?;
    sh(&format!("umount {} {}", EXT4.mount, XFS.mount))?;
    vg.remove()
}

/// Takes a snapshot while the database is held, and gives how many rows were acknowledged before it and after.
fn held(home: &Home, name: &str, load: &Load) -> Result<(u64, u64)> {
    let before = load.acknowledged();
    let volume = format!("vg0/{}", home.volume);
    let output = create(&[&volume, "--name", name, "--size", "150MiB", "--hook", "db"])?;
    ensure!(output.success(), "{output}");
    let after = load.acknowledged();
    let result = jobs()?[0]["result"].clone();
    ensure!(result["consistency"] == "application", "{result}");
    let held = result["held_ms"].as_u64().context("held_ms")?;
    let kind = home.kind;
    println!("HELD {kind} {held} ms; {before} rows were acknowledged before, {after} after");
    ensure!(held < HELD_MAX_MS, "it was held for {held} ms");
    let line = sh("tail -1 /var/lib/cowherd/journal.jsonl")?;
    ensure!(line.contains(&format!("held for {held} ms")), "{line}");
    Ok((before, after))
}

/// Every table is clean, and holds the counters from 1 on without a gap, up to one that was written while the
/// snapshot was asked for.
fn is_whole(server: &Server, (before, after): (u64, u64)) -> Result<()> {
    let mut lasts = Vec::new();
    for table in TABLES {
        let told = server.check(table)?;
        ensure!(told == "OK", "{table}: {told}");
        let rows = server.rows(table)?;
        println!("{table}: {rows:?}");
        ensure!(
            rows.first == 1 && rows.count == rows.last,
            "{table} has gaps: {rows:?}"
        );
        ensure!(
            rows.last >= before,
            "{table} lacks what was committed before: {rows:?}"
        );
        // The one after the last that was acknowledged may be on its way.
        ensure!(
            rows.last <= after + 1,
            "{table} has what came later: {rows:?}"
        );
        lasts.push(rows.last);
    }
    // One after the other: what is in the last is in all, and the first is one ahead at most.
    let is_prefix = lasts.is_sorted_by(|one, next| one >= next) && lasts[0] <= lasts[2] + 1;
    ensure!(is_prefix, "the tables are of different moments: {lasts:?}");
    Ok(())
}

const FROZEN: &str = "/run/frozen";
const STORE: Size = Size::mib(16);

fn killed_while_held(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let server = database(&vg)?;
    let other = vg.thick("other", Size::mib(64))?;
    vg.cow_snapshot("other", "store", STORE)?;
    // The second hook never gets ready: the first two are held for as long.
    let pair = format!(
        "[[api.hook]]\nname = \"pair\"\nmode = \"pair\"\nmax_hold_s = 60\nbefore = [\"/usr/bin/touch\", \"{FROZEN}\"]\n\
         after = [\"/usr/bin/rm\", \"{FROZEN}\"]\n\
         [[api.hook]]\nname = \"slow\"\nmode = \"pair\"\nready_s = 60\nbefore = [\"/usr/bin/sleep\", \"600\"]\n\
         after = [\"/usr/bin/true\"]\n\
         [[api.hook]]\nname = \"broken\"\nmode = \"pair\"\nbefore = [\"/usr/bin/false\"]\n\
         after = [\"/usr/bin/true\"]\n"
    );
    let config = config(&server).replace("ready_s = 30", "ready_s = 30\nmax_hold_s = 60") + &pair;
    let guard = Cowherd::ready(Some(&config), &[])?;
    let load = server.load()?;
    let client = thread::spawn(|| {
        create(&[
            "vg0/db", "--name", "x", "--hook", "db", "--hook", "pair", "--hook", "slow",
        ])
    });
    wait_until("the pair is held", DEADLINE * 3, || {
        fs::exists(FROZEN).unwrap_or(false)
    })?;
    wait_until("the last hook is being asked", DEADLINE, || {
        sh("pgrep -fx '/usr/bin/sleep 600'").is_ok()
    })?;
    ensure!(server.is_locked(), "the lock is not held");
    ensure!(sh("ls /var/lib/cowherd/leases | wc -l")? == "2");
    // A store in the group is not kept waiting by who is asked.
    sh(&format!(
        "dd if=/dev/urandom of={other} bs=1M count=14 oflag=direct 2>/dev/null"
    ))?;
    wait_until("a store in the same group is extended", DEADLINE, || {
        lv_size("vg0/store").is_ok_and(|size| size > STORE.as_bytes())
    })?;
    // Dropped, it is killed.
    drop(guard);
    wait_until("the lock is gone", DEADLINE, || !server.is_locked())?;
    grows(&load)?;
    ensure!(fs::exists(FROZEN)?, "who ran `after`?");
    let next = Cowherd::ready(Some(&config), &[])?;
    wait_until("`after` was run", DEADLINE, || {
        !fs::exists(FROZEN).unwrap_or(true)
    })?;
    wait_until("no lease is left", DEADLINE, || {
        sh("ls /var/lib/cowherd/leases | wc -l").is_ok_and(|count| count == "0")
    })?;
    ensure!(
        sh("pgrep -fx '/usr/bin/sleep 600'").is_err(),
        "`before` still runs"
    );
    let output = client
        .join()
        .map_err(|_| anyhow!("the client panicked"))??;
    println!("the client: {output}");
    wait_until("the job has ended", DEADLINE, || {
        jobs().is_ok_and(|jobs| jobs[0]["state"] == "interrupted")
    })?;
    let names = sh("lvs --noheadings -o lv_name vg0 | xargs")?;
    ensure!(names == "db other store", "there is {names}");
    failing_hooks()?;
    drop(load);
    drop(next.stop()?);
    server.stop()?;
    sh(&format!("umount {}", EXT4.mount))?;
    vg.remove()
}

fn grows(load: &Load) -> Result<()> {
    let now = load.acknowledged();
    wait_until("the load goes on", DEADLINE, || {
        load.acknowledged() > now + 5
    })
}

/// Without every hook there is no snapshot, unless that will do.
fn failing_hooks() -> Result<()> {
    let output = create(&["vg0/db", "--name", "y", "--hook", "nothing"])?;
    ensure!(output.stderr.contains("unknown_hook: "), "{output}");
    let output = create(&["vg0/db", "--name", "y", "--hook", "db", "--hook", "broken"])?;
    ensure!(output.stderr.contains("hook_failed: "), "{output}");
    let names = sh("lvs --noheadings -o lv_name vg0 | xargs")?;
    ensure!(names == "db other store", "there is {names}");
    let output = create(&["vg0/db", "--name", "y", "--hook", "broken", "--best-effort"])?;
    ensure!(output.stdout.contains("crash-consistent only"), "{output}");
    let result = jobs()?[0]["result"].clone();
    ensure!(result["consistency"] == "crash", "{result}");
    let output = cowherd(&["snapshot", "remove", "--yes", "vg0/y"])?;
    ensure!(output.success(), "{output}");
    Ok(())
}

const BOTH: &str = "[api]\nactions = [\"create\", \"remove\"]\n";
/// From while it is judged until after lvm has ended, on a machine that is neither fast nor slow.
const MOMENTS: [Duration; 4] = [
    Duration::from_millis(400),
    Duration::from_millis(900),
    Duration::from_millis(1300),
    Duration::from_millis(1800),
];

fn snapshots() -> Result<String> {
    sh("lvs --noheadings -o lv_name -S 'lv_name=~day' vg0 | xargs")
}

fn all_or_none(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.thick("a", Size::mib(64))?;
    vg.thick("b", Size::mib(64))?;
    let mut guard = Cowherd::ready(Some(BOTH), &[])?;
    let take = ["vg0/a", "vg0/b", "--name", "day"];
    let output = create(&take)?;
    ensure!(output.stderr.contains("invalid_request: "), "{output}");
    let take = [&take[..], &["--no-quiesce"]].concat();
    let output = create(&take)?;
    ensure!(
        output.stdout.contains("created vg0/a-day, vg0/b-day"),
        "{output}"
    );
    ensure!(snapshots()? == "a-day b-day");
    let output = cowherd(&["snapshot", "remove", "--yes", "vg0/a-day", "vg0/b-day"])?;
    ensure!(output.success(), "{output}");

    // A device of that name is in the way of the second, of which LVM's metadata tells nothing.
    sh("dmsetup create vg0-b--day --table '0 8 zero'")?;
    let output = create(&take)?;
    ensure!(
        output.code == Some(1) && output.stderr.contains("lvm_failed: "),
        "{output}"
    );
    ensure!(snapshots()?.is_empty(), "left: {}", snapshots()?);
    sh("dmsetup remove vg0-b--day")?;

    for moment in MOMENTS {
        let words: Vec<&'static str> = take.clone();
        let client = thread::spawn(move || create(&words));
        thread::sleep(moment);
        drop(guard);
        guard = Cowherd::ready(Some(BOTH), &[])?;
        let output = client
            .join()
            .map_err(|_| anyhow!("the client panicked"))??;
        wait_until("all jobs have ended", DEADLINE * 3, || {
            let has_ended = |job: &Value| job["state"] != "queued" && job["state"] != "running";
            jobs().is_ok_and(|jobs| jobs.iter().all(has_ended))
        })?;
        let (left, last) = (snapshots()?, jobs()?[0].clone());
        println!(
            "after {moment:?}: {left:?}, {}, the client {:?}",
            last["state"], output.code
        );
        let is_done = left == "a-day b-day";
        ensure!(is_done || left.is_empty(), "{left} is neither all nor none");
        if is_done {
            ensure!(last["state"] == "succeeded", "{last}");
            let output = cowherd(&["snapshot", "remove", "--yes", "vg0/a-day", "vg0/b-day"])?;
            ensure!(output.success(), "{output}");
        }
    }
    drop(guard.stop()?);
    vg.remove()
}
