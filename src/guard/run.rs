//! The loop: waits for the next input or the next due time, and carries out what the engine orders.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};

use crate::act::Tools;
use crate::act::intent::Intents;
use crate::act::lock::GroupLocks;
use crate::model::cause::chain;
use crate::model::names::{Name, VolumeId};
use crate::model::plan::{Failure, Outcome};
use crate::model::policy::{Collectors, Policy};
use crate::model::relief::Relieved;
use crate::model::view::Build;
use crate::observe::device_mapper::{DeviceMapper, DeviceMapperError};
use crate::observe::lvm::{self, LvmError};
use crate::report::log::Log;

use super::claim::{self, LOCK_FILE};
use super::clock;
use super::desk::{Closing, Desk, DeskOptions, Grants};
use super::devices::{self, Rescan};
use super::engine::Engine;
use super::front::{self, Front, FrontFailure, FrontSettings};
use super::lifeboat::{self, Berth};
use super::message::{Input, Order};
use super::note::{Level, Note};
use super::workers::{self, Inputs, Lanes};

/// Threads wait when the loop lags behind by as many inputs.
const INPUTS_MAX: usize = 256;
/// A stop waits this long for an lvm of ours, which killing would make leave devices suspended, and for whoever holds
/// still to be let go.
const STOP_LIMIT: Duration = Duration::from_secs(80);
/// A tick at least this often, so that a missed due time cannot become a stall.
const TICK_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    #[error("make {}: run as root", path.display())]
    Runtime { path: PathBuf, source: io::Error },
    #[error("lock {}: another cowherd guards this host", path.display())]
    Running { path: PathBuf },
    #[error(transparent)]
    DeviceMapper(#[from] DeviceMapperError),
    #[error(transparent)]
    Lvm(#[from] LvmError),
    #[error(transparent)]
    Front(#[from] FrontFailure),
    #[error("listen on {}", path.display())]
    Socket { path: PathBuf, source: io::Error },
    #[error("start a thread")]
    Thread { source: io::Error },
    #[error("watch for signals")]
    Signals { source: io::Error },
}

impl GuardError {
    /// Whether somebody has to change the configuration before it can be otherwise.
    #[must_use]
    pub const fn is_of_configuration(&self) -> bool {
        matches!(self, Self::Front(FrontFailure::Misconfigured { .. }))
    }
}

/// What `run` needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Options {
    pub policy: Policy,
    pub collectors: Collectors,
    pub listen_addresses: Vec<SocketAddr>,
    pub telemetry_path: String,
    pub web_config_file: Option<PathBuf>,
    pub front_user: String,
    /// Where callers may have something done to snapshots.
    pub api: Option<DeskOptions>,
    pub log_level: String,
    /// For locks and intents: on tmpfs.
    pub runtime: PathBuf,
    pub build: Build,
    pub berth: Berth,
}

/// Guards until told to stop.
///
/// # Errors
/// When something is missing that guarding needs; then nothing has been started.
pub fn run(options: Options, log: &Log) -> Result<(), GuardError> {
    claim::make_runtime(&options.runtime)?;
    let lifeboat = claim::settle(&options.berth);
    let lock_path = options.runtime.join(LOCK_FILE);
    let identity = front::identity(&options.front_user)?;
    let lock = claim::take_lock(&lock_path, identity)?;
    DeviceMapper::open()?;
    let lvm = lvm::program()?;
    let tools = Tools {
        lvm: lvm.clone(),
        locks: GroupLocks::default(),
        lock_wait: options.policy.timing.lock_wait,
        intents: Intents::in_directory(&options.runtime),
        host: options.berth.host(),
    };
    let (inputs, queue) = sync_channel(INPUTS_MAX);
    let closing = Closing::default();
    let (front, grants) = start_front(&options, identity, &tools, inputs.clone(), &closing)?;
    let_go(&options.berth);
    info!(
        version = options.build.version,
        listening = front.addresses().join(" "),
        dry_run = options.policy.dry_run,
        "guarding"
    );
    let stop = watch_signals(inputs.clone())?;
    let rescan = Rescan::default();
    let mut shell = Shell {
        rescan: Arc::clone(&rescan),
        engine: Engine::new(options.policy.clone(), options.build, clock::now()),
        lanes: Lanes::new(inputs.clone()),
        reporter: workers::run_reports(lvm.clone(), options.collectors, inputs.clone())
            .map_err(thread_error)?,
        measures: options
            .collectors
            .thin_volumes
            .then(|| workers::run_measures(inputs.clone()))
            .transpose()
            .map_err(thread_error)?,
        backups: workers::run_backups(lvm.clone(), inputs.clone()).map_err(thread_error)?,
        front,
        tools,
        grants,
        closing,
        inputs: inputs.clone(),
    };
    shell.engine.note_lifeboat(lifeboat);
    if options.api.is_some() {
        shell.engine.note_desk();
    }
    let backups = options.berth.backups().to_owned();
    devices::follow_changes(backups, shell.inputs.clone()).map_err(thread_error)?;
    if let Berth::Aboard(manifest) = options.berth {
        lifeboat::renew_for_ever(manifest, shell.inputs.clone()).map_err(thread_error)?;
    }
    shell.take_over();
    devices::follow_others(lvm, shell.inputs.clone()).map_err(thread_error)?;
    devices::follow(inputs, rescan, options.policy.timing).map_err(thread_error)?;
    shell.run(&queue, &stop, log);
    drop(lock);
    Ok(())
}

/// Binds the socket of the API, and starts who answers what comes in by it.
fn open_desk(
    options: &DeskOptions,
    policy: &Policy,
    tools: &Tools,
    line: &front::Line,
    inputs: Inputs,
    closing: Closing,
) -> Result<(Desk, UnixListener, Grants), GuardError> {
    let path = options.socket.clone();
    let listener =
        claim::bind(&path, options.group).map_err(|source| GuardError::Socket { path, source })?;
    let opened = Desk::open(
        options.clone(),
        policy.clone(),
        tools.clone(),
        line.clone(),
        inputs,
        closing,
    );
    let (desk, grants) = opened.map_err(thread_error)?;
    Ok((desk, listener, grants))
}

/// Starts who serves, and the desk behind the API where there is one.
fn start_front(
    options: &Options,
    identity: Option<(u32, u32)>,
    tools: &Tools,
    inputs: Inputs,
    closing: &Closing,
) -> Result<(Front, Option<Grants>), GuardError> {
    let line = front::Line::default();
    let (api, grants) = match &options.api {
        Some(api) => {
            let closing = closing.clone();
            let (desk, listener, grants) =
                open_desk(api, &options.policy, tools, &line, inputs, closing)?;
            (Some((desk, listener)), Some(grants))
        }
        None => (None, None),
    };
    let settings = FrontSettings {
        listen_addresses: options.listen_addresses.clone(),
        telemetry_path: options.telemetry_path.clone(),
        web_config_file: options.web_config_file.clone(),
        host_root: options.berth.host_root().to_owned(),
        identity,
        log_level: options.log_level.clone(),
        lock_file: options.runtime.join(LOCK_FILE),
        api,
        remote: options.api.as_ref().and_then(|api| api.remote.clone()),
    };
    Ok((Front::start(settings, line)?, grants))
}

/// Of the host's tree, or tells what it means that there is no other.
fn let_go(berth: &Berth) {
    match berth {
        Berth::Aboard(_) => {
            if let Err(error) = lifeboat::let_go() {
                warn!(
                    error = chain(&error),
                    "file systems that were mounted before stay in use by this guard"
                );
            }
        }
        Berth::Ashore(why) => warn!(
            why,
            "no lifeboat: on a host whose root lies on a guarded pool this guard can hang with it"
        ),
    }
}

/// A stop signal sets the flag and wakes the loop.
fn watch_signals(inputs: Inputs) -> Result<Arc<AtomicBool>, GuardError> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|source| GuardError::Signals { source })?;
    let flag = Arc::clone(&stop);
    workers::spawn("signals", 128 << 10, move || {
        for _ in signals.forever() {
            flag.store(true, Ordering::Release);
            // A full queue wakes the loop as well.
            let _ = inputs.try_send(Input::Tick);
        }
    })
    .map_err(thread_error)?;
    Ok(stop)
}

fn thread_error(source: io::Error) -> GuardError {
    GuardError::Thread { source }
}

struct Shell {
    rescan: Rescan,
    engine: Engine,
    lanes: Lanes,
    reporter: SyncSender<()>,
    /// Where thin volumes are collected.
    measures: Option<SyncSender<Vec<VolumeId>>>,
    backups: SyncSender<Name>,
    front: Front,
    /// Where there is an API.
    grants: Option<Grants>,
    closing: Closing,
    tools: Tools,
    inputs: Inputs,
}

impl Shell {
    fn run(&mut self, queue: &Receiver<Input>, stop: &AtomicBool, log: &Log) {
        let mut stopping = None;
        loop {
            if stopping.is_none() && stop.load(Ordering::Acquire) {
                info!("stopping");
                self.engine.stop();
                self.closing.close();
                stopping = Some(clock::moment());
            }
            if let Some(since) = stopping {
                let waited = clock::moment().since(since);
                let is_at_work = self.engine.is_busy() || self.closing.is_at_work();
                if !is_at_work || waited > STOP_LIMIT {
                    break;
                }
            }
            self.count_log_lines(log);
            let mut inputs = vec![self.next(queue)];
            while let Some(input) = inputs.pop() {
                for order in self.engine.handle(input, clock::now()) {
                    inputs.extend(self.carry_out(order));
                }
            }
        }
        if self.engine.is_busy() || self.closing.is_at_work() {
            warn!("stopped while a volume group was still being changed");
        }
        self.front.stop();
    }

    fn next(&self, queue: &Receiver<Input>) -> Input {
        let now = clock::moment();
        let wait = self.engine.next_wake(now).since(now).min(TICK_MAX);
        match queue.recv_timeout(wait) {
            Ok(input) => input,
            // The loop holds a sender itself, so the queue cannot be disconnected.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Input::Tick,
        }
    }

    fn count_log_lines(&mut self, log: &Log) {
        let (counts, dropped) = log.counts();
        let messages = counts
            .map(|(level, count)| (level.to_owned(), count))
            .into();
        self.engine.note_log_lines(messages, dropped);
    }

    /// What could not be begun comes back as what became of it.
    fn carry_out(&mut self, order: Order) -> Option<Input> {
        match order {
            Order::Tell(note) => tell(&note),
            Order::Publish(view) => self.front.publish(*view),
            Order::Look { lane, devices } => {
                self.lanes.keep_only(|lane| self.engine.needs_lane(lane));
                if let Err(error) = self.lanes.look(&lane, devices.clone()) {
                    let why = format!("start a thread to look: {error}");
                    let looks = devices.into_iter().map(|found| (found, Err(why.clone())));
                    return Some(Input::Looked {
                        lane,
                        looks: looks.collect(),
                        cost: Duration::ZERO,
                    });
                }
            }
            Order::Rescan => self.rescan.store(true, Ordering::Release),
            Order::ReadReport => {
                if self.reporter.try_send(()).is_err() {
                    let result = Err("the thread that runs lvm has ended".to_owned());
                    let (faults, took) = (Vec::new(), Duration::ZERO);
                    return Some(Input::Reported {
                        result,
                        is_complete: false,
                        faults,
                        took,
                    });
                }
            }
            Order::Grant(grant) => {
                // Who waited for it may have given up: then it is waived.
                let _ = self.grants.as_ref().map(|grants| grants.try_send(grant));
            }
            Order::Measure(volumes) => return self.measure(volumes),
            Order::BackUp(group) => {
                if self.backups.try_send(group.clone()).is_err() {
                    let error = Some("the thread that runs vgcfgbackup is stuck".to_owned());
                    return Some(Input::BackedUp {
                        group,
                        error,
                        took: Duration::ZERO,
                    });
                }
            }
            Order::Extend(extension) => {
                let inputs = self.inputs.clone();
                let started = workers::extend(self.tools.clone(), (*extension).clone(), inputs);
                if let Err(error) = started {
                    let outcome = Outcome::not_started(*extension, Failure::Spawn, chain(&error));
                    return Some(Input::Carried(outcome));
                }
            }
            Order::Relieve(relief) => {
                let inputs = self.inputs.clone();
                if let Err(error) = workers::relieve(self.tools.clone(), (*relief).clone(), inputs)
                {
                    return Some(Input::Relieved(Relieved {
                        relief: *relief,
                        took: Duration::ZERO,
                        error: Some(format!("start a thread: {error}")),
                    }));
                }
            }
        }
        None
    }

    fn measure(&self, volumes: Vec<VolumeId>) -> Option<Input> {
        let taken = self.measures.as_ref()?.try_send(volumes);
        let result = Err("the thread that asks for it has ended".to_owned());
        let took = Duration::ZERO;
        taken.is_err().then_some(Input::Measured { result, took })
    }

    /// What a predecessor left to be done.
    fn take_over(&mut self) {
        for group in self.tools.intents.left_suspended() {
            self.engine.note_suspended(group, clock::moment());
        }
        if self.engine.is_dry_run() {
            info!("a dry run mends nothing");
        } else {
            self.mend_left_over();
        }
    }

    fn mend_left_over(&mut self) {
        for intent in self.tools.intents.left_over() {
            let intent = match intent {
                Ok(intent) => intent,
                Err(error) => {
                    error!(
                        error = chain(&error),
                        "cannot tell what a former guard was doing"
                    );
                    continue;
                }
            };
            let group = intent.target.volume.vg.clone();
            let mut happened = vec![Input::Mending {
                group: group.clone(),
                done: None,
            }];
            if let Err(error) = workers::mend(self.tools.clone(), intent, self.inputs.clone()) {
                let note = Note::new(Level::Error, "cannot start a thread to mend", chain(&error));
                happened.push(Input::Mending {
                    group,
                    done: Some(note),
                });
            }
            for input in happened {
                for order in self.engine.handle(input, clock::now()) {
                    // No device is known yet, so nothing is looked at or extended.
                    self.carry_out(order);
                }
            }
        }
    }
}

fn tell(note: &Note) {
    let vg = note.volume.as_ref().map(|name| name.vg.as_str());
    let lv = note.volume.as_ref().map(|name| name.lv.as_str());
    let resource = note.resource.map(crate::model::names::Resource::label);
    let detail = (!note.detail.is_empty()).then_some(note.detail.as_str());
    match note.level {
        Level::Info => info!(vg, lv, resource, detail, "{}", note.message),
        Level::Warn => warn!(vg, lv, resource, detail, "{}", note.message),
        Level::Error => error!(vg, lv, resource, detail, "{}", note.message),
    }
}
