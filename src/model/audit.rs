//! What an audit of a host says: findings with a severity, and what mends each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::VolumeName;

/// Beyond the inventory: how LVM is set up, and who guards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guarding {
    /// None when LVM did not tell.
    pub settings: Option<LvmSettings>,
    pub dmeventd_runs: bool,
    pub cowherd_runs: bool,
    /// By LVM's `seg_monitor`.
    pub monitored: BTreeMap<VolumeName, bool>,
}

impl Guarding {
    /// Whether dmeventd does, when LVM's settings for volumes of its kind are these.
    #[must_use]
    pub fn is_extended_by_dmeventd(&self, name: &VolumeName, settings: Autoextend) -> bool {
        let is_monitored = self.monitored.get(name).copied() == Some(true);
        self.dmeventd_runs && is_monitored && settings.is_on()
    }
}

/// What `lvm.conf` says of LVM's own autoextension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LvmSettings {
    pub thin: Autoextend,
    pub snapshot: Autoextend,
}

/// A threshold of 100 is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Autoextend {
    pub threshold: u64,
    pub percent: u64,
}

impl Autoextend {
    /// LVM's defaults: off.
    pub const OFF: Self = Self {
        threshold: 100,
        percent: 20,
    };

    #[must_use]
    pub const fn is_on(self) -> bool {
        self.threshold <= 99 && self.percent > 0
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub severity: Severity,
    /// `VG/LV`, or a volume group, or `lvm`.
    pub subject: String,
    pub says: String,
    /// A command that mends it, where there is one.
    pub mend: Option<String>,
}

/// In the order of what monitoring systems do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Ok,
    Warning,
    Critical,
}

impl Severity {
    /// As plugins for Nagios and its kin exit.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
        }
    }

    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }
}
