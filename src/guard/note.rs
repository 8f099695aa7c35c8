//! A line for the log and the page, before anybody has formatted it.

use std::collections::BTreeSet;

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

    /// Who came to the volumes that the kernel does not answer for, and who left them.
    pub(super) fn of_late<'a>(
        before: &'a BTreeSet<VolumeName>,
        after: &'a BTreeSet<VolumeName>,
    ) -> impl Iterator<Item = Self> + use<'a> {
        let about = |level, message| {
            move |name: &VolumeName| Self {
                volume: Some(name.clone()),
                ..Self::new(level, message, String::new())
            }
        };
        let came = after.difference(before);
        let left = before.difference(after);
        came.map(about(Level::Warn, "the kernel does not answer for it"))
            .chain(left.map(about(Level::Info, "no longer waiting for the kernel")))
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
