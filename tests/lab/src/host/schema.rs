//! The check of the API's document: schemathesis on this machine makes requests of it, right ones and wrong ones,
//! and sends them over TLS to the real guard in a guest.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::machine::{Boot, Build, Guest};
use super::monitoring::{folder, free_port};
use super::qemu::{Forward, PROCESSORS};
use super::{Host, tool, workspace};
use crate::args::API_PORT;
use crate::size::Size;
use crate::verdict::served;
use crate::wait::wait_until;

pub const NAME: &str = "schema";
const DOCUMENT: &str = "src/front/api/openapi.json";
/// What it finds changes with its version.
const VERSION: &str = "4.32.5";
/// How long requests are made.
const LASTS: Duration = Duration::from_secs(300);
/// Fewer in that time and hardly anything was tried: an emulated guest answers four in a second.
const REQUESTS_MIN: usize = 600;
/// One in so many must get what it asked for: one in three does.
const SERVED_ONE_IN: usize = 5;
/// With more schemathesis dies of Python 3.11, whose parser of itself minds other threads ("AST constructor recursion
/// depth mismatch").
const WORKERS: &str = "1";
/// A request may ask to be waited for, and a change is three reports of LVM's and a command.
const ANSWER_SECS: &str = "90";
/// From the boot until the guard is ready.
const SERVED: Duration = Duration::from_secs(120);
/// Of the whole guest: `LASTS`, and what is under way when that is over.
const GUEST: Duration = Duration::from_secs(900);
const DISKS: [Size; 1] = [Size::gib(4)];
const MEMORY: Size = Size::gib(1);
/// What is asked of each answer.
const CHECKS: [&str; 10] = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
];
/// What is not, and why.
const EXCLUDED: [(&str, &str); 4] = [
    (
        "ignored_auth",
        "two tries in vain for each operation are more than an address has at once, and 429 is no 401 to it; who is \
         let in, which is found out before the path is looked at, is tried in a scenario",
    ),
    (
        "use_after_free",
        "what is to be removed in a job that is still queued, or in a dry run, is rightly there",
    ),
    (
        "ensure_resource_availability",
        "what is to be made in a job that is still queued is rightly not there",
    ),
    (
        "object_level_authorization",
        "it wants a second caller; what a token lets do is tried in a scenario",
    ),
];
/// Names of what there is in the guest, for half of the requests. And the answers to what the document calls valid:
/// whether it can be done is another matter, but it is never called malformed.
const CONFIG: &str = r#"
[dictionaries]
volumes = { values = ["vg0/thick", "vg0/thin", "vg0/pool", "vg0/c1", "vg0/c2", "vg0/t1", "vg0/t2"] }
classic = { values = ["vg0/c1", "vg0/c2"] }
groups = { values = ["vg0"] }
bytes = { values = [20971520, 25165824] }
[parameters]
"path.id" = { dictionary = "volumes", probability = 0.5 }
"query.origin" = { dictionary = "volumes", probability = 0.5 }
"query.vg" = { dictionary = "groups", probability = 0.5 }
"body.target" = { dictionary = "volumes", probability = 0.5 }
"body.with[*]" = { dictionary = "volumes", probability = 0.5 }
"body.size_bytes" = { dictionary = "bytes", probability = 0.5 }
[[operations]]
include-operation-id = "extend"
parameters = { "path.id" = { dictionary = "classic", probability = 0.9 } }
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 403, 404, 409, 412, 422, 428, 429]
"#;
/// What the document's examples are of, and what there is instead.
const EXAMPLE: (&str, &str) = ("vg0/vm101", "vg0/t1");
const EXAMPLE_UUID: &str = "HeDn2l-9XRh-aBcD-1234-wxyZ-0aA1-b2C3d4";

/// Prints what it saw; an error is a failure.
pub fn check(host: &Host) -> Result<()> {
    let program = schemathesis()?;
    let folder = folder(NAME)?;
    let port = free_port()?;
    let mut guest = boot(host, port)?;
    let out = guest.run_dir.out();
    thread::scope(|scope| {
        let watched = &mut guest;
        let watching = scope.spawn(move || {
            watched
                .watch(&host.interrupt, Some(GUEST), |_| ())
                .map(drop)
        });
        let is_served = || out.join(served::READY).exists() || watching.is_finished();
        let seen = wait_until("the guest serves the API", SERVED, is_served)
            .and_then(|()| ask(&program, &folder, &out, port));
        // Whatever was seen: it comes to its end.
        fs::write(out.join(served::END), "").context("asking the guest")?;
        let watched = watching.join();
        watched.map_err(|_| anyhow::anyhow!("watching the guest"))??;
        seen
    })?;
    ensure!(
        guest.exit_code() == Some(0),
        "the guest failed; its console: {}",
        guest.console_file.display()
    );
    println!("        the guard is ready, and every volume that is no snapshot is as it was");
    Ok(())
}

fn boot(host: &Host, port: u16) -> Result<Guest> {
    Guest::boot(
        host,
        &Boot {
            name: NAME,
            verb: "served",
            disks: &DISKS,
            processors: PROCESSORS,
            memory: MEMORY,
            forward: Some(Forward {
                host_port: port,
                guest_port: API_PORT,
            }),
            cowherd: Build::Dev,
        },
    )
}

/// In a virtual environment of its own, made when missing.
fn schemathesis() -> Result<PathBuf> {
    let environment = workspace::lab_dir().join(format!("schemathesis-{VERSION}"));
    let program = environment.join("bin/schemathesis");
    let is_there = || {
        let told = tool::output(tool::command(tool::text(&program)?).arg("--version"))?;
        ensure!(told.contains(VERSION), "it is {told}, not {VERSION}");
        Ok(())
    };
    if is_there().is_ok() {
        return Ok(program);
    }
    fs::remove_dir_all(&environment).ok();
    println!("lab: installing schemathesis {VERSION}");
    let mut python = tool::command("python3");
    python.args(["-m", "venv"]).arg(&environment);
    tool::output(&mut python)
        .context("schemathesis needs Python's virtual environments (on Debian: python3-venv)")?;
    let mut pip = tool::command(tool::text(&environment.join("bin/pip"))?);
    pip.args(["install", "--quiet", "--disable-pip-version-check"])
        .arg(format!("schemathesis=={VERSION}"));
    tool::output(&mut pip).context("schemathesis cannot be had from PyPI")?;
    is_there()?;
    Ok(program)
}

fn ask(program: &Path, folder: &Path, out: &Path, port: u16) -> Result<()> {
    let token = fs::read_to_string(out.join(served::TOKEN)).context("the guest's token")?;
    let document = folder.join("openapi.json");
    fs::write(&document, over_tls(out)?.to_string()).context("writing the document")?;
    let config = folder.join("schemathesis.toml");
    fs::write(&config, CONFIG).context("writing schemathesis' configuration")?;
    let report = folder.join("requests.har");
    let mut command = tool::command(tool::text(program)?);
    command
        .arg(format!("--config-file={}", config.display()))
        .arg("run")
        .arg(document)
        .arg(format!("--url=https://127.0.0.1:{port}"))
        .arg(format!("--header=Authorization: Bearer {}", token.trim()))
        .arg(format!(
            "--tls-verify={}",
            out.join(served::CERTIFICATE).display()
        ))
        .arg(format!("--max-time={}", LASTS.as_secs()))
        .arg(format!("--workers={WORKERS}"))
        .arg(format!("--request-timeout={ANSWER_SECS}"))
        .arg(format!("--checks={}", CHECKS.join(",")))
        .arg(format!("--report-har-path={}", report.display()))
        .args([
            "--continue-on-failure",
            "--generation-database=none",
            // The token is right in each request, the header's length not to be guessed.
            "--generation-with-security-parameters=false",
            "--warnings=off",
            "--no-color",
        ])
        .env("PYTHONUNBUFFERED", "1")
        .current_dir(folder);
    let excluded: Vec<&str> = EXCLUDED.iter().map(|(check, _)| *check).collect();
    println!(
        "        schemathesis asks for {} s; checked: {}; not: {}",
        LASTS.as_secs(),
        CHECKS.join(", "),
        excluded.join(", ")
    );
    let log = folder.join("schemathesis.log");
    let file = fs::File::create(&log).context("making the log")?;
    let status = command
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("starting {}", program.display()))?;
    let told = fs::read_to_string(&log).context("reading the log")?;
    ensure!(status.success(), "schemathesis: {status}:\n{told}");
    let document = over_tls(out)?;
    judge(&operations(&document)?, &answers(&report)?)
}

/// The document as it is over TLS, where nobody is let in without showing something, with examples of what there is.
fn over_tls(out: &Path) -> Result<Value> {
    let text = fs::read_to_string(workspace::root().join(DOCUMENT)).context("the document")?;
    let uuid = fs::read_to_string(out.join(served::UUID)).context("an uuid of the guest")?;
    for example in [EXAMPLE.0, EXAMPLE_UUID] {
        ensure!(text.contains(example), "{example} is no example any more");
    }
    let text = text
        .replace(EXAMPLE.0, EXAMPLE.1)
        .replace(EXAMPLE_UUID, uuid.trim());
    let mut document: Value = serde_json::from_str(&text).context("the document")?;
    // Where a pattern wants quotes schemathesis sends an empty header and calls it valid.
    let tags = json!([
        format!("\"{}\"", uuid.trim()),
        format!("\"{}\"", "0".repeat(32))
    ]);
    let schema = &mut document["components"]["parameters"]["IfMatch"]["schema"];
    ensure!(
        schema["pattern"].is_string(),
        "If-Match has no pattern any more"
    );
    *schema = json!({"type": "string", "enum": tags});
    let ways = document["security"].as_array_mut();
    let ways = ways.context("the document does not say how callers are known")?;
    ways.retain(|way| way.as_object().is_some_and(|way| !way.is_empty()));
    Ok(document)
}

/// Method and path of each.
fn operations(document: &Value) -> Result<Vec<(String, String)>> {
    let paths = document["paths"].as_object().context("no paths")?;
    let methods = |(path, methods): (&String, &Value)| {
        let path = path.clone();
        let methods: Vec<String> = methods
            .as_object()
            .into_iter()
            .flatten()
            .map(|(m, _)| m.to_uppercase())
            .collect();
        methods
            .into_iter()
            .map(move |method| (method, path.clone()))
    };
    Ok(paths.iter().flat_map(methods).collect())
}

/// What was asked and the status of the answer.
#[derive(Debug)]
struct Answer {
    method: String,
    path: String,
    status: i64,
}

impl Answer {
    fn is_served(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn is_of(&self, method: &str, pattern: &str) -> bool {
        let (expected, found) = (pattern.split('/'), self.path.split('/'));
        self.method == method
            && expected.clone().count() == found.clone().count()
            && expected
                .zip(found)
                .all(|(expected, found)| expected == found || expected == "{id}")
    }
}

fn answers(report: &Path) -> Result<Vec<Answer>> {
    let text = fs::read_to_string(report).context("reading the report")?;
    let report: Value = serde_json::from_str(&text).context("the report")?;
    let entries = report["log"]["entries"].as_array();
    let entries = entries.context("a report without requests")?.iter();
    let answer = |entry: &Value| {
        let url = entry["request"]["url"].as_str()?;
        let (_, path) = url.split_once("://")?.1.split_once('/')?;
        let path = path.split('?').next()?;
        Some(Answer {
            method: entry["request"]["method"].as_str()?.to_owned(),
            path: format!("/{path}"),
            status: entry["response"]["status"].as_i64()?,
        })
    };
    let answers = entries.map(|entry| answer(entry).with_context(|| format!("no answer: {entry}")));
    answers.collect()
}

/// Whoever is refused at the door learns nothing: many must have been heard, and some of each kind have got what they
/// asked for.
fn judge(operations: &[(String, String)], answers: &[Answer]) -> Result<()> {
    let mut counts = BTreeMap::<i64, usize>::new();
    for answer in answers {
        *counts.entry(answer.status).or_default() += 1;
    }
    let counted: Vec<String> = counts.iter().map(|(s, n)| format!("{s}: {n}")).collect();
    let total = answers.len();
    println!("        {total} requests; answers {}", counted.join(", "));
    ensure!(
        total >= REQUESTS_MIN,
        "only {total} requests, expected {REQUESTS_MIN}"
    );
    let served: Vec<&Answer> = answers.iter().filter(|answer| answer.is_served()).collect();
    ensure!(
        served.len() * SERVED_ONE_IN >= total,
        "only {} of {total} were served",
        served.len()
    );
    let never = operations
        .iter()
        .find(|(method, path)| !served.iter().any(|answer| answer.is_of(method, path)));
    ensure!(never.is_none(), "{never:?} was never served");
    let broken = answers.iter().find(|answer| answer.status >= 500);
    ensure!(broken.is_none(), "a server's error: {broken:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_heard_or_not_answered_has_proved_nothing() {
        let operations = ["/a/{id}", "/a"].map(|path| ("GET".to_owned(), path.to_owned()));
        let judged = |answers: &[(&str, i64, usize)]| {
            let several = |(path, status, count): &(&str, i64, usize)| {
                let (path, status) = ((*path).to_owned(), *status);
                let method = "GET".to_owned();
                std::iter::repeat_with(move || Answer {
                    method: method.clone(),
                    path: path.clone(),
                    status,
                })
                .take(*count)
            };
            let answers: Vec<Answer> = answers.iter().flat_map(several).collect();
            judge(&operations, &answers).is_ok()
        };
        assert!(judged(&[
            ("/a/x", 200, 200),
            ("/a", 201, 1),
            ("/b", 404, 500)
        ]));
        assert!(!judged(&[("/a/x", 200, 20), ("/a", 200, 20)]), "too few");
        assert!(
            !judged(&[("/a/x", 200, 9), ("/a", 200, 9), ("/a", 401, 600)]),
            "hardly any was served"
        );
        assert!(!judged(&[("/a/x", 200, 900)]), "one is never served");
        assert!(
            !judged(&[("/a/x", 200, 900), ("/a", 200, 1), ("/a", 500, 1)]),
            "a server's error"
        );
        assert!(!judged(&[]), "none");
    }

    #[test]
    fn no_check_is_made_and_left_out() {
        assert!(!EXCLUDED.iter().any(|(check, _)| CHECKS.contains(check)));
    }
}
