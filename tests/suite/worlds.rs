//! Small worlds for the pure stages: one volume group with a pool and a snapshot, in any state.

use std::collections::BTreeMap;
use std::time::Duration;

use cowherd::config::Config;
use cowherd::decide::{self, Situation};
use cowherd::model::history::History;
use cowherd::model::inventory::{
    CowSnapshot, CowStatus, CowUsage, GroupObstacle, Inventory, Kernel, PoolMode, PoolStatus,
    PoolUsage, ThinPool, VolumeGroup,
};
use cowherd::model::names::{Name, Resource, Target, Uuid, VolumeId, VolumeName};
use cowherd::model::plan::{End, Failure, Outcome, Plan};
use cowherd::model::policy::Policy;
use cowherd::model::time::{Moment, Now, UnixSeconds};
use cowherd::model::units::{Bytes, Extents, Sectors};

pub(crate) const EXTENT: Bytes = Bytes::mib(4);
pub(crate) const CHUNK: Bytes = Bytes(64 << 10);
pub(crate) const METADATA_BLOCK: u64 = 4096;
/// The wall clock of a world; only what carries a date depends on it.
pub(crate) const WALL: UnixSeconds = UnixSeconds(1_800_000_000.0);

/// A world that the tests change before they decide.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) inventory: Inventory,
    pub(crate) history: History,
    pub(crate) busy: BTreeMap<Uuid, Moment>,
    pub(crate) now: Moment,
}

impl World {
    /// A group of 100 free extents with the volumes given; nothing has happened yet.
    pub(crate) fn new(pools: Vec<ThinPool>, snapshots: Vec<CowSnapshot>) -> Self {
        Self {
            policy: Config::default().policy,
            inventory: Inventory {
                groups: vec![group(100)],
                pools,
                snapshots,
                ..Inventory::default()
            },
            history: History::default(),
            busy: BTreeMap::new(),
            now: Moment(Duration::from_secs(1000)),
        }
    }

    pub(crate) fn plan(&self) -> Plan {
        decide::plan(&self.situation())
    }

    pub(crate) fn situation(&self) -> Situation<'_> {
        Situation {
            policy: &self.policy,
            inventory: &self.inventory,
            history: &self.history,
            busy: &self.busy,
            now: self.now,
            wall: WALL,
        }
    }

    /// Carries every extension of a plan out, as the kernel would.
    pub(crate) fn apply(&mut self, plan: &Plan) {
        for extension in &plan.extensions {
            let total = extension.kernel_total.saturating_add(extension.added());
            decide::apply(&mut self.inventory, extension, total);
        }
    }

    /// The same, and the history has it.
    pub(crate) fn succeed(&mut self, plan: &Plan) {
        self.apply(plan);
        let now = Now {
            moment: self.now,
            wall: UnixSeconds(1_800_000_000.0),
        };
        for extension in &plan.extensions {
            let kernel_total = extension.kernel_total.saturating_add(extension.added());
            let outcome = Outcome {
                end: End::Extended { kernel_total },
                ..Outcome::not_started(extension.clone(), Failure::Refused, String::new())
            };
            self.history
                .note_outcome(&outcome, now, &self.policy.history);
        }
    }

    /// Makes the history believe in a steady writer.
    pub(crate) fn fill_at(&mut self, target: &Target, rate: Bytes) {
        for step in 0..200 {
            let at = Moment(Duration::from_millis(900_000 + 500 * step));
            let used = Bytes(rate.0 / 2 * step);
            self.history
                .note_usage(target, used, at, &self.policy.history);
        }
    }
}

pub(crate) fn uuid(letter: char) -> Uuid {
    Uuid::parse(&letter.to_string().repeat(32)).expect("32 letters are a uuid")
}

pub(crate) fn volume_id(letter: char) -> VolumeId {
    VolumeId {
        vg: uuid('v'),
        lv: uuid(letter),
    }
}

pub(crate) fn target(letter: char, resource: Resource) -> Target {
    Target {
        volume: volume_id(letter),
        resource,
    }
}

pub(crate) fn name(lv: &str) -> VolumeName {
    let parse = |text| Name::parse(text).expect("a literal LVM name");
    VolumeName {
        vg: parse("vg"),
        lv: parse(lv),
    }
}

pub(crate) fn group(free: u64) -> VolumeGroup {
    VolumeGroup {
        name: name("x").vg,
        uuid: uuid('v'),
        size: Bytes(1 << 40),
        extent: EXTENT,
        free: Extents(free),
        missing_pvs: 0,
        metadata_area_size: Bytes::mib(1),
        metadata_area_free: Bytes(500_000),
        pool_metadata_spare: Bytes::mib(1024),
        obstacle: None::<GroupObstacle>,
    }
}

/// A pool of as many extents, with shares in percent used of data and metadata.
pub(crate) fn pool(
    letter: char,
    extents: u64,
    data_percent: u64,
    metadata_percent: u64,
) -> ThinPool {
    let metadata = Extents(10);
    let data_total = Extents(extents).bytes(EXTENT).0 / CHUNK.0;
    let metadata_total = metadata.bytes(EXTENT).0 / METADATA_BLOCK;
    ThinPool {
        id: volume_id(letter),
        name: name(&format!("pool-{letter}")),
        data: Extents(extents),
        metadata,
        chunk: CHUNK,
        when_full: "queue".to_owned(),
        discards: "passdown".to_owned(),
        virtual_size: Bytes(1 << 40),
        volumes: 1,
        snapshots: 0,
        oldest_snapshot: None,
        transaction_id: Some(1),
        tags: Vec::new(),
        kernel: Kernel::Known {
            at: Moment(Duration::from_secs(1000)),
            suspended: false,
            status: PoolStatus::Working(PoolUsage {
                transaction_id: 1,
                metadata_used_blocks: metadata_total * metadata_percent / 100,
                metadata_total_blocks: metadata_total,
                data_used_blocks: data_total * data_percent / 100,
                data_total_blocks: data_total,
                mode: PoolMode::Writable,
                errors_when_full: false,
                needs_check: false,
                metadata_low_water_blocks: Some(1024),
            }),
        },
    }
}

/// Changes the numbers of a working pool.
pub(crate) fn usage_of(pool: &mut ThinPool) -> &mut PoolUsage {
    match &mut pool.kernel {
        Kernel::Known {
            status: PoolStatus::Working(usage),
            ..
        } => usage,
        Kernel::Known { .. }
        | Kernel::Inactive
        | Kernel::Unreadable { .. }
        | Kernel::Late { .. } => panic!("the pool was made working"),
    }
}

/// A snapshot with a store of as many extents and this share used.
pub(crate) fn snapshot(letter: char, extents: u64, percent: u64) -> CowSnapshot {
    let total = Extents(extents).bytes(EXTENT).0 / 512;
    let status = CowStatus::Valid(CowUsage {
        allocated: Sectors(total * percent / 100),
        total: Sectors(total),
        metadata: Sectors(16),
    });
    CowSnapshot {
        id: volume_id(letter),
        name: name(&format!("snap-{letter}")),
        origin: "origin".to_owned(),
        origin_id: None,
        origin_size: Bytes(1 << 36),
        size: Extents(extents),
        chunk: Bytes(4096),
        created: None,
        merging: false,
        tags: Vec::new(),
        kernel: Kernel::Known {
            at: Moment(Duration::from_secs(1000)),
            suspended: false,
            status,
        },
    }
}

pub(crate) fn set_status(snapshot: &mut CowSnapshot, status: CowStatus) {
    snapshot.kernel = Kernel::Known {
        at: Moment(Duration::from_secs(1000)),
        suspended: false,
        status,
    };
}
