//! What each input changes: the half of the engine that takes in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::{self, store};
use crate::model::audit::{Autoextend, Guarding};
use crate::model::inventory::{GroupObstacle, Inventory, VolumeGroup};
use crate::model::names::{Name, Target, Uuid, VolumeId, VolumeName};
use crate::model::plan::{End, Outcome};
use crate::model::relief::{Relieved, Rung};
use crate::model::tally::{Collector, CollectorRun, Wake};
use crate::model::time::{Moment, Now};
use crate::model::units::Bytes;
use crate::observe::device_mapper::{Found, Look};

use super::engine::{BACKUP_RETRY, Engine, Wish};
use super::message::Order;
use super::note::{Level, Note};
use super::picture::News;
use super::watch::Lane;

/// A failed report is tried again after this; a good one that something made stale at once.
const REPORT_RETRY: Duration = Duration::from_secs(2);
/// A group that LVM does not tell of is asked for again after this: nothing may tell that it is back.
const HIDDEN_RETRY: Duration = Duration::from_secs(20);
/// LVM's own backup of its metadata is written once a group has been quiet for this long.
const BACKUP_AFTER: Duration = Duration::from_secs(10);

impl Engine {
    pub(super) fn listed(
        &mut self,
        found: Vec<Found>,
        changed: bool,
        events: &[String],
        wake: Wake,
        now: Now,
    ) {
        *self.tally.polls.entry(wake).or_default() += 1;
        self.tally.dm_event_listener_up = true;
        for target in events {
            *self.tally.dm_events.entry(target.clone()).or_default() += 1;
            self.tally.dm_event_last = Some(now.wall);
        }
        self.watch.set_devices(found, now.moment);
        self.watch.deactivate_missing(&mut self.inventory);
        // A host without pools and snapshots is seen whole, too.
        let run = CollectorRun {
            success: self.watch.is_complete(now.moment),
            ..CollectorRun::default()
        };
        self.note_collector(Collector::Dm, run, now);
        if changed {
            self.want_report(now.moment);
        }
        if !events.is_empty() {
            self.watch.hurry_all(now.moment);
        }
    }

    pub(super) fn list_failed(&mut self, error: String, now: Now, orders: &mut Vec<Order>) {
        self.tally.dm_event_listener_up = false;
        self.tally.poll_failures += 1;
        let note = Note::new(Level::Error, "cannot list devices", error);
        self.tell_once(now, orders, note);
    }

    pub(super) fn looked(
        &mut self,
        lane: &Lane,
        looks: Vec<(Found, Result<Look, String>)>,
        cost: Duration,
        now: Now,
        orders: &mut Vec<Order>,
    ) {
        *self.tally.polls.entry(Wake::Timer).or_default() += 1;
        let mut run = CollectorRun::default();
        let mut seen = Vec::with_capacity(looks.len());
        let mut changed = false;
        for (found, look) in looks {
            match &look {
                Ok(look) => {
                    run.took += look.took;
                    self.tally.poll_duration.note(look.took);
                }
                Err(error) => {
                    if self.watch.is_new_fault(&found, error) {
                        // A device that is gone, or has another target now, is LVM's doing.
                        self.want_report(now.moment);
                        orders.push(Order::Rescan);
                        let told = Note::new(Level::Warn, "cannot read a device", error.clone());
                        self.tell(now, orders, told);
                    }
                }
            }
            changed |= self
                .watch
                .looked(&found, look, cost, &mut self.inventory, now.moment);
            seen.push(found);
        }
        self.watch.lane_free(lane);
        self.note_usage(&seen, now.moment);
        run.success = self.watch.is_complete(now.moment);
        self.tally.poll_failures += u64::from(!run.success);
        self.note_collector(Collector::Dm, run, now);
        self.reschedule(now, now.moment);
        if changed {
            self.note_news(News::Change);
        }
        self.is_settled &= !self.unsettles(&seen, changed, now);
    }

    /// What fills now has not filled before the last pulse: its rate is told by the next look already.
    pub(super) fn stirred(&mut self, devices: &[Found], every: Duration, now: Moment) {
        let until = now.before(every);
        for found in self.watch.stirred(devices, every, now) {
            for store in self.watch.stores(found, &self.inventory) {
                self.history
                    .note_still(&store.target, until, &self.policy.history);
            }
        }
    }

    /// Feeds what was just seen to the fill rates.
    fn note_usage(&mut self, seen: &[Found], now: Moment) {
        for found in seen {
            for store in self.watch.stores(found, &self.inventory) {
                if let (Some(fill), Some(at)) = (store.fill, store.seen_at)
                    && at == now
                {
                    let policy = &self.policy.history;
                    self.history
                        .note_usage(&store.target, fill.used, at, policy);
                }
            }
        }
    }

    /// Whether the plan may be another one after these looks. Stores bear upon each other only through the room
    /// that is given out.
    fn unsettles(&self, seen: &[Found], changed: bool, now: Now) -> bool {
        let situation = self.situation(now);
        let is_settled = |store| decide::is_settled(&situation, &self.plan, store);
        changed && self.plan.weighs_room()
            || seen.iter().any(|found| {
                let mut stores = self.watch.stores(found, &self.inventory);
                !stores.all(is_settled)
            })
    }

    pub(super) fn note_collector(&mut self, collector: Collector, mut run: CollectorRun, now: Now) {
        let before = self
            .tally
            .collectors
            .get(&collector)
            .and_then(|run| run.last_success);
        run.last_success = if run.success { Some(now.wall) } else { before };
        self.tally.collectors.insert(collector, run);
        let complete = Collector::NEEDED.iter().all(|collector| {
            self.tally
                .collectors
                .get(collector)
                .is_some_and(|run| run.success)
        });
        if complete {
            self.tally.poll_last_success = Some(now.wall);
        }
    }

    pub(super) fn reported(
        &mut self,
        result: Result<Inventory, String>,
        is_complete: bool,
        faults: Vec<String>,
        took: Duration,
        now: Now,
        orders: &mut Vec<Order>,
    ) {
        self.report.running = None;
        self.report.was_read = true;
        self.count_command("fullreport", took, result.as_ref().err().map(|_| "failed"));
        let success = result.is_ok() && is_complete;
        self.note_collector(
            Collector::Lvm,
            CollectorRun {
                success,
                took,
                last_success: None,
            },
            now,
        );
        let mut notes: Vec<Note> = faults
            .into_iter()
            .map(|fault| Note::new(Level::Warn, "cannot read all of LVM's metadata", fault))
            .collect();
        match result {
            Err(error) => {
                self.report.due = now.moment.after(REPORT_RETRY);
                notes.push(Note::new(Level::Error, "cannot read LVM's metadata", error));
            }
            Ok(inventory) => {
                self.tally.lvm_unknown_fields += inventory.unknown_fields;
                let hidden = self.adopt(inventory, is_complete, now);
                if !hidden.is_empty() {
                    self.report.due = self.report.due.min(now.moment.after(HIDDEN_RETRY));
                }
                notes.extend(hidden.iter().map(hidden_group));
                self.order_measure(orders);
            }
        }
        let current: BTreeSet<String> = notes.iter().map(Note::text).collect();
        for note in notes {
            self.tell_once(now, orders, note);
        }
        self.report.told = current;
    }

    pub(super) fn guarded(&mut self, guarding: Guarding) {
        self.guarding = guarding;
        self.note_others();
    }

    /// Which of the volumes dmeventd extends.
    fn note_others(&mut self) {
        let settings = self.guarding.settings;
        let by_dmeventd = |name: &VolumeName, autoextend: Option<Autoextend>| {
            autoextend.is_some_and(|lvm| self.guarding.is_extended_by_dmeventd(name, lvm))
        };
        let pools = self.inventory.pools.iter().map(|pool| &pool.name);
        let pools = pools.filter(|name| by_dmeventd(name, settings.map(|lvm| lvm.thin)));
        let snapshots = self.inventory.snapshots.iter().map(|cow| &cow.name);
        let snapshots =
            snapshots.filter(|name| by_dmeventd(name, settings.map(|lvm| lvm.snapshot)));
        self.tally.extended_by_dmeventd = pools.chain(snapshots).cloned().collect();
    }

    fn order_measure(&mut self, orders: &mut Vec<Order>) {
        let volumes = self.inventory.thin_volumes.iter();
        let volumes: Vec<VolumeId> = volumes.map(|thin| thin.id.clone()).collect();
        if !volumes.is_empty() && !self.report.is_measuring {
            self.report.is_measuring = true;
            orders.push(Order::Measure(volumes));
        }
    }

    /// Volumes that came meanwhile are measured after the next report.
    pub(super) fn measured(
        &mut self,
        result: Result<BTreeMap<VolumeId, Bytes>, String>,
        took: Duration,
        now: Now,
        orders: &mut Vec<Order>,
    ) {
        self.report.is_measuring = false;
        let run = CollectorRun {
            success: result.is_ok(),
            took,
            last_success: None,
        };
        self.note_collector(Collector::ThinVolumes, run, now);
        match result {
            Ok(mapped) => self.inventory.set_mapped(&mapped),
            Err(error) => {
                self.inventory.set_mapped(&BTreeMap::new());
                let note = Note::new(Level::Warn, "cannot tell what thin volumes map", error);
                self.tell_once(now, orders, note);
            }
        }
    }

    /// Replaces LVM's part of the inventory; what the kernel said last stays with its volume. Gives the groups that a
    /// complete report does not tell of although the kernel has their devices.
    fn adopt(&mut self, mut inventory: Inventory, is_complete: bool, now: Now) -> Vec<Name> {
        let outdated = std::mem::take(&mut self.report.outdated);
        if !outdated.is_empty() {
            self.want_report(now.moment);
        }
        let mut hidden = Vec::new();
        for group in &self.inventory.groups {
            // Another one has its name now: a command would reach that one.
            let is_told =
                |other: &VolumeGroup| other.uuid == group.uuid || other.name == group.name;
            let is_missing = !inventory.groups.iter().any(is_told);
            let lives_on = is_missing && self.watch.has_group(&group.uuid);
            if lives_on && is_complete {
                hidden.push(group.name.clone());
                let obstacle = Some(GroupObstacle::Hidden);
                let group = VolumeGroup {
                    obstacle,
                    ..group.clone()
                };
                inventory.keep(&group, &self.inventory);
            } else if lives_on || outdated.contains(&group.uuid) {
                inventory.keep(group, &self.inventory);
            }
        }
        if !is_complete {
            inventory.keep_volumes(&self.inventory, |id| self.watch.has_volume(id));
        }
        if inventory.groups.len() != self.inventory.groups.len() {
            self.note_news(News::Awaited);
        }
        self.watch.fill_in(&mut inventory);
        inventory.keep_mapped(&self.inventory);
        let lives = |uuid: &Uuid| inventory.groups.iter().any(|group| group.uuid == *uuid);
        self.changed.retain(|uuid, _| lives(uuid));
        self.inventory = inventory;
        let present: BTreeSet<Target> = store::all(&self.inventory)
            .map(|store| store.target)
            .collect();
        self.history.retain(|target| present.contains(target));
        self.note_others();
        self.reschedule(now, Moment::default());
        hidden
    }

    pub(super) fn carried(&mut self, outcome: &Outcome, now: Now, orders: &mut Vec<Order>) {
        let extension = &outcome.extension;
        self.set_free(&extension.target.volume.vg, now.moment);
        self.history
            .note_outcome(outcome, now, &self.policy.history);
        self.tally.lock_wait.note(outcome.lock_wait);
        self.tally.extend_duration.note(outcome.took);
        if outcome.mended {
            self.tally.mended += 1;
            self.tell(now, orders, Note::of(Level::Warn, Note::MENDED, extension));
        }
        if let Some(why) = &outcome.unnoted {
            let message = "cannot note what is done for a guard that would have to mend it";
            let note = Note::new(Level::Error, message, why.clone());
            self.tell_once(now, orders, note);
        }
        let told = match &outcome.end {
            End::Extended { kernel_total } => {
                decide::apply(&mut self.inventory, extension, *kernel_total);
                self.outdate(&extension.target.volume.vg);
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
                    ..Note::of(Level::Info, "extended", extension)
                }
            }
            End::Changed { found } => Note {
                detail: found.clone(),
                ..Note::of(
                    Level::Info,
                    "changed while it was to be extended",
                    extension,
                )
            },
            End::Failed { failure, detail } => {
                self.tally.lock_timeouts += u64::from(failure.label() == "lock");
                self.count_command("lvextend", outcome.took, Some(failure.label()));
                Note {
                    detail: detail.clone(),
                    ..Note::of(Level::Error, "could not extend", extension)
                }
            }
        };
        self.tell(now, orders, told);
        self.want_report(now.moment);
        self.watch.hurry_all(now.moment);
    }

    pub(super) fn relieved(&mut self, relieved: &Relieved, now: Now, orders: &mut Vec<Order>) {
        let relief = &relieved.relief;
        self.history.reliefs.note_ended(relieved, now.moment);
        let failure = relieved.error.as_ref().map(|_| "failed");
        let command = match relief.rung {
            Rung::Disk(_) => "vgextend",
            Rung::Remove(_) => "lvremove",
            Rung::Trim(_) | Rung::Suspend(_) | Rung::Resume(_) => "hook",
        };
        self.count_command(command, relieved.took, failure);
        if relief.rung.is_by_lvm() {
            self.set_free(&relief.group_uuid, now.moment);
            self.outdate(&relief.group_uuid);
            let due = now.moment.after(BACKUP_AFTER);
            self.backups.insert(relief.group.clone(), due);
        }
        let counts = self.tally.reliefs.entry(relief.group.clone()).or_default();
        let counts = counts.entry(relief.rung.label().to_owned()).or_default();
        let told = match &relieved.error {
            None => {
                counts.done += 1;
                decide::relief::apply(&mut self.inventory, relief);
                Note::new(Level::Warn, "relieved a full group", relief.to_string())
            }
            Some(error) => {
                counts.failed += 1;
                let detail = format!("{relief}: {error}");
                Note::new(Level::Error, "could not relieve a full group", detail)
            }
        };
        self.tell(now, orders, told);
        self.want_report(now.moment);
        self.watch.hurry_all(now.moment);
    }

    pub(super) fn wish(&mut self, group: Uuid, number: u64, known: Moment) {
        let wish = Wish {
            group,
            known,
            is_granted: false,
        };
        self.wishes.insert(number, wish);
    }

    /// Whatever lvm changed meanwhile is to be seen, and backed up.
    pub(super) fn waived(&mut self, group: &Uuid, name: Name, number: u64, now: Now) {
        let wish = self.wishes.remove(&number);
        if wish.is_some_and(|wish| wish.is_granted) {
            self.set_free(group, now.moment);
            self.outdate(group);
            self.backups.insert(name, now.moment.after(BACKUP_AFTER));
            self.want_report(now.moment);
        }
    }

    pub(super) fn mending(
        &mut self,
        group: Uuid,
        done: Option<Note>,
        now: Now,
        orders: &mut Vec<Order>,
    ) {
        let Some(told) = done else {
            self.busy.insert(group, now.moment);
            return;
        };
        self.set_free(&group, now.moment);
        self.tally.mended += u64::from(told.message == Note::MENDED);
        self.tell(now, orders, told);
        self.want_report(now.moment);
        self.watch.hurry_all(now.moment);
    }

    pub(super) fn backed_up(
        &mut self,
        group: &Name,
        error: Option<String>,
        took: Duration,
        now: Now,
        orders: &mut Vec<Order>,
    ) {
        self.count_command("vgcfgbackup", took, error.as_ref().map(|_| "failed"));
        if let Some(error) = error {
            self.backups
                .insert(group.clone(), now.moment.after(BACKUP_RETRY));
            let detail = format!("{group}: {error}");
            self.tell(
                now,
                orders,
                Note::new(Level::Warn, "cannot back up LVM's metadata", detail),
            );
        }
    }

    pub(super) fn lifeboat_renewed(&mut self, told: Note, now: Now, orders: &mut Vec<Order>) {
        let is_renewed = told.level == Level::Info;
        self.tally.lifeboat.renewals += u64::from(is_renewed);
        self.tally.lifeboat.is_stale = !is_renewed;
        self.tell(now, orders, told);
        // What LVM sees may have changed with its settings.
        self.want_report(now.moment);
    }

    fn count_command(&mut self, command: &str, took: Duration, failure: Option<&str>) {
        let runs = self.tally.commands.entry(command.to_owned()).or_default();
        runs.runs += 1;
        runs.duration.note(took);
        if let Some(reason) = failure {
            *runs.failures.entry(reason.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn want_report(&mut self, now: Moment) {
        self.report.due = self.report.due.min(now);
    }
}

fn hidden_group(name: &Name) -> Note {
    let message = "LVM does not tell of a volume group whose devices are in use";
    Note::new(Level::Warn, message, name.to_string())
}
