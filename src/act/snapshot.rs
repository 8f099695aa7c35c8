//! Carries out one step of a caller's: the command, and whether LVM shows afterwards what it was for.
//!
//! As with extensions the exit status proves nothing: a selection that matches nothing succeeds, and so does a
//! merge that only begins when the origin is activated. What counts is what is there before and after.

use std::time::Duration;

use crate::command::Finished;
use crate::model::action::{OWNER_TAG, PROTECTED_TAG, Planned};
use crate::model::cause::chain;
use crate::model::names::Name;
use crate::model::refusal::{Code, Refusal};
use crate::model::step::{NewSnapshot, Step, Task};
use crate::model::volume::{Volume, VolumeKind};

use super::lvextend::SAFE;
use super::{Hands, Tool};

/// Each is a few writes of metadata; on storage that hardly answers it takes most of a minute.
const DEADLINE: Duration = Duration::from_secs(60);

/// How `act` reads what LVM has.
pub trait Registry {
    /// The volumes of a group as they are now.
    ///
    /// # Errors
    /// A text for people when LVM cannot be asked, or does not tell of the group.
    fn volumes(&self, group: &Name) -> Result<Vec<Volume>, String>;
}

/// What a step led to.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    /// All of it.
    Whole,
    /// This snapshot was made.
    Made(Box<Volume>),
    /// The kernel is at it, or will be when the origin is next activated.
    Merging,
}

/// Runs the command of a step, and looks whether it did what it was for. Whoever calls holds the group.
///
/// # Errors
/// When it did not.
pub fn carry_out(
    hands: &impl Hands,
    registry: &impl Registry,
    task: &Task,
) -> Result<Done, Refusal> {
    let finished = run(hands, task)?;
    let seen = registry.volumes(&task.name.vg);
    let seen = seen.map_err(|error| unseen(task, &error))?;
    led_to(task, finished.as_ref(), &seen)
}

/// Runs the command of a step alone; nothing for one that needs none.
///
/// # Errors
/// When it could not be run.
pub fn run(hands: &impl Hands, task: &Task) -> Result<Option<Finished>, Refusal> {
    let Some(arguments) = arguments(task) else {
        return Ok(None);
    };
    let finished = hands.run(Tool::Lvm, &arguments, DEADLINE);
    let finished = finished.map_err(|error| failed(task, &chain(&error)))?;
    Ok(Some(finished))
}

/// What a step has led to whose command ended like this, as far as these volumes show it.
///
/// # Errors
/// When it has not done what it was for.
pub fn led_to(task: &Task, finished: Option<&Finished>, seen: &[Volume]) -> Result<Done, Refusal> {
    let Some(finished) = finished else {
        return Ok(Done::Whole);
    };
    match reached(task, seen) {
        Some(done) => Ok(done),
        None if finished.overdue => Err(Refusal::new(
            Code::Timeout,
            format!(
                "{}: lvm did not end within {} s",
                task.name,
                DEADLINE.as_secs()
            ),
        )),
        None if finished.status.success() => {
            Err(failed(task, "lvm reported success and nothing has changed"))
        }
        None => Err(failed(task, &finished.complaint())),
    }
}

/// What a step has led to, as far as these volumes show it; nothing when it has not been done.
#[must_use]
pub fn reached(task: &Task, seen: &[Volume]) -> Option<Done> {
    let of_group = || seen.iter().filter(|volume| volume.id.vg == task.id.vg);
    let subject = of_group().find(|volume| volume.id.lv == task.id.lv);
    let is_reached = match &task.step {
        Step::Nothing => true,
        Step::Create(new) => {
            let made =
                of_group().find(|volume| volume.name.lv == new.name && is_made(task, new, volume));
            return made.map(|volume| Done::Made(Box::new(volume.clone())));
        }
        Step::Extend { to } => subject.is_some_and(|volume| volume.size >= *to),
        Step::Activate => subject.is_some_and(|volume| volume.opened.is_some()),
        Step::Deactivate => subject.is_some_and(|volume| volume.opened.is_none()),
        Step::Merge { .. } => match subject {
            Some(volume) if volume.is_merging => return Some(Done::Merging),
            // One that was merged at once is gone.
            found => found.is_none(),
        },
        Step::Remove => subject.is_none(),
        Step::Tag { add, delete } => subject.is_some_and(|volume| {
            add.iter().all(|tag| volume.has_tag(tag))
                && !delete.iter().any(|tag| volume.has_tag(tag))
        }),
    };
    is_reached.then_some(Done::Whole)
}

/// Whether this is the snapshot that was to be made, whole.
fn is_made(task: &Task, new: &NewSnapshot, volume: &Volume) -> bool {
    let kind = if new.store.is_some() {
        VolumeKind::Cow
    } else {
        VolumeKind::Thin
    };
    // LVM forgets what a thin snapshot was taken of once that is removed or merged; its tags say so.
    let is_forgotten = kind == VolumeKind::Thin && volume.origin.is_none();
    volume.kind == kind
        && (volume.origin.as_ref() == Some(&task.id.lv) || is_forgotten)
        && new.tags.iter().all(|tag| volume.has_tag(tag))
}

/// A volume that lvcreate made and did not get to turn into a copy-on-write snapshot: nobody has used it. Thin ones are
/// made at once.
#[must_use]
pub fn half_made<'a>(task: &Task, seen: &'a [Volume]) -> Option<&'a Volume> {
    let Step::Create(new) = &task.step else {
        return None;
    };
    seen.iter().find(|volume| {
        new.store.is_some()
            && volume.kind == VolumeKind::Thick
            && volume.id.vg == task.id.vg
            && volume.name.lv == new.name
            && new.tags.iter().all(|tag| volume.has_tag(tag))
            && volume.origin.is_none()
    })
}

/// Whether somebody protected what this task made: then it is not taken away any more.
#[must_use]
pub fn is_protected_since(task: &Task, volume: &Volume) -> bool {
    let is_wanted = |tags: &[String]| tags.iter().any(|tag| tag == PROTECTED_TAG);
    let made = task.step.made();
    volume.has_tag(PROTECTED_TAG) && !made.is_some_and(|new| is_wanted(&new.tags))
}

/// The task of taking away what another one has made.
#[must_use]
pub fn removal(made: &Volume) -> Task {
    Task {
        id: made.id.clone(),
        name: made.name.clone(),
        step: Step::Remove,
        plan: Planned {
            summary: format!("remove {}, which is not to stay", made.name),
            loses: Vec::new(),
            needs_confirmation: false,
        },
        quiesce: None,
        with: Vec::new(),
    }
}

/// Has somebody look for the end of a merge: without that the snapshot stays when the kernel is done.
pub fn poll(hands: &impl Hands, task: &Task, seen: &[Volume]) {
    let Step::Merge { origin } = &task.step else {
        return;
    };
    if let Some(origin) = seen.iter().find(|volume| volume.id.lv == *origin) {
        let mut arguments = words(
            ["lvchange"]
                .into_iter()
                .chain(SAFE)
                .chain(["--poll", "y", "--"]),
        );
        arguments.push(origin.name.to_string());
        // Whoever waits for the merge sees whether it ends.
        let _ = hands.run(Tool::Lvm, &arguments, DEADLINE);
    }
}

/// What came of a command cannot be seen.
#[must_use]
pub fn unseen(task: &Task, why: &str) -> Refusal {
    failed(task, &format!("what it did cannot be told: {why}"))
}

fn failed(task: &Task, why: &str) -> Refusal {
    Refusal::new(Code::LvmFailed, format!("{}: {why}", task.name))
}

/// Nothing for a step that needs no command.
#[must_use]
pub fn arguments(task: &Task) -> Option<Vec<String>> {
    let name = task.name.to_string();
    let (command, mut options) = match &task.step {
        Step::Nothing => return None,
        Step::Create(new) => ("lvcreate", lvcreate(new)),
        Step::Extend { to } => ("lvextend", words(["--size", &format!("{}b", to.0)])),
        Step::Activate => (
            "lvchange",
            words(["--activate", "y", "--ignoreactivationskip"]),
        ),
        Step::Deactivate => ("lvchange", words(["--activate", "n"])),
        Step::Merge { .. } => (
            "lvconvert",
            words(["--merge", "--background", "--interval", "1"]),
        ),
        Step::Remove => {
            // LVM itself holds the uuid and the tag against what the name means by then.
            let uuid = task.id.lv.lvm_form();
            let select = format!("lv_uuid=\"{uuid}\" && lv_tags={{\"{OWNER_TAG}\"}}");
            ("lvremove", words(["--yes", "--select", &select]))
        }
        Step::Tag { add, delete } => {
            let deleted = delete.iter().flat_map(|tag| ["--deltag", tag]);
            let added = add.iter().flat_map(|tag| ["--addtag", tag]);
            ("lvchange", words(deleted.chain(added)))
        }
    };
    // lvconvert knows no `-An`; its `--config` says the same.
    let is_known = |option: &&str| command != "lvconvert" || *option != "-An";
    let mut arguments = words(
        [command]
            .into_iter()
            .chain(SAFE.into_iter().filter(is_known)),
    );
    arguments.append(&mut options);
    arguments.extend(["--".to_owned(), name]);
    Some(arguments)
}

fn lvcreate(new: &NewSnapshot) -> Vec<String> {
    // Signatures of what the extents held before are of no interest.
    let permission = if new.read_only { "r" } else { "rw" };
    let mut options = words([
        "--snapshot",
        "--yes",
        "--name",
        new.name.as_str(),
        "--permission",
        permission,
    ]);
    if let Some(store) = new.store {
        options.extend(words(["--size", &format!("{}b", store.0)]));
    } else {
        // Whatever lvm.conf says: two file systems of one identity at the next boot are nobody's wish.
        options.extend(words(["--setactivationskip", "y"]));
        options.extend(if new.activate {
            words(["--activate", "y", "--ignoreactivationskip"])
        } else {
            words(["--activate", "n"])
        });
    }
    options.extend(words(new.tags.iter().flat_map(|tag| ["--addtag", tag])));
    options
}

fn words<'a>(all: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    all.into_iter().map(str::to_owned).collect()
}
