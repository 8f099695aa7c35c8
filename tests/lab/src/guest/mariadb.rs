//! A real database in the guest: its server on a directory, load that counts, and whether what it left is whole.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::DEADLINE;
use super::sh::{Output, run, run_for, scratch_file, sh};
use crate::wait::{wait_for, wait_until};

/// Where the guard finds the hook that cowherd ships.
pub const HOOK: &str = "/etc/cowherd/hooks/mariadb";
const SHIPPED_HOOK: &str = include_str!("../../../../packaging/hooks/mariadb");
/// It makes a few hundred tables' files, emulated.
const INSTALL: Duration = Duration::from_secs(200);
const START: Duration = Duration::from_secs(100);
/// One that is transactional, one that survives a crash by its own log, and one that does neither.
pub const TABLES: [&str; 3] = ["innodb", "aria", "myisam"];

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    socket: String,
    log: String,
}

/// Inserts a counter into each table, one after the other, and notes what was committed.
#[derive(Debug)]
pub struct Load {
    child: Child,
    acknowledged: String,
}

/// What is in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    pub count: u64,
    pub first: u64,
    pub last: u64,
}

/// Puts the shipped hook where only root can change it.
pub fn install_hook() -> Result<()> {
    fs::create_dir_all("/etc/cowherd/hooks").context("making the folder of hooks")?;
    fs::write(HOOK, SHIPPED_HOOK).context("writing the hook")?;
    // Bash names a pipe so; udev makes the link on a host.
    sh(&format!("chmod 755 {HOOK}; ln -sfn /proc/self/fd /dev/fd")).map(drop)
}

/// Makes a database below `data`.
pub fn install(data: &str) -> Result<()> {
    println!("+ mariadb-install-db in {data}");
    let output = run_for(
        INSTALL,
        "mariadb-install-db",
        &[
            "--no-defaults",
            "--user=root",
            &format!("--datadir={data}"),
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ],
    )?;
    ensure!(output.success(), "mariadb-install-db: {output}");
    Ok(())
}

impl Server {
    /// Repairs nothing by itself: what is broken shows.
    pub fn start(data: &str) -> Result<Self> {
        let socket = scratch_file("mariadb.sock");
        let log = scratch_file("mariadb.log");
        let file = File::create(&log).context("making the server's log")?;
        let child = Command::new("mariadbd")
            .args(["--no-defaults", "--user=root", "--skip-networking"])
            .args(["--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M"])
            .args(["--myisam-recover-options=OFF", "--performance-schema=OFF"])
            .args([format!("--datadir={data}"), format!("--socket={socket}")])
            .arg(format!("--pid-file={socket}.pid"))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("starting mariadbd")?;
        let mut server = Self { child, socket, log };
        let waited = wait_until("MariaDB answers", START, || {
            server.child.try_wait().is_ok_and(|end| end.is_some()) || server.ask("SELECT 1").is_ok()
        });
        let log = fs::read_to_string(&server.log).unwrap_or_default();
        waited.with_context(|| log.clone())?;
        ensure!(server.ask("SELECT 1").is_ok(), "mariadbd ended:\n{log}");
        Ok(server)
    }

    #[must_use]
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// What the server answers, trimmed.
    pub fn ask(&self, sql: &str) -> Result<String> {
        let output = self.try_ask(sql)?;
        ensure!(output.success(), "{sql}: {output}");
        Ok(output.stdout.trim().to_owned())
    }

    pub fn try_ask(&self, sql: &str) -> Result<Output> {
        let socket = format!("--socket={}", self.socket);
        run("mariadb", &["--no-defaults", &socket, "-BNe", sql])
    }

    pub fn make_tables(&self) -> Result<()> {
        self.ask("CREATE DATABASE held")?;
        for table in TABLES {
            self.ask(&format!(
                "CREATE TABLE held.{table} (n INT PRIMARY KEY, text CHAR(200)) ENGINE={table}"
            ))?;
        }
        Ok(())
    }

    /// Inserts go on until they are stopped.
    pub fn load(&self) -> Result<Load> {
        let acknowledged = scratch_file("acknowledged");
        let inserts = TABLES.map(|table| {
            format!("INSERT INTO held.{table} VALUES ($n, REPEAT('x', $((n % 200))));")
        });
        let script = format!(
            "for ((n = 1; ; n++)); do echo \"{} SELECT $n;\"; done | \
             exec mariadb --no-defaults --socket={} -BN --unbuffered > {acknowledged}",
            inserts.join(" "),
            self.socket
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]).stdin(Stdio::null());
        command.process_group(0);
        let child = command.spawn().context("starting the load")?;
        let load = Load {
            child,
            acknowledged,
        };
        wait_until("rows are written", DEADLINE, || load.acknowledged() > 20)?;
        Ok(load)
    }

    pub fn rows(&self, table: &str) -> Result<Rows> {
        let told = self.ask(&format!(
            "SELECT COUNT(*), MIN(n), MAX(n) FROM held.{table}"
        ))?;
        let numbers: Vec<u64> = told
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        match numbers.as_slice() {
            [count, first, last] => Ok(Rows {
                count: *count,
                first: *first,
                last: *last,
            }),
            _ => anyhow::bail!("rows of {table}: {told}"),
        }
    }

    /// The last thing that the server has to say of a table, `OK` when all is well.
    pub fn check(&self, table: &str) -> Result<String> {
        let told = self.ask(&format!("CHECK TABLE held.{table} EXTENDED"))?;
        Ok(told
            .lines()
            .map(|line| line.rsplit('\t').next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("; "))
    }

    /// Whether anything may be written now.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        let written = self
            .try_ask("SET SESSION lock_wait_timeout = 1; CREATE DATABASE free; DROP DATABASE free");
        written.is_ok_and(|output| output.stderr.contains("Lock wait timeout"))
    }

    pub fn stop(mut self) -> Result<()> {
        self.ask("SHUTDOWN")?;
        let child = &mut self.child;
        wait_for("MariaDB has ended", START, || child.try_wait().transpose())?
            .context("waiting for mariadbd")
            .map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
    }
}

impl Load {
    /// The last counter that is in all three tables, as the server said.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let text = fs::read_to_string(&self.acknowledged).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .rsplit('\n')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or_default()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // All of the pipe.
        sh(&format!("kill -KILL -- -{}", self.child.id())).ok();
        self.child.wait().ok();
    }
}
