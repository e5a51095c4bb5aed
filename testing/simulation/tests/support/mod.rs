//! What several tests need: time that moves only when nobody can do anything, and a run in it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::allow_attributes,
    reason = "each test file uses a part of it"
)]

use std::time::Duration;

use seaworthy_fakes::FakeClock;
use seaworthy_ports::clock::Clock as _;
use seaworthy_simulation::{Chance, Executor, World};

/// Runs these tasks to their end in the time of `clock`.
pub fn together<'a>(clock: &FakeClock, tasks: Vec<(&str, Task<'a>)>) {
    let mut executor = Executor::new(clock, Chance::new(1));
    for (name, task) in tasks {
        executor.add(name, task);
    }
    assert_eq!(executor.run(), Ok(()));
}

pub type Task<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

pub async fn sleep(clock: &FakeClock, time: Duration) {
    clock.sleep_until(clock.now().plus(time)).await;
}

/// How many effects there were of the command `name`.
pub fn times(world: &World, name: &str) -> u32 {
    let of = |key: &str| key.split(' ').next() == Some(name);
    let acted = world.acted();
    acted
        .iter()
        .filter(|(key, _)| of(key))
        .map(|(_, times)| times)
        .sum()
}
