//! Who is woken: takes Alertmanager's notifications (its webhook) and keeps when each came.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::wait::wait_for;

/// Of one notification.
const BODY_BYTES_MAX: u64 = 1 << 20;
const READ: Duration = Duration::from_secs(10);

/// One alert of one notification.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) at: Instant,
    /// The name of Alertmanager's receiver.
    pub(super) receiver: String,
    pub(super) is_resolved: bool,
    pub(super) labels: Value,
}

impl Told {
    #[must_use]
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels[name].as_str().unwrap_or_default()
    }
}

#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) port: u16,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Receiver {
    pub(super) fn listen() -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening for notifications")?;
        let port = listener.local_addr()?.port();
        let told = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&told);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Err(error) = take(&stream, &kept) {
                    println!("        a notification was lost: {error:#}");
                }
            }
        });
        Ok(Self { port, told })
    }

    /// Waits for an alert of this name, and gives how long after `since` it came.
    pub(super) fn wait(
        &self,
        alert: &str,
        is_resolved: bool,
        since: Instant,
        limit: Duration,
    ) -> Result<(Duration, Told)> {
        let word = if is_resolved { "resolved" } else { "fires" };
        wait_for(&format!("{alert} {word}"), limit, || {
            let is_it = |told: &&Told| {
                told.label("alertname") == alert
                    && told.is_resolved == is_resolved
                    && told.at >= since
            };
            let told = self.all().iter().find(is_it).cloned()?;
            Some((told.at.duration_since(since), told))
        })
    }

    pub(super) fn all(&self) -> MutexGuard<'_, Vec<Told>> {
        locked(&self.told)
    }
}

fn locked(told: &Mutex<Vec<Told>>) -> MutexGuard<'_, Vec<Told>> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take(stream: &TcpStream, told: &Mutex<Vec<Told>>) -> Result<()> {
    stream.set_read_timeout(Some(READ))?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = String::new();
    reader
        .take(BODY_BYTES_MAX.min(length))
        .read_to_string(&mut body)?;
    let mut stream = stream;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    let message: Value = serde_json::from_str(&body)?;
    let receiver = message["receiver"].as_str().unwrap_or_default();
    let alerts = message["alerts"]
        .as_array()
        .context("a notification without alerts")?;
    locked(told).extend(alerts.iter().map(|alert| Told {
        at: Instant::now(),
        receiver: receiver.to_owned(),
        is_resolved: alert["status"] == "resolved",
        labels: alert["labels"].clone(),
    }));
    Ok(())
}
