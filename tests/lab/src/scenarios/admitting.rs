//! Callers over the network: what a token lets do, and from when until when, of a guard that has left the host's root
//! for its lifeboat and reads tokens there all the same.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Scenario;
use crate::args::API_PORT;
use crate::guest::cowherd::{Cowherd, cowherd};
use crate::guest::lvm::{Vg, lvs_field};
use crate::guest::sh::{Output, scratch_file, sh};
use crate::guest::{DEADLINE, Lab};
use crate::size::Size;
use crate::wait::{wait_for, wait_until};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "a_token_is_good_for_what_it_says_until_it_is_revoked",
    "over TLS, with the lifeboat: made and revoked while the guard runs, in force at once, also for what waits; what is refused changes nothing",
    admitted,
)
.deadline(LONG)];

/// Two dozen requests take most of a minute, and thrice that on a slow machine.
const LONG: Duration = Duration::from_secs(240);

const FOLDER: &str = "/etc/cowherd-api";
const ORIGIN: Size = Size::mib(64);
/// Who is asked is held until somebody writes to it.
const HELD: &str = "/run/held";
/// Exit code of `cowherd snapshot`.
const REFUSED: i32 = 3;

fn config() -> String {
    format!(
        "[api]\nactions = [\"create\", \"remove\"]\nlisten = [\"127.0.0.1:{API_PORT}\"]\n\
         tls_cert = \"{FOLDER}/cert.pem\"\ntls_key = \"{FOLDER}/key.pem\"\n\
         [[api.hook]]\nname = \"held\"\nmode = \"pair\"\nready_s = 60\nbefore = [\"/usr/bin/cat\", \"{HELD}\"]\n\
         after = [\"/usr/bin/true\"]\n"
    )
}

/// The name of a token, and the file that its caller has it in.
struct Token {
    id: &'static str,
    file: String,
}

impl Token {
    fn make(id: &'static str, actions: &str, volumes: &str) -> Result<Self> {
        let words = ["token", "create", "--id", id, "--actions", actions];
        let made = cowherd(&[&words[..], &["--volumes", volumes]].concat())?;
        ensure!(made.success(), "{made}");
        Self::shown(id, &made.stdout)
    }

    /// Whatever its caller shows.
    fn shown(id: &'static str, text: &str) -> Result<Self> {
        let file = scratch_file(id);
        fs::write(&file, text).with_context(|| format!("writing {file}"))?;
        Ok(Self { id, file })
    }

    fn secret(&self) -> Result<String> {
        let text = fs::read_to_string(&self.file).context("reading a token")?;
        let secret = text.trim().rsplit('_').next();
        Ok(secret.context("a token has a secret")?.to_owned())
    }

    fn revoke(&self) -> Result<()> {
        let revoked = cowherd(&["token", "revoke", self.id])?;
        ensure!(revoked.success(), "{revoked}");
        Ok(())
    }

    fn asks(&self, words: &[&str]) -> Result<Output> {
        over_tls(&[words, &["--token-file", &self.file]].concat())
    }

    fn done(&self, words: &[&str]) -> Result<()> {
        let output = self.asks(words)?;
        ensure!(output.success(), "{} asks {words:?}: {output}", self.id);
        Ok(())
    }

    fn refused(&self, words: &[&str], code: &str) -> Result<()> {
        refused(code, || self.asks(words))
    }
}

/// `cowherd snapshot`, of the guard at that address.
fn over_tls(words: &[&str]) -> Result<Output> {
    let url = format!("https://127.0.0.1:{API_PORT}");
    let ca = format!("{FOLDER}/ca.pem");
    cowherd(&[&["snapshot"], words, &["--url", &url, "--ca", &ca]].concat())
}

/// It is answered with this code and exit status, and LVM has what it had.
fn refused(code: &str, ask: impl Fn() -> Result<Output>) -> Result<()> {
    let before = volumes()?;
    let output = ask()?;
    let is_told = output.stderr.contains(&format!("{code}: "));
    ensure!(
        output.code == Some(REFUSED) && is_told,
        "expected {code}: {output}"
    );
    let after = volumes()?;
    ensure!(before == after, "from\n{before}\nto\n{after}");
    Ok(())
}

fn volumes() -> Result<String> {
    sh("lvs -a --noheadings -o vg_name,lv_name,lv_uuid,lv_attr,lv_size,lv_tags,origin")
}

/// Whose the journal's last line is, and what it was answered.
fn is_recorded(caller: &str, code: &str) -> Result<()> {
    let last = sh("tail -1 /var/lib/cowherd/journal.jsonl")?;
    let line: Value = serde_json::from_str(&last).context("a line of the journal")?;
    let is_there = line["kind"] == "refused" && line["code"] == *code && last.contains(caller);
    ensure!(
        is_there,
        "{code} of {caller} is not what the journal ends with: {last}"
    );
    Ok(())
}

fn admitted(lab: &mut Lab) -> Result<()> {
    let vg = Vg::create("vg0", lab.disks())?;
    vg.thick("db-1", ORIGIN)?;
    vg.thick("other", ORIGIN)?;
    certificate()?;
    sh(&format!("mkfifo {HELD}"))?;
    let guard = Cowherd::ready(Some(&config()), &[])?;
    ensure!(guard.metrics()?.is("cowherd_lifeboat_ready", &[], 1));
    let pid = guard.pid();
    let namespaces = sh(&format!("readlink /proc/{pid}/ns/mnt /proc/self/ns/mnt"))?;
    let own = namespaces.split_once('\n').context("two namespaces")?;
    ensure!(own.0 != own.1, "the guard has no mounts of its own");

    let backup = Token::make("backup", "create", "vg0/db-*")?;
    within_its_scope(&backup)?;
    strangers(&backup)?;
    // Made while it runs, for what the other may not.
    let cleaner = Token::make("cleaner", "remove", "vg0/db-*")?;
    cleaner.done(&["remove", "--yes", "vg0/db-1-a"])?;
    ensure!(
        !volumes()?.contains("db-1-a"),
        "what was removed is still there"
    );
    revoked_while_it_waits(&backup)?;
    cleaner.done(&["list"])?;
    // What others have read may be anybody's.
    sh("chmod 644 /etc/cowherd/tokens.d/cleaner.toml")?;
    cleaner.refused(&["list"], "unauthenticated")?;
    guard.wait_log("a token is not accepted", DEADLINE)?;

    let log = guard.stop()?;
    ensure!(!log.contains("ERROR"), "{log}");
    sh(&format!("rm -r {FOLDER} /etc/cowherd/tokens.d {HELD}"))?;
    vg.remove()
}

/// Signed by another: who checks it takes none that may sign for a server's.
fn certificate() -> Result<()> {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    sh(&format!(
        "mkdir -p {FOLDER} && cd {FOLDER} && echo subjectAltName=IP:127.0.0.1 > names && \
         openssl req -x509 {key} -days 90 -subj /CN=ca -keyout ca.key -out ca.pem && \
         openssl req -new {key} -subj /CN=localhost -keyout key.pem -out request.pem && \
         openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 \
         -extfile names -out cert.pem && chmod 644 key.pem"
    ))
    .map(drop)
}

fn within_its_scope(backup: &Token) -> Result<()> {
    backup.done(&["create", "vg0/db-1", "--name", "db-1-a", "--size", "16MiB"])?;
    ensure!(lvs_field("vg0/db-1-a", "origin")? == "db-1");
    for beyond in [
        &["create", "vg0/other"][..],
        &["remove", "--yes", "vg0/db-1-a"],
        // Not even the configuration has that.
        &["merge", "--yes", "vg0/db-1-a"],
    ] {
        backup.refused(beyond, "forbidden")?;
        is_recorded("backup", "forbidden")?;
    }
    Ok(())
}

/// With nothing, with the name of a token and another secret, and with a token that there never was.
fn strangers(backup: &Token) -> Result<()> {
    let create = ["create", "vg0/db-1", "--name", "db-1-b"];
    refused("unauthenticated", || over_tls(&create))?;
    is_recorded("127.0.0.1", "unauthenticated")?;
    let secret = backup.secret()?;
    let other = secret.chars().rev().collect::<String>();
    for text in [
        format!("cowherd_backup_{other}"),
        format!("cowherd_nobody_{secret}"),
    ] {
        let token = Token::shown("stranger", &text)?;
        token.refused(&create, "unauthenticated")?;
        token.refused(&["list"], "unauthenticated")?;
    }
    Ok(())
}

/// What was accepted is not begun any more, and nothing else is accepted.
fn revoked_while_it_waits(backup: &Token) -> Result<()> {
    let held = ["create", "vg0/other", "--name", "first", "--hook", "held"];
    let begun = cowherd(&[&["snapshot"], &held[..], &["--no-wait"]].concat())?;
    ensure!(begun.success(), "{begun}");
    wait_until("the hook is asked", DEADLINE, || {
        sh(&format!("pgrep -fx '/usr/bin/cat {HELD}'")).is_ok()
    })?;
    backup.done(&["create", "vg0/db-1", "--name", "db-1-c", "--no-wait"])?;
    backup.revoke()?;
    backup.refused(
        &["create", "vg0/db-1", "--name", "db-1-d"],
        "unauthenticated",
    )?;
    backup.refused(&["list"], "unauthenticated")?;
    drop(File::create(HELD).context("letting go")?);
    let jobs = wait_for("all jobs have ended", DEADLINE, || {
        let has_ended = |job: &Value| job["state"] != "queued" && job["state"] != "running";
        jobs()
            .ok()
            .filter(|jobs| jobs.iter().take(2).all(has_ended))
    })?;
    let [late, first, ..] = jobs.as_slice() else {
        anyhow::bail!("two jobs: {jobs:?}");
    };
    ensure!(first["state"] == "succeeded", "{first}");
    let is_refused = late["state"] == "failed" && late["error"]["code"] == "unauthenticated";
    ensure!(is_refused, "{late}");
    ensure!(lvs_field("vg0/first", "origin")? == "other");
    ensure!(
        !volumes()?.contains("db-1-"),
        "what was revoked was done all the same"
    );
    Ok(())
}

/// The newest first.
fn jobs() -> Result<Vec<Value>> {
    let output = cowherd(&["jobs", "--json"])?;
    ensure!(output.success(), "{output}");
    serde_json::from_str(&output.stdout).context("the jobs")
}
