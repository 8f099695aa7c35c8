//! What a world begins with: a policy somebody could have written, and a host that obeys it so far.

use std::time::Duration;

use cowherd::model::inventory::PoolMode;
use cowherd::model::policy::Policy;
use cowherd::model::relief::Ladder;
use cowherd::model::rule::{Change, ReserveChange, Rule, Selector};
use cowherd::model::time::Moment;
use cowherd::model::units::Bytes;
use fastrand::Rng;
use wildmatch::WildMatch;

use super::host::{Cow, Host, Pool};
use crate::worlds::{self, EXTENT};

const POOLS: [char; 2] = ['p', 'q'];

pub(super) fn policy(rng: &mut Rng, mut policy: Policy) -> Policy {
    for growth in [&mut policy.data, &mut policy.metadata, &mut policy.snapshot] {
        growth.threshold_percent = rng.u64(40..=90);
        growth.extend_percent = rng.u64(5..=60);
        if rng.u8(..) < 40 {
            growth.headroom = Bytes::mib(rng.u64(1..512));
        }
        if rng.u8(..) < 20 {
            growth.max_size = Some(Bytes::mib(rng.u64(64..8192)));
        }
    }
    if rng.u8(..) < 40 {
        policy.rules.push(rule(rng));
    }
    policy.reserve.percent = rng.u64(0..=10);
    policy.timing.look_max = Duration::from_secs(rng.u64(5..=60));
    policy
}

/// Some of the volumes grow in another way.
fn rule(rng: &mut Rng) -> Rule {
    let pattern = ["*-p", "snap-*", "pool-?"][rng.usize(..3)];
    let change = |rng: &mut Rng| Change {
        threshold_percent: rng.bool().then(|| rng.u64(40..=90)),
        extend_percent: rng.bool().then(|| rng.u64(5..=60)),
        growth_per_hour: (rng.u8(..) < 60).then(|| Bytes::mib(rng.u64(1..4096))),
        ..Change::default()
    };
    Rule {
        selector: Selector {
            name: Some(WildMatch::new(pattern)),
            ..Selector::default()
        },
        data: change(rng),
        metadata: change(rng),
        snapshot: change(rng),
        reserve: ReserveChange::default(),
        relief: Ladder::default(),
    }
}

pub(super) fn host(rng: &mut Rng, now: Moment) -> Host {
    let count = rng.usize(0..=POOLS.len());
    let pools: Vec<Pool> = POOLS[..count]
        .iter()
        .map(|letter| pool(rng, *letter))
        .collect();
    let least = usize::from(pools.is_empty());
    let cows = ['s', 't', 'u'];
    let cows = &cows[..rng.usize(least..=cows.len())];
    let cows: Vec<Cow> = cows.iter().map(|letter| cow(rng, *letter)).collect();
    let spare = pools
        .iter()
        .map(|pool| pool.metadata)
        .max()
        .unwrap_or_default();
    // From a group that is full to one that never will be.
    let scale = rng.u32(4..14);
    let free = rng.u64(0..=1 << scale);
    let taken = pools.iter().map(|pool| pool.data + pool.metadata);
    let taken = taken.chain(cows.iter().map(|cow| cow.size)).sum::<u64>();
    Host {
        now,
        extents: free + spare + taken,
        free,
        spare,
        pools,
        cows,
    }
}

fn pool(rng: &mut Rng, letter: char) -> Pool {
    let data = rng.u64(16..2048);
    let metadata = rng.u64(1..=10);
    Pool {
        letter,
        id: worlds::volume_id(letter),
        data,
        metadata,
        live_data: data,
        live_metadata: metadata,
        used: data * EXTENT.0 / 100 * rng.u64(0..40),
        virtual_size: data * EXTENT.0 * rng.u64(1..20),
        blocks_per_thousand: rng.u64(1..40),
        queues: rng.bool(),
        errors_now: false,
        mode: PoolMode::Writable,
        needs_check: false,
        is_frail: rng.u8(..) < 64,
        full_since: None,
        suspended: false,
        rate: 0,
        failed: false,
    }
}

pub(super) fn cow(rng: &mut Rng, letter: char) -> Cow {
    let size = rng.u64(4..512);
    Cow {
        letter,
        id: worlds::volume_id(letter),
        size,
        live: size,
        origin: size * EXTENT.0 * rng.u64(1..30),
        copied: 0,
        invalid: false,
        suspended: false,
        rate: 0,
    }
}
