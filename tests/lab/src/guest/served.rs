//! The guest's half of the check of the API's document: a guard that serves the API over TLS to whoever the host
//! sends, and afterwards a look at whether it still guards and what became of the volumes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::DEADLINE;
use super::cowherd::{Cowherd, cowherd};
use super::lvm::{Vg, lvs_field};
use super::sh::sh;
use crate::args::API_PORT;
use crate::size::Size;
use crate::verdict::served;
use crate::wait::wait_until;

/// The host asks for minutes.
const ASKED: Duration = Duration::from_secs(780);
/// What was accepted last may still have to be done.
const SETTLED: Duration = Duration::from_secs(120);
const FOLDER: &str = "/etc/cowherd-api";
const CONFIG: &str = r#"
[api]
actions = ["create", "extend", "activate", "deactivate", "merge", "remove", "label"]
listen = ["0.0.0.0:PORT"]
tls_cert = "/etc/cowherd-api/cert.pem"
tls_key = "/etc/cowherd-api/key.pem"
"#;
const ACTIONS: &str = "create,extend,activate,deactivate,merge,remove,label";
const ORIGIN: Size = Size::mib(64);
const STORE: Size = Size::mib(16);

/// `served`: serves until the host says that it is done.
pub(super) fn served() -> Result<u8> {
    let vg = volumes()?;
    let out = Path::new("/out");
    sh(&format!(
        "mkdir -p {FOLDER} && cd {FOLDER} && \
         openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
         -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem && chmod 644 key.pem && cp cert.pem /out/{}",
        served::CERTIFICATE
    ))?;
    let config = CONFIG.replace("PORT", &API_PORT.to_string());
    let mut guard = Cowherd::ready(Some(&config), &[])?;
    let front = guard.front_pid()?;
    let made = cowherd(&[
        "token",
        "create",
        "--id",
        "schema",
        "--actions",
        ACTIONS,
        "--volumes",
        "*/*",
    ])?;
    ensure!(made.success(), "{made}");
    fs::write(out.join(served::TOKEN), made.stdout)?;
    fs::write(out.join(served::UUID), lvs_field("vg0/t1", "lv_uuid")?)?;
    let before = kept(&vg)?;
    fs::write(out.join(served::READY), "").context("telling the host")?;
    wait_until("the host is done", ASKED, || out.join(served::END).exists())?;
    wait_until("what was accepted is done", SETTLED, || {
        cowherd(&["jobs"]).is_ok_and(|jobs| {
            let is_open = jobs.stdout.contains("queued") || jobs.stdout.contains("running");
            jobs.success() && !is_open
        })
    })?;
    guard.wait_ready()?;
    ensure!(guard.is_running()?, "the guard has ended");
    ensure!(
        guard.front_pid()? == front,
        "the front was started again meanwhile"
    );
    let after = kept(&vg)?;
    ensure!(
        before == after,
        "volumes that are no snapshots were\n{before}\nand are\n{after}"
    );
    let verified = cowherd(&["history", "--verify"])?;
    ensure!(verified.success(), "{verified}");
    let log = guard.stop()?;
    ensure!(!log.contains("panicked"), "{log}");
    Ok(0)
}

/// A classic and a thin volume with something in them, and what was taken of both.
fn volumes() -> Result<Vg> {
    let vg = Vg::create("vg0", &["/dev/vda".to_owned()])?;
    let thick = vg.thick("thick", ORIGIN)?;
    vg.pool("pool", Size::mib(256), Size::mib(32), "")?;
    let thin = vg.thin("pool", "thin", ORIGIN)?;
    for device in [thick, thin] {
        sh(&format!(
            "dd if=/dev/urandom of={device} bs=1M count=24 oflag=direct 2>/dev/null; sync"
        ))?;
    }
    for number in [1, 2] {
        vg.cow_snapshot("thick", &format!("c{number}"), STORE)?;
        sh(&format!(
            "lvcreate -qqys -n t{number} vg0/thin && \
             lvchange -qq --addtag cowherd vg0/c{number} && lvchange -qq --addtag cowherd vg0/t{number}"
        ))?;
    }
    Ok(vg)
}

/// What there is of each volume that is no snapshot: its size, and its content where it has a device.
fn kept(vg: &Vg) -> Result<String> {
    // By name: what was taken of a snapshot has no origin either once that is gone.
    let listed = sh(
        "lvs --noheadings --separator , --units b -O lv_name -o lv_name,lv_size,lv_permissions,lv_active \
         vg0/thick vg0/thin vg0/pool | tr -d ' '",
    )?;
    let mut told = vec![listed];
    for name in ["thick", "thin"] {
        let device = vg.device(name);
        let sum = sh(&format!("blockdev --flushbufs {device}; md5sum < {device}"))?;
        told.push(format!("{name} {sum}"));
    }
    wait_until("the guard's page shows them", DEADLINE, || {
        super::http::http_get("/metrics").is_ok_and(|page| page.body.contains("lv=\"pool\""))
    })?;
    Ok(told.join("\n"))
}
