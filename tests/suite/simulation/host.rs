//! A model of one host: what LVM's metadata says, what the kernel's devices do, and who writes to them.
//!
//! It follows dm-thin.c, dm-snap-persistent.c and lvm2's allocation as far as a guard can notice, and knows
//! nothing of cowherd. What it tells is held against the stories that the lab holds a real kernel against.

use std::time::Duration;

use cowherd::model::inventory::{
    CowSnapshot, CowStatus, CowUsage, Inventory, Kernel, PoolMode, PoolStatus, PoolUsage, ThinPool,
};
use cowherd::model::names::{Name, Resource, VolumeId};
use cowherd::model::time::Moment;
use cowherd::model::units::{Bytes, Extents, SECTOR_BYTES, Sectors};

use crate::kernel_facts::NO_SPACE_TIMEOUT_SECS;
use crate::worlds::{self, CHUNK, EXTENT, METADATA_BLOCK};

pub(super) const NO_SPACE_TIMEOUT: Duration = Duration::from_secs(NO_SPACE_TIMEOUT_SECS);
/// What the kernel keeps of a pool's metadata and counts as used: at most 16 MiB, else a tenth.
const KEPT_MAX: u64 = (16 << 20) / METADATA_BLOCK;
/// LVM keeps as much metadata for each chunk of a pool that it extends.
const METADATA_PER_CHUNK: u64 = 64;
/// LVM's default for snapshots.
const COW_CHUNK: u64 = 4 << 10;
/// One chunk of a snapshot's metadata tells where so many others are.
const EXCEPTIONS: u64 = COW_CHUNK / 16;

/// One volume group and all that is in it.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) now: Moment,
    /// All of the group's extents.
    pub(super) extents: u64,
    pub(super) free: u64,
    /// Extents of `lvol0_pmspare`.
    pub(super) spare: u64,
    pub(super) pools: Vec<Pool>,
    pub(super) cows: Vec<Cow>,
}

#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "as many flags as the kernel's"
)]
pub(super) struct Pool {
    pub(super) letter: char,
    pub(super) id: VolumeId,
    /// LVM's sizes, in extents.
    pub(super) data: u64,
    pub(super) metadata: u64,
    /// What the kernel has loaded of them.
    pub(super) live_data: u64,
    pub(super) live_metadata: u64,
    /// Bytes.
    pub(super) used: u64,
    pub(super) virtual_size: u64,
    /// Metadata blocks for each thousand chunks written.
    pub(super) blocks_per_thousand: u64,
    pub(super) queues: bool,
    pub(super) errors_now: bool,
    pub(super) mode: PoolMode,
    pub(super) needs_check: bool,
    /// Whether running out of metadata damages it.
    pub(super) is_frail: bool,
    pub(super) full_since: Option<Moment>,
    pub(super) suspended: bool,
    pub(super) rate: u64,
    /// A guest was told that its write failed.
    pub(super) failed: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Cow {
    pub(super) letter: char,
    pub(super) id: VolumeId,
    pub(super) size: u64,
    pub(super) live: u64,
    pub(super) origin: u64,
    /// Bytes of the origin.
    pub(super) copied: u64,
    pub(super) invalid: bool,
    pub(super) suspended: bool,
    pub(super) rate: u64,
}

/// Why a command ends without having done its work; LVM's words do not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    NoSuchVolume,
    NotLarger,
    NoRoom,
}

impl Pool {
    pub(super) fn total(&self) -> u64 {
        self.live_data * EXTENT.0 / CHUNK.0 * CHUNK.0
    }

    pub(super) fn metadata_total(&self) -> u64 {
        self.live_metadata * EXTENT.0 / METADATA_BLOCK
    }

    pub(super) fn metadata_used(&self) -> u64 {
        let kept = KEPT_MAX.min(self.metadata_total() / 10);
        kept + 10 + self.used / CHUNK.0 * self.blocks_per_thousand / 1000
    }

    /// Whether a guest wants to write and the kernel takes it.
    fn is_tried(&self) -> bool {
        self.rate > 0 && !self.suspended && self.mode == PoolMode::Writable
    }

    pub(super) fn writes(&self) -> bool {
        self.is_tried() && self.room() > 0
    }

    /// What can be written before something runs out, in bytes.
    fn room(&self) -> u64 {
        self.total()
            .min(self.virtual_size)
            .saturating_sub(self.used)
            .min(self.metadata_room())
    }

    fn metadata_room(&self) -> u64 {
        let blocks = self.metadata_total().saturating_sub(self.metadata_used());
        (blocks * 1000 / self.blocks_per_thousand.max(1)).saturating_mul(CHUNK.0)
    }

    /// A guest has written all that was left; its next write finds nothing.
    fn run_out(&mut self, now: Moment) {
        if self.used >= self.virtual_size {
            self.rate = 0;
        } else if self.metadata_room() == 0 {
            self.mode = PoolMode::ReadOnly;
            self.needs_check = self.is_frail;
            self.failed = true;
        } else {
            self.mode = PoolMode::OutOfDataSpace;
            self.errors_now = !self.queues;
            self.failed |= !self.queues;
            self.full_since = Some(now);
        }
    }

    /// The kernel takes the sizes of LVM's metadata over, as a resume with a new table does.
    fn reload(&mut self) {
        self.suspended = false;
        if self.needs_check {
            return;
        }
        let has_grown = self.metadata > self.live_metadata;
        self.live_data = self.data;
        self.live_metadata = self.metadata;
        match self.mode {
            PoolMode::OutOfDataSpace if self.total() > self.used => {
                self.mode = PoolMode::Writable;
                self.errors_now = false;
                self.full_since = None;
            }
            PoolMode::ReadOnly if has_grown => self.mode = PoolMode::Writable,
            PoolMode::OutOfDataSpace | PoolMode::ReadOnly | PoolMode::Writable => {}
        }
    }

    pub(super) fn status(&self) -> PoolStatus {
        PoolStatus::Working(PoolUsage {
            transaction_id: 1,
            metadata_used_blocks: self.metadata_used().min(self.metadata_total()),
            metadata_total_blocks: self.metadata_total(),
            data_used_blocks: self.used / CHUNK.0,
            data_total_blocks: self.total() / CHUNK.0,
            mode: self.mode,
            errors_when_full: self.errors_now || !self.queues,
            needs_check: self.needs_check,
            metadata_low_water_blocks: Some(1024),
        })
    }

    fn told(&self) -> ThinPool {
        ThinPool {
            data: Extents(self.data),
            metadata: Extents(self.metadata),
            virtual_size: Bytes(self.virtual_size),
            kernel: Kernel::Inactive,
            ..worlds::pool(self.letter, self.data.max(1), 0, 0)
        }
    }
}

impl Cow {
    pub(super) fn writes(&self) -> bool {
        self.rate > 0 && !self.suspended && !self.invalid && self.room() > 0
    }

    pub(super) fn total(&self) -> u64 {
        self.live * EXTENT.0
    }

    /// Allocated, in bytes: data and what tells where it is.
    pub(super) fn used(&self) -> u64 {
        self.copied.next_multiple_of(COW_CHUNK) + self.metadata()
    }

    /// The header, and one chunk more than are full.
    fn metadata(&self) -> u64 {
        let copied = self.copied.div_ceil(COW_CHUNK);
        (2 + copied / EXCEPTIONS) * COW_CHUNK
    }

    /// What can be copied of the origin before the store runs over, in bytes.
    fn room(&self) -> u64 {
        let chunks = (self.total() / COW_CHUNK).saturating_sub(2);
        let copies = chunks - (chunks + 1) / (EXCEPTIONS + 1);
        let most = (copies * COW_CHUNK).min(self.origin);
        most.saturating_sub(self.copied)
    }

    fn full_size(&self) -> u64 {
        self.told().full_size(EXTENT).0
    }

    pub(super) fn status(&self) -> CowStatus {
        if self.invalid {
            return CowStatus::Invalid;
        }
        CowStatus::Valid(CowUsage {
            allocated: Sectors(self.used() / SECTOR_BYTES),
            total: Sectors(self.total() / SECTOR_BYTES),
            metadata: Sectors(self.metadata() / SECTOR_BYTES),
        })
    }

    fn told(&self) -> CowSnapshot {
        CowSnapshot {
            origin_size: Bytes(self.origin),
            size: Extents(self.size),
            kernel: Kernel::Inactive,
            ..worlds::snapshot(self.letter, self.size.max(1), 0)
        }
    }
}

impl Host {
    /// Lets guests write until `now`, and tells whether the kernel raised an event.
    pub(super) fn pass(&mut self, now: Moment) -> bool {
        let span = now.since(self.now).as_secs_f64();
        let since = std::mem::replace(&mut self.now, now);
        let mut event = false;
        for pool in &mut self.pools {
            if pool.is_tried() {
                let written = written(pool.rate, span).min(pool.room());
                pool.used += written;
                if pool.room() == 0 {
                    pool.run_out(now);
                    event = true;
                }
            }
            let is_over = |full: Moment| now.since(full) >= NO_SPACE_TIMEOUT;
            if !pool.errors_now && pool.full_since.is_some_and(is_over) {
                pool.errors_now = true;
                pool.failed = true;
                event = true;
            }
        }
        for cow in &mut self.cows {
            if cow.rate > 0 && !cow.suspended && !cow.invalid {
                cow.copied += written(cow.rate, span).min(cow.room());
                // A store that holds every chunk of its origin needs no more.
                cow.invalid = cow.room() == 0 && cow.copied < cow.origin;
            }
        }
        debug_assert!(since <= now, "time goes on");
        event
    }

    /// When something happens to a store by itself, at the latest.
    pub(super) fn next_change(&self) -> Option<Moment> {
        let fills = |room: u64, rate: u64| {
            let millis = room.saturating_mul(1000).div_ceil(rate).max(1);
            self.now.after(Duration::from_millis(millis))
        };
        let tried = self.pools.iter().filter(|pool| pool.is_tried());
        let pools = tried.map(|pool| fills(pool.room(), pool.rate));
        let unfailed = self.pools.iter().filter(|pool| !pool.errors_now);
        let timeouts = unfailed.filter_map(|pool| Some(pool.full_since?.after(NO_SPACE_TIMEOUT)));
        let cows = self.cows.iter().filter(|cow| cow.writes());
        let cows = cows.map(|cow| fills(cow.room(), cow.rate));
        pools.chain(timeouts).chain(cows).min()
    }

    /// What `lvm fullreport` tells.
    pub(super) fn report(&self) -> Inventory {
        let mut group = worlds::group(self.free);
        group.size = Extents(self.extents).bytes(EXTENT);
        group.pool_metadata_spare = Extents(self.spare).bytes(EXTENT);
        Inventory {
            groups: vec![group],
            pools: self.pools.iter().map(Pool::told).collect(),
            snapshots: self.cows.iter().map(Cow::told).collect(),
            ..Inventory::default()
        }
    }

    pub(super) fn pool_mut(&mut self, id: &VolumeId) -> Option<&mut Pool> {
        self.pools.iter_mut().find(|pool| pool.id == *id)
    }

    pub(super) fn cow_mut(&mut self, id: &VolumeId) -> Option<&mut Cow> {
        self.cows.iter_mut().find(|cow| cow.id == *id)
    }

    /// By the name that stands in a command.
    pub(super) fn id_of(&self, name: &Name) -> Option<VolumeId> {
        let report = self.report();
        let pools = report.pools.iter().map(|pool| (&pool.name, &pool.id));
        let cows = report.snapshots.iter().map(|cow| (&cow.name, &cow.id));
        let mut all = pools.chain(cows);
        all.find(|(told, _)| told.lv == *name)
            .map(|(_, id)| id.clone())
    }

    /// LVM's half of an lvextend to an absolute size: the extents change hands.
    pub(super) fn commit(
        &mut self,
        id: &VolumeId,
        resource: Resource,
        size: Bytes,
    ) -> Result<(), Refusal> {
        let to = size.extents_ceil(EXTENT).0;
        let (free, spare) = (self.free, self.spare);
        let (cost, spare) = match resource {
            Resource::Data => {
                let pool = self.pool_mut(id).ok_or(Refusal::NoSuchVolume)?;
                let needed = Bytes(to * EXTENT.0 / CHUNK.0 * METADATA_PER_CHUNK);
                let metadata = needed.extents_ceil(EXTENT).0.max(pool.metadata);
                let new_spare = if metadata > pool.metadata {
                    spare.max(metadata)
                } else {
                    spare
                };
                let more = larger(to, pool.data)?;
                let first = (metadata - pool.metadata) + (new_spare - spare);
                if first > free {
                    return Err(Refusal::NoRoom);
                }
                if first > 0 {
                    // LVM grows it before it looks for room for data, and in the kernel, too.
                    pool.metadata = metadata;
                    pool.live_metadata = metadata;
                }
                if first + more > free {
                    (self.free, self.spare) = (free - first, new_spare);
                    return Err(Refusal::NoRoom);
                }
                pool.data = to;
                (first + more, new_spare)
            }
            Resource::Metadata => {
                let pool = self.pool_mut(id).ok_or(Refusal::NoSuchVolume)?;
                let new_spare = spare.max(to);
                let cost = larger(to, pool.metadata)? + (new_spare - spare);
                if cost > free {
                    return Err(Refusal::NoRoom);
                }
                pool.metadata = to;
                (cost, new_spare)
            }
            Resource::Cow => {
                let cow = self.cow_mut(id).ok_or(Refusal::NoSuchVolume)?;
                let to = to.min(cow.full_size());
                let cost = larger(to, cow.size)?;
                if cost > free {
                    return Err(Refusal::NoRoom);
                }
                cow.size = to;
                (cost, spare)
            }
        };
        self.free -= cost;
        self.spare = spare;
        Ok(())
    }

    /// The kernel's half.
    pub(super) fn reload(&mut self, id: &VolumeId) {
        if let Some(pool) = self.pool_mut(id) {
            pool.reload();
        }
        if let Some(cow) = self.cow_mut(id) {
            cow.suspended = false;
            cow.live = cow.size;
        }
    }

    pub(super) fn suspend(&mut self, id: &VolumeId) {
        if let Some(pool) = self.pool_mut(id) {
            pool.suspended = true;
        }
        if let Some(cow) = self.cow_mut(id) {
            cow.suspended = true;
        }
    }

    /// Extents that are accounted for: always all of them.
    pub(super) fn accounted(&self) -> u64 {
        let pools = self.pools.iter().map(|pool| pool.data + pool.metadata);
        let cows = self.cows.iter().map(|cow| cow.size);
        self.free + self.spare + pools.chain(cows).sum::<u64>()
    }
}

fn larger(to: u64, from: u64) -> Result<u64, Refusal> {
    if to > from {
        Ok(to - from)
    } else {
        Err(Refusal::NotLarger)
    }
}

fn written(rate: u64, span: f64) -> u64 {
    Bytes::from_f64_ceil(Bytes(rate).as_f64() * span).0
}
