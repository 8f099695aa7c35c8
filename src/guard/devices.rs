//! Follows device-mapper's events on a thread of its own, and tells which devices there are.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::model::tally::Wake;
use crate::observe::device_mapper::{
    Described, DeviceMapper, DeviceMapperError, Found, Listed, device_count,
};
use crate::report::log::chain;

use super::engine::Input;
use super::workers::{self, Inputs, WORKER_STACK};

/// The list is read once in as many times what reading it takes, a fifth of a percent of a core: with a
/// thousand devices that is milliseconds, and it only confirms what the count tells. Nobody need change
/// it: it follows the host.
const LIST_RARER: u32 = 500;
/// But for a device that was removed and another one made between two counts.
const LIST_MAX: Duration = Duration::from_secs(10);
/// The same where devices cannot be counted.
const LIST_MAX_UNCOUNTED: Duration = Duration::from_secs(3);
/// After an error, so that a broken control node is not asked in a tight loop.
const LIST_RETRY: Duration = Duration::from_millis(500);

/// Set to have every device described again: a table swapped in place raises no event.
pub(super) type Rescan = Arc<AtomicBool>;

/// Follows the kernel's events for ever. Without an event it is asked this often whether devices have
/// come or gone: creating one raises none.
pub(super) fn follow(inputs: Inputs, rescan: Rescan, count_every: Duration) -> io::Result<()> {
    workers::spawn("events", WORKER_STACK, move || {
        let mut known = Known::default();
        loop {
            if rescan.swap(false, Ordering::AcqRel) {
                known.described.clear();
            }
            let input = match known.round(count_every) {
                Ok(Some(input)) => input,
                Ok(None) => continue,
                Err(error) => {
                    known = Known::default();
                    thread::sleep(LIST_RETRY);
                    Input::ListFailed {
                        error: chain(&error),
                    }
                }
            };
            if inputs.send(input).is_err() {
                return;
            }
        }
    })
}

/// The device list as it was last read.
#[derive(Default)]
struct Known {
    kernel: Option<DeviceMapper>,
    listed: Vec<Listed>,
    /// Without the devices that are still being made.
    described: BTreeMap<Listed, Option<Found>>,
    /// When the list was read, what it took, and the count just before.
    read: Option<(Instant, Duration, Option<u64>)>,
}

impl Known {
    /// Waits for an event or the time to list again, and tells what is new.
    fn round(&mut self, count_every: Duration) -> Result<Option<Input>, DeviceMapperError> {
        let (kernel, is_first) = match self.kernel.take() {
            Some(kernel) => (kernel, false),
            None => (DeviceMapper::open()?, true),
        };
        let woken = !is_first && kernel.wait(count_every)?;
        if is_first || woken {
            // Armed before the list is read: an event in between makes the next wait return at once.
            kernel.arm()?;
        }
        let count = device_count();
        if !woken && self.is_current(count) {
            self.kernel = Some(kernel);
            return Ok(None);
        }
        let started = Instant::now();
        let listed = kernel.list()?;
        self.read = Some((started, started.elapsed(), count));
        let is_known = listed == self.listed && self.described.len() == listed.len();
        let input = (is_first || !is_known).then(|| self.take_in(&kernel, listed, woken));
        self.kernel = Some(kernel);
        Ok(input)
    }

    /// Whether there is no reason to read the list again, now that no event asks for it.
    fn is_current(&self, count: Option<u64>) -> bool {
        let max = match count {
            Some(_) => LIST_MAX,
            None => LIST_MAX_UNCOUNTED,
        };
        self.described.len() == self.listed.len()
            && self.read.is_some_and(|(at, took, counted)| {
                count == counted && at.elapsed() < took.saturating_mul(LIST_RARER).min(max)
            })
    }

    fn take_in(&mut self, kernel: &DeviceMapper, listed: Vec<Listed>, woken: bool) -> Input {
        let before: BTreeMap<Listed, u32> =
            self.listed.iter().map(|l| (identity(l), l.event)).collect();
        let now: BTreeSet<Listed> = listed.iter().map(identity).collect();
        let changed = now.len() != before.len() || !now.iter().all(|l| before.contains_key(l));
        if changed {
            // LVM swaps tables of old devices when it makes and removes new ones.
            self.described.clear();
        }
        let mut events = Vec::new();
        for device in &listed {
            let key = identity(device);
            let raised = before.get(&key).is_some_and(|event| *event != device.event);
            if raised || !self.described.contains_key(&key) {
                self.describe(kernel, key.clone());
            }
            if let (true, Some(Some(found))) = (raised, self.described.get(&key)) {
                events.push(found.target.label().to_owned());
            }
        }
        self.listed = listed;
        let wake = if woken { Wake::DmEvent } else { Wake::Timer };
        let found = self.described.values().flatten().cloned().collect();
        Input::Listed {
            found,
            changed,
            events,
            wake,
        }
    }

    /// What cannot be told yet is asked again at the next round; what is gone is missing from its list.
    fn describe(&mut self, kernel: &DeviceMapper, device: Listed) {
        match kernel.describe(&device.name) {
            Ok(Described::Watched(found)) => self.described.insert(device, Some(found)),
            Ok(Described::Other) => self.described.insert(device, None),
            Ok(Described::WithoutTable) | Err(_) => self.described.remove(&device),
        };
    }
}

/// A device without its event number.
fn identity(listed: &Listed) -> Listed {
    Listed {
        event: 0,
        ..listed.clone()
    }
}
