//! The threads that may block: looks by lane, LVM's reports and backups, extensions.
//!
//! Each sends what it found to the loop and waits for the next order. A thread that hangs in the kernel
//! takes nothing with it but its own lane.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::setpriority_process;

use crate::act::mend::{Mended, Step};
use crate::act::{self, Tools};
use crate::command::{self, AtDeadline};
use crate::model::cause::chain;
use crate::model::names::{Name, VolumeId};
use crate::model::plan::{Extension, Failure, Outcome};
use crate::model::policy::Collectors;
use crate::model::relief::{Relief, Relieved};
use crate::model::units::Bytes;
use crate::observe::device_mapper::{DeviceMapper, DeviceMapperError, Found};
use crate::observe::lvm;

use super::clock;
use super::eyes::KernelEyes;
use super::message::Input;
use super::note::{Level, Note};
use super::watch::Lane;

/// Enough for a status ioctl and a parse; a thousand lanes stay small.
const LANE_STACK: usize = 128 << 10;
/// Parsing a report of a thousand volumes happens on the heap.
pub(super) const WORKER_STACK: usize = 256 << 10;
/// As everybody else: the guard itself is urgent.
pub(super) const PATIENT: i32 = 0;
/// vgcfgbackup writes one file.
const BACKUP_DEADLINE: Duration = Duration::from_secs(60);
/// A lane has one order under way; a second one never waits.
const LANE_QUEUE: usize = 2;
/// The engine asks for one report at a time.
const REPORT_QUEUE: usize = 2;
/// A backup for each group; a host with more tries again later.
const BACKUP_QUEUE: usize = 64;

/// Where every thread sends what it found.
pub(super) type Inputs = SyncSender<Input>;

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
            return Err(io::Error::other("the lane's thread has ended"));
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
    let mut used = clock::cpu_used();
    while let Ok(devices) = orders.recv() {
        let count = u32::try_from(devices.len()).unwrap_or(u32::MAX).max(1);
        let looks = devices
            .into_iter()
            .map(|found| {
                let look = look(&mut kernel, &found).map_err(|error| chain(&error));
                (found, look)
            })
            .collect();
        // To wake up for it and to tell the last ones is part of what looking costs.
        let before = std::mem::replace(&mut used, clock::cpu_used());
        if inputs
            .send(Input::Looked {
                lane: lane.clone(),
                looks,
                cost: used.saturating_sub(before) / count,
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

/// Reads LVM's metadata when asked. One report at a time: while lvm hangs, no second one is started.
pub(super) fn run_reports(
    lvm: PathBuf,
    collectors: Collectors,
    inputs: Inputs,
) -> io::Result<SyncSender<()>> {
    run_jobs("report", REPORT_QUEUE, inputs, move |()| {
        // With a thousand volumes it keeps a processor busy for seconds, and nobody waits for it.
        let _ = setpriority_process(None, PATIENT);
        report(&lvm, collectors)
    })
}

/// Writes LVM's backups when asked, apart from the reports: it may hang where /etc is on sick storage.
pub(super) fn run_backups(lvm: PathBuf, inputs: Inputs) -> io::Result<SyncSender<Name>> {
    run_jobs("backup", BACKUP_QUEUE, inputs, move |group| {
        back_up(&lvm, group)
    })
}

/// Asks the kernel what thin volumes map when asked, apart from everything else: it hangs with one pool's storage.
pub(super) fn run_measures(inputs: Inputs) -> io::Result<SyncSender<Vec<VolumeId>>> {
    run_jobs("measure", REPORT_QUEUE, inputs, |volumes: Vec<VolumeId>| {
        let _ = setpriority_process(None, PATIENT);
        let started = Instant::now();
        Input::Measured {
            result: measure(&volumes).map_err(|error| chain(&error)),
            took: started.elapsed(),
        }
    })
}

fn measure(volumes: &[VolumeId]) -> Result<BTreeMap<VolumeId, Bytes>, DeviceMapperError> {
    let kernel = DeviceMapper::open()?;
    let mut mapped = BTreeMap::new();
    for volume in volumes {
        if let Some(bytes) = kernel.thin_mapped(volume)? {
            mapped.insert(volume.clone(), bytes);
        }
    }
    Ok(mapped)
}

fn run_jobs<T: Send + 'static>(
    name: &str,
    queue: usize,
    inputs: Inputs,
    job: impl Fn(T) -> Input + Send + 'static,
) -> io::Result<SyncSender<T>> {
    let (orders, queue) = sync_channel(queue);
    spawn(name, WORKER_STACK, move || {
        while let Ok(order) = queue.recv() {
            if inputs.send(job(order)).is_err() {
                return;
            }
        }
    })?;
    Ok(orders)
}

fn report(lvm: &Path, collectors: Collectors) -> Input {
    let started = Instant::now();
    match lvm::report(lvm, collectors) {
        Ok(reported) => Input::Reported {
            result: Ok(reported.inventory),
            is_complete: reported.is_complete,
            faults: reported.faults,
            took: reported.took,
        },
        Err(error) => Input::Reported {
            result: Err(chain(&error)),
            is_complete: false,
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

/// Carries one rung of relief out on a thread of its own, which a hook takes to the host for good.
pub(super) fn relieve(tools: Tools, relief: Relief, inputs: Inputs) -> io::Result<()> {
    spawn("relieve", WORKER_STACK, move || {
        let relieved = match DeviceMapper::open() {
            Ok(kernel) => act::relieve::relieve(&tools, &KernelEyes::new(kernel), &relief),
            Err(error) => Relieved {
                relief,
                took: Duration::ZERO,
                error: Some(chain(&error)),
            },
        };
        let _ = inputs.send(Input::Relieved(relieved));
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
