//! Mends what an lvextend of ours left behind when it was killed: devices that stay suspended, so that
//! every write to them hangs.
//!
//! LVM's metadata is whole at every point at which lvextend can be killed (109 points were tried); what
//! repairs depends on the point. The same absolute size again mends a death before LVM's commit, a
//! refresh one after it. Nothing is touched without an intent of ours, and then only the kinds of devices
//! that its extension suspends: whoever suspended any other has a reason.

use std::time::Duration;

use crate::model::cause::chain;
use crate::model::inventory::Layer;
use crate::model::names::{Resource, VolumeName};
use crate::model::plan::Extension;

use super::lvextend::{self, DEADLINE, SAFE};
use super::{Eyes, Hands, Tool, resume};

/// A living lvextend of the dead guard still holds the lock and will be done within its own deadline.
const LOCK_DEADLINE: Duration = Duration::from_secs(120);

/// What was found and done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mended {
    /// The extension had been carried out to its end, or never begun.
    NothingToDo,
    /// Devices were suspended and are no longer.
    Resumed { by: Step },
    /// They still are.
    Stuck { why: String },
}

/// The step after which nothing was suspended any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Extend,
    Refresh,
    ClearAndResume,
}

/// Brings the volumes of one intent back to a state in which I/O flows and LVM and the kernel agree.
#[must_use]
pub fn mend(hands: &impl Hands, eyes: &impl Eyes, intent: &Extension) -> Mended {
    let mended = attempt(hands, eyes, intent).unwrap_or_else(|why| Mended::Stuck { why });
    if !matches!(mended, Mended::Stuck { .. }) {
        hands.forget(&intent.target);
    }
    mended
}

fn attempt(hands: &impl Hands, eyes: &impl Eyes, intent: &Extension) -> Result<Mended, String> {
    if !frozen(hands, eyes, intent)? {
        // Killed after the resume, LVM may still be one step ahead of the kernel.
        refresh(hands, &intent.name)?;
        return Ok(Mended::NothingToDo);
    }
    run(hands, &lvextend::arguments(intent))?;
    let is_extended = !frozen(hands, eyes, intent)?;
    // Also when nothing is suspended any more: a repeated size leaves the kernel one step behind LVM.
    refresh(hands, &intent.name)?;
    if !frozen(hands, eyes, intent)? {
        return Ok(Mended::Resumed {
            by: if is_extended {
                Step::Extend
            } else {
                Step::Refresh
            },
        });
    }
    {
        // No command of LVM's may be at work while tables are thrown away.
        let _lock = lock(hands, intent)?;
        resume::clear_and_resume(hands, &family(eyes, intent)?)?;
    }
    if frozen(hands, eyes, intent)? {
        return Err("devices stay suspended after clearing their inactive tables".to_owned());
    }
    refresh(hands, &intent.name)?;
    Ok(Mended::Resumed {
        by: Step::ClearAndResume,
    })
}

/// Whoever holds the lock is alive and at work: it suspended the devices and will resume them.
fn lock<H: Hands>(hands: &H, intent: &Extension) -> Result<H::Lock, String> {
    hands
        .lock(&intent.name.vg, LOCK_DEADLINE)
        .map_err(|error| chain(&error))
}

fn frozen(hands: &impl Hands, eyes: &impl Eyes, intent: &Extension) -> Result<bool, String> {
    let _lock = lock(hands, intent)?;
    is_frozen(eyes, intent)
}

/// Whether a device that the extension suspends is suspended.
pub(super) fn is_frozen(eyes: &impl Eyes, intent: &Extension) -> Result<bool, String> {
    Ok(family(eyes, intent)?.iter().any(|layer| layer.suspended))
}

/// The devices that an extension of this store suspends: others of the group are not ours to touch.
fn family(eyes: &impl Eyes, intent: &Extension) -> Result<Vec<Layer>, String> {
    let volume = &intent.target.volume;
    let mut layers = eyes.layers(&volume.vg)?;
    layers.retain(|layer| {
        let is_own = layer.volume == *volume;
        match intent.target.resource {
            Resource::Data | Resource::Metadata => {
                is_own || matches!(layer.layer.as_str(), "tdata" | "tmeta")
            }
            // The origin is suspended together with its snapshots.
            Resource::Cow => is_own || matches!(layer.layer.as_str(), "" | "real"),
        }
    });
    Ok(layers)
}

fn refresh(hands: &impl Hands, name: &VolumeName) -> Result<(), String> {
    let mut arguments = vec!["lvchange".to_owned(), "--refresh".to_owned()];
    arguments.extend(SAFE.map(str::to_owned));
    arguments.extend(["--".to_owned(), name.to_string()]);
    run(hands, &arguments)
}

/// The exit status says little here; the devices are looked at instead.
fn run(hands: &impl Hands, arguments: &[String]) -> Result<(), String> {
    hands
        .run(Tool::Lvm, arguments, DEADLINE)
        .map(drop)
        .map_err(|error| chain(&error))
}
