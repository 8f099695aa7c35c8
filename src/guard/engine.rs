//! The guard's state and what follows from each thing that happens to it. No I/O, no clock, no threads:
//! the shell feeds inputs and carries out orders, and so can a simulation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::decide::{self, Situation};
use crate::model::audit::Guarding;
use crate::model::history::History;
use crate::model::inventory::Inventory;
use crate::model::names::{Name, Resource, Uuid, VolumeName};
use crate::model::plan::{Hold, Plan};
use crate::model::policy::Policy;
use crate::model::reason::Reason;
use crate::model::tally::{Actions, Collector, CollectorRun, Lifeboat, Tally, Wake};
use crate::model::time::{Moment, Now};
use crate::model::view::{Build, Event};

use super::message::{Grant, Input, Order};
use super::note::{Level, Note};
use super::picture::News;
use super::watch::{Lane, Watchlist};

/// The page shows the last few things that happened; the log has them all.
const EVENTS_MAX: usize = 50;
/// Longer than lvm is given before it is killed: it hangs where a kill does not reach it.
const REPORT_LATE: Duration = Duration::from_secs(70);
/// An extension that takes longer waits for a lock or for storage, and needs no processor.
const REPORT_YIELDS: Duration = Duration::from_secs(2);
/// A backup that finds its host under pressure, or fails, is tried again after this.
pub(super) const BACKUP_RETRY: Duration = Duration::from_secs(60);

/// The state.
#[derive(Debug)]
pub struct Engine {
    pub(super) policy: Policy,
    pub(super) build: Build,
    pub(super) started: Now,
    pub(super) inventory: Inventory,
    pub(super) watch: Watchlist,
    pub(super) history: History,
    pub(super) tally: Tally,
    /// Groups in which something of ours runs, since when.
    pub(super) busy: BTreeMap<Uuid, Moment>,
    /// When something of ours last ended in a group: LVM's metadata may be other than before.
    pub(super) changed: BTreeMap<Uuid, Moment>,
    /// When LVM's metadata was last told to have changed, of whichever group.
    others_changed: Moment,
    pub(super) plan: Plan,
    told: BTreeMap<(VolumeName, Resource, &'static str), Hold>,
    /// Who else extends.
    pub(super) guarding: Guarding,
    /// For whom the kernel does not answer, as was told.
    late: BTreeSet<VolumeName>,
    pub(super) events: VecDeque<Arc<Event>>,
    pub(super) report: Report,
    pub(super) backups: BTreeMap<Name, Moment>,
    /// What callers wait for: their group, by the number of the wish.
    pub(super) wishes: BTreeMap<u64, Wish>,
    pub(super) published: Option<Moment>,
    /// No extension is begun any more.
    stopping: bool,
    /// Since the last picture.
    pub(super) news: News,
    /// The plan is what would be decided now, but for what time alone changes.
    pub(super) is_settled: bool,
}

/// A group that the desk waits for, or has.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) group: Uuid,
    /// When the desk looked at it.
    pub(super) known: Moment,
    pub(super) is_granted: bool,
}

#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) running: Option<Moment>,
    /// What was told of the last one, so that it is told once.
    pub(super) told: BTreeSet<String>,
    /// Thin volumes are being measured: no second time meanwhile.
    pub(super) is_measuring: bool,
    /// At least one has come back.
    pub(super) was_read: bool,
    /// When the next one is due; at once when none has been read.
    pub(super) due: Moment,
    /// Groups that changed while the report was being read: its numbers for them are old.
    pub(super) outdated: BTreeSet<Uuid>,
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
            busy: BTreeMap::new(),
            changed: BTreeMap::new(),
            others_changed: Moment::default(),
            plan: Plan::default(),
            told: BTreeMap::new(),
            guarding: Guarding::default(),
            late: BTreeSet::new(),
            events: VecDeque::new(),
            report: Report {
                due: now.moment,
                ..Report::default()
            },
            backups: BTreeMap::new(),
            wishes: BTreeMap::new(),
            published: None,
            stopping: false,
            news: News::Awaited,
            is_settled: false,
        }
    }

    /// Takes one input in and says what to do about it.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Order> {
        let mut orders = Vec::new();
        if !matches!(
            input,
            Input::Tick | Input::Looked { .. } | Input::Stirred { .. }
        ) {
            // What callers ask for is counted, and decides nothing.
            self.is_settled &= matches!(input, Input::Asked(_));
            self.note_news(News::Change);
        }
        match input {
            Input::Listed {
                found,
                changed,
                events,
                wake,
            } => {
                self.listed(found, changed, &events, wake, now);
            }
            Input::ListFailed { error } => self.list_failed(error, now, &mut orders),
            Input::Stirred { devices, every } => self.stirred(&devices, every, now.moment),
            Input::Looked { lane, looks, cost } => {
                self.looked(&lane, looks, cost, now, &mut orders);
            }
            Input::Reported {
                result,
                is_complete,
                faults,
                took,
            } => {
                self.reported(result, is_complete, faults, took, now, &mut orders);
            }
            Input::Guarded(guarding) => self.guarded(guarding),
            Input::Measured { result, took } => self.measured(result, took, now, &mut orders),
            Input::Carried(outcome) => self.carried(&outcome, now, &mut orders),
            Input::Relieved(relieved) => self.relieved(&relieved, now, &mut orders),
            Input::Mending { group, done } => self.mending(group, done, now, &mut orders),
            Input::BackedUp { group, error, took } => {
                self.backed_up(&group, error, took, now, &mut orders);
            }
            Input::Lifeboat(note) => self.lifeboat_renewed(note, now, &mut orders),
            Input::Wish {
                group,
                number,
                known,
            } => self.wish(group, number, known),
            Input::Waived {
                group,
                name,
                number,
            } => self.waived(&group, name, number, now),
            Input::Asked(happening) => self.tally.actions.get_or_insert_default().note(happening),
            Input::MetadataChanged => {
                self.others_changed = now.moment;
                self.want_report(now.moment);
            }
            Input::Tick => {}
        }
        self.settle(now, &mut orders);
        orders
    }

    /// When `handle` wants a tick at the latest.
    #[must_use]
    pub fn next_wake(&self, now: Moment) -> Moment {
        let publish = self.next_publish();
        let report = if self.report.running.is_some() {
            publish
        } else {
            self.report_due()
        };
        let backup = self.backups.values().copied().min().unwrap_or(publish);
        self.watch
            .next_wake(now)
            .into_iter()
            .chain([publish, report, backup])
            .min()
            .unwrap_or(now)
    }

    #[must_use]
    pub const fn is_dry_run(&self) -> bool {
        self.policy.dry_run
    }

    /// Begins nothing any more; what runs is waited for.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether something of ours runs in any group.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Log lines so far, by level, and how many were dropped.
    pub fn note_log_lines(&mut self, messages: BTreeMap<String, u64>, dropped: u64) {
        self.tally.log_messages = messages;
        self.tally.log_messages_dropped = dropped;
    }

    /// Where guard and lvm live.
    pub fn note_lifeboat(&mut self, lifeboat: Lifeboat) {
        self.tally.lifeboat = lifeboat;
    }

    /// Callers may ask for something.
    pub fn note_desk(&mut self) {
        self.tally.actions = Some(Actions::default());
    }

    /// A former guard had somebody suspended for this group.
    pub fn note_suspended(&mut self, group: Uuid, now: Moment) {
        self.history.reliefs.note_suspended(group, now);
    }

    /// Whether any device is looked at in this lane.
    #[must_use]
    pub fn needs_lane(&self, lane: &Lane) -> bool {
        self.watch.has_lane(lane)
    }

    /// Sets when each device that was seen since then is due for its next look.
    pub(super) fn reschedule(&mut self, now: Now, since: Moment) {
        let situation = Situation {
            policy: &self.policy,
            inventory: &self.inventory,
            history: &self.history,
            busy: &self.busy,
            now: now.moment,
            wall: now.wall,
        };
        self.watch.reschedule(&situation, &self.plan, since);
    }

    pub(super) fn situation(&self, now: Now) -> Situation<'_> {
        Situation {
            policy: &self.policy,
            inventory: &self.inventory,
            history: &self.history,
            busy: &self.busy,
            now: now.moment,
            wall: now.wall,
        }
    }

    /// Decides, orders what is due, and publishes.
    fn settle(&mut self, now: Now, orders: &mut Vec<Order>) {
        let is_news = self.watch.note_late(&mut self.inventory, now.moment);
        if is_news {
            self.is_settled = false;
            self.note_news(News::Change);
        }
        if is_news || !self.late.is_empty() {
            self.tell_late(now, orders);
        }
        if !self.is_settled || self.plan.ages() {
            self.plan = decide::plan(&self.situation(now));
            self.is_settled = true;
            self.tell_holds(now, orders);
            self.order_extensions(now, orders);
            self.order_reliefs(now, orders);
        }
        self.grant_wishes(now, orders);
        for (lane, devices) in self.watch.take_due(now.moment) {
            orders.push(Order::Look { lane, devices });
        }
        self.order_report(now, orders);
        self.order_backups(now, orders);
        self.publish(now, orders);
    }

    /// The first extension of each group; the next is decided anew when this one is done.
    fn order_extensions(&mut self, now: Now, orders: &mut Vec<Order>) {
        if self.stopping {
            return;
        }
        let extensions = self.plan.extensions.clone();
        for extension in extensions {
            let group = &extension.target.volume.vg;
            if !self.busy.contains_key(group) {
                self.busy.insert(group.clone(), now.moment);
                let told = Note {
                    detail: format!(
                        "by {} to {}: {}",
                        extension.added(),
                        extension.to_bytes(),
                        extension.trigger
                    ),
                    ..Note::of(Level::Info, "extending", &extension)
                };
                self.tell(now, orders, told);
                orders.push(Order::Extend(Box::new(extension)));
            }
        }
    }

    /// What LVM does, where nothing else runs in the group.
    fn order_reliefs(&mut self, now: Now, orders: &mut Vec<Order>) {
        if self.stopping || self.policy.dry_run {
            return;
        }
        for relief in self.plan.reliefs.clone() {
            if relief.rung.is_by_lvm() {
                if self.busy.contains_key(&relief.group_uuid) {
                    continue;
                }
                self.busy.insert(relief.group_uuid.clone(), now.moment);
            }
            self.history.reliefs.note_begun(&relief, now.moment);
            let told = Note::new(Level::Warn, "relieving a full group", relief.to_string());
            self.tell(now, orders, told);
            orders.push(Order::Relieve(Box::new(relief)));
        }
    }

    /// What callers want done waits for what a volume needs.
    fn grant_wishes(&mut self, now: Now, orders: &mut Vec<Order>) {
        let (plan, changed) = (&self.plan, &self.changed);
        let is_wanted = |group: &Uuid| plan.extensions.iter().any(|e| e.target.volume.vg == *group);
        for (number, wish) in &mut self.wishes {
            let is_free = !self.busy.contains_key(&wish.group) && !is_wanted(&wish.group);
            if is_free && !wish.is_granted && !self.stopping {
                wish.is_granted = true;
                self.busy.insert(wish.group.clone(), now.moment);
                let ours = changed.get(&wish.group).copied().unwrap_or_default();
                orders.push(Order::Grant(Grant {
                    number: *number,
                    is_untouched: wish.known > ours.max(self.others_changed),
                }));
            }
        }
    }

    fn order_report(&mut self, now: Now, orders: &mut Vec<Order>) {
        match self.report.running {
            None if self.report_due() <= now.moment => {
                self.report.running = Some(now.moment);
                // Whoever wants one from here on wants another: this one may not have what happens now.
                self.report.due = now.moment.after(self.policy.timing.report_every);
                orders.push(Order::ReadReport);
            }
            Some(since) if now.moment.since(since) > REPORT_LATE => {
                let run = CollectorRun {
                    took: now.moment.since(since),
                    ..CollectorRun::default()
                };
                self.note_collector(Collector::Lvm, run, now);
                let detail = "fullreport has not come back; volumes are watched as last known";
                let note = Note::new(Level::Error, "lvm does not answer", detail.to_owned());
                self.tell_once(now, orders, note);
            }
            None | Some(_) => {}
        }
    }

    /// Nothing of ours is at work in this group any more.
    pub(super) fn set_free(&mut self, group: &Uuid, now: Moment) {
        self.busy.remove(group);
        self.changed.insert(group.clone(), now);
    }

    /// What a report says that is being read may be of before.
    pub(super) fn outdate(&mut self, group: &Uuid) {
        if self.report.running.is_some() {
            self.report.outdated.insert(group.clone());
        }
    }

    /// When the next report is read. For a moment it lets an extension go first that has just begun: both want
    /// a processor, and the report would be old when the extension is done.
    fn report_due(&self) -> Moment {
        let due = self.report.due;
        let begun = self.busy.values().map(|since| since.after(REPORT_YIELDS));
        match begun.max() {
            Some(end) if self.report.was_read => due.max(end.min(due.after(REPORT_YIELDS))),
            Some(_) | None => due,
        }
    }

    /// Backups are for quiet times: vgcfgbackup takes the group's lock and writes below /etc.
    fn order_backups(&mut self, now: Now, orders: &mut Vec<Order>) {
        let is_quiet = self.busy.is_empty()
            && self.plan.extensions.is_empty()
            && !self.plan.holds.iter().any(|hold| hold.reason.is_pressing());
        for due in self
            .backups
            .values_mut()
            .filter(|due| **due <= now.moment && !is_quiet)
        {
            *due = now.moment.after(BACKUP_RETRY);
        }
        let due: Vec<Name> = self
            .backups
            .iter()
            .filter(|(_, due)| **due <= now.moment)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.backups.remove(&name);
            orders.push(Order::BackUp(name));
        }
    }

    /// As `tell`, unless the same was told of the last report.
    pub(super) fn tell_once(&mut self, now: Now, orders: &mut Vec<Order>, told: Note) {
        if self.report.told.insert(told.text()) {
            self.tell(now, orders, told);
        }
    }

    /// Tells whom the kernel does not answer for, and for whom it is no longer waited.
    fn tell_late(&mut self, now: Now, orders: &mut Vec<Order>) {
        let late = self.inventory.late().cloned().collect();
        let before = std::mem::replace(&mut self.late, late);
        let notes: Vec<Note> = Note::of_late(&before, &self.late).collect();
        for note in notes {
            self.tell(now, orders, note);
        }
    }

    /// Tells each hold when it begins and when it ends, not at every look.
    fn tell_holds(&mut self, now: Now, orders: &mut Vec<Order>) {
        let current: BTreeMap<_, Hold> = self
            .plan
            .holds
            .iter()
            .map(|hold| (hold.key(), hold.clone()))
            .collect();
        let mut notes = Vec::new();
        for (key, hold) in &current {
            if !self.told.contains_key(key) {
                *self
                    .tally
                    .suppressed
                    .entry(hold.reason.label().to_owned())
                    .or_default() += 1;
                if hold.reason != Reason::Busy {
                    notes.push(Note::holding(hold));
                }
            }
        }
        self.told = current;
        for told in notes {
            self.tell(now, orders, told);
        }
    }

    pub(super) fn tell(&mut self, now: Now, orders: &mut Vec<Order>, told: Note) {
        let text = told.text();
        self.events.push_back(Arc::new(Event {
            at: now,
            volume: told.volume.clone(),
            resource: told.resource,
            text,
        }));
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
        self.note_news(News::Awaited);
        orders.push(Order::Tell(told));
    }
}
