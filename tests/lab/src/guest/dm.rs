//! What device-mapper and the kernel say, asked the way that never blocks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::sh::{run, sh};

/// Between two samples: each costs an emulated CPU about 10 ms.
const SAMPLE_EVERY: Duration = Duration::from_millis(50);
/// Distinct lines a watch remembers; a scenario sees far fewer.
const SAMPLES_MAX: usize = 10_000;

/// `dmsetup status --noflush NAME`, one line.
pub fn dm_status(name: &str) -> Result<String> {
    asked(&["status", "--noflush", name])
}

/// `dmsetup table NAME`.
pub fn dm_table(name: &str) -> Result<String> {
    asked(&["table", name])
}

pub fn dm_info_suspended(name: &str) -> Result<bool> {
    let state = asked(&["info", "-c", "--noheadings", "-o", "suspended", name])?;
    Ok(state == "Suspended")
}

/// Names of all suspended devices.
pub fn dm_suspended() -> Result<Vec<String>> {
    let listing = asked(&[
        "info",
        "-c",
        "--noheadings",
        "--separator",
        " ",
        "-o",
        "name,suspended",
    ])?;
    let names = listing.lines().filter_map(|l| l.strip_suffix(" Suspended"));
    Ok(names.map(str::to_owned).collect())
}

/// Makes a device (`flakey`, `error`, `delay`, ...). Without udev nobody else
/// would make its node below /dev/mapper.
pub fn dm_create(name: &str, table: &str) -> Result<String> {
    sh(&format!(
        "dmsetup create --noudevsync {name} --table '{table}' && dmsetup mknodes {name}"
    ))?;
    Ok(format!("/dev/mapper/{name}"))
}

/// Swaps the table of a device, without waiting for its I/O.
pub fn dm_reload(name: &str, table: &str) -> Result<()> {
    sh(&format!(
        "dmsetup suspend --noflush --nolockfs {name} && \
         dmsetup load {name} --table '{table}'; dmsetup resume {name}"
    ))?;
    Ok(())
}

fn asked(words: &[&str]) -> Result<String> {
    let output = run("dmsetup", words)?;
    ensure!(output.success(), "dmsetup {}: {output}", words.join(" "));
    Ok(output.stdout.trim().to_owned())
}

/// Samples a device's status in the background and keeps each new line. A state
/// that comes and goes between two samples is missed: to prove that a pool
/// *never* ran out of space use [`KernelLog`].
#[derive(Debug)]
pub struct Watch {
    lines: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
}

impl Watch {
    #[must_use]
    pub fn start(name: &str) -> Self {
        let watch = Self {
            lines: Arc::default(),
            is_over: Arc::default(),
        };
        let (lines, is_over) = (Arc::clone(&watch.lines), Arc::clone(&watch.is_over));
        let name = name.to_owned();
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                if let Ok(line) = dm_status(&name) {
                    remember(&lines, line);
                }
                thread::sleep(SAMPLE_EVERY);
            }
        });
        watch
    }

    /// Whether any sample so far contains the text.
    #[must_use]
    pub fn saw(&self, text: &str) -> bool {
        self.lines().iter().any(|line| line.contains(text))
    }

    /// The samples so far, without repetitions.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }

    /// Ends the sampling; gives the samples.
    #[expect(clippy::must_use_candidate, reason = "often only the end is wanted")]
    pub fn stop(self) -> Vec<String> {
        self.is_over.store(true, Ordering::Relaxed);
        self.lines()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn remember(lines: &Mutex<Vec<String>>, line: String) {
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.last() != Some(&line) && lines.len() < SAMPLES_MAX {
        lines.push(line);
    }
}

/// A place in the kernel's log. dm-thin logs every mode change
/// (`switching pool to out-of-data-space (queue IO) mode`), so what is not in
/// the log did not happen.
#[derive(Debug)]
pub struct KernelLog {
    mark: String,
}

impl KernelLog {
    /// Marks the present end of the log.
    pub fn mark(purpose: &str) -> Result<Self> {
        let mark = format!("lab: {purpose} in {}", super::sh::scratch_file("mark"));
        // Without its line end the kernel would hold the line back for more.
        std::fs::write("/dev/kmsg", format!("{mark}\n")).context("marking the kernel's log")?;
        Ok(Self { mark })
    }

    /// What the kernel logged since the mark.
    pub fn since(&self) -> Result<String> {
        let output = run("dmesg", &[])?;
        let (_, rest) = output
            .stdout
            .rsplit_once(&self.mark)
            .context("the mark is no longer in the kernel's log")?;
        Ok(rest.trim().to_owned())
    }

    /// Fails when a pool of the guest was out of data space since the mark.
    pub fn never_out_of_space(&self) -> Result<()> {
        let lines = self.since()?;
        let line = lines.lines().find(|l| l.contains("out-of-data-space"));
        ensure!(
            line.is_none(),
            "a pool ran full: {}",
            line.unwrap_or_default()
        );
        Ok(())
    }
}
