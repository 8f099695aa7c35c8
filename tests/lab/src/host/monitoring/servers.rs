//! A Prometheus and an Alertmanager of this machine's packages, with the project's own rules and examples.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::{tool, workspace};
use crate::wait::wait_until;

const READY: Duration = Duration::from_secs(60);
/// Of one answer: a fleet's hour takes its time.
const ANSWER_SECS: &str = "120";

/// One server; killed when dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Server {
    /// Starts it so that it dies with the lab, and waits until it says that it is ready.
    fn start(program: &str, folder: &Path, port: u16, options: &[String]) -> Result<Self> {
        let log = folder.join(format!("{program}.log"));
        let log = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut command = tool::command("setpriv");
        command
            .args(["--pdeathsig", "KILL", program])
            .args(options)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let server = Self { child, port };
        wait_until(&format!("{program} is ready"), READY, || {
            server.get("/-/ready", &[]).is_ok()
        })?;
        Ok(server)
    }

    pub(super) fn resident_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kib.context("no VmRSS")?.parse::<f64>()? / 1024.0)
    }

    /// The body of an answer, with query parameters.
    pub(super) fn get(&self, path: &str, parameters: &[(&str, &str)]) -> Result<String> {
        let mut command = tool::command("curl");
        command.args([
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--max-time",
            ANSWER_SECS,
            "--get",
        ]);
        for (name, value) in parameters {
            command
                .arg("--data-urlencode")
                .arg(format!("{name}={value}"));
        }
        command.arg(format!("http://127.0.0.1:{}{path}", self.port));
        let output = command.output().context("starting curl")?;
        let body = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{path}: {complaint} {body}");
        Ok(body)
    }

    /// The data of an answer of Prometheus' API, which must have no warning.
    pub(super) fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let body = self.get(path, parameters)?;
        let mut answer: Value =
            serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))?;
        ensure!(answer["status"] == "success", "{path}: {body}");
        let warnings = answer
            .get("warnings")
            .filter(|warnings| !warnings.is_null());
        ensure!(warnings.is_none(), "{path}: {body}");
        Ok(answer["data"].take())
    }
}

/// Where the servers keep what they have; empty at the start.
pub(in super::super) fn folder(name: &str) -> Result<PathBuf> {
    let folder = workspace::made(name)?;
    fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
    workspace::made(name)
}

/// A port of the loopback that nobody listens on.
pub(in super::super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port")?;
    Ok(listener.local_addr()?.port())
}

/// The project's file with each text replaced, which must be in it.
pub(super) fn adapted(file: &str, replaced: &[(&str, &str)]) -> Result<String> {
    let path = workspace::root().join(file);
    let mut text = fs::read_to_string(&path).with_context(|| format!("reading {file}"))?;
    for (from, to) in replaced {
        ensure!(text.contains(from), "{file} has no {from:?}");
        text = text.replace(from, to);
    }
    Ok(text)
}

pub(super) fn prometheus(folder: &Path, config: &str) -> Result<Server> {
    fs::write(folder.join("prometheus.yml"), config)?;
    let options = [
        "--config.file=prometheus.yml".to_owned(),
        "--storage.tsdb.path=data".to_owned(),
        "--storage.tsdb.retention.time=1d".to_owned(),
    ];
    Server::start("prometheus", folder, free_port()?, &options)
}

pub(super) fn alertmanager(folder: &Path, config: &str) -> Result<Server> {
    fs::write(folder.join("alertmanager.yml"), config)?;
    let options = [
        "--config.file=alertmanager.yml".to_owned(),
        "--storage.path=alerts".to_owned(),
        // Alone: no gossip.
        "--cluster.listen-address=".to_owned(),
    ];
    Server::start("prometheus-alertmanager", folder, free_port()?, &options)
}
