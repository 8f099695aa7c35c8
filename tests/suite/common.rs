//! Views made by hand, of a few volumes.

use std::time::Duration;

use cowherd::config::Config;
use cowherd::model::history::Record;
use cowherd::model::inventory::{
    CowSnapshot, CowStatus, CowUsage, GroupObstacle, Inventory, Kernel, PoolMode, PoolStatus,
    PoolUsage, ThinPool, ThinVolume, VolumeGroup,
};
use cowherd::model::names::{Name, Resource, Target, Uuid, VolumeId, VolumeName};
use cowherd::model::plan::{Extension, Hold, Plan, Trigger};
use cowherd::model::policy::{Growth, Policy, Reserve, Timing};
use cowherd::model::reason::Reason;
use cowherd::model::tally::{Collector, CollectorRun, Lifeboat, Tally, Wake};
use cowherd::model::time::{Moment, Now, UnixSeconds};
use cowherd::model::units::{Bytes, Extents, Sectors};
use cowherd::model::view::{Build, StoreView, View};

pub(crate) const EXTENT: Bytes = Bytes::mib(4);
const CHUNK: Bytes = Bytes(64 << 10);
/// When every view of this file was made, unless it says otherwise.
pub(crate) const NOW: Now = Now {
    moment: Moment(Duration::from_secs(5000)),
    wall: UnixSeconds(1_800_000_000.25),
};

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).expect("a literal LVM name")
}

/// A view that grows by groups, pools and snapshots.
#[derive(Debug, Clone)]
pub(crate) struct Herd {
    pub(crate) view: View,
    volumes: usize,
}

impl Herd {
    pub(crate) fn new() -> Self {
        let view = View {
            at: NOW,
            started: UnixSeconds(1_799_999_000.5),
            policy: policy(),
            inventory: Inventory::default(),
            stores: Vec::new(),
            plan: Plan::default(),
            reserves: Vec::new(),
            tally: Tally::default(),
            events: Vec::new(),
            build: Build {
                version: "1.2.3".to_owned(),
                revision: "abcdef0".to_owned(),
            },
        };
        Self { view, volumes: 0 }
    }

    /// One group, one pool that fills, one snapshot.
    pub(crate) fn small() -> Self {
        let mut herd = Self::new();
        herd.group("vg0", None);
        herd.pool("vg0", "pool0", known(working(4000, PoolMode::Writable)));
        herd.snapshot("vg0", "snap0", known(valid(1000)));
        herd
    }

    /// A host as most are: two groups with a pool and five snapshots each, and all is well.
    pub(crate) fn ordinary() -> Self {
        let mut herd = Self::new();
        for (vg, pool) in [("pve", "data"), ("backup", "store")] {
            herd.group(vg, None);
            herd.pool(vg, pool, known(working(4000, PoolMode::Writable)));
            for number in 1..=5 {
                let snapshot = herd.snapshot(vg, &format!("{pool}-{number}"), known(valid(1000)));
                // Many of one origin are trouble.
                snapshot.origin = format!("vm-{number}");
            }
        }
        let run = CollectorRun {
            success: true,
            took: Duration::from_millis(20),
            last_success: Some(NOW.wall),
        };
        herd.view.tally = Tally {
            polls: [(Wake::Timer, 10_000), (Wake::DmEvent, 12)].into(),
            poll_last_success: Some(NOW.wall),
            collectors: Collector::NEEDED
                .map(|collector| (collector, run.clone()))
                .into(),
            dm_event_listener_up: true,
            lifeboat: Lifeboat {
                is_aboard: true,
                size: Bytes::mib(12),
                is_memory_locked: true,
                ..Lifeboat::default()
            },
            ..Tally::default()
        };
        herd
    }

    pub(crate) fn group(&mut self, vg: &str, obstacle: Option<GroupObstacle>) {
        let group = VolumeGroup {
            name: name(vg),
            uuid: uuid('g', self.view.inventory.groups.len()),
            size: Bytes(100 * Bytes::GIB),
            extent: EXTENT,
            free: Extents(5120),
            missing_pvs: u64::from(obstacle == Some(GroupObstacle::Partial)),
            metadata_area_size: Bytes(1_044_480),
            metadata_area_free: Bytes(518_656),
            pool_metadata_spare: Bytes::mib(8),
            obstacle,
        };
        self.view
            .reserves
            .push((group.name.clone(), Bytes(Bytes::GIB)));
        self.view.inventory.groups.push(group);
    }

    /// A pool of 500 MiB data and 8 MiB metadata, with both its stores.
    pub(crate) fn pool(&mut self, vg: &str, lv: &str, kernel: Kernel<PoolStatus>) -> &mut ThinPool {
        let (id, volume_name) = self.identity(vg, lv);
        self.store(&id, &volume_name, Resource::Data, Bytes::mib(1 << 20));
        self.store(&id, &volume_name, Resource::Metadata, Bytes::mib(16_192));
        self.view.inventory.pools.push(ThinPool {
            id,
            name: volume_name,
            data: Extents(125),
            metadata: Extents(2),
            chunk: CHUNK,
            when_full: "queue".to_owned(),
            discards: "passdown".to_owned(),
            virtual_size: Bytes(40 * Bytes::GIB),
            volumes: 4,
            snapshots: 2,
            oldest_snapshot: Some(UnixSeconds(1_799_900_000.0)),
            transaction_id: Some(7),
            tags: Vec::new(),
            kernel,
        });
        self.view
            .inventory
            .pools
            .last_mut()
            .expect("one has just been added")
    }

    /// A snapshot of a volume of 1 GiB with 100 MiB room.
    pub(crate) fn snapshot(
        &mut self,
        vg: &str,
        lv: &str,
        kernel: Kernel<CowStatus>,
    ) -> &mut CowSnapshot {
        let (id, volume_name) = self.identity(vg, lv);
        self.store(&id, &volume_name, Resource::Cow, Bytes::mib(1028));
        self.view.inventory.snapshots.push(CowSnapshot {
            id,
            name: volume_name,
            origin: "root".to_owned(),
            origin_id: None,
            origin_size: Bytes(Bytes::GIB),
            size: Extents(25),
            chunk: Bytes(4096),
            created: Some(UnixSeconds(1_799_990_000.0)),
            merging: false,
            tags: Vec::new(),
            kernel,
        });
        self.view
            .inventory
            .snapshots
            .last_mut()
            .expect("one has just been added")
    }

    /// A thin volume of 10 GiB in that pool.
    pub(crate) fn thin_volume(&mut self, vg: &str, lv: &str, pool: &str) -> &mut ThinVolume {
        let (id, volume_name) = self.identity(vg, lv);
        self.view.inventory.thin_volumes.push(ThinVolume {
            id,
            name: volume_name,
            pool: pool.to_owned(),
            origin: String::new(),
            size: Bytes(10 * Bytes::GIB),
            created: Some(UnixSeconds(1_799_900_000.0)),
            mapped: Some(Bytes(Bytes::GIB)),
        });
        let thin_volumes = &mut self.view.inventory.thin_volumes;
        thin_volumes.last_mut().expect("one has just been added")
    }

    pub(crate) fn store_of(&mut self, lv: &str, resource: Resource) -> &mut StoreView {
        self.view
            .stores
            .iter_mut()
            .find(|store| store.name.lv.as_str() == lv && store.target.resource == resource)
            .expect("the store was added before")
    }

    pub(crate) fn hold(&mut self, lv: &str, resource: Resource, reason: Reason) {
        let store = self.store_of(lv, resource);
        let (target, name) = (store.target.clone(), store.name.clone());
        self.view.plan.holds.push(Hold {
            target,
            name,
            reason,
        });
    }

    /// An extension by 32 extents.
    pub(crate) fn extension(&mut self, lv: &str, resource: Resource) -> Extension {
        let store = self.store_of(lv, resource);
        Extension {
            target: store.target.clone(),
            name: store.name.clone(),
            extent: EXTENT,
            from: Extents(125),
            to: Extents(157),
            kernel_total: Bytes::mib(500),
            trigger: Trigger::Threshold { percent: 80 },
            capped: None,
        }
    }

    fn identity(&mut self, vg: &str, lv: &str) -> (VolumeId, VolumeName) {
        self.volumes += 1;
        let groups = &self.view.inventory.groups;
        let group = groups.iter().find(|group| group.name.as_str() == vg);
        let vg_uuid = group.expect("the group was added before").uuid.clone();
        let id = VolumeId {
            vg: vg_uuid,
            lv: uuid('v', self.volumes),
        };
        (
            id,
            VolumeName {
                vg: name(vg),
                lv: name(lv),
            },
        )
    }

    fn store(&mut self, id: &VolumeId, name: &VolumeName, resource: Resource, useful_max: Bytes) {
        let growth = self.view.policy.growth(resource, name, &[]);
        self.view.stores.push(StoreView {
            target: Target {
                volume: id.clone(),
                resource,
            },
            name: name.clone(),
            record: Record::default(),
            growable: Bytes::mib(1024),
            fill_bytes_per_second: 0.0,
            useful_max,
            enabled: true,
            threshold_percent: growth.threshold_percent,
        });
    }
}

fn uuid(first: char, number: usize) -> Uuid {
    Uuid::parse(&format!("{first}{number:031}")).expect("32 letters and digits")
}

pub(crate) const fn known<T>(status: T) -> Kernel<T> {
    Kernel::Known {
        at: NOW.moment,
        suspended: false,
        status,
    }
}

/// Of 8000 chunks of 64 KiB, that is 500 MiB, `used` are used.
pub(crate) const fn working(used: u64, mode: PoolMode) -> PoolStatus {
    PoolStatus::Working(PoolUsage {
        transaction_id: 7,
        metadata_used_blocks: 200,
        metadata_total_blocks: 2048,
        data_used_blocks: used,
        data_total_blocks: 8000,
        mode,
        errors_when_full: false,
        needs_check: false,
        metadata_low_water_blocks: None,
    })
}

/// Of 204800 sectors, that is 100 MiB, `used` are used.
pub(crate) const fn valid(used: u64) -> CowStatus {
    CowStatus::Valid(CowUsage {
        allocated: Sectors(used),
        total: Sectors(204_800),
        metadata: Sectors(16),
    })
}

fn policy() -> Policy {
    let growth = |threshold_percent| Growth {
        enabled: true,
        threshold_percent,
        extend_percent: 20,
        extend_min: Bytes::ZERO,
        headroom: Bytes::ZERO,
        max_size: None,
        growth_per_hour: None,
    };
    Policy {
        dry_run: false,
        data: growth(80),
        metadata: growth(75),
        snapshot: growth(70),
        reserve: Reserve {
            bytes: Bytes(Bytes::GIB),
            percent: 0,
        },
        rules: Vec::new(),
        timing: Timing {
            horizon: Duration::from_secs(60),
            safety_factor: 3,
            plausible_rate: Bytes(Bytes::GIB),
            look_min: Duration::from_millis(20),
            look_max: Duration::from_secs(5),
            look_busy: Duration::from_millis(100),
            look_budget_permille: 10,
            pulse_budget_permille: 2,
            report_every: Duration::from_secs(300),
            ..Config::default().policy.timing
        },
        history: Config::default().policy.history,
    }
}
