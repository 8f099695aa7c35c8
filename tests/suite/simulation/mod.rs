//! Random worlds: a day on a host with a guard, in seconds. The engine, the decisions, the history and `act`
//! are the product's; kernel, LVM, guests and misfortune are a model. A world follows from its seed.
//!
//! `SIMULATED_WORLDS=100000 cargo test --test suite simulated` lives through more of them than usual,
//! `SIMULATED_SEED=N` through one.

mod checks;
mod facts;
mod hands;
mod host;
mod life;
mod setup;
mod world;

use std::thread;

use world::World;

const USUALLY: u64 = 1000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a whole number"))
}

fn live(seed: u64) -> Result<(), String> {
    World::new(seed).live().map_err(|fault| {
        format!("{fault}\n  again: SIMULATED_SEED={seed} cargo test --test suite simulated")
    })
}

#[test]
fn no_simulated_world_breaks_a_promise() {
    if let Some(seed) = number("SIMULATED_SEED") {
        live(seed).unwrap();
        return;
    }
    let worlds = number("SIMULATED_WORLDS").unwrap_or(USUALLY);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let step = u64::try_from(threads).expect("few processors");
    let faults: Vec<String> = thread::scope(|scope| {
        let lives = |first| {
            move || {
                (first..worlds)
                    .step_by(threads)
                    .find_map(|seed| live(seed).err())
            }
        };
        let all: Vec<_> = (0..step).map(|first| scope.spawn(lives(first))).collect();
        let ended = all.into_iter().map(|one| one.join().expect("no panic"));
        ended.flatten().collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
