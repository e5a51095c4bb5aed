//! Time that a test drives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use event_listener::Event;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::{AdapterInfo, Timestamp};

use crate::{info, locked};

#[derive(Debug)]
struct Inner {
    now: Mutex<Timestamp>,
    moved: Event,
    jumps: bool,
    sleepers: Mutex<Sleepers>,
}

#[derive(Debug, Default)]
struct Sleepers {
    next: u64,
    until: BTreeMap<u64, Timestamp>,
}

/// A clock that stands still until it is told to move. Clones show the same time.
#[derive(Clone, Debug)]
pub struct FakeClock(Arc<Inner>);

impl FakeClock {
    /// A clock that moves only by [`advance`](Self::advance).
    #[must_use]
    pub fn new() -> Self {
        Self::starting(false)
    }

    /// A clock that jumps to whatever instant is slept for, so that nobody ever waits.
    #[must_use]
    pub fn jumping() -> Self {
        Self::starting(true)
    }

    fn starting(jumps: bool) -> Self {
        let now = Mutex::new(Timestamp::from_millis(1_790_000_000_000));
        Self(Arc::new(Inner {
            now,
            moved: Event::new(),
            jumps,
            sleepers: Mutex::default(),
        }))
    }

    /// Moves time on and wakes whoever slept for it.
    pub fn advance(&self, by: Duration) {
        let mut now = locked(&self.0.now);
        *now = now.plus(by);
        drop(now);
        self.0.moved.notify(usize::MAX);
    }

    /// The earliest instant that somebody sleeps for.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        locked(&self.0.sleepers).until.values().min().copied()
    }

    /// Moves time on to the next instant that somebody sleeps for; `false`: there is none. Who sleeps for an instant that
    /// has come was woken then, and may have other things to do first.
    pub fn advance_to_next_wake(&self) -> bool {
        let now = self.now();
        let next = {
            let sleepers = locked(&self.0.sleepers);
            let to_come = sleepers.until.values().filter(|until| **until > now);
            to_come.min().copied()
        };
        if let Some(next) = next {
            self.advance(next.since(now));
        }
        next.is_some()
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Somebody who sleeps, until dropped.
struct Sleeper<'a> {
    clock: &'a Inner,
    number: u64,
}

impl<'a> Sleeper<'a> {
    fn new(clock: &'a Inner, until: Timestamp) -> Self {
        let mut sleepers = locked(&clock.sleepers);
        let number = sleepers.next;
        sleepers.next = number.wrapping_add(1);
        sleepers.until.insert(number, until);
        Self { clock, number }
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        locked(&self.clock.sleepers).until.remove(&self.number);
    }
}

#[async_trait]
impl Clock for FakeClock {
    fn info(&self) -> AdapterInfo {
        info()
    }

    fn now(&self) -> Timestamp {
        *locked(&self.0.now)
    }

    async fn sleep_until(&self, until: Timestamp) {
        if self.0.jumps {
            self.advance(until.since(self.now()));
            return;
        }
        let _sleeper = Sleeper::new(&self.0, until);
        loop {
            let moved = self.0.moved.listen();
            if self.now() >= until {
                return;
            }
            moved.await;
        }
    }
}
