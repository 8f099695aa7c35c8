//! What it costs to guard many volumes: an engine without a shell, in simulated time.

use std::time::{Duration, Instant};

use cowherd::config::Config;
use cowherd::guard::{Engine, Input, Order};
use cowherd::model::inventory::{CowSnapshot, CowStatus, CowUsage, Inventory, Kernel};
use cowherd::model::names::{Name, Uuid, VolumeId};
use cowherd::model::plan::{End, Extension, Failure, Outcome};
use cowherd::model::tally::Wake;
use cowherd::model::time::{Moment, Now, UnixSeconds};
use cowherd::model::units::Sectors;
use cowherd::model::view::Build;
use cowherd::observe::device_mapper::{DeviceStatus, Found, Look, Watched};
use proptest::prelude::{any, prop, prop_assert_eq, proptest};

use super::worlds;

/// One status request, on a usual machine.
const REQUEST: Duration = Duration::from_micros(20);
/// From an order to what comes of it.
const STEP: Duration = Duration::from_micros(10);
/// The shell's loop turns at least this often.
const TICK: Duration = Duration::from_secs(1);

/// Answers at once whatever the engine orders.
struct Sim {
    engine: Engine,
    now: Now,
    /// How many sectors of each snapshot's store are used, and how many there are. One that has run
    /// over is invalid.
    used: Vec<u64>,
    total: Vec<u64>,
    /// What comes of an extension.
    refuses: bool,
    /// Makes the engine decide anew after every input: a device list that is the same asks for it.
    doubts: Option<Vec<Found>>,
    looks: u32,
    views: u32,
    reports: u32,
    /// In the engine, on the real clock.
    spent: Duration,
}

fn snapshot(number: usize, store_mib: u64) -> CowSnapshot {
    let mut snapshot = worlds::snapshot('s', store_mib / 4, 0);
    snapshot.id.lv = Uuid::parse(&format!("{number:032}")).expect("32 digits");
    snapshot.name.lv = Name::parse(&format!("snap{number:04}")).expect("an LVM name");
    snapshot.kernel = Kernel::Inactive;
    snapshot
}

fn device(snapshot: &CowSnapshot) -> Found {
    Found {
        name: snapshot.name.to_string(),
        volume: snapshot.id.clone(),
        target: Watched::Snapshot,
    }
}

fn listed(found: Vec<Found>) -> Input {
    Input::Listed {
        found,
        changed: false,
        events: Vec::new(),
        wake: Wake::Timer,
    }
}

impl Sim {
    /// As many snapshots with stores of this size, of which as many sectors are used.
    fn new(snapshots: usize, store_mib: u64, used: impl Fn(u64) -> u64) -> Self {
        let now = Now {
            moment: Moment(Duration::from_secs(1000)),
            wall: UnixSeconds(1_800_000_000.0),
        };
        let build = Build {
            version: "1".to_owned(),
            revision: "1".to_owned(),
        };
        let inventory = Inventory {
            groups: vec![worlds::group(1 << 20)],
            pools: Vec::new(),
            snapshots: (0..snapshots).map(|n| snapshot(n, store_mib)).collect(),
            ..Inventory::default()
        };
        let mut sim = Self {
            engine: Engine::new(Config::default().policy, build, now),
            now,
            used: (0..).map(used).take(snapshots).collect(),
            total: vec![store_mib << 11; snapshots],
            refuses: false,
            doubts: None,
            looks: 0,
            views: 0,
            reports: 0,
            spent: Duration::ZERO,
        };
        sim.feed(listed(inventory.snapshots.iter().map(device).collect()));
        sim.feed(Input::Reported {
            result: Ok(inventory),
            is_complete: true,
            faults: Vec::new(),
            took: Duration::from_secs(1),
        });
        sim
    }

    /// Until everything goes its usual way.
    fn settled(mut self) -> Self {
        self.run(Duration::from_secs(60));
        self
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.pass(STEP);
            let started = Instant::now();
            let mut orders = self.engine.handle(input, self.now);
            self.spent += started.elapsed();
            if let Some(found) = self.doubts.clone() {
                orders.extend(self.engine.handle(listed(found), self.now));
            }
            for order in orders {
                match order {
                    Order::Look { lane, devices } => {
                        let looks = devices.into_iter().map(|found| self.look(found));
                        let looks: Vec<_> = looks.collect();
                        self.looks += u32::try_from(looks.len()).expect("some hundreds");
                        inputs.push(Input::Looked {
                            lane,
                            looks,
                            cost: REQUEST,
                        });
                    }
                    Order::Publish(_) => self.views += 1,
                    Order::Extend(extension) => {
                        inputs.push(Input::Carried(self.carry_out(*extension)));
                    }
                    Order::Relieve(relief) => panic!("no rule asks for it: {relief}"),
                    Order::ReadReport => self.reports += 1,
                    Order::Rescan
                    | Order::Measure(_)
                    | Order::Grant(_)
                    | Order::BackUp(_)
                    | Order::Tell(_) => {}
                }
            }
        }
    }

    fn found(&self) -> Vec<Found> {
        let inventory = self.engine.view(self.now).inventory;
        inventory.snapshots.iter().map(device).collect()
    }

    fn look(&self, found: Found) -> (Found, Result<Look, String>) {
        let number = number_of(&found.volume);
        let (used, total) = (self.used[number], self.total[number]);
        let usage = CowUsage {
            allocated: Sectors(used),
            total: Sectors(total),
            metadata: Sectors(16),
        };
        let status = if used > total {
            CowStatus::Invalid
        } else {
            CowStatus::Valid(usage)
        };
        let look = Look {
            suspended: false,
            status: DeviceStatus::Cow(status),
            took: REQUEST,
        };
        (found, Ok(look))
    }

    fn carry_out(&mut self, extension: Extension) -> Outcome {
        if self.refuses {
            return Outcome::not_started(extension, Failure::Refused, "no".to_owned());
        }
        let total = &mut self.total[number_of(&extension.target.volume)];
        *total += extension.added().0 / 512;
        Outcome {
            end: End::Extended {
                kernel_total: Sectors(*total).bytes(),
            },
            ..Outcome::not_started(extension, Failure::Refused, String::new())
        }
    }

    fn pass(&mut self, span: Duration) {
        self.now.moment = self.now.moment.after(span);
        self.now.wall.0 += span.as_secs_f64();
    }

    /// Lets time pass.
    fn run(&mut self, span: Duration) {
        self.fill(span, 0);
    }

    /// Lets time pass while the first snapshot fills.
    fn fill(&mut self, span: Duration, sectors_per_milli: u64) {
        let (start, used) = (self.now.moment, self.used[0]);
        while self.now.moment.since(start) < span {
            let next = self.engine.next_wake(self.now.moment);
            self.pass(next.since(self.now.moment).clamp(STEP, TICK));
            let millis = self.now.moment.since(start).as_millis();
            self.used[0] = used + sectors_per_milli * u64::try_from(millis).expect("minutes");
            self.feed(Input::Tick);
        }
    }
}

fn number_of(volume: &VolumeId) -> usize {
    volume.lv.as_str().parse().expect("all digits")
}

/// What the engine spends on a look, in the best of some tries: other work on the machine only adds.
fn cost_of_a_look(snapshots: usize) -> Duration {
    // Each is at another distance from its trigger, so that they are due one by one.
    let mut sim = Sim::new(snapshots, 1024, |number| number * 997 % 1_600_000).settled();
    let mut cost = || {
        let (spent, looks) = (sim.spent, sim.looks);
        sim.fill(Duration::from_secs(10), 1);
        sim.spent.saturating_sub(spent) / (sim.looks - looks)
    };
    (0..10).map(|_| cost()).min().expect("ten tries")
}

#[test]
fn a_look_at_one_of_a_thousand_costs_little_more_than_at_one_of_a_hundred() {
    let (hundred, thousand) = (cost_of_a_look(100), cost_of_a_look(1000));
    println!("a look at one of 100: {hundred:?}, of 1000: {thousand:?}");
    assert!(thousand < hundred * 4, "{thousand:?} against {hundred:?}");
}

#[test]
fn an_event_has_everything_looked_at_at_once() {
    let mut sim = Sim::new(10, 1024, |number| number * 100_000).settled();
    sim.run(Duration::from_millis(700));
    let (before, at) = (sim.looks, sim.now.moment);
    let event = Input::Listed {
        found: sim.found(),
        changed: false,
        events: vec!["snapshot".to_owned()],
        wake: Wake::DmEvent,
    };
    sim.feed(event);
    assert_eq!(sim.looks - before, 10);
    assert!(sim.now.moment.since(at) < Duration::from_millis(1));
}

#[test]
fn while_nothing_changes_little_is_published() {
    let mut sim = Sim::new(10, 64, |_| 0).settled();
    let before = sim.views;
    sim.run(Duration::from_secs(60));
    let views = sim.views - before;
    assert!((6..=7).contains(&views), "{views} views in a minute");
}

#[test]
fn what_changes_is_published_every_second() {
    let mut sim = Sim::new(10, 64, |_| 0).settled();
    let before = sim.views;
    // Far from its trigger all the time.
    sim.fill(Duration::from_secs(20), 2);
    let views = sim.views - before;
    assert!((19..=22).contains(&views), "{views} views in 20 s");
}

#[test]
fn snapshots_near_their_triggers_are_looked_at_within_the_budget() {
    // Two MiB below the threshold each: alone, each would be looked at every 20 ms.
    let mut sim = Sim::new(50, 64, |_| 100_000).settled();
    let before = sim.looks;
    sim.run(Duration::from_secs(100));
    let requests = REQUEST * (sim.looks - before);
    // One percent of a core, of which the requests are half.
    let limit = Duration::from_millis(500);
    assert!(requests <= limit, "{requests:?} in 100 s");
    assert!(
        requests * 4 > limit * 3,
        "it is there to be used: {requests:?}"
    );
}

#[test]
fn what_happens_while_lvm_is_asked_makes_it_asked_again() {
    let mut sim = Sim::new(1, 64, |_| 0).settled();
    let before = sim.reports;
    sim.feed(Input::MetadataChanged);
    assert_eq!(sim.reports, before + 1);
    sim.feed(Input::MetadataChanged);
    assert_eq!(sim.reports, before + 1, "one at a time");
    let reported = |sim: &Sim| Input::Reported {
        result: Ok(sim.engine.view(sim.now).inventory),
        is_complete: true,
        faults: Vec::new(),
        took: Duration::from_secs(1),
    };
    sim.feed(reported(&sim));
    assert_eq!(sim.reports, before + 2);
    sim.feed(reported(&sim));
    sim.run(Duration::from_secs(60));
    assert_eq!(sim.reports, before + 2, "nothing has happened since");
}

#[test]
fn what_nobody_writes_to_is_looked_at_seldom_until_it_fills_without_a_pulse() {
    let mut sim = Sim::new(1, 64, |_| 90_000).settled();
    let mut looks_in_a_minute = |more: u64| {
        let before = sim.looks;
        for _ in 0..60 {
            sim.used[0] += more;
            sim.feed(Input::Stirred {
                devices: Vec::new(),
                every: Duration::from_millis(500),
            });
            sim.run(Duration::from_secs(1));
        }
        sim.looks - before
    };
    let calm = looks_in_a_minute(0);
    looks_in_a_minute(8);
    let numb = looks_in_a_minute(0);
    assert!(numb > calm * 8, "{numb} against {calm}");
}

proptest! {
    #[test]
    fn deciding_only_when_something_asks_for_it_decides_the_same(
        steps in prop::collection::vec((0..4_usize, 0..40_000_u64, any::<bool>(), 1..2000_u64), 1..30)
    ) {
        let mut lazy = Sim::new(4, 64, |number| number * 30_000);
        let mut eager = Sim::new(4, 64, |number| number * 30_000);
        eager.doubts = Some(eager.found());
        for (number, more, refuses, millis) in steps {
            for sim in [&mut lazy, &mut eager] {
                sim.used[number] += more;
                sim.refuses = refuses;
                // Not when the engine wants a tick: what is published when differs.
                for _ in 0..millis.div_ceil(20) {
                    sim.pass(Duration::from_millis(20));
                    sim.feed(Input::Tick);
                }
            }
            prop_assert_eq!(lazy.now, eager.now);
            prop_assert_eq!(lazy.engine.view(lazy.now).plan, eager.engine.view(eager.now).plan);
        }
        prop_assert_eq!(lazy.total, eager.total);
    }
}
