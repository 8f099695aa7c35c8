//! What a request comes to once it is decided: one step, with every name, size and tag in it.

use serde::{Deserialize, Serialize};

use super::action::{JOB_TAG, Planned, Verb};
use super::names::{Name, Uuid, VolumeId, VolumeName};
use super::quiesce::Quiesce;
use super::units::Bytes;

/// One step about one volume. `act` chooses nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Of `Step::Create` the origin.
    pub id: VolumeId,
    pub name: VolumeName,
    pub step: Step,
    pub plan: Planned,
    /// Of `Step::Create`: who is to hold still meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<Quiesce>,
    /// Of `Step::Create`: what else is done at the same moment, all of it or nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<Task>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Create(NewSnapshot),
    /// To this size.
    Extend {
        to: Bytes,
    },
    Activate,
    Deactivate,
    Merge {
        origin: Uuid,
    },
    Remove,
    /// Tags to be added and to be taken away.
    Tag {
        add: Vec<String>,
        delete: Vec<String>,
    },
    /// It is as it was to be.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewSnapshot {
    pub name: Name,
    /// Of the store of a copy-on-write snapshot; nothing for a thin one.
    pub store: Option<Bytes>,
    pub read_only: bool,
    /// A thin one: whether its device is wanted at once.
    pub activate: bool,
    pub tags: Vec<String>,
}

impl Step {
    /// What it makes.
    #[must_use]
    pub const fn made(&self) -> Option<&NewSnapshot> {
        match self {
            Self::Create(new) => Some(new),
            Self::Extend { .. }
            | Self::Activate
            | Self::Deactivate
            | Self::Merge { .. }
            | Self::Remove
            | Self::Tag { .. }
            | Self::Nothing => None,
        }
    }
}

impl Task {
    /// Itself, and what is done at the same moment.
    pub fn members(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.with)
    }

    /// Marks what is made as this job's: nothing else is ever taken for it, and removed.
    pub fn mark(&mut self, job: &str) {
        if let Step::Create(new) = &mut self.step {
            new.tags.push(format!("{JOB_TAG}{job}"));
        }
        for member in &mut self.with {
            member.mark(job);
        }
    }

    /// What the stores of copy-on-write snapshots take that are made.
    #[must_use]
    pub fn stores(&self) -> Bytes {
        let stores = self.members().filter_map(|one| one.step.made()?.store);
        stores.fold(Bytes::ZERO, Bytes::saturating_add)
    }

    #[must_use]
    pub const fn verb(&self) -> Option<Verb> {
        match self.step {
            Step::Create(_) => Some(Verb::Create),
            Step::Extend { .. } => Some(Verb::Extend),
            Step::Activate => Some(Verb::Activate),
            Step::Deactivate => Some(Verb::Deactivate),
            Step::Merge { .. } => Some(Verb::Merge),
            Step::Remove => Some(Verb::Remove),
            Step::Tag { .. } => Some(Verb::Label),
            Step::Nothing => None,
        }
    }
}
