//! The guard's state and what follows from each thing that happens to it. No I/O, no clock, no threads:
//! the shell feeds inputs and carries out orders, and so can a simulation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::decide::{self, Situation, store};
use crate::model::history::History;
use crate::model::inventory::Inventory;
use crate::model::names::{Name, Resource, Target, Uuid, VolumeName};
use crate::model::plan::{End, Extension, Hold, Outcome, Plan, Reason};
use crate::model::policy::Policy;
use crate::model::tally::{Collector, CollectorRun, Tally, Wake};
use crate::model::time::{Moment, Now};
use crate::model::units::Bytes;
use crate::model::view::{Build, Event, StoreView, View};
use crate::observe::device_mapper::{Found, Look};

use super::watch::{Lane, Watchlist};

/// The page shows the last few things that happened; the log has them all.
const EVENTS_MAX: usize = 50;
/// The front needs no more pictures than people and scrapes can look at.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// After something happened a picture follows at once, but a storm of events is not a storm of pictures.
const PUBLISH_SOON: Duration = Duration::from_millis(100);
/// A failed report is tried again after this; a good one that something made stale at once.
const REPORT_RETRY: Duration = Duration::from_secs(2);
/// LVM's own backup of its metadata is written once a group has been quiet for this long.
const BACKUP_AFTER: Duration = Duration::from_secs(10);

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// The kernel's device list, read because of `wake`.
    Listed { found: Vec<Found>, changed: bool, events: Vec<String>, wake: Wake },
    /// The device list could not be read.
    ListFailed { error: String },
    Looked { lane: Lane, looks: Vec<(Found, Result<Look, String>)> },
    Reported { result: Result<Inventory, String>, faults: Vec<String>, took: Duration },
    Carried(Outcome),
    /// A predecessor's extension is being mended, or has been.
    Mending { group: Uuid, done: Option<Note> },
    BackedUp { group: Name, error: Option<String>, took: Duration },
    /// Time passed.
    Tick,
}

/// Something to do.
#[derive(Debug)]
pub enum Order {
    Look { lane: Lane, devices: Vec<Found> },
    ReadReport,
    Extend(Box<Extension>),
    BackUp(Name),
    Publish(Box<View>),
    Tell(Note),
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub level: Level,
    pub message: &'static str,
    pub volume: Option<VolumeName>,
    pub resource: Option<Resource>,
    pub detail: String,
}

/// Info: we changed something. Warn: a human may have to. Error: we failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    Error,
}

/// The state.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    build: Build,
    started: Now,
    inventory: Inventory,
    watch: Watchlist,
    history: History,
    tally: Tally,
    busy: BTreeSet<Uuid>,
    plan: Plan,
    told: BTreeMap<(VolumeName, Resource, &'static str), Hold>,
    events: VecDeque<Event>,
    report: Report,
    backups: BTreeMap<Name, Moment>,
    published: Option<Moment>,
    /// Something happened that people wait to see.
    news: bool,
}

#[derive(Debug, Default)]
struct Report {
    running: bool,
    /// When the next one is due; at once when none has been read.
    due: Moment,
    /// Groups whose sizes changed while the report was being read: its numbers for them are old.
    outdated: BTreeSet<Uuid>,
}

impl Engine {
    #[must_use]
    pub fn new(policy: Policy, build: Build, now: Now) -> Self {
        let mut tally = Tally::default();
        for wake in Wake::ALL {
            tally.polls.insert(wake, 0);
        }
        Self {
            watch: Watchlist::new(policy.timing),
            policy,
            build,
            started: now,
            inventory: Inventory::default(),
            history: History::default(),
            tally,
            busy: BTreeSet::new(),
            plan: Plan::default(),
            told: BTreeMap::new(),
            events: VecDeque::new(),
            report: Report { due: now.moment, ..Report::default() },
            backups: BTreeMap::new(),
            published: None,
            news: true,
        }
    }

    /// Takes one input in and says what to do about it.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Order> {
        let mut orders = Vec::new();
        match input {
            Input::Listed { found, changed, events, wake } => {
                self.listed(found, changed, &events, wake, now);
            }
            Input::ListFailed { error } => self.list_failed(error, now, &mut orders),
            Input::Looked { lane, looks } => self.looked(&lane, looks, now, &mut orders),
            Input::Reported { result, faults, took } => {
                self.reported(result, faults, took, now, &mut orders);
            }
            Input::Carried(outcome) => self.carried(&outcome, now, &mut orders),
            Input::Mending { group, done } => self.mending(group, done, now, &mut orders),
            Input::BackedUp { group, error, took } => {
                self.backed_up(&group, error, took, now, &mut orders);
            }
            Input::Tick => {}
        }
        self.settle(now, &mut orders);
        orders
    }

    /// When `handle` wants a tick at the latest.
    #[must_use]
    pub fn next_wake(&self, now: Moment) -> Moment {
        let publish = self.published.map_or(now, |at| {
            at.after(if self.news { PUBLISH_SOON } else { PUBLISH_EVERY })
        });
        let report = if self.report.running { publish } else { self.report.due };
        let backup = self.backups.values().copied().min().unwrap_or(publish);
        self.watch.next_wake().into_iter().chain([publish, report, backup]).min().unwrap_or(now)
    }

    /// Groups in which something of ours runs: a shutdown waits for them.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Log lines so far, by level, and how many were dropped.
    pub fn note_log_lines(&mut self, messages: BTreeMap<String, u64>, dropped: u64) {
        self.tally.log_messages = messages;
        self.tally.log_messages_dropped = dropped;
    }

    /// Whether any device is looked at in this lane.
    #[must_use]
    pub fn needs_lane(&self, lane: &Lane) -> bool {
        self.watch.has_lane(lane)
    }

    fn listed(&mut self, found: Vec<Found>, changed: bool, events: &[String], wake: Wake, now: Now) {
        *self.tally.polls.entry(wake).or_default() += 1;
        self.tally.dm_event_listener_up = true;
        for target in events {
            *self.tally.dm_events.entry(target.clone()).or_default() += 1;
            self.tally.dm_event_last = Some(now.wall);
        }
        self.watch.set_devices(found, now.moment);
        if changed {
            self.want_report(now.moment);
        }
        if !events.is_empty() {
            self.watch.hurry_all(now.moment);
        }
    }

    fn list_failed(&mut self, error: String, now: Now, orders: &mut Vec<Order>) {
        self.tally.dm_event_listener_up = false;
        self.tally.poll_failures += 1;
        self.tell(now, orders, note(Level::Error, "cannot list devices", error));
    }

    fn looked(
        &mut self,
        lane: &Lane,
        looks: Vec<(Found, Result<Look, String>)>,
        now: Now,
        orders: &mut Vec<Order>,
    ) {
        *self.tally.polls.entry(Wake::Timer).or_default() += 1;
        let mut run = CollectorRun { success: true, ..CollectorRun::default() };
        for (found, look) in looks {
            match &look {
                Ok(look) => {
                    run.took += look.took;
                    self.tally.poll_duration.note(look.took);
                }
                Err(error) => {
                    run.success = false;
                    // A device that is gone, or has another target now, is LVM's doing.
                    self.want_report(now.moment);
                    if self.watch.is_new_fault(&found, error) {
                        let told = note(Level::Warn, "cannot read a device", error.clone());
                        self.tell(now, orders, told);
                    }
                }
            }
            self.watch.looked(&found, look, &mut self.inventory, now.moment);
        }
        self.watch.lane_free(lane);
        self.note_usage(now.moment);
        self.tally.poll_failures += u64::from(!run.success);
        self.note_collector(Collector::Dm, run, now);
        self.watch.reschedule(&situation(
            &self.policy,
            &self.inventory,
            &self.history,
            &self.busy,
            now.moment,
        ));
    }

    /// Feeds what was just seen to the fill rates; looks that lie back are recognised by their time.
    fn note_usage(&mut self, now: Moment) {
        for store in store::all(&self.inventory) {
            if let (Some(fill), Some(at)) = (store.fill, store.seen_at)
                && at == now
            {
                self.history.note_usage(&store.target, fill.used, at);
            }
        }
    }

    fn note_collector(&mut self, collector: Collector, mut run: CollectorRun, now: Now) {
        let before = self.tally.collectors.get(&collector).and_then(|run| run.last_success);
        run.last_success = if run.success { Some(now.wall) } else { before };
        self.tally.collectors.insert(collector, run);
        let complete = Collector::ALL
            .iter()
            .all(|collector| self.tally.collectors.get(collector).is_some_and(|run| run.success));
        if complete {
            self.tally.poll_last_success = Some(now.wall);
        }
    }

    fn reported(
        &mut self,
        result: Result<Inventory, String>,
        faults: Vec<String>,
        took: Duration,
        now: Now,
        orders: &mut Vec<Order>,
    ) {
        self.report.running = false;
        self.report.due = now.moment.after(self.policy.timing.report_every);
        let outdated = std::mem::take(&mut self.report.outdated);
        self.count_command("fullreport", took, result.as_ref().err().map(|_| "failed"));
        let run = CollectorRun { success: result.is_ok(), took, last_success: None };
        self.note_collector(Collector::Lvm, run, now);
        for fault in faults {
            self.tell(now, orders, note(Level::Warn, "cannot read a value of LVM's", fault));
        }
        match result {
            Err(error) => {
                self.report.due = now.moment.after(REPORT_RETRY);
                self.tell(now, orders, note(Level::Error, "cannot read LVM's metadata", error));
            }
            Ok(_) if !outdated.is_empty() => self.want_report(now.moment),
            Ok(inventory) => self.adopt(inventory, now),
        }
    }

    /// Replaces LVM's part of the inventory; what the kernel said last stays with its volume.
    fn adopt(&mut self, mut inventory: Inventory, now: Now) {
        self.news |= inventory.groups.len() != self.inventory.groups.len();
        self.watch.fill_in(&mut inventory);
        self.inventory = inventory;
        let present: BTreeSet<Target> =
            store::all(&self.inventory).map(|store| store.target).collect();
        self.history.retain(|target| present.contains(target));
        self.watch.reschedule(&situation(
            &self.policy,
            &self.inventory,
            &self.history,
            &self.busy,
            now.moment,
        ));
    }

    fn carried(&mut self, outcome: &Outcome, now: Now, orders: &mut Vec<Order>) {
        let extension = &outcome.extension;
        self.busy.remove(&extension.target.volume.vg);
        self.history.note_outcome(outcome, now);
        self.tally.lock_wait.note(outcome.lock_wait);
        self.tally.extend_duration.note(outcome.took);
        if self.report.running {
            self.report.outdated.insert(extension.target.volume.vg.clone());
        }
        let told = match &outcome.end {
            End::Extended { kernel_total } => {
                decide::apply(&mut self.inventory, extension, *kernel_total);
                let due = now.moment.after(BACKUP_AFTER);
                self.backups.insert(extension.name.vg.clone(), due);
                self.count_command("lvextend", outcome.took, None);
                Note {
                    detail: format!(
                        "by {} to {} in {:.2} s",
                        extension.added(),
                        extension.to_bytes(),
                        outcome.took.as_secs_f64()
                    ),
                    ..volume_note(Level::Info, "extended", extension)
                }
            }
            End::Changed { found } => Note {
                detail: found.clone(),
                ..volume_note(Level::Info, "changed before it could be extended", extension)
            },
            End::Failed { failure, detail } => {
                self.tally.lock_timeouts += u64::from(failure.label() == "lock");
                self.count_command("lvextend", outcome.took, Some(failure.label()));
                Note {
                    detail: detail.clone(),
                    ..volume_note(Level::Error, "could not extend", extension)
                }
            }
        };
        self.tell(now, orders, told);
        self.want_report(now.moment);
        self.watch.hurry_all(now.moment);
    }

    fn mending(&mut self, group: Uuid, done: Option<Note>, now: Now, orders: &mut Vec<Order>) {
        let Some(told) = done else {
            self.busy.insert(group);
            return;
        };
        self.busy.remove(&group);
        self.tally.mended += 1;
        self.tell(now, orders, told);
        self.want_report(now.moment);
        self.watch.hurry_all(now.moment);
    }

    fn backed_up(
        &mut self,
        group: &Name,
        error: Option<String>,
        took: Duration,
        now: Now,
        orders: &mut Vec<Order>,
    ) {
        self.count_command("vgcfgbackup", took, error.as_ref().map(|_| "failed"));
        if let Some(error) = error {
            let detail = format!("{group}: {error}");
            self.tell(now, orders, note(Level::Warn, "cannot back up LVM's metadata", detail));
        }
    }

    fn count_command(&mut self, command: &str, took: Duration, failure: Option<&str>) {
        let runs = self.tally.commands.entry(command.to_owned()).or_default();
        runs.runs += 1;
        runs.duration.note(took);
        if let Some(reason) = failure {
            *runs.failures.entry(reason.to_owned()).or_default() += 1;
        }
    }

    fn want_report(&mut self, now: Moment) {
        self.report.due = self.report.due.min(now);
    }

    /// Decides, orders what is due, and publishes.
    fn settle(&mut self, now: Now, orders: &mut Vec<Order>) {
        self.watch.note_late(&mut self.inventory, now.moment);
        self.plan = decide::plan(&situation(
            &self.policy,
            &self.inventory,
            &self.history,
            &self.busy,
            now.moment,
        ));
        self.tell_holds(now, orders);
        self.order_extensions(now, orders);
        for (lane, devices) in self.watch.take_due(now.moment) {
            orders.push(Order::Look { lane, devices });
        }
        if !self.report.running && self.report.due <= now.moment {
            self.report.running = true;
            orders.push(Order::ReadReport);
        }
        self.order_backups(now, orders);
        self.publish(now, orders);
    }

    /// The first extension of each group; the next is decided anew when this one is done.
    fn order_extensions(&mut self, now: Now, orders: &mut Vec<Order>) {
        let extensions = self.plan.extensions.clone();
        for extension in extensions {
            if self.busy.insert(extension.target.volume.vg.clone()) {
                let told = Note {
                    detail: format!(
                        "by {} to {}: {}",
                        extension.added(),
                        extension.to_bytes(),
                        extension.trigger
                    ),
                    ..volume_note(Level::Info, "extending", &extension)
                };
                self.tell(now, orders, told);
                orders.push(Order::Extend(Box::new(extension)));
            }
        }
    }

    fn order_backups(&mut self, now: Now, orders: &mut Vec<Order>) {
        let busy: BTreeSet<&Name> = self
            .inventory
            .groups
            .iter()
            .filter(|group| self.busy.contains(&group.uuid))
            .map(|group| &group.name)
            .collect();
        let is_due = |(name, due): (&Name, &Moment)| *due <= now.moment && !busy.contains(name);
        let due: Vec<Name> =
            self.backups.iter().filter(|pair| is_due(*pair)).map(|(n, _)| n.clone()).collect();
        for name in due {
            self.backups.remove(&name);
            orders.push(Order::BackUp(name));
        }
        // A group that stays busy is asked again later, not at every tick.
        for due in self.backups.values_mut() {
            *due = (*due).max(now.moment.after(PUBLISH_EVERY));
        }
    }

    /// Tells each hold when it begins and when it ends, not at every look.
    fn tell_holds(&mut self, now: Now, orders: &mut Vec<Order>) {
        let current: BTreeMap<_, Hold> =
            self.plan.holds.iter().map(|hold| (hold.key(), hold.clone())).collect();
        let mut notes = Vec::new();
        for (key, hold) in &current {
            if !self.told.contains_key(key) {
                *self.tally.suppressed.entry(hold.reason.label().to_owned()).or_default() += 1;
                if hold.reason != Reason::Busy {
                    notes.push(hold_note(hold));
                }
            }
        }
        self.told = current;
        for told in notes {
            self.tell(now, orders, told);
        }
    }

    fn tell(&mut self, now: Now, orders: &mut Vec<Order>, told: Note) {
        let text = if told.detail.is_empty() {
            told.message.to_owned()
        } else {
            format!("{}: {}", told.message, told.detail)
        };
        self.events.push_back(Event {
            at: now,
            volume: told.volume.clone(),
            resource: told.resource,
            text,
        });
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
        self.news = true;
        orders.push(Order::Tell(told));
    }

    fn publish(&mut self, now: Now, orders: &mut Vec<Order>) {
        let pause = if self.news { PUBLISH_SOON } else { PUBLISH_EVERY };
        if self.published.is_some_and(|at| now.moment < at.after(pause)) {
            return;
        }
        self.published = Some(now.moment);
        self.news = false;
        orders.push(Order::Publish(Box::new(self.view(now))));
    }

    /// The present state as the front gets it.
    #[must_use]
    pub fn view(&self, now: Now) -> View {
        let situation =
            situation(&self.policy, &self.inventory, &self.history, &self.busy, now.moment);
        let reserves = self.inventory.groups.iter().map(|group| {
            (group.name.clone(), self.policy.reserve.of(group.size))
        });
        View {
            at: now,
            started: self.started.wall,
            policy: self.policy.clone(),
            inventory: self.inventory.clone(),
            stores: store_views(&situation),
            plan: self.plan.clone(),
            reserves: reserves.collect(),
            tally: self.tally.clone(),
            events: self.events.iter().cloned().collect(),
            build: self.build.clone(),
        }
    }
}

fn store_views(situation: &Situation<'_>) -> Vec<StoreView> {
    store::all(situation.inventory)
        .map(|store| StoreView {
            name: store.name.clone(),
            record: situation.history.record(&store.target),
            growable: decide::forecast::growable(situation, &store),
            fill_bytes_per_second: situation.history.trend(&store.target),
            useful_max: useful_max(&store),
            target: store.target,
        })
        .collect()
}

fn useful_max(store: &store::Store<'_>) -> Bytes {
    store.useful_max.bytes(store.group.extent)
}

fn situation<'a>(
    policy: &'a Policy,
    inventory: &'a Inventory,
    history: &'a History,
    busy: &'a BTreeSet<Uuid>,
    now: Moment,
) -> Situation<'a> {
    Situation { policy, inventory, history, busy, now }
}

fn note(level: Level, message: &'static str, detail: String) -> Note {
    Note { level, message, volume: None, resource: None, detail }
}

fn volume_note(level: Level, message: &'static str, extension: &Extension) -> Note {
    Note {
        level,
        message,
        volume: Some(extension.name.clone()),
        resource: Some(extension.target.resource),
        detail: String::new(),
    }
}

fn hold_note(hold: &Hold) -> Note {
    Note {
        level: if hold.needs_a_human() { Level::Warn } else { Level::Info },
        message: "holding",
        volume: Some(hold.name.clone()),
        resource: Some(hold.target.resource),
        detail: hold.reason.to_string(),
    }
}
