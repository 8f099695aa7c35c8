//! Holds the model of a host against the stories that the lab holds a real kernel against.

use std::time::Duration;

use cowherd::model::inventory::{CowStatus, PoolMode, PoolStatus};
use cowherd::model::names::Resource;
use cowherd::model::time::Moment;
use cowherd::model::units::{Bytes, SECTOR_BYTES};

use super::host::{Cow, Host, NO_SPACE_TIMEOUT, Pool};
use crate::kernel_facts::{PoolTold, Rest, STORIES, Step, Store, Story, snapshot_line};
use crate::worlds::{self, EXTENT};

const LETTER: char = 'p';
/// More than any story takes.
const FREE: u64 = 2000;
/// Much faster than the clock of a story.
const RATE: u64 = 1 << 30;
/// Whatever was begun is done after this.
const STEP: Duration = Duration::from_secs(10);
/// As few blocks for a thousand chunks as a guest takes that writes one after the other.
const IN_A_ROW: u64 = 5;
const SCATTERED: u64 = 1000;

#[test]
fn the_model_tells_what_the_kernel_tells() {
    let faults: Vec<String> = STORIES
        .iter()
        .filter_map(|story| told(story).err())
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Lives through one story; the error is what was told instead.
fn told(story: &Story) -> Result<(), String> {
    let mut world = Told::new(story.store);
    for (step, expected) in story.steps {
        world.take(*step);
        let line = world.line();
        let missing = Story::missing(expected, &line);
        if !missing.is_empty() {
            return Err(format!(
                "{}, after {step:?}: {missing:?} is not in {line:?}",
                story.name
            ));
        }
    }
    Ok(())
}

struct Told {
    host: Host,
    free: u64,
    refused: bool,
}

fn extents(mib: u64) -> u64 {
    Bytes::mib(mib).extents_ceil(EXTENT).0
}

impl Told {
    fn new(store: Store) -> Self {
        let mut host = Host {
            now: Moment::default(),
            extents: 0,
            free: FREE,
            spare: 0,
            pools: Vec::new(),
            cows: Vec::new(),
        };
        match store {
            Store::Pool {
                data,
                metadata,
                fails_when_full,
            } => {
                host.spare = extents(metadata);
                host.pools
                    .push(pool(extents(data), extents(metadata), !fails_when_full));
            }
            Store::Snapshot { origin, store } => {
                host.cows.push(cow(extents(store), Bytes::mib(origin).0));
            }
        }
        Self {
            host,
            free: FREE,
            refused: false,
        }
    }

    fn take(&mut self, step: Step) {
        self.refused = false;
        match step {
            Step::Look => {}
            Step::Write(mib) => self.write(Bytes::mib(mib).0, IN_A_ROW),
            Step::UseUpMetadata => self.write(u64::MAX, SCATTERED),
            Step::Extend(mib) if self.host.pools.is_empty() => self.extend(Resource::Cow, mib),
            Step::Extend(mib) => self.extend(Resource::Data, mib),
            Step::ExtendMetadata(mib) => self.extend(Resource::Metadata, mib),
            Step::Timeout => self.pass(NO_SPACE_TIMEOUT),
        }
        self.pass(STEP);
    }

    fn pass(&mut self, span: Duration) {
        // Long before the time that a full pool is given.
        let end = self.host.now.after(span);
        while let Some(next) = self.host.next_change().filter(|next| *next < end) {
            self.host.pass(next);
        }
        self.host.pass(end);
        for pool in self.host.pools.iter_mut().filter(|pool| pool.failed) {
            // Who is told that a write failed gives up.
            pool.rate = 0;
        }
    }

    fn write(&mut self, until: u64, blocks_per_thousand: u64) {
        for pool in &mut self.host.pools {
            pool.virtual_size = until;
            pool.blocks_per_thousand = blocks_per_thousand;
            pool.rate = RATE;
        }
        for cow in &mut self.host.cows {
            // A model's guest stops only when it is told to.
            cow.rate = (until - cow.copied) / STEP.as_secs();
        }
    }

    fn extend(&mut self, resource: Resource, mib: u64) {
        let id = worlds::volume_id(LETTER);
        let done = self.host.commit(&id, resource, Bytes::mib(mib));
        self.refused = done.is_err();
        if done.is_ok() {
            self.host.reload(&id);
        }
    }

    fn line(&mut self) -> String {
        let rest = Rest {
            taken: self.free - self.host.free,
            refused: self.refused,
            failed: self.host.pools.iter().any(|pool| pool.failed),
        };
        for cow in &mut self.host.cows {
            cow.rate = 0;
        }
        match (self.host.pools.first(), self.host.cows.first()) {
            (Some(pool), _) => pool_line(pool, &rest),
            (None, Some(cow)) => cow_line(cow, &rest),
            (None, None) => String::new(),
        }
    }
}

fn pool_line(pool: &Pool, rest: &Rest) -> String {
    let PoolStatus::Working(usage) = pool.status() else {
        return "failed".to_owned();
    };
    let mode = match usage.mode {
        PoolMode::Writable => "rw",
        PoolMode::ReadOnly => "ro",
        PoolMode::OutOfDataSpace => "out_of_data_space",
    };
    PoolTold {
        mode,
        fails: usage.errors_when_full,
        chunks: usage.data_used_blocks,
        chunks_total: usage.data_total_blocks,
        metadata: usage.metadata_used_blocks,
        metadata_total: usage.metadata_total_blocks,
    }
    .line(rest)
}

fn cow_line(cow: &Cow, rest: &Rest) -> String {
    let sectors = match cow.status() {
        CowStatus::Valid(usage) => Some((usage.allocated.0, usage.total.0, usage.metadata.0)),
        CowStatus::Invalid
        | CowStatus::Merging(_)
        | CowStatus::MergeFailed
        | CowStatus::Overflow
        | CowStatus::Unknown => None,
    };
    snapshot_line(sectors, rest)
}

fn pool(data: u64, metadata: u64, queues: bool) -> Pool {
    Pool {
        letter: LETTER,
        id: worlds::volume_id(LETTER),
        data,
        metadata,
        live_data: data,
        live_metadata: metadata,
        used: 0,
        virtual_size: 0,
        blocks_per_thousand: IN_A_ROW,
        queues,
        errors_now: false,
        mode: PoolMode::Writable,
        needs_check: false,
        is_frail: false,
        full_since: None,
        suspended: false,
        rate: 0,
        failed: false,
    }
}

fn cow(size: u64, origin: u64) -> Cow {
    Cow {
        letter: LETTER,
        id: worlds::volume_id(LETTER),
        size,
        live: size,
        origin,
        copied: 0,
        invalid: false,
        suspended: false,
        rate: 0,
    }
}

#[test]
fn a_store_of_full_size_has_room_for_its_origin_and_one_extent_less_has_not() {
    for extents in 1..200 {
        let origin = extents * EXTENT.0;
        let mut cow = cow(1, origin);
        let full = worlds::snapshot(LETTER, 1, 0);
        let full = cowherd::model::inventory::CowSnapshot {
            origin_size: Bytes(origin),
            ..full
        };
        let full = full.full_size(EXTENT).0;
        for (size, has_room) in [(full, true), (full - 1, false)] {
            (cow.live, cow.copied) = (size, origin);
            assert_eq!(
                cow.used() <= cow.total(),
                has_room,
                "{size} of {full} extents, {} sectors",
                cow.used() / SECTOR_BYTES
            );
        }
    }
}
