//! The threads that may block: device-mapper events, looks by lane, LVM's reports, extensions.
//!
//! Each sends what it found to the loop and waits for the next order. A thread that hangs in the kernel
//! takes nothing with it but its own lane.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::act::mend::{Mended, Step};
use crate::act::{self, Tools};
use crate::command::{self, AtDeadline};
use crate::model::names::Name;
use crate::model::plan::{Extension, Failure, Outcome};
use crate::model::tally::Wake;
use crate::observe::device_mapper::{DeviceMapper, DeviceMapperError, Found, Listed};
use crate::observe::lvm;
use crate::report::log::chain;

use super::engine::Input;
use super::eyes::KernelEyes;
use super::note::{Level, Note};
use super::watch::Lane;

/// Enough for a status ioctl and a parse; a thousand lanes stay small.
const LANE_STACK: usize = 128 << 10;
/// Parsing a report of a thousand volumes happens on the heap.
const WORKER_STACK: usize = 256 << 10;
/// Without an event the device list is read again after this: creating a device raises none.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// After an error, so that a broken control node is not asked in a tight loop.
const LIST_RETRY: Duration = Duration::from_millis(500);
/// vgcfgbackup writes one file.
const BACKUP_DEADLINE: Duration = Duration::from_secs(60);
/// A lane has one order under way; a second one never waits.
const LANE_QUEUE: usize = 2;
/// One report and a backup for each group.
const REPORT_QUEUE: usize = 64;

/// Where every thread sends what it found.
pub(super) type Inputs = SyncSender<Input>;

/// Follows the kernel's events for ever.
pub(super) fn follow_events(inputs: Inputs) -> io::Result<()> {
    spawn("events", WORKER_STACK, move || {
        let mut known = Known::default();
        loop {
            let input = match known.round() {
                Ok(Some(input)) => input,
                Ok(None) => continue,
                Err(error) => {
                    known.kernel = None;
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
    found: BTreeMap<Listed, Option<Found>>,
    fresh: bool,
}

impl Known {
    /// Waits for an event or the time to list again, and tells what is new.
    fn round(&mut self) -> Result<Option<Input>, DeviceMapperError> {
        let (kernel, first) = match self.kernel.take() {
            Some(kernel) => (kernel, false),
            None => (DeviceMapper::open()?, true),
        };
        if first {
            kernel.arm()?;
        }
        let woken = !first && kernel.wait(LIST_EVERY)?;
        if woken {
            // Armed before the list is read: an event in between makes the next wait return at once.
            kernel.arm()?;
        }
        let listed = kernel.list()?;
        let input = self.compare(&kernel, listed, woken);
        self.kernel = Some(kernel);
        self.fresh = true;
        Ok(input)
    }

    fn compare(
        &mut self,
        kernel: &DeviceMapper,
        listed: Vec<Listed>,
        woken: bool,
    ) -> Option<Input> {
        if self.fresh && listed == self.listed {
            return None;
        }
        let identity = |l: &Listed| Listed {
            event: 0,
            ..l.clone()
        };
        let before: BTreeMap<Listed, u32> =
            self.listed.iter().map(|l| (identity(l), l.event)).collect();
        let now: BTreeSet<Listed> = listed.iter().map(identity).collect();
        let changed =
            !self.fresh || now.len() != before.len() || !now.iter().all(|l| before.contains_key(l));
        self.found.retain(|device, _| now.contains(device));
        let mut events = Vec::new();
        for device in &listed {
            let key = identity(device);
            let raised = before.get(&key).is_some_and(|event| *event != device.event);
            // An event may mean another table: a snapshot that has begun to merge.
            if raised || !self.found.contains_key(&key) {
                // A device that is gone already is missing from the next list.
                let found = kernel.describe(&device.name).ok().flatten();
                self.found.insert(key.clone(), found);
            }
            if let (true, Some(Some(found))) = (raised, self.found.get(&key)) {
                events.push(found.target.label().to_owned());
            }
        }
        self.listed = listed;
        let wake = if woken { Wake::DmEvent } else { Wake::Timer };
        let found = self.found.values().flatten().cloned().collect();
        Some(Input::Listed {
            found,
            changed,
            events,
            wake,
        })
    }
}

/// The lanes: a thread each, made when first needed.
pub(super) struct Lanes {
    inputs: Inputs,
    threads: BTreeMap<Lane, SyncSender<Vec<Found>>>,
}

impl Lanes {
    pub(super) fn new(inputs: Inputs) -> Self {
        Self {
            inputs,
            threads: BTreeMap::new(),
        }
    }

    pub(super) fn look(&mut self, lane: &Lane, devices: Vec<Found>) -> io::Result<()> {
        if !self.threads.contains_key(lane) {
            let (orders, queue) = sync_channel(LANE_QUEUE);
            let (name, inputs) = (lane.clone(), self.inputs.clone());
            spawn("lane", LANE_STACK, move || {
                look_for_ever(&name, &queue, &inputs);
            })?;
            self.threads.insert(lane.clone(), orders);
        }
        if let Some(thread) = self.threads.get(lane)
            && thread.try_send(devices).is_err()
        {
            // The thread has ended; the next order makes a new one.
            self.threads.remove(lane);
        }
        Ok(())
    }

    /// Ends the threads of lanes that no device needs any more.
    pub(super) fn keep_only(&mut self, needed: impl Fn(&Lane) -> bool) {
        self.threads.retain(|lane, _| needed(lane));
    }
}

fn look_for_ever(lane: &Lane, orders: &Receiver<Vec<Found>>, inputs: &Inputs) {
    let mut kernel = None;
    while let Ok(devices) = orders.recv() {
        let looks = devices
            .into_iter()
            .map(|found| {
                let look = look(&mut kernel, &found).map_err(|error| chain(&error));
                (found, look)
            })
            .collect();
        if inputs
            .send(Input::Looked {
                lane: lane.clone(),
                looks,
            })
            .is_err()
        {
            return;
        }
    }
}

fn look(
    kernel: &mut Option<DeviceMapper>,
    found: &Found,
) -> Result<crate::observe::device_mapper::Look, DeviceMapperError> {
    let open = match kernel.take() {
        Some(open) => open,
        None => DeviceMapper::open()?,
    };
    let look = open.look(found);
    *kernel = Some(open);
    look
}

/// What the reporter is asked for.
pub(super) enum Errand {
    Report,
    BackUp(Name),
}

/// Runs the slow lvm commands that no extension waits for, one after the other.
pub(super) fn run_errands(lvm: PathBuf, inputs: Inputs) -> io::Result<SyncSender<Errand>> {
    let (orders, queue) = sync_channel(REPORT_QUEUE);
    spawn("reporter", WORKER_STACK, move || {
        while let Ok(errand) = queue.recv() {
            let input = match errand {
                Errand::Report => report(&lvm),
                Errand::BackUp(group) => back_up(&lvm, group),
            };
            if inputs.send(input).is_err() {
                return;
            }
        }
    })?;
    Ok(orders)
}

fn report(lvm: &Path) -> Input {
    let started = Instant::now();
    match lvm::report(lvm) {
        Ok(reported) => Input::Reported {
            result: Ok(reported.inventory),
            faults: reported.faults,
            took: reported.took,
        },
        Err(error) => Input::Reported {
            result: Err(chain(&error)),
            faults: Vec::new(),
            took: started.elapsed(),
        },
    }
}

fn back_up(lvm: &Path, group: Name) -> Input {
    let started = Instant::now();
    let arguments = ["vgcfgbackup".to_owned(), "--".to_owned(), group.to_string()];
    let error = match command::run(lvm, &arguments, BACKUP_DEADLINE, AtDeadline::TermAndWait) {
        Ok(finished) if finished.status.success() => None,
        Ok(finished) => Some(finished.complaint()),
        Err(error) => Some(chain(&error)),
    };
    Input::BackedUp {
        group,
        error,
        took: started.elapsed(),
    }
}

/// Carries one extension out on a thread of its own: the loop goes on watching.
pub(super) fn extend(tools: Tools, extension: Extension, inputs: Inputs) -> io::Result<()> {
    spawn("extend", WORKER_STACK, move || {
        let outcome = match DeviceMapper::open() {
            Ok(kernel) => act::extend(&tools, &KernelEyes::new(kernel), &extension),
            Err(error) => Outcome::not_started(extension, Failure::Unverified, chain(&error)),
        };
        // Only a loop that has ended does not listen.
        let _ = inputs.send(Input::Carried(outcome));
    })
}

/// Mends what a predecessor left, on a thread of its own.
pub(super) fn mend(tools: Tools, intent: Extension, inputs: Inputs) -> io::Result<()> {
    spawn("mend", WORKER_STACK, move || {
        let mended = match DeviceMapper::open() {
            Ok(kernel) => act::mend::mend(&tools, &KernelEyes::new(kernel), &intent),
            Err(error) => Mended::Stuck { why: chain(&error) },
        };
        let group = intent.target.volume.vg.clone();
        let _ = inputs.send(Input::Mending {
            group,
            done: Some(mended_note(&intent, &mended)),
        });
    })
}

fn mended_note(intent: &Extension, mended: &Mended) -> Note {
    let (level, message, detail) = match mended {
        Mended::NothingToDo => (
            Level::Info,
            "found an extension of a former guard done",
            String::new(),
        ),
        Mended::Resumed { by } => (
            Level::Warn,
            Note::MENDED,
            match by {
                Step::Extend => "by the same extension again",
                Step::Refresh => "by a refresh",
                Step::ClearAndResume => "by clearing inactive tables and resuming",
            }
            .to_owned(),
        ),
        Mended::Stuck { why } => (
            Level::Error,
            "could not mend devices that a killed extension left suspended",
            why.clone(),
        ),
    };
    Note {
        level,
        message,
        volume: Some(intent.name.clone()),
        resource: Some(intent.target.resource),
        detail,
    }
}

pub(super) fn spawn(
    name: &str,
    stack: usize,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(stack)
        .spawn(work)
        .map(drop)
}
