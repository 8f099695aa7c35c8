//! The real engine on one made-up host: what it asks for is answered, but for what a test says does not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cowherd::config::Config;
use cowherd::guard::{Engine, Input, Level, Order};
use cowherd::model::inventory::{Inventory, Kernel};
use cowherd::model::names::{VolumeId, VolumeName};
use cowherd::model::plan::Extension;
use cowherd::model::tally::Wake;
use cowherd::model::time::{Moment, Now, UnixSeconds};
use cowherd::model::view::Build;
use cowherd::observe::device_mapper::{DeviceStatus, Found, Look, Watched};
use cowherd::observe::dm_status;

use crate::fixtures;
use crate::worlds::{World, snapshot};

pub(super) const STEP: Duration = Duration::from_millis(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Answers what the engine asks for, but for what does not answer.
pub(super) struct Host {
    pub(super) engine: Engine,
    pub(super) now: Now,
    /// What lvm tells.
    pub(super) inventory: Inventory,
    pub(super) found: Vec<Found>,
    /// What the kernel tells of each, and whether it is suspended; what is not in here cannot be read.
    pub(super) seen: BTreeMap<VolumeId, (bool, DeviceStatus)>,
    /// Looks at these never come back.
    pub(super) silent: BTreeSet<VolumeId>,
    pub(super) report_hangs: bool,
    pub(super) looks: usize,
    /// All orders but looks and views.
    pub(super) orders: Vec<Order>,
}

fn build() -> Build {
    Build {
        version: "1".to_owned(),
        revision: "1".to_owned(),
    }
}

impl Host {
    pub(super) fn new(mut inventory: Inventory, devices: Vec<(Found, bool, DeviceStatus)>) -> Self {
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
    pub(super) fn of(world: &World) -> Self {
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
    pub(super) fn captured(state: &str) -> Self {
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
    pub(super) fn started(mut self) -> Self {
        self.list();
        self.run(MINUTE / 10);
        self
    }

    pub(super) fn list(&mut self) {
        self.feed(Input::Listed {
            found: self.found.clone(),
            changed: true,
            events: Vec::new(),
            wake: Wake::DmEvent,
        });
    }

    pub(super) fn feed(&mut self, input: Input) {
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

    pub(super) fn pass(&mut self, span: Duration) {
        self.now.moment = self.now.moment.after(span);
        self.now.wall.0 += span.as_secs_f64();
    }

    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now.moment.after(span);
        while self.now.moment < end {
            let next = self.engine.next_wake(self.now.moment).min(end);
            self.pass(next.since(self.now.moment).max(STEP));
            self.feed(Input::Tick);
        }
    }

    pub(super) fn extensions(&self) -> Vec<&Extension> {
        fn extension(order: &Order) -> Option<&Extension> {
            if let Order::Extend(extension) = order {
                Some(extension)
            } else {
                None
            }
        }
        self.orders.iter().filter_map(extension).collect()
    }

    pub(super) fn extended(&self) -> Vec<String> {
        let shown = |e: &Extension| format!("{} {}", e.name, e.target.resource.label());
        self.extensions().into_iter().map(shown).collect()
    }

    pub(super) fn held(&self) -> Vec<&'static str> {
        let holds = self.engine.view(self.now).plan.holds;
        holds.iter().map(|hold| hold.reason.label()).collect()
    }

    /// How often this was told, at whatever level but info.
    pub(super) fn complaints(&self, message: &str) -> usize {
        let is_it = |order: &&Order| matches!(order, Order::Tell(note) if note.level != Level::Info && note.message.contains(message));
        self.orders.iter().filter(is_it).count()
    }

    pub(super) fn reports(&self) -> usize {
        let is_it = |order: &&Order| matches!(order, Order::ReadReport);
        self.orders.iter().filter(is_it).count()
    }

    /// Of the world's snapshot with this letter.
    pub(super) fn fill(&mut self, letter: char, percent: u64) {
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
