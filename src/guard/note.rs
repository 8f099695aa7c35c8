//! A line for the log and the page, before anybody has formatted it.

use crate::model::names::{Resource, VolumeName};
use crate::model::plan::{Extension, Hold};

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub level: Level,
    pub message: &'static str,
    pub volume: Option<VolumeName>,
    pub resource: Option<Resource>,
    pub detail: String,
}

/// Info: we changed something. Warn: a human may have to. Error: we failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    Error,
}

impl Note {
    pub(super) const MENDED: &str = "mended devices that a killed extension had left suspended";

    pub(super) const RENEWED: &str = "renewed the lifeboat after a change on the host";
    pub(super) const NOT_RENEWED: &str =
        "cannot renew the lifeboat: what it holds is older than the host's";

    pub(super) fn new(level: Level, message: &'static str, detail: String) -> Self {
        Self {
            level,
            message,
            volume: None,
            resource: None,
            detail,
        }
    }

    /// About one store, without a detail yet.
    pub(super) fn of(level: Level, message: &'static str, extension: &Extension) -> Self {
        Self {
            volume: Some(extension.name.clone()),
            resource: Some(extension.target.resource),
            ..Self::new(level, message, String::new())
        }
    }

    pub(super) fn holding(hold: &Hold) -> Self {
        let level = if hold.needs_a_human() {
            Level::Warn
        } else {
            Level::Info
        };
        Self {
            volume: Some(hold.name.clone()),
            resource: Some(hold.target.resource),
            ..Self::new(level, "holding", hold.reason.to_string())
        }
    }

    /// For the page: message and detail in one.
    pub(super) fn text(&self) -> String {
        if self.detail.is_empty() {
            self.message.to_owned()
        } else {
            format!("{}: {}", self.message, self.detail)
        }
    }
}
