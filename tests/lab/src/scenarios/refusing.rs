//! Whoever asks wrongly is refused, over TLS and from inside the lifeboat, and none of it reaches the guard.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Scenario;
use super::coexisting::EXTENDED;
use crate::args::PAGE_PORT;
use crate::guest::cowherd::Cowherd;
use crate::guest::lvm::{Vg, lv_size};
use crate::guest::sh::{sh, try_sh};
use crate::guest::writer::{Rate, Writer};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::wait_until;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "whoever_asks_wrongly_is_refused_and_the_guard_goes_on",
    "wrong password, no TLS, endless header, broken configuration, old certificate, 500 connections: a snapshot is kept",
    refuse,
)
.deadline(Duration::from_secs(240))];

/// On the host's root, where the lifeboat sees it.
const FOLDER: &str = "/etc/cowherd-web";
/// The published test vector of bcrypt, of the smallest cost: an emulated processor is slow.
const CONFIG: &str = "basic_auth_users:
  herd: $2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW
tls_server_config:
  cert_file: cert.pem
  key_file: key.pem
";
const RIGHT: &str = "--user 'herd:U*U'";
const WRONG: &str = "--user 'herd:U*V'";
const CROWD: usize = 500;
/// curl's words for a connection that ends too soon: no answer, nothing can be sent, nothing comes.
const CUT_OFF: [i32; 3] = [52, 55, 56];
/// curl's word for a certificate that it does not trust.
const UNTRUSTED: i32 = 60;

fn refuse(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    let origin = vg.thick("origin", Size::mib(128))?;
    let before = Size::mib(32);
    vg.cow_snapshot("origin", "snap", before)?;
    sh(&format!(
        "mkdir -p {FOLDER} && cd {FOLDER} && echo '{{}}' > web.yml && \
         openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
         -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem && \
         openssl x509 -in cert.pem -signkey key.pem -days -1 -out old.pem && \
         openssl x509 -in cert.pem -out good.pem && chmod 644 key.pem"
    ))?;
    let option = format!("--web.config.file={FOLDER}/web.yml");
    let mut guard = Cowherd::ready(None, &[&option])?;
    let front = guard.front_pid()?;
    put("web.yml", CONFIG)?;
    wait_until("TLS and users are in force", DEADLINE, || {
        answers(RIGHT, "200")
    })?;
    let writer = Writer::start(&origin, Rate::MibPerSec(2), Size::mib(96))?;
    refusals()?;
    changes(&guard)?;
    let crowd = crowd();
    ensure!(
        crowd.len() > CROWD / 2,
        "only {} could connect",
        crowd.len()
    );
    wait_until(
        "who asks rightly is served beside a crowd",
        DEADLINE,
        || answers(RIGHT, "200"),
    )?;
    writer.wait(Duration::from_secs(90))?.complete()?;
    drop(crowd);
    wait_until("the snapshot is extended", EXTENDED, || {
        lv_size("vg0/snap").is_ok_and(|size| size >= Size::mib(96).as_bytes())
    })?;
    put("web.yml", "{}")?;
    guard.wait_metrics("it speaks without TLS again", DEADLINE, |m| {
        m.is(
            "cowherd_snapshot_state",
            &[("lv", "snap"), ("state", "active")],
            1,
        )
    })?;
    ensure!(guard.is_running()? && guard.front_pid()? == front);
    guard.stop()?;
    sh(&format!("rm -r {FOLDER}"))?;
    vg.remove()
}

fn refusals() -> Result<()> {
    ensure!(answers("", "401"), "nobody's name is no name");
    ensure!(answers(WRONG, "401"), "a wrong password is refused");
    let plain = sh(&format!("{CURL} http://127.0.0.1:{PAGE_PORT}/metrics"))?;
    ensure!(plain == "400", "without TLS: {plain}");
    // curl itself sends no more than 1 MiB.
    sh(&format!(
        "{{ printf 'X-Long: '; head -c 1000K /dev/zero | tr '\\0' x; }} > {FOLDER}/header"
    ))?;
    let long = try_sh(&curl(&format!("{RIGHT} --header @{FOLDER}/header")))?;
    // It may be cut off while it still talks.
    let is_cut = long.code.is_some_and(|code| CUT_OFF.contains(&code));
    let is_refused = long.stdout == "431" || is_cut;
    ensure!(is_refused, "a header of 1000 KiB: {long}");
    Ok(())
}

/// What is broken while it runs does not come into force, and what is old is told.
fn changes(guard: &Cowherd) -> Result<()> {
    put("web.yml", "basic_auth_users: [herd]\n")?;
    ensure!(
        answers(RIGHT, "200"),
        "the last good configuration is in force"
    );
    guard.wait_log("the web configuration is broken", DEADLINE)?;
    ensure!(
        answers(WRONG, "401"),
        "a broken configuration lets nobody in"
    );
    put("web.yml", CONFIG)?;
    sh(&format!("cd {FOLDER} && cp old.pem new && mv new cert.pem"))?;
    wait_until("an old certificate is not trusted", DEADLINE, || {
        try_sh(&curl(RIGHT)).is_ok_and(|told| told.code == Some(UNTRUSTED))
    })?;
    guard.wait_log("the server's certificate has expired", DEADLINE)?;
    sh(&format!(
        "cd {FOLDER} && cp good.pem new && mv new cert.pem"
    ))?;
    wait_until("a good one is", DEADLINE, || answers(RIGHT, "200"))
}

const CURL: &str = "curl --silent --max-time 20 --output /dev/null --write-out '%{http_code}'";

fn curl(options: &str) -> String {
    format!("{CURL} --cacert {FOLDER}/good.pem {options} https://127.0.0.1:{PAGE_PORT}/metrics")
}

fn answers(options: &str, status: &str) -> bool {
    try_sh(&curl(options)).is_ok_and(|told| told.stdout == status)
}

/// Renamed into place: nobody reads half of it.
fn put(name: &str, text: &str) -> Result<()> {
    std::fs::write(format!("{FOLDER}/new"), text)?;
    sh(&format!("mv {FOLDER}/new {FOLDER}/{name}")).map(drop)
}

/// Connections that say nothing.
fn crowd() -> Vec<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PAGE_PORT));
    let connect = |_| TcpStream::connect_timeout(&address, DEADLINE).ok();
    (0..CROWD).filter_map(connect).collect()
}
