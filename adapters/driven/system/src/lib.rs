//! The operating system as clock and source of randomness.

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::entropy::Entropy;
use seaworthy_ports::{AdapterInfo, Timestamp};

const fn info(id: &'static str) -> AdapterInfo {
    AdapterInfo { id, package: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") }
}

/// The longest a sleep trusts one timer, so that a wall clock set forward meanwhile is noticed.
const LONGEST_NAP: Duration = Duration::from_secs(30);

/// The wall clock. A wall clock that is set back stands still here until it has caught up.
#[derive(Default)]
pub struct SystemClock {
    latest: Mutex<Timestamp>,
}

impl SystemClock {
    /// The wall clock.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl fmt::Debug for SystemClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SystemClock")
    }
}

#[async_trait]
impl Clock for SystemClock {
    fn info(&self) -> AdapterInfo {
        info("system-clock")
    }

    fn now(&self) -> Timestamp {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp::from_millis(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX));
        let mut latest = self.latest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *latest = (*latest).max(wall);
        *latest
    }

    async fn sleep_until(&self, until: Timestamp) {
        loop {
            let left = until.since(self.now());
            if left.is_zero() {
                return;
            }
            // The wall clock counts whole milliseconds: one more makes sure that it has passed `until`.
            let nap = left.min(LONGEST_NAP) + Duration::from_millis(1);
            tokio::time::sleep_until((Instant::now() + nap).into()).await;
        }
    }
}

/// The operating system's source of randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy(());

impl SystemEntropy {
    /// The operating system's source of randomness.
    ///
    /// # Errors
    ///
    /// The system has none, or it is not ready.
    pub fn connect() -> Result<Self, getrandom::Error> {
        // Read once, so that a system without randomness is found out before anything depends on it.
        getrandom::u64().map(|_first| Self(()))
    }
}

impl Entropy for SystemEntropy {
    fn info(&self) -> AdapterInfo {
        info("system-entropy")
    }

    fn bits(&self) -> u128 {
        loop {
            let mut bytes = [0; 16];
            // It worked at `connect`; after that only an interruption can fail it.
            if getrandom::fill(&mut bytes).is_ok() {
                return u128::from_le_bytes(bytes);
            }
            std::thread::yield_now();
        }
    }
}
