//! Carries out what was decided, one extension at a time in each volume group. Chooses nothing.
//!
//! The exit status of lvextend proves nothing: it is 0 for a snapshot that is already lost and 5 for a
//! size that somebody else reached first. What counts is what the kernel says before and after.

mod hands;
pub mod hook;
pub mod intent;
pub mod lease;
pub mod lock;
pub mod lvextend;
pub mod mend;
pub mod notes;
pub mod quiesce;
pub mod relieve;
mod resume;
pub mod snapshot;

use std::time::{Duration, Instant};

use crate::model::cause::chain;
use crate::model::inventory::Layer;
use crate::model::names::{Target, Uuid};
use crate::model::plan::{End, Extension, Failure, Outcome};
use crate::model::units::Bytes;

use mend::Mended;

pub use hands::{Hands, Tool, Tools};

/// How `act` sees the kernel. The guard implements it with the eyes of `observe`.
pub trait Eyes {
    /// The present state of a store; nothing when it has no device, as after it was switched off.
    ///
    /// # Errors
    /// A text for people when the kernel's answer cannot be had.
    fn sight(&self, target: &Target) -> Result<Option<Sight>, String>;

    /// Every device of a volume group.
    ///
    /// # Errors
    /// A text for people when the kernel's answer cannot be had.
    fn layers(&self, group: &Uuid) -> Result<Vec<Layer>, String>;
}

/// What is to be known of a store right before and after an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    pub total: Bytes,
    pub suspended: bool,
    /// Neither failed, nor invalid, nor merging, nor waiting for a check.
    pub sound: bool,
}

const GONE: &str = "its device is gone";

/// Extends one store, verified.
#[must_use]
pub fn extend(hands: &impl Hands, eyes: &impl Eyes, extension: &Extension) -> Outcome {
    let mut outcome = Outcome {
        extension: extension.clone(),
        took: Duration::ZERO,
        lock_wait: Duration::ZERO,
        mended: false,
        unnoted: None,
        end: End::Changed {
            found: String::new(),
        },
    };
    let started = Instant::now();
    outcome.end = steps(hands, eyes, &mut outcome);
    outcome.took = started.elapsed();
    outcome
}

fn steps(hands: &impl Hands, eyes: &impl Eyes, outcome: &mut Outcome) -> End {
    let started = Instant::now();
    let extension = &outcome.extension;
    let locked = hands.lock(&extension.name.vg, hands.lock_wait());
    outcome.lock_wait = started.elapsed();
    let lock = match locked {
        Ok(lock) => lock,
        Err(error) => return failed(Failure::Lock, chain(&error)),
    };
    // Whoever held the lock may have extended, merged or removed the volume.
    if let Some(found) = changed(eyes, extension) {
        return End::Changed { found };
    }
    // Two things would have to go wrong for the note to be missed, and one is enough to lose the store.
    outcome.unnoted = hands.remember(extension).err().map(|error| chain(&error));
    // lvextend takes the lock itself. In between only LVM can change anything, and an absolute size
    // makes that harmless: the later of two is refused.
    drop(lock);
    run(hands, eyes, outcome)
}

/// Why the extension no longer fits the store, if so.
fn changed(eyes: &impl Eyes, extension: &Extension) -> Option<String> {
    match eyes.sight(&extension.target) {
        Err(error) => Some(error),
        Ok(None) => Some(GONE.to_owned()),
        Ok(Some(sight)) if sight.suspended => Some("the device is suspended".to_owned()),
        Ok(Some(sight)) if !sight.sound => Some("the volume is damaged".to_owned()),
        Ok(Some(sight)) if sight.total != extension.kernel_total => Some(format!(
            "the store holds {} instead of {}",
            sight.total, extension.kernel_total
        )),
        Ok(Some(_)) => None,
    }
}

fn run(hands: &impl Hands, eyes: &impl Eyes, outcome: &mut Outcome) -> End {
    let extension = &outcome.extension;
    let finished = match lvextend::run(hands, extension) {
        Ok(finished) => finished,
        Err(error) => return failed(Failure::Spawn, chain(&error)),
    };
    // A kill leaves devices suspended, and so may a failure half-way.
    let is_whole = finished.status.success()
        || finished.status.code().is_some() && mend::is_frozen(eyes, extension) == Ok(false);
    if is_whole {
        hands.forget(&extension.target);
    } else {
        match mend::mend(hands, eyes, extension) {
            Mended::NothingToDo => {}
            Mended::Resumed { .. } => outcome.mended = true,
            Mended::Stuck { why } => return failed(Failure::Killed, why),
        }
    }
    match eyes.sight(&extension.target) {
        // Somebody switched it off or removed it: no fault, and nothing to claim.
        Ok(None) => End::Changed {
            found: GONE.to_owned(),
        },
        Ok(Some(sight)) if sight.total > extension.kernel_total => End::Extended {
            kernel_total: sight.total,
        },
        Ok(_) if finished.overdue => failed(Failure::Timeout, finished.complaint()),
        Ok(_) if finished.status.success() => failed(
            Failure::NoEffect,
            "lvextend reported success and the kernel has no more room than before".to_owned(),
        ),
        Ok(_) => failed(Failure::Refused, finished.complaint()),
        Err(error) => failed(Failure::Unverified, error),
    }
}

fn failed(failure: Failure, detail: String) -> End {
    End::Failed { failure, detail }
}
