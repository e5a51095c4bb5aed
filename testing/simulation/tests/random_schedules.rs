//! Random schedules of the whole core: those that once failed, and new ones in every run.
//!
//! `SEAWORTHY_SIMULATION_SEED=7` replays one; `SEAWORTHY_SIMULATION_SEEDS=10000` tries as many new ones.

#![expect(clippy::panic, reason = "what cannot be built is a failed test")]

use std::hash::{BuildHasher as _, RandomState};

use seaworthy_simulation::{COUNT_VARIABLE, SEED_VARIABLE, World, simulate, simulate_in};

/// New seeds of a run that is not asked for more.
const NEW: u64 = 40;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|error| panic!("{variable}={value}: {error}")),
    )
}

fn hold(seed: u64) {
    if let Err(broken) = simulate(seed) {
        panic!("{broken}");
    }
}

#[test]
fn every_schedule_that_once_broke_a_promise_keeps_it() {
    for line in include_str!("seeds.txt").lines() {
        let seed = line.split('#').next().unwrap_or_default().trim();
        if !seed.is_empty() {
            hold(seed.parse().unwrap());
        }
    }
}

#[test]
fn new_schedules_keep_every_promise() {
    if let Some(seed) = number(SEED_VARIABLE) {
        return hold(seed);
    }
    let first = RandomState::new().hash_one("seed") >> 16;
    for seed in first..first + number(COUNT_VARIABLE).unwrap_or(NEW) {
        hold(seed);
    }
}

#[test]
fn a_seed_is_the_same_schedule_every_time() {
    let broken =
        |seed| simulate_in(seed, World::let_verifiers_lie).map_err(|broken| broken.to_string());
    for seed in 0..20 {
        assert_eq!(broken(seed), broken(seed));
    }
}

#[test]
fn verifiers_that_lie_are_found_out() {
    let found = (0..60).find_map(|seed| simulate_in(seed, World::let_verifiers_lie).err());
    let broken = found.unwrap();
    assert!(broken.why.contains("happened 2 times"), "{broken}");
}
