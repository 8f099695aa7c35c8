//! What `bench.json` holds: every raw sample, and under which conditions it was
//! taken. A part that was not measured this time is kept from the time before.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::host::accel::Accel;
use crate::host::{Host, qemu, tool, workspace};
use crate::samples::{Crossing, Footprint, Part, Scrapes, SurvivalRun};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    pub survival: Option<Taken<SurvivalRun>>,
    pub reaction: Option<Taken<Crossing>>,
    pub scrape: Option<Taken<Scrapes>>,
    pub footprint: Option<Taken<Footprint>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Taken<T> {
    pub conditions: Conditions,
    pub samples: Vec<T>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Of the day, in UTC.
    pub date: String,
    pub kernel: String,
    pub lvm: String,
    /// Its version and the commit it was built from.
    pub cowherd: String,
    pub guest_processors: String,
    /// `KVM`, or `TCG`, which is emulation.
    pub accelerator: String,
    pub host_processor: String,
}

/// Where results are until they are saved.
pub fn folder() -> Result<PathBuf> {
    workspace::made("bench")
}

/// Where saved results are.
#[must_use]
pub fn saved_folder() -> PathBuf {
    workspace::root().join("tests/lab/bench")
}

impl Results {
    pub const FILE: &str = "bench.json";

    /// Those of the last time, none when there was none.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(Self::FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is of another version: remove it", path.display()))
    }

    pub fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join(Self::FILE);
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Takes what a guest has left of a part.
    pub fn take(&mut self, part: Part, out: &Path, conditions: &Conditions) -> Result<()> {
        let path = out.join(part.file());
        let text = fs::read(&path).with_context(|| format!("{} was not measured", part.word()))?;
        match part {
            Part::Survival => self.survival = Some(taken(&text, conditions)?),
            Part::Reaction => self.reaction = Some(taken(&text, conditions)?),
            Part::Scrape => self.scrape = Some(taken(&text, conditions)?),
            Part::Footprint => self.footprint = Some(taken(&text, conditions)?),
        }
        Ok(())
    }
}

fn taken<T: for<'a> Deserialize<'a>>(text: &[u8], conditions: &Conditions) -> Result<Taken<T>> {
    Ok(Taken {
        conditions: conditions.clone(),
        samples: serde_json::from_slice(text).context("reading the guest's samples")?,
    })
}

impl Conditions {
    pub fn of(host: &Host) -> Result<Self> {
        let program = workspace::cowherd_release();
        let version = tool::output(tool::command(tool::text(&program)?).arg("--version"))?;
        let mut git = tool::command("git");
        git.args(["describe", "--always", "--dirty"])
            .current_dir(workspace::root());
        // A copy of the source without its history can be measured, too.
        let commit = tool::output(&mut git).unwrap_or_default();
        let date = tool::output(tool::command("date").args(["-u", "+%F"]))?;
        Ok(Self {
            date: date.trim().to_owned(),
            kernel: host.kernel.version.clone(),
            lvm: lvm_version()?,
            cowherd: format!("{} {}", version.trim(), commit.trim())
                .trim()
                .to_owned(),
            guest_processors: qemu::PROCESSORS.to_string(),
            accelerator: match host.accel {
                Accel::Kvm => "KVM".to_owned(),
                Accel::Tcg => "TCG".to_owned(),
            },
            host_processor: host_processor(),
        })
    }
}

/// The guest runs this machine's LVM; dmeventd is of the same source.
fn lvm_version() -> Result<String> {
    let text = tool::output(tool::command("lvm").arg("version"))?;
    let line = text
        .lines()
        .find_map(|l| l.trim().strip_prefix("LVM version:"));
    Ok(line.context("no LVM version")?.trim().to_owned())
}

fn host_processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|rest| rest.split_once(':'));
    model.map_or("unknown", |(_, name)| name.trim()).to_owned()
}
