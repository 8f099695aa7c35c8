//! A program that leaves the guest hardly any memory.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::sh::scratch_file;
use crate::size::Size;
use crate::wait::wait_until;

const PAGE: usize = 4096;
/// Touching a few hundred megabytes takes an emulated CPU a second or two.
const TAKEN: Duration = Duration::from_secs(60);

/// Holds memory until it is dropped.
#[derive(Debug)]
pub struct Hog(Child);

impl Hog {
    /// Takes all that is available but `leave`, and waits until it has it.
    pub fn start(leave: Size) -> Result<Self> {
        println!("+ hog: all memory but {leave}");
        let done = scratch_file("hog");
        let child = Command::new("/proc/self/exe")
            .args(["guest", "hog", &leave.as_mib().to_string(), &done])
            .stdin(Stdio::null())
            .spawn()
            .context("starting a hog")?;
        let hog = Self(child);
        wait_until("the hog has its memory", TAKEN, || {
            fs::exists(&done).unwrap_or(false)
        })?;
        Ok(hog)
    }

    /// Whether it still has its memory.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.0.try_wait().context("asking for the hog")?.is_none())
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// `hog MIB FILE`: what a [`Hog`] runs.
pub(super) fn hog(leave: &str, done: &str) -> Result<u8> {
    let leave = leave.parse::<usize>().context("MiB to leave")? << 20;
    let mut held = vec![0_u8; available()?.saturating_sub(leave)];
    let mut round = 0_u8;
    loop {
        round = round.wrapping_add(1);
        // Pages that are used again and again are the last to go.
        held.iter_mut().step_by(PAGE).for_each(|byte| *byte = round);
        fs::write(done, "")?;
        thread::sleep(Duration::from_secs(1));
    }
}

fn available() -> Result<usize> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    let kib: usize = kib.context("MemAvailable in /proc/meminfo")?.parse()?;
    Ok(kib << 10)
}
