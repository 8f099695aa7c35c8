//! What the guest's half of `cargo lab bench` tells the host: raw samples, one
//! file of JSON per part in `/out`. The host keeps them as they are. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// At which share of a store both guards extend, and by how much, in percent.
pub const THRESHOLD_PERCENT: u32 = 70;
pub const STEP_PERCENT: u32 = 20;

/// A part of the benchmark; each has a guest of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Survival,
    Reaction,
    Scrape,
    Footprint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guard {
    Cowherd,
    Dmeventd,
}

/// What can run full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Store {
    /// The exception store of a COW snapshot, of 64 MiB.
    Cow64,
    /// The same with the largest chunks: one copy of what is overwritten saves more of it.
    Cow64Coarse,
    /// The same of 256 MiB.
    Cow256,
    /// The data of a thin pool of 512 MiB that queues writes when full.
    PoolQueues,
    /// The same, failing writes when full.
    PoolFails,
}

/// One writer against one guard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SurvivalRun {
    pub store: Store,
    pub guard: Guard,
    /// None is as fast as the disk takes it.
    pub rate_mib_per_sec: Option<u32>,
    /// How long after the guard was there the writer began.
    pub began_after_ms: u64,
    /// Why the store counts as lost.
    pub lost: Option<String>,
    pub asked_mib: u64,
    pub written_mib: u64,
    pub took_ms: u64,
    pub worst_write_ms: u64,
    /// Whether the kernel's log tells that a pool was out of data space.
    pub ran_out: bool,
    pub size_after_mib: u64,
}

/// Who made a store larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    Cowherd,
    Dmeventd,
    /// `lvextend -L+4M` as an administrator types it.
    Lvextend,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Crossing {
    pub store: Store,
    pub by: By,
    /// From the end of the write that crossed the threshold to a larger store,
    /// nothing of it suspended; for lvextend from its start to its end.
    pub millis: f64,
}

/// Scrapes and reports of one herd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scrapes {
    /// Thin volumes; COW snapshots are beside them.
    pub volumes: u32,
    pub scrapes_ms: Vec<f64>,
    /// Of `/-/healthy`, as far apart: what any answer costs after a rest.
    pub answers_ms: Vec<f64>,
    /// One scrape right after the other, of few views.
    pub repeated_ms: Vec<f64>,
    pub fullreports_ms: Vec<f64>,
    pub exposition_bytes: u64,
    /// Programs that cowherd started while it was scraped, by strace.
    pub programs_started: u32,
    /// LVM commands it counted in the same time.
    pub lvm_commands: u32,
    pub traced_scrapes: u32,
}

/// What a guard of one herd takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Footprint {
    pub guard: Guard,
    pub volumes: u32,
    pub processes: Vec<Process>,
    /// Of file systems in memory that the guard made for itself.
    pub tmpfs_kib: u64,
    pub idle: Load,
    /// Under the unlimited writer.
    pub busy: Load,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    pub name: String,
    pub resident_kib: u64,
    pub locked_kib: u64,
}

/// Processor time, children's included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Load {
    pub over_secs: f64,
    pub processor_secs: f64,
}

impl Part {
    pub const ALL: [Self; 4] = [
        Self::Survival,
        Self::Reaction,
        Self::Scrape,
        Self::Footprint,
    ];

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Survival => "survival",
            Self::Reaction => "reaction",
            Self::Scrape => "scrape",
            Self::Footprint => "footprint",
        }
    }

    /// Where the guest leaves its samples, below `/out`.
    #[must_use]
    pub fn file(self) -> String {
        format!("{}.json", self.word())
    }

    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.word() == word)
    }
}

impl Guard {
    pub const BOTH: [Self; 2] = [Self::Cowherd, Self::Dmeventd];
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cowherd => "cowherd",
            Self::Dmeventd => "dmeventd",
        })
    }
}

impl Store {
    pub const ALL: [Self; 5] = [
        Self::Cow64,
        Self::Cow64Coarse,
        Self::Cow256,
        Self::PoolQueues,
        Self::PoolFails,
    ];

    #[must_use]
    pub const fn mib(self) -> u64 {
        match self {
            Self::Cow64 | Self::Cow64Coarse => 64,
            Self::Cow256 => 256,
            Self::PoolQueues | Self::PoolFails => 512,
        }
    }

    #[must_use]
    pub const fn is_cow(self) -> bool {
        match self {
            Self::Cow64 | Self::Cow64Coarse | Self::Cow256 => true,
            Self::PoolQueues | Self::PoolFails => false,
        }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cow64 => "COW snapshot, 64 MiB",
            Self::Cow64Coarse => "COW snapshot, 64 MiB, chunks of 512 KiB",
            Self::Cow256 => "COW snapshot, 256 MiB",
            Self::PoolQueues => "thin pool, 512 MiB, queues when full",
            Self::PoolFails => "thin pool, 512 MiB, fails when full",
        })
    }
}

impl SurvivalRun {
    #[must_use]
    pub fn survived(&self) -> bool {
        self.lost.is_none()
    }

    /// What the writer reached.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "MiB and milliseconds of one run are far below 2^52"
    )]
    pub fn mib_per_sec(&self) -> f64 {
        self.written_mib as f64 * 1000.0 / self.took_ms.max(1) as f64
    }
}

impl Load {
    #[must_use]
    pub fn percent(self) -> f64 {
        100.0 * self.processor_secs / self.over_secs
    }
}
