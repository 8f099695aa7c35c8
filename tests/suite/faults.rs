//! A host that misbehaves, seen by the real engine: devices and reports that do not answer, volumes that are
//! others by now, pools in every state that was captured. What the engine orders is what is asserted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cowherd::config::Config;
use cowherd::guard::{Engine, Input, Level, Order};
use cowherd::model::inventory::{Inventory, Kernel, PoolMode};
use cowherd::model::names::{Resource, VolumeId, VolumeName};
use cowherd::model::plan::{Extension, Failure, Outcome};
use cowherd::model::tally::Wake;
use cowherd::model::time::{Moment, Now, UnixSeconds};
use cowherd::model::view::Build;
use cowherd::observe::device_mapper::{DeviceStatus, Found, Look, Watched};
use cowherd::observe::dm_status;

use crate::fixtures;
use crate::worlds::{self, World, pool, snapshot, usage_of};

const STEP: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Answers what the engine asks for, but for what does not answer.
struct Host {
    engine: Engine,
    now: Now,
    /// What lvm tells.
    inventory: Inventory,
    found: Vec<Found>,
    /// What the kernel tells of each, and whether it is suspended; what is not in here cannot be read.
    seen: BTreeMap<VolumeId, (bool, DeviceStatus)>,
    /// Looks at these never come back.
    silent: BTreeSet<VolumeId>,
    report_hangs: bool,
    looks: usize,
    /// All orders but looks and views.
    orders: Vec<Order>,
}

fn build() -> Build {
    Build {
        version: "1".to_owned(),
        revision: "1".to_owned(),
    }
}

impl Host {
    fn new(mut inventory: Inventory, devices: Vec<(Found, bool, DeviceStatus)>) -> Self {
        // lvm tells nothing of what the kernel knows.
        for pool in &mut inventory.pools {
            pool.kernel = Kernel::Inactive;
        }
        for snapshot in &mut inventory.snapshots {
            snapshot.kernel = Kernel::Inactive;
        }
        let now = Now {
            moment: Moment(Duration::from_secs(1000)),
            wall: UnixSeconds(1_800_000_000.0),
        };
        let found = devices.iter().map(|(found, ..)| found.clone()).collect();
        let seen = devices.into_iter();
        let seen = seen.map(|(found, suspended, status)| (found.volume, (suspended, status)));
        Self {
            engine: Engine::new(Config::default().policy, build(), now),
            now,
            inventory,
            found,
            seen: seen.collect(),
            silent: BTreeSet::new(),
            report_hangs: false,
            looks: 0,
            orders: Vec::new(),
        }
    }

    /// With the statuses that a world has its volumes in.
    fn of(world: &World) -> Self {
        let pools = world.inventory.pools.iter().map(|pool| {
            let status = pool.kernel.status().expect("made working").clone();
            let found = device(&pool.name, &pool.id, Watched::ThinPool);
            (found, false, DeviceStatus::Pool(status))
        });
        let cows = world.inventory.snapshots.iter().map(|snapshot| {
            let status = snapshot.kernel.status().expect("made valid").clone();
            let found = device(&snapshot.name, &snapshot.id, Watched::Snapshot);
            (found, false, DeviceStatus::Cow(status))
        });
        Self::new(world.inventory.clone(), pools.chain(cows).collect())
    }

    /// As LVM and the kernel were in a capture.
    fn captured(state: &str) -> Self {
        let inventory = fixtures::inventory(state);
        let line = |name: &str, target: &str| {
            let mut lines = fixtures::lines(state, target).into_iter();
            lines.find(|(device, _)| device == name)
        };
        let pools = inventory.pools.iter().filter_map(|pool| {
            let found = device(&pool.name, &pool.id, Watched::ThinPool);
            let (name, status) = line(&format!("{}-tpool", found.name), "thin-pool")?;
            let status = dm_status::thin_pool(&status).expect(state);
            Some((
                found,
                is_suspended(state, &name),
                DeviceStatus::Pool(status),
            ))
        });
        let cows = inventory.snapshots.iter().filter_map(|snapshot| {
            let found = device(&snapshot.name, &snapshot.id, Watched::Snapshot);
            let (name, status) = line(&found.name, "snapshot")?;
            let status = dm_status::snapshot(&status, false).expect(state);
            Some((found, is_suspended(state, &name), DeviceStatus::Cow(status)))
        });
        let devices = pools.chain(cows).collect();
        Self::new(inventory, devices)
    }

    /// The guard starts.
    fn started(mut self) -> Self {
        self.list();
        self.run(MINUTE / 10);
        self
    }

    fn list(&mut self) {
        self.feed(Input::Listed {
            found: self.found.clone(),
            changed: true,
            events: Vec::new(),
            wake: Wake::DmEvent,
        });
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.pass(STEP);
            for order in self.engine.handle(input, self.now) {
                match order {
                    Order::Look { lane, devices } => {
                        if devices.iter().any(|d| self.silent.contains(&d.volume)) {
                            continue;
                        }
                        self.looks += devices.len();
                        let looks = devices.into_iter().map(|found| self.look(found)).collect();
                        let cost = Duration::from_micros(20);
                        inputs.push(Input::Looked { lane, looks, cost });
                    }
                    Order::ReadReport if !self.report_hangs => {
                        inputs.push(Input::Reported {
                            result: Ok(self.inventory.clone()),
                            is_complete: true,
                            faults: Vec::new(),
                            took: STEP,
                        });
                        self.orders.push(Order::ReadReport);
                    }
                    Order::Publish(_) => {}
                    Order::ReadReport
                    | Order::Rescan
                    | Order::Measure(_)
                    | Order::Extend(_)
                    | Order::Relieve(_)
                    | Order::Grant(_)
                    | Order::BackUp(_)
                    | Order::Tell(_) => self.orders.push(order),
                }
            }
        }
    }

    fn look(&self, found: Found) -> (Found, Result<Look, String>) {
        let seen = self.seen.get(&found.volume).cloned();
        let look = seen.map(|(suspended, status)| Look {
            suspended,
            status,
            took: STEP,
        });
        (found, look.ok_or_else(|| "no such device".to_owned()))
    }

    fn pass(&mut self, span: Duration) {
        self.now.moment = self.now.moment.after(span);
        self.now.wall.0 += span.as_secs_f64();
    }

    fn run(&mut self, span: Duration) {
        let end = self.now.moment.after(span);
        while self.now.moment < end {
            let next = self.engine.next_wake(self.now.moment).min(end);
            self.pass(next.since(self.now.moment).max(STEP));
            self.feed(Input::Tick);
        }
    }

    fn extensions(&self) -> Vec<&Extension> {
        fn extension(order: &Order) -> Option<&Extension> {
            match order {
                Order::Extend(extension) => Some(extension),
                Order::Look { .. }
                | Order::Rescan
                | Order::ReadReport
                | Order::Measure(_)
                | Order::Relieve(_)
                | Order::Grant(_)
                | Order::BackUp(_)
                | Order::Publish(_)
                | Order::Tell(_) => None,
            }
        }
        self.orders.iter().filter_map(extension).collect()
    }

    fn extended(&self) -> Vec<String> {
        let shown = |e: &Extension| format!("{} {}", e.name, e.target.resource.label());
        self.extensions().into_iter().map(shown).collect()
    }

    fn held(&self) -> Vec<&'static str> {
        let holds = self.engine.view(self.now).plan.holds;
        holds.iter().map(|hold| hold.reason.label()).collect()
    }

    /// How often this was told, at whatever level but info.
    fn complaints(&self, message: &str) -> usize {
        let is_it = |order: &&Order| matches!(order, Order::Tell(note) if note.level != Level::Info && note.message.contains(message));
        self.orders.iter().filter(is_it).count()
    }

    fn reports(&self) -> usize {
        let is_it = |order: &&Order| matches!(order, Order::ReadReport);
        self.orders.iter().filter(is_it).count()
    }

    /// Of the world's snapshot with this letter.
    fn fill(&mut self, letter: char, percent: u64) {
        let full = snapshot(letter, 16, percent);
        let status = full.kernel.status().expect("made valid").clone();
        self.seen
            .insert(full.id, (false, DeviceStatus::Cow(status)));
    }
}

fn device(name: &VolumeName, volume: &VolumeId, target: Watched) -> Found {
    let doubled = |text: &str| text.replace('-', "--");
    Found {
        name: format!(
            "{}-{}",
            doubled(name.vg.as_str()),
            doubled(name.lv.as_str())
        ),
        volume: volume.clone(),
        target,
    }
}

/// The third letter of the column Stat of `dmsetup info -c`.
fn is_suspended(state: &str, device: &str) -> bool {
    let text = fixtures::read(state, "info.txt");
    let mut rows = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.first() == Some(&device));
    row.is_some_and(|row| row[3].chars().nth(2) == Some('s'))
}

#[test]
fn a_pool_that_ran_out_is_extended_in_whatever_way_it_says_so() {
    for (state, extended) in [
        ("out-of-data-space-queue", "vg0/pool data"),
        ("out-of-data-space-error", "vg0/pool data"),
        ("metadata-full", "vg0/pool metadata"),
    ] {
        let host = Host::captured(state).started();
        assert_eq!(host.extended(), [extended], "{state}");
    }
}

#[test]
fn what_no_extension_can_save_is_held_and_told() {
    for (state, held) in [
        ("needs-check", "needs_check"),
        ("pool-fail", "pool_failed"),
        ("cow-one-invalid", "invalid"),
    ] {
        let mut host = Host::captured(state).started();
        host.run(MINUTE * 10);
        assert!(host.extended().is_empty(), "{state}");
        assert!(host.held().contains(&held), "{state}: {:?}", host.held());
        assert!(host.complaints("holding") >= 1, "{state}");
    }
}

#[test]
fn a_pool_that_is_switched_off_is_no_fault() {
    let mut host = Host::captured("thin-inactive").started();
    host.run(MINUTE * 10);
    assert_eq!(host.inventory.pools.len(), 1);
    assert!(host.extended().is_empty() && host.held().is_empty());
    assert_eq!(host.complaints(""), 0);
}

#[test]
fn what_others_suspended_is_told_and_left_alone_until_they_resume_it() {
    let world = World::new(vec![], vec![snapshot('s', 16, 95)]);
    let mut host = Host::of(&world);
    let id = worlds::volume_id('s');
    host.seen.get_mut(&id).expect("it is there").0 = true;
    let mut host = host.started();
    host.run(MINUTE * 5);
    assert_eq!(host.held(), ["suspended"]);
    assert!(host.extended().is_empty());
    assert_eq!(host.complaints("holding"), 1, "told once");
    host.seen.get_mut(&id).expect("it is there").0 = false;
    host.run(MINUTE);
    assert_eq!(host.extended(), ["vg/snap-s cow"]);
}

#[test]
fn a_report_that_never_comes_back_is_not_asked_for_again_and_nobody_waits_for_it() {
    let mut host = Host::of(&World::new(vec![], vec![snapshot('s', 16, 10)])).started();
    host.report_hangs = true;
    host.feed(Input::MetadataChanged);
    let before = host.reports();
    host.run(MINUTE * 10);
    assert_eq!(host.reports(), before, "one hangs already");
    assert_eq!(host.complaints("lvm does not answer"), 1);
    host.fill('s', 95);
    host.run(MINUTE);
    assert_eq!(host.extended(), ["vg/snap-s cow"]);
}

#[test]
fn a_report_that_fails_takes_nothing_of_what_is_known() {
    let mut host = Host::of(&World::new(vec![], vec![snapshot('s', 16, 10)])).started();
    host.report_hangs = true;
    host.feed(Input::MetadataChanged);
    for result in [
        Err("no JSON".to_owned()),
        Ok(Inventory::default()),
        // The group, and of its volumes nothing that could be read.
        Ok(World::new(vec![], vec![]).inventory),
    ] {
        host.feed(Input::Reported {
            result,
            is_complete: false,
            faults: Vec::new(),
            took: STEP,
        });
        assert_eq!(host.engine.view(host.now).inventory.snapshots.len(), 1);
    }
    host.fill('s', 95);
    host.run(MINUTE);
    assert_eq!(host.extended(), ["vg/snap-s cow"]);
}

#[test]
fn a_pool_that_does_not_answer_is_late_and_the_others_are_guarded() {
    let world = World::new(vec![pool('p', 128, 10, 10)], vec![snapshot('s', 16, 10)]);
    let mut host = Host::of(&world).started();
    host.silent.insert(worlds::volume_id('p'));
    host.run(MINUTE);
    let view = host.engine.view(host.now);
    let late = &view.inventory.pools[0].kernel;
    assert!(matches!(late, Kernel::Late { .. }), "{late:?}");
    assert_eq!(host.complaints("does not answer for it"), 1);
    assert!(view.inventory.snapshots[0].usage().is_some());
    host.fill('s', 95);
    let from = host.now.moment;
    while host.extended().is_empty() && host.now.moment.since(from) < MINUTE {
        host.run(STEP);
    }
    assert_eq!(host.extended(), ["vg/snap-s cow"]);
    let look_max = Config::default().policy.timing.look_max;
    assert!(host.now.moment.since(from) <= look_max + STEP * 10);
}

#[test]
fn while_devices_cannot_be_listed_the_known_ones_are_guarded() {
    let mut host = Host::of(&World::new(vec![], vec![snapshot('s', 16, 10)])).started();
    for _ in 0..20 {
        host.feed(Input::ListFailed {
            error: "open /dev/mapper/control: ENOENT".to_owned(),
        });
        host.run(Duration::from_millis(500));
    }
    assert_eq!(host.complaints("cannot list devices"), 1, "told once");
    host.fill('s', 95);
    host.run(MINUTE);
    assert_eq!(host.extended(), ["vg/snap-s cow"]);
}

#[test]
fn a_look_that_fails_now_and_then_is_repeated_and_what_it_hides_is_held() {
    let mut host = Host::of(&World::new(vec![], vec![snapshot('s', 16, 10)])).started();
    for _ in 0..5 {
        host.seen.clear();
        host.run(MINUTE);
        assert_eq!(host.held(), ["state_unknown"]);
        host.fill('s', 10);
        host.run(MINUTE);
        assert!(host.held().is_empty());
    }
    assert!(host.extended().is_empty());
    assert_eq!(host.complaints("cannot read a device"), 5, "once each time");
}

#[test]
fn a_device_that_is_another_by_now_is_described_anew_and_judged_by_its_own_size() {
    let mut world = World::new(vec![], vec![snapshot('s', 16, 79)]);
    let mut host = Host::of(&world).started();
    let name = world.inventory.snapshots[0].name.clone();
    // The same name and number, another uuid: the old one is gone.
    host.seen.clear();
    host.run(MINUTE);
    let rescans = |order: &&Order| matches!(order, Order::Rescan);
    assert_eq!(host.orders.iter().filter(rescans).count(), 1);
    assert!(host.reports() >= 2);
    world.inventory.snapshots = vec![snapshot('t', 8, 95)];
    world.inventory.snapshots[0].name = name.clone();
    let other = Host::of(&world);
    (host.inventory, host.found, host.seen) = (other.inventory, other.found, other.seen);
    host.list();
    host.run(MINUTE / 10);
    let extensions = host.extensions();
    let told: Vec<_> = extensions.iter().map(|e| (&e.target, e.from.0)).collect();
    assert_eq!(told, [(&worlds::target('t', Resource::Cow), 8)]);
    assert_eq!(extensions[0].name, name);
}

#[test]
fn a_group_that_lvm_hides_is_watched_and_held_until_it_tells_of_it_again() {
    let mut host = Host::of(&World::new(vec![], vec![snapshot('s', 16, 10)])).started();
    let told = std::mem::take(&mut host.inventory);
    host.feed(Input::MetadataChanged);
    host.fill('s', 95);
    host.run(MINUTE * 10);
    assert!(host.extended().is_empty());
    assert_eq!(host.held(), ["hidden"]);
    assert_eq!(host.complaints("does not tell of a volume group"), 1);
    host.inventory = told;
    host.run(MINUTE);
    assert_eq!(host.extended(), ["vg/snap-s cow"]);
}

#[test]
fn what_is_nearly_full_when_the_guard_starts_is_extended_by_its_first_look() {
    let mut host = Host::of(&World::new(vec![pool('p', 128, 99, 10)], vec![]));
    let began = host.now.moment;
    host.list();
    assert_eq!(host.extended(), ["vg/pool-p data"]);
    assert!(host.now.moment.since(began) < STEP * 10);
}

#[test]
fn a_pool_without_room_for_metadata_gets_it_even_when_it_is_read_only() {
    let mut full = pool('p', 128, 10, 100);
    usage_of(&mut full).mode = PoolMode::ReadOnly;
    let host = Host::of(&World::new(vec![full], vec![])).started();
    assert_eq!(host.extended(), ["vg/pool-p metadata"]);
}

#[test]
fn a_guard_that_is_told_to_stop_begins_nothing_and_knows_what_still_runs() {
    let world = World::new(vec![], vec![snapshot('s', 16, 95)]);
    let mut host = Host::of(&world).started();
    assert_eq!(host.extended().len(), 1);
    host.engine.stop();
    assert!(host.engine.is_busy());
    let extension = host.extensions()[0].clone();
    let detail = "it was told to end".to_owned();
    let ended = Outcome::not_started(extension, Failure::Refused, detail);
    host.feed(Input::Carried(ended));
    assert!(!host.engine.is_busy());
    host.run(MINUTE * 5);
    assert_eq!(host.extended().len(), 1, "no new one");
}

#[test]
fn after_a_pause_of_the_whole_host_everything_is_looked_at_at_once() {
    let cows = ['s', 't', 'u'].map(|letter| snapshot(letter, 16, 10));
    let mut host = Host::of(&World::new(vec![], cows.into())).started();
    host.run(MINUTE * 10);
    host.fill('t', 95);
    let before = host.looks;
    host.pass(MINUTE * 480);
    host.feed(Input::Tick);
    assert!(host.looks >= before + 3);
    assert_eq!(host.extended(), ["vg/snap-t cow"]);
}
