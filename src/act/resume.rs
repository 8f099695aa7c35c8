//! The last resort of mending: throw away inactive tables, then resume. Never a bare resume, which
//! would activate a table larger than LVM's metadata says.

use std::time::Duration;

use crate::model::cause::chain;
use crate::model::inventory::Layer;

use super::{Hands, Tool};

/// Lowest first: a device is resumed before those that stand on it.
const BOTTOM_UP: [&str; 7] = ["tmeta", "tdata", "cow", "real", "tpool", "pool", ""];

/// Two ioctls.
const DEADLINE: Duration = Duration::from_secs(20);

/// Clears and resumes every suspended device among `layers`, and tells what could not be.
///
/// By dmsetup, which can leave udev out: waiting for a udevd that is stuck would be the next hang.
pub(super) fn clear_and_resume(hands: &impl Hands, layers: &[Layer]) -> Result<(), String> {
    let rank = |layer: &Layer| BOTTOM_UP.iter().position(|name| *name == layer.layer);
    let mut suspended: Vec<&Layer> = layers.iter().filter(|layer| layer.suspended).collect();
    suspended.sort_by_key(|layer| (rank(layer), layer.name.clone()));
    let mut faults = Vec::new();
    for layer in suspended {
        let cleared = if layer.inactive_table {
            run(hands, "clear", layer)
        } else {
            Ok(())
        };
        faults.extend(cleared.and_then(|()| run(hands, "resume", layer)).err());
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("; "))
    }
}

fn run(hands: &impl Hands, verb: &str, layer: &Layer) -> Result<(), String> {
    let arguments = [verb, "--noudevsync", "--", &layer.name].map(str::to_owned);
    let finished = hands
        .run(Tool::Dmsetup, &arguments, DEADLINE)
        .map_err(|error| chain(&error))?;
    if finished.status.success() {
        return Ok(());
    }
    Err(format!(
        "dmsetup {verb} {}: {}",
        layer.name,
        finished.complaint()
    ))
}
