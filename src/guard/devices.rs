//! Follows device-mapper's events on a thread of its own, and tells which devices there are and which of them
//! are being written to; on another, when LVM's metadata has changed; on a third, who else extends what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;

use crate::model::cause::chain;
use crate::model::policy::Timing;
use crate::model::tally::Wake;
use crate::observe::changes::Changes;
use crate::observe::device_mapper::{
    Described, DeviceMapper, DeviceMapperError, Found, Listed, VirtualDisks,
};
use crate::observe::guarding;

use super::message::Input;
use super::pulses::Pulses;
use super::workers::{self, Inputs, WORKER_STACK};

/// The list is read once in as many times what reading it takes, a tenth of a percent of a core: with a
/// thousand devices that is milliseconds, and it only confirms what the count tells. Nobody need change
/// it: it follows the host.
const LIST_RARER: u32 = 1000;
/// But for a device that was removed and another one made between two counts.
const LIST_MAX: Duration = Duration::from_secs(30);
/// The same where devices cannot be counted.
const LIST_MAX_UNCOUNTED: Duration = Duration::from_secs(3);
/// After an error, so that a broken control node is not asked in a tight loop.
const LIST_RETRY: Duration = Duration::from_millis(500);
/// A script that makes many volumes is told in few steps.
const CHANGES_EVERY: Duration = Duration::from_secs(2);
/// Who else extends changes when somebody sets LVM up.
const OTHERS_EVERY: Duration = Duration::from_secs(120);

/// Set to have every device described again: a table swapped in place raises no event.
pub(super) type Rescan = Arc<AtomicBool>;

/// Follows the kernel's events for ever. Without an event devices are counted now and then: creating one
/// raises none.
pub(super) fn follow(inputs: Inputs, rescan: Rescan, timing: Timing) -> io::Result<()> {
    workers::spawn("events", WORKER_STACK, move || {
        let mut known = Known::nothing();
        let mut pulses = Pulses::new(timing);
        loop {
            if rescan.swap(false, Ordering::AcqRel) {
                known.described.clear();
            }
            let now = Instant::now();
            if let Some((devices, every)) = pulses.feel(now)
                && inputs.send(Input::Stirred { devices, every }).is_err()
            {
                return;
            }
            let input = match known.round(timing.count_every, pulses.wait(now), now) {
                Ok(Some(input)) => {
                    pulses.watch(known.found());
                    input
                }
                Ok(None) => continue,
                Err(error) => {
                    known = Known::nothing();
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

/// Tells when LVM's metadata was changed, on a thread of its own: where the backups are may hang.
pub(super) fn follow_changes(backups: PathBuf, inputs: Inputs) -> io::Result<()> {
    workers::spawn("changes", WORKER_STACK, move || {
        let Ok(changes) = Changes::watch(&backups) else {
            // Only the clock tells then.
            return;
        };
        while changes.wait().is_ok() && inputs.send(Input::MetadataChanged).is_ok() {
            thread::sleep(CHANGES_EVERY);
        }
    })
}

/// Tells now and then who else extends, on a thread of its own: dmeventd may hang.
pub(super) fn follow_others(lvm: PathBuf, inputs: Inputs) -> io::Result<()> {
    workers::spawn("others", WORKER_STACK, move || {
        let _ = setpriority_process(None, workers::PATIENT);
        let told = || Input::Guarded(guarding::beside_us(&lvm));
        while inputs.send(told()).is_ok() {
            thread::sleep(OTHERS_EVERY);
        }
    })
}

/// The device list as it was last read.
struct Known {
    kernel: Option<DeviceMapper>,
    disks: VirtualDisks,
    listed: Vec<Listed>,
    /// Without the devices that are still being made.
    described: BTreeMap<Listed, Option<Found>>,
    /// When the list was read, what it took, and the count just before.
    read: Option<(Instant, Duration, Option<u64>)>,
    counted: Option<Instant>,
}

impl Known {
    fn nothing() -> Self {
        Self {
            kernel: None,
            disks: VirtualDisks::open(),
            listed: Vec::new(),
            described: BTreeMap::new(),
            read: None,
            counted: None,
        }
    }

    /// Those to watch, with their numbers.
    fn found(&self) -> impl Iterator<Item = (Found, (u32, u32))> {
        let described = self.described.iter();
        described.filter_map(|(listed, found)| Some((found.clone()?, listed.device)))
    }

    /// Waits for an event, for the time to count again, or for as long as it may, and tells what is new.
    fn round(
        &mut self,
        count_every: Duration,
        limit: Duration,
        now: Instant,
    ) -> Result<Option<Input>, DeviceMapperError> {
        let (kernel, is_first) = match self.kernel.take() {
            Some(kernel) => (kernel, false),
            None => (DeviceMapper::open()?, true),
        };
        let since = |at| now.duration_since(at);
        let left = count_every.saturating_sub(self.counted.map_or(count_every, since));
        // Whoever wakes up soon anyway counts then: to wake costs more than to count.
        let wait = if limit <= count_every { limit } else { left };
        let woken = !is_first && kernel.wait(wait)?;
        if is_first || woken {
            // Armed before the list is read: an event in between makes the next wait return at once.
            kernel.arm()?;
        }
        if !woken && wait < left && self.described.len() == self.listed.len() {
            self.kernel = Some(kernel);
            return Ok(None);
        }
        let now = if is_first || woken {
            Instant::now()
        } else {
            now + wait
        };
        self.counted = Some(now);
        let count = self.disks.count();
        if !woken && self.is_current(count, now) {
            self.kernel = Some(kernel);
            return Ok(None);
        }
        let listed = kernel.list()?;
        self.read = Some((now, now.elapsed(), count));
        let is_known = listed == self.listed && self.described.len() == listed.len();
        let input = (is_first || !is_known).then(|| self.take_in(&kernel, listed, woken));
        self.kernel = Some(kernel);
        Ok(input)
    }

    /// Whether there is no reason to read the list again, now that no event asks for it.
    fn is_current(&self, count: Option<u64>, now: Instant) -> bool {
        let max = match count {
            Some(_) => LIST_MAX,
            None => LIST_MAX_UNCOUNTED,
        };
        self.described.len() == self.listed.len()
            && self.read.is_some_and(|(at, took, counted)| {
                count == counted
                    && now.duration_since(at) < took.saturating_mul(LIST_RARER).min(max)
            })
    }

    fn take_in(&mut self, kernel: &DeviceMapper, listed: Vec<Listed>, woken: bool) -> Input {
        let before: BTreeMap<Listed, u32> =
            self.listed.iter().map(|l| (identity(l), l.event)).collect();
        let now: BTreeSet<Listed> = listed.iter().map(identity).collect();
        let mut changed = now.len() != before.len() || !now.iter().all(|l| before.contains_key(l));
        // LVM sees what is on a device only once it has a table.
        let unfinished: Vec<&Listed> = now
            .iter()
            .filter(|device| !self.described.contains_key(device))
            .collect();
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
        changed |= unfinished
            .iter()
            .any(|device| self.described.contains_key(device));
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
