//! Quiescing: hooks of the administrator's that have applications hold still while snapshots are taken of what they
//! write to. A request names hooks; what they run stands in the configuration alone.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::Name;
use super::relief::Hook;

/// What a request says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quiesce {
    /// In the order in which they are asked; they are released the other way round.
    pub hooks: Vec<Name>,
    pub mode: QuiesceMode,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuiesceMode {
    /// No snapshot rather than one that is not consistent for applications.
    #[default]
    Required,
    /// One that is consistent as after a crash will do.
    BestEffort,
    /// Nothing is to hold still, said in so many words.
    None,
}

/// A hook as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuiesceHook {
    pub name: Name,
    pub kind: HookKind,
    /// How long it has to get ready, and `after` to end.
    pub ready: Duration,
    /// How long it may be held: after that it is released, whatever the snapshot is at.
    pub max_hold: Duration,
    /// User and group that it runs as, instead of root.
    pub identity: Option<(u32, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookKind {
    /// Says `READY`, and holds until its standard input is closed.
    Hold { command: Hook },
    /// One program before the snapshot, and one after it, which always runs.
    Pair { before: Hook, after: Hook },
}

/// What a hook that is ready prints, alone on a line.
pub const READY: &str = "READY";

/// What became of a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRun {
    pub name: Name,
    pub end: HookEnd,
    /// It may not have let go: why, in a sentence.
    pub stuck: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookEnd {
    /// It was ready before the first snapshot was begun, and held until the last was made.
    Held,
    /// It did not get ready.
    Unready(String),
    /// It was ready, and no longer held when the last snapshot was made.
    Lost(String),
}

/// As what a snapshot finds the files of applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// As they left them in good order: every hook held.
    Application,
    /// As after a power failure.
    Crash,
}

impl Consistency {
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Crash => "crash",
        }
    }
}

impl QuiesceMode {
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::BestEffort => "best_effort",
            Self::None => "none",
        }
    }
}

impl HookKind {
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Hold { .. } => "hold",
            Self::Pair { .. } => "pair",
        }
    }
}
