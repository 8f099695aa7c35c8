//! Mends what an lvextend of ours left behind when it was killed: devices that stay suspended, so that
//! every write to them hangs.
//!
//! LVM's metadata is whole at every point at which lvextend can be killed (109 points were tried); what
//! repairs depends on the point. The same absolute size again mends a death before LVM's commit, a
//! refresh one after it. Only a device for which an intent of ours exists is touched: whoever
//! suspended any other has a reason.

use std::time::Duration;

use crate::command::{self, AtDeadline};
use crate::model::names::VolumeName;
use crate::model::plan::Extension;

use super::lvextend::{self, DEADLINE, SAFE};
use super::{Eyes, Tools, resume};

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
pub fn mend(tools: &Tools, eyes: &impl Eyes, intent: &Extension) -> Mended {
    let mended = attempt(tools, eyes, intent).unwrap_or_else(|why| Mended::Stuck { why });
    if !matches!(mended, Mended::Stuck { .. }) {
        tools.intents.remove(&intent.name.vg);
    }
    mended
}

fn attempt(tools: &Tools, eyes: &impl Eyes, intent: &Extension) -> Result<Mended, String> {
    // Whoever holds the lock is alive and at work: it suspended the devices and will resume them.
    let lock = tools
        .locks
        .take(&intent.name.vg, LOCK_DEADLINE)
        .map_err(|error| error.to_string())?;
    drop(lock);
    let frozen = |eyes: &_| frozen(eyes, intent);
    if !frozen(eyes)? {
        // Killed after the resume, LVM may still be one step ahead of the kernel.
        refresh(tools, &intent.name)?;
        return Ok(Mended::NothingToDo);
    }
    run(tools, &lvextend::arguments(intent))?;
    let extended = !frozen(eyes)?;
    // Also when nothing is suspended any more: a repeated size leaves the kernel one step behind LVM.
    refresh(tools, &intent.name)?;
    if !frozen(eyes)? {
        return Ok(Mended::Resumed {
            by: if extended {
                Step::Extend
            } else {
                Step::Refresh
            },
        });
    }
    let layers = eyes.layers(&intent.target.volume.vg)?;
    resume::clear_and_resume(&layers).map_err(|error| error.to_string())?;
    if frozen(eyes)? {
        return Err("devices stay suspended after clearing their inactive tables".to_owned());
    }
    refresh(tools, &intent.name)?;
    Ok(Mended::Resumed {
        by: Step::ClearAndResume,
    })
}

fn frozen(eyes: &impl Eyes, intent: &Extension) -> Result<bool, String> {
    Ok(eyes
        .layers(&intent.target.volume.vg)?
        .iter()
        .any(|layer| layer.suspended))
}

fn refresh(tools: &Tools, name: &VolumeName) -> Result<(), String> {
    let mut arguments = vec!["lvchange".to_owned(), "--refresh".to_owned()];
    arguments.extend(SAFE.map(str::to_owned));
    arguments.extend(["--".to_owned(), name.to_string()]);
    run(tools, &arguments)
}

/// The exit status says little here; the devices are looked at instead.
fn run(tools: &Tools, arguments: &[String]) -> Result<(), String> {
    command::run(&tools.lvm, arguments, DEADLINE, AtDeadline::TermAndWait)
        .map(drop)
        .map_err(|error| error.to_string())
}
