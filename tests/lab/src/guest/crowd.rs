//! Many callers at once: each asks the API for a snapshot and for its removal, again and again.
//!
//! They speak HTTP themselves: as many commands of cowherd's would be a test of the processors.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use super::DEADLINE;
use super::http::socket_request;
use crate::wait::wait_until;

const SOCKET: &str = "/run/cowherd/api.sock";
/// What a caller is told to wait who comes when there are too many.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at a job.
const LOOK: Duration = Duration::from_millis(500);

/// They go on until ended.
#[derive(Debug)]
pub struct Crowd {
    is_over: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Result<u32>>>,
}

impl Crowd {
    /// As many callers, who want snapshots of `origin` in `group`. The first are served by the time this returns.
    pub fn start(count: u32, group: &str, origin: &str) -> Result<Self> {
        println!("+ {count} callers");
        let is_over = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicU32::new(0));
        let start = |number| {
            let (over, served) = (Arc::clone(&is_over), Arc::clone(&served));
            let caller = Caller {
                create: format!("/api/v1/volumes/{group}%2F{origin}/snapshots?wait=10"),
                snapshot: format!("/api/v1/snapshots/{group}%2Fs{number}?wait=10"),
                name: format!("s{number}"),
            };
            thread::spawn(move || caller.go_on(&over, &served))
        };
        let callers = (0..count).map(start).collect();
        let crowd = Self { is_over, callers };
        wait_until("the first callers are served", DEADLINE, || {
            served.load(Ordering::Relaxed) > 1
        })?;
        Ok(crowd)
    }

    /// How many snapshots were made and removed. Fails when anything that was asked for was not done.
    pub fn end(self) -> Result<u32> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut made = 0;
        for caller in self.callers {
            let caller = caller.join();
            made += caller.map_err(|_| anyhow!("a caller has panicked"))??;
        }
        Ok(made)
    }
}

struct Caller {
    create: String,
    snapshot: String,
    name: String,
}

impl Caller {
    /// At least one snapshot.
    fn go_on(&self, is_over: &AtomicBool, served: &AtomicU32) -> Result<u32> {
        let mut made = 0;
        loop {
            let key = format!("{}-{made}", self.name);
            // Else the last one of all would have to be confirmed.
            let wanted = json!({"name": self.name, "expendable": true}).to_string();
            done(ask(
                "POST",
                &self.create,
                &[("Idempotency-Key", &key)],
                &wanted,
            )?)?;
            served.fetch_add(1, Ordering::Relaxed);
            done(ask("DELETE", &self.snapshot, &[], "")?)?;
            served.fetch_add(1, Ordering::Relaxed);
            made += 1;
            if is_over.load(Ordering::Relaxed) {
                return Ok(made);
            }
        }
    }
}

/// Until there is room for this request.
fn ask(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Value> {
    let json = [("Content-Type", "application/json")];
    let headers = if body.is_empty() {
        headers.to_vec()
    } else {
        [headers, &json].concat()
    };
    loop {
        let answer = socket_request(Path::new(SOCKET), method, path, &headers, body)?;
        match answer.status {
            429 => thread::sleep(TRY_AGAIN),
            200..=299 => return serde_json::from_str(&answer.body).context("the answer's body"),
            status => bail!("{method} {path}: {status} {}", answer.body),
        }
    }
}

/// Until the job has ended, well.
fn done(mut job: Value) -> Result<()> {
    while job["state"] == "queued" || job["state"] == "running" {
        thread::sleep(LOOK);
        let id = job["id"].as_str().context("a job's id")?;
        job = ask("GET", &format!("/api/v1/jobs/{id}"), &[], "")?;
    }
    ensure!(job["state"] == "succeeded", "{job}");
    Ok(())
}
