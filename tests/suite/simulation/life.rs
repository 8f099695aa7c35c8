//! What happens on a host besides its guard: guests write, backups come and go, administrators and other
//! programs do things, and now and then something breaks.

use std::time::Duration;

use cowherd::model::names::Resource;
use cowherd::model::units::Extents;

use super::hands::Mishap;
use super::setup;
use super::world::{Event as WorldEvent, World};
use crate::worlds::{self, EXTENT};

/// A burst writes so many MiB a second at most.
const RATE_MAX_MIB: u64 = 100;
/// A volume comes to the kernel's list this long after LVM made it.
const NOTICED: Duration = Duration::from_secs(1);
const LETTERS: &[u8] = b"abcdefghijklmnoxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// A guest begins to write to a volume, or stops.
    Burst(char),
    /// A backup's snapshot is removed, and another one made.
    Replace(char),
    Trouble,
    /// Somebody else does something allowed.
    Other,
}

/// Of the volumes that there are now.
pub(super) fn begin(world: &mut World) {
    let host = world.host.borrow();
    let pools: Vec<char> = host.pools.iter().map(|pool| pool.letter).collect();
    let cows: Vec<char> = host.cows.iter().map(|cow| cow.letter).collect();
    drop(host);
    for letter in pools {
        later(world, 600..7200, Event::Burst(letter));
    }
    for letter in cows {
        later(world, 600..7200, Event::Burst(letter));
        later(world, 7200..40_000, Event::Replace(letter));
    }
    later(world, 300..7200, Event::Trouble);
    later(world, 300..7200, Event::Other);
}

fn later(world: &mut World, secs: std::ops::Range<u64>, event: Event) {
    let after = Duration::from_millis(world.rng.u64(secs.start * 1000..secs.end * 1000));
    world.push(after, WorldEvent::Life(event));
}

pub(super) fn happen(world: &mut World, event: Event) -> Result<(), String> {
    match event {
        Event::Burst(letter) => burst(world, letter),
        Event::Replace(letter) => replace(world, letter),
        Event::Trouble => {
            trouble(world)?;
            later(world, 300..10_000, Event::Trouble);
        }
        Event::Other => {
            other(world);
            later(world, 300..7200, Event::Other);
        }
    }
    Ok(())
}

fn burst(world: &mut World, letter: char) {
    let rate = world.rng.u64(1 << 20..RATE_MAX_MIB << 20);
    let id = worlds::volume_id(letter);
    let mut host = world.host.borrow_mut();
    let rate_of = match host.pool_mut(&id) {
        Some(pool) => Some(&mut pool.rate),
        None => host.cow_mut(&id).map(|cow| &mut cow.rate),
    };
    let Some(now) = rate_of else {
        return;
    };
    let begins = *now == 0;
    *now = if begins { rate } else { 0 };
    drop(host);
    if begins {
        world.stir();
    }
    let next = if begins { 1..120 } else { 600..10_000 };
    later(world, next, Event::Burst(letter));
}

fn replace(world: &mut World, letter: char) {
    let id = worlds::volume_id(letter);
    let mut fresh = letter;
    {
        let mut host = world.host.borrow_mut();
        let Some(place) = host.cows.iter().position(|cow| cow.id == id) else {
            return;
        };
        let gone = host.cows.remove(place);
        host.free += gone.size;
        let is_free = |c: &&u8| {
            char::from(**c) != letter && host.cows.iter().all(|cow| cow.letter != char::from(**c))
        };
        let unused: Vec<u8> = LETTERS.iter().filter(is_free).copied().collect();
        if let Some(letter) = world.rng.choice(unused) {
            fresh = char::from(letter);
        }
        let mut made = setup::cow(&mut world.rng, fresh);
        made.size = made.size.min(host.free);
        made.live = made.size;
        if made.size > 0 {
            host.free -= made.size;
            host.cows.push(made);
            host.cows.sort_by_key(|cow| cow.letter);
        }
    }
    someone_did_something(world);
    later(world, 10..3600, Event::Burst(fresh));
    later(world, 7200..40_000, Event::Replace(fresh));
}

/// The group is another one than was last reported.
fn someone_did_something(world: &mut World) {
    world.checks.someone_else(world.now.moment);
    world.push(NOTICED, WorldEvent::Listed { is_event: false });
}

fn trouble(world: &mut World) -> Result<(), String> {
    let now = world.now.moment;
    let long = Duration::from_secs(world.rng.u64(1..300));
    let until = now.after(long);
    match world.rng.u8(0..6) {
        0 | 1 => world.next_mishap = world.rng.choice(Mishap::ALL),
        2 => {
            world.locked_until = until;
            world.checks.excuse(until);
        }
        3 => {
            let is_told = world.rng.bool();
            if is_told {
                world.reports_are_partial_until = until;
            } else {
                world.reports_fail_until = until;
            }
            world.checks.excuse(until);
        }
        4 => {
            let is_slow = world.rng.bool();
            if is_slow {
                world.looks_hang_until = until;
            } else {
                world.looks_fail_until = until;
            }
            world.checks.excuse(until);
        }
        _ => {
            world.checks.excuse(now);
            world.restart()?;
        }
    }
    Ok(())
}

fn other(world: &mut World) {
    match world.rng.u8(0..4) {
        0 => {
            // Backwards or forwards, up to a day.
            world.now.wall.0 += world.rng.f64() * 172_800.0 - 86_400.0;
        }
        1 => {
            let more = world.rng.u64(1..512);
            let mut host = world.host.borrow_mut();
            host.extents += more;
            host.free += more;
            drop(host);
            someone_did_something(world);
        }
        2 => {
            // A guest discards what it no longer needs.
            let share = world.rng.u64(20..100);
            for pool in &mut world.host.borrow_mut().pools {
                pool.used = pool.used / 100 * share / (64 << 10) * (64 << 10);
            }
        }
        _ => {
            if world.now.moment < world.locked_until {
                return;
            }
            by_hand(world);
            someone_did_something(world);
        }
    }
}

/// An administrator, or dmeventd, extends a volume.
fn by_hand(world: &mut World) {
    let more = world.rng.u64(1..64);
    let mut host = world.host.borrow_mut();
    let first = host
        .pools
        .first()
        .map(|pool| (pool.letter, pool.data, Resource::Data));
    let cow = host
        .cows
        .last()
        .map(|cow| (cow.letter, cow.size, Resource::Cow));
    if let Some((letter, size, resource)) = first.or(cow) {
        let id = worlds::volume_id(letter);
        let size = Extents(size + more).bytes(EXTENT);
        // There may be no room, and then nothing happens.
        if host.commit(&id, resource, size).is_ok() {
            host.reload(&id);
        }
    }
}
