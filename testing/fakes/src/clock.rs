//! Time that a test drives.

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
        }))
    }

    /// Moves time on and wakes whoever slept for it.
    pub fn advance(&self, by: Duration) {
        let mut now = locked(&self.0.now);
        *now = now.plus(by);
        drop(now);
        self.0.moved.notify(usize::MAX);
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::new()
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
        loop {
            let moved = self.0.moved.listen();
            if self.now() >= until {
                return;
            }
            moved.await;
        }
    }
}
