//! What was done to relieve volume groups since the guard started, and what of it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::Uuid;
use super::relief::{Relief, Relieved, Rung};
use super::time::Moment;

/// What did not help, or not enough, is tried again after this: LVM's report comes sooner, and a trim that freed
/// nothing a minute ago frees nothing now.
const RESTS: Duration = Duration::from_secs(600);
/// A disk that could not be added costs one command to try, and so does a hook that stops who writes.
const RESTS_BRIEFLY: Duration = Duration::from_secs(30);
/// Longer than any rung is given: one that still runs hangs, as a trim of a pool that is full can, and must not keep
/// the next from being tried.
const HANGS: Duration = Duration::from_secs(660);
/// The next rung waits until it is seen what the last one brought.
const SETTLES: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reliefs {
    /// When each was last begun, by its key.
    tried: BTreeMap<String, Moment>,
    running: BTreeSet<String>,
    /// Groups for which a rung runs, since when.
    climbing: BTreeMap<Uuid, Moment>,
    /// When the last rung ended, by group.
    ended: BTreeMap<Uuid, Moment>,
    /// Groups for which somebody was suspended.
    suspended: BTreeSet<Uuid>,
}

impl Reliefs {
    pub fn note_begun(&mut self, relief: &Relief, now: Moment) {
        self.tried.insert(relief.key(), now);
        self.running.insert(relief.key());
        if is_rung_of_ladder(&relief.rung) {
            self.climbing.insert(relief.group_uuid.clone(), now);
        }
    }

    pub fn note_ended(&mut self, relieved: &Relieved, now: Moment) {
        let Relieved { relief, error, .. } = relieved;
        let group = &relief.group_uuid;
        self.tried.insert(relief.key(), now);
        self.running.remove(&relief.key());
        if is_rung_of_ladder(&relief.rung) {
            self.climbing.remove(group);
            self.ended.insert(group.clone(), now);
        }
        match (&relief.rung, error) {
            // One that failed may have suspended some.
            (Rung::Suspend(_), _) => {
                self.suspended.insert(group.clone());
            }
            (Rung::Resume(_), None) => {
                self.suspended.remove(group);
            }
            (Rung::Resume(_), Some(_)) | (Rung::Disk(_) | Rung::Trim(_) | Rung::Remove(_), _) => {}
        }
    }

    /// By a former guard: what has come of it is to be seen first.
    pub fn note_suspended(&mut self, group: Uuid, now: Moment) {
        self.ended.insert(group.clone(), now);
        self.suspended.insert(group);
    }

    #[must_use]
    pub fn has_suspended(&self, group: &Uuid) -> bool {
        self.suspended.contains(group)
    }

    /// Whether it runs, or was tried a short while ago.
    #[must_use]
    pub fn rests(&self, relief: &Relief, now: Moment) -> bool {
        let rest = match relief.rung {
            Rung::Disk(_) | Rung::Suspend(_) | Rung::Resume(_) => RESTS_BRIEFLY,
            Rung::Trim(_) | Rung::Remove(_) => RESTS,
        };
        let key = relief.key();
        let tried = self.tried.get(&key);
        self.running.contains(&key) || tried.is_some_and(|at| now.since(*at) < rest)
    }

    /// Whether a rung of the group's ladder runs and does not hang, or ended a moment ago.
    #[must_use]
    pub fn settles(&self, group: &Uuid, now: Moment) -> bool {
        let is_within = |at: Option<&Moment>, span| at.is_some_and(|at| now.since(*at) < span);
        is_within(self.climbing.get(group), HANGS) || is_within(self.ended.get(group), SETTLES)
    }
}

/// Who writes is suspended and resumed whatever else is done.
const fn is_rung_of_ladder(rung: &Rung) -> bool {
    match rung {
        Rung::Disk(_) | Rung::Trim(_) | Rung::Remove(_) => true,
        Rung::Suspend(_) | Rung::Resume(_) => false,
    }
}
