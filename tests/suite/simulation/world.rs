//! One simulated host with a guard: the real engine and the real `act`, driven through time by one queue of
//! what happens when. What may go wrong, and when, follows from the seed alone.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use cowherd::act::{self, mend};
use cowherd::config::Config;
use cowherd::guard::{Engine, Input, Lane, Level, Note, Order};
use cowherd::model::inventory::Inventory;
use cowherd::model::names::{Name, Target, VolumeId};
use cowherd::model::plan::{Extension, Outcome};
use cowherd::model::policy::Policy;
use cowherd::model::tally::Wake;
use cowherd::model::time::{Moment, Now, UnixSeconds};
use cowherd::model::view::{Build, View};
use cowherd::observe::device_mapper::{DeviceStatus, Found, Look, Watched};
use fastrand::Rng;

use super::checks::Checks;
use super::hands::{Mishap, Rig};
use super::host::Host;
use super::{life, setup};

/// One status request, on a slow machine: looks without a pulse are rarer there.
const REQUEST: Duration = Duration::from_micros(150);
const LOOK: Duration = Duration::from_micros(300);
const REPORT: Duration = Duration::from_millis(500);
const BACKUP: Duration = Duration::from_secs(1);
/// A new device list is read when the kernel's count of devices changes, or at an event.
const LIST: Duration = Duration::from_millis(5);
/// How often it is felt who writes, and told of who goes on.
const PULSE: Duration = Duration::from_millis(20);
const PULSE_AGAIN: Duration = Duration::from_millis(200);
/// How long an lvextend is asked to take at most.
const DEADLINE: Duration = Duration::from_secs(60);
/// A world of one day.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is to happen.
#[derive(Debug)]
pub(super) enum Event {
    Looked(Lane, Vec<Found>),
    Reported(Box<Result<Inventory, String>>),
    Listed {
        is_event: bool,
    },
    /// A command of ours comes to its end.
    Carried(Box<Carried>),
    BackedUp(Name),
    /// It is felt who writes.
    Felt,
    Mend(Box<Extension>),
    /// Something on the host that is not ours.
    Life(life::Event),
}

#[derive(Debug)]
pub(super) struct Carried {
    extension: Extension,
    took: Duration,
    lock_wait: Duration,
    is_locked: bool,
    mishap: Option<Mishap>,
}

pub(super) struct World {
    pub(super) now: Now,
    pub(super) rng: Rng,
    pub(super) policy: Policy,
    pub(super) host: RefCell<Host>,
    pub(super) checks: Checks,
    pub(super) next_mishap: Option<Mishap>,
    pub(super) locked_until: Moment,
    pub(super) reports_fail_until: Moment,
    /// lvm can read nothing of the group, and says so.
    pub(super) reports_are_partial_until: Moment,
    pub(super) looks_hang_until: Moment,
    pub(super) looks_fail_until: Moment,
    /// The kernel raises none that reach us.
    pub(super) events_are_lost: bool,
    /// It can be felt who writes.
    has_pulse: bool,
    is_felt: bool,
    engine: Engine,
    /// Answers to an engine that is gone reach nobody.
    generation: u32,
    queue: BTreeMap<(Moment, u64), (u32, Event)>,
    pushed: u64,
    intents: RefCell<BTreeMap<Target, Extension>>,
    /// Commands of ours that run, of the present guard.
    running: u32,
    last_command_ends: Moment,
}

fn engine(policy: &Policy, now: Now) -> Engine {
    let build = Build {
        version: "1".to_owned(),
        revision: "1".to_owned(),
    };
    Engine::new(policy.clone(), build, now)
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        // Seeds that are next to each other begin alike.
        let mut rng = Rng::with_seed((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let now = Now {
            moment: Moment(Duration::from_secs(1000)),
            wall: UnixSeconds(1_800_000_000.0),
        };
        let policy = setup::policy(&mut rng, Config::default().policy);
        let host = setup::host(&mut rng, now.moment);
        let mut world = Self {
            now,
            checks: Checks::new(&host),
            events_are_lost: rng.u8(..) < 64,
            has_pulse: rng.u8(..) < 250,
            is_felt: false,
            engine: engine(&policy, now),
            policy,
            rng,
            host: RefCell::new(host),
            next_mishap: None,
            locked_until: Moment::default(),
            reports_fail_until: Moment::default(),
            reports_are_partial_until: Moment::default(),
            looks_hang_until: Moment::default(),
            looks_fail_until: Moment::default(),
            generation: 0,
            queue: BTreeMap::new(),
            pushed: 0,
            intents: RefCell::default(),
            running: 0,
            last_command_ends: Moment::default(),
        };
        world.push(LIST, Event::Listed { is_event: false });
        life::begin(&mut world);
        world.is_felt = world.has_pulse;
        if world.has_pulse {
            world.push(PULSE, Event::Felt);
        }
        world
    }

    /// Lives through a day, and tells the first thing that should not have been.
    pub(super) fn live(&mut self) -> Result<(), String> {
        let end = self.now.moment.after(DAY);
        while self.now.moment < end {
            self.step().map_err(|fault| {
                let at = self.now.moment.0.as_secs_f64() - 1000.0;
                format!("after {at:.3} s: {fault}")
            })?;
        }
        Ok(())
    }

    pub(super) fn push(&mut self, after: Duration, event: Event) {
        self.pushed += 1;
        let key = (self.now.moment.after(after), self.pushed);
        self.queue.insert(key, (self.generation, event));
    }

    /// Goes to whatever is next.
    fn step(&mut self) -> Result<(), String> {
        let wake = self.engine.next_wake(self.now.moment);
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let fills = self.host.borrow().next_change();
        let soonest = [Some(wake), queued, fills].into_iter().flatten().min();
        let next = soonest.unwrap_or(wake).max(self.now.moment);
        self.pass(next)?;
        let is_due = queued.is_some_and(|at| at <= next);
        match is_due.then(|| self.queue.pop_first()).flatten() {
            Some((_, (generation, event))) => self.happen(generation == self.generation, event),
            None => self.feed(Input::Tick),
        }
    }

    /// Tells which devices are written to, for as long as any is.
    fn feel(&mut self) -> Result<(), String> {
        let host = self.host.borrow();
        let pools = host.pools.iter().filter(|pool| pool.writes());
        let cows = host.cows.iter().filter(|cow| cow.writes());
        let writing = pools.map(|pool| &pool.id).chain(cows.map(|cow| &cow.id));
        let writing: Vec<_> = writing.cloned().collect();
        drop(host);
        let mut devices = self.found();
        devices.retain(|found| writing.contains(&found.volume));
        self.is_felt = !devices.is_empty();
        if self.is_felt {
            self.push(PULSE_AGAIN, Event::Felt);
        }
        self.feed(Input::Stirred {
            devices,
            every: PULSE,
        })
    }

    /// Somebody begins to write: it is felt a moment later.
    pub(super) fn stir(&mut self) {
        if self.has_pulse && !self.is_felt {
            self.is_felt = true;
            let after = self.rng.u32(0..1000) * PULSE / 1000;
            self.push(after, Event::Felt);
        }
    }

    fn pass(&mut self, to: Moment) -> Result<(), String> {
        let span = to.since(self.now.moment);
        self.now.moment = to;
        self.now.wall.0 += span.as_secs_f64();
        let event = self.host.borrow_mut().pass(to);
        if event && !self.events_are_lost {
            self.push(LIST, Event::Listed { is_event: true });
        }
        let host = self.host.borrow();
        self.checks.follow(&host, &self.policy)
    }

    fn happen(&mut self, is_ours: bool, event: Event) -> Result<(), String> {
        match event {
            Event::Life(event) => life::happen(self, event),
            Event::Felt => self.feel(),
            Event::Carried(carried) => self.carried(is_ours, &carried),
            Event::Mend(intent) if is_ours => self.mend(&intent),
            Event::Looked(lane, devices) if is_ours => {
                let looks = devices.into_iter().map(|found| self.look(found)).collect();
                self.feed(Input::Looked {
                    lane,
                    looks,
                    cost: REQUEST * 2,
                })
            }
            Event::Reported(result) if is_ours => {
                let told = (*result).as_ref();
                let is_complete = told.is_ok_and(|told: &Inventory| !told.groups.is_empty());
                if is_complete {
                    self.checks.reported(self.now.moment);
                }
                self.feed(Input::Reported {
                    result: *result,
                    is_complete,
                    faults: Vec::new(),
                    took: REPORT,
                })
            }
            Event::Listed { is_event } => {
                let found = self.found();
                let events = if is_event {
                    vec!["thin-pool".to_owned()]
                } else {
                    Vec::new()
                };
                self.feed(Input::Listed {
                    found,
                    changed: !is_event,
                    events,
                    wake: Wake::DmEvent,
                })
            }
            Event::BackedUp(group) if is_ours => self.feed(Input::BackedUp {
                group,
                error: None,
                took: BACKUP,
            }),
            Event::Looked(..) | Event::Reported(_) | Event::BackedUp(_) | Event::Mend(_) => Ok(()),
        }
    }

    fn feed(&mut self, input: Input) -> Result<(), String> {
        for order in self.engine.handle(input, self.now) {
            match order {
                Order::Look { lane, devices } => {
                    let hang = self.looks_hang_until.since(self.now.moment);
                    self.push(LOOK.max(hang), Event::Looked(lane, devices));
                }
                Order::ReadReport => {
                    let report = self.report();
                    self.push(REPORT, Event::Reported(Box::new(report)));
                }
                Order::Extend(extension) => self.extend(*extension)?,
                Order::Relieve(relief) => panic!("no rule asks for it: {relief}"),
                Order::BackUp(group) => self.push(BACKUP, Event::BackedUp(group)),
                Order::Rescan => self.push(LIST, Event::Listed { is_event: false }),
                Order::Publish(view) => self.published(&view)?,
                Order::Measure(_) | Order::Grant(_) | Order::Tell(_) => {}
            }
        }
        Ok(())
    }

    /// What lvm tells of the group as it is now.
    fn report(&self) -> Result<Inventory, String> {
        let now = self.now.moment;
        if now < self.reports_fail_until {
            return Err("lvm fails".to_owned());
        }
        Ok(if now < self.reports_are_partial_until {
            Inventory::default()
        } else {
            self.host.borrow().report()
        })
    }

    fn published(&mut self, view: &View) -> Result<(), String> {
        let is_blind = self.now.moment < self.looks_fail_until.max(self.looks_hang_until);
        self.checks.published(&self.host.borrow(), view, is_blind)
    }

    /// Begins a command: what it does is done when it ends.
    fn extend(&mut self, extension: Extension) -> Result<(), String> {
        self.running += 1;
        if self.running > 1 {
            return Err("two commands at once in one group".to_owned());
        }
        let patience = self.policy.timing.lock_wait;
        let held = self.locked_until.since(self.now.moment);
        let is_locked = held > patience;
        let lock_wait = held.min(patience);
        let mishap = self.next_mishap.take();
        let work = if mishap == Some(Mishap::Overdue) {
            DEADLINE + Duration::from_secs(2)
        } else {
            Duration::from_millis(self.rng.u64(100..900))
        };
        let took = if is_locked {
            lock_wait
        } else {
            lock_wait + work
        };
        if mishap.is_some() {
            self.checks.excuse(self.now.moment.after(took));
        }
        self.last_command_ends = self.now.moment.after(took);
        let carried = Carried {
            extension,
            took,
            lock_wait,
            is_locked,
            mishap,
        };
        self.push(took, Event::Carried(Box::new(carried)));
        Ok(())
    }

    fn carried(&mut self, is_ours: bool, carried: &Carried) -> Result<(), String> {
        let free = self.host.borrow().free;
        let rig = self.rig(carried.is_locked, carried.mishap);
        if !is_ours {
            // The guard that began it is dead; lvm is not.
            let arguments = act::lvextend::arguments(&carried.extension);
            let ended = act::Hands::run(&rig, act::Tool::Lvm, &arguments, DEADLINE);
            return ended.map(drop).map_err(|error| error.to_string());
        }
        let outcome = Outcome {
            took: carried.took,
            lock_wait: carried.lock_wait,
            ..act::extend(&rig, &rig, &carried.extension)
        };
        let faults = rig.faults.take();
        self.running = 0;
        self.checks
            .carried(free, &self.host.borrow(), &self.policy)?;
        match faults.into_iter().next() {
            Some(fault) => Err(fault),
            None => self.feed(Input::Carried(outcome)),
        }
    }

    fn rig(&self, is_locked: bool, mishap: Option<Mishap>) -> Rig<'_> {
        Rig {
            host: &self.host,
            intents: &self.intents,
            lock_wait: self.policy.timing.lock_wait,
            is_locked,
            mishap: Cell::new(mishap),
            faults: RefCell::default(),
        }
    }

    /// The guard dies at once, and a new one starts as its shell would.
    pub(super) fn restart(&mut self) -> Result<(), String> {
        self.generation += 1;
        self.running = 0;
        self.engine = engine(&self.policy, self.now);
        // Whoever runs still holds the lock.
        self.locked_until = self.locked_until.max(self.last_command_ends);
        self.push(LIST, Event::Listed { is_event: false });
        if self.has_pulse && !self.is_felt {
            self.is_felt = true;
            self.push(PULSE, Event::Felt);
        }
        let left: Vec<Extension> = self.intents.borrow().values().cloned().collect();
        for intent in left {
            let group = intent.target.volume.vg.clone();
            let wait = self.locked_until.since(self.now.moment) + REPORT;
            self.checks.excuse(self.now.moment.after(wait));
            self.push(wait, Event::Mend(Box::new(intent)));
            self.feed(Input::Mending { group, done: None })?;
        }
        Ok(())
    }

    fn mend(&mut self, intent: &Extension) -> Result<(), String> {
        let rig = self.rig(false, None);
        let mended = mend::mend(&rig, &rig, intent);
        if matches!(mended, mend::Mended::Stuck { .. }) {
            return Err(format!("could not mend: {mended:?}"));
        }
        let note = Note {
            level: Level::Warn,
            message: "mended",
            volume: Some(intent.name.clone()),
            resource: Some(intent.target.resource),
            detail: String::new(),
        };
        self.feed(Input::Mending {
            group: intent.target.volume.vg.clone(),
            done: Some(note),
        })
    }

    fn found(&self) -> Vec<Found> {
        let host = self.host.borrow();
        let found = |id: &VolumeId, target| Found {
            name: String::new(),
            volume: id.clone(),
            target,
        };
        let pools = host
            .pools
            .iter()
            .map(|pool| found(&pool.id, Watched::ThinPool));
        let cows = host
            .cows
            .iter()
            .map(|cow| found(&cow.id, Watched::Snapshot));
        pools.chain(cows).collect()
    }

    fn look(&self, found: Found) -> (Found, Result<Look, String>) {
        let mut host = self.host.borrow_mut();
        let seen = match (host.pool_mut(&found.volume), found.target) {
            (Some(pool), _) => Some((pool.suspended, DeviceStatus::Pool(pool.status()))),
            (None, _) => host
                .cow_mut(&found.volume)
                .map(|cow| (cow.suspended, DeviceStatus::Cow(cow.status()))),
        };
        let seen = seen.filter(|_| self.now.moment >= self.looks_fail_until);
        let look = seen.map(|(suspended, status)| Look {
            suspended,
            status,
            took: REQUEST,
        });
        (found, look.ok_or_else(|| "cannot be read".to_owned()))
    }
}
