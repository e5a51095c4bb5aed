//! A clock that can be put forward and that counts who waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use seaworthy::ports::clock::Clock;
use seaworthy::ports::{AdapterInfo, Timestamp};
use seaworthy::system::SystemClock;

/// The system's clock, put forward by a number of milliseconds. Sleeps under way do not notice.
#[derive(Clone, Debug)]
pub(crate) struct BenchClock {
    system: SystemClock,
    ahead: Arc<AtomicI64>,
    sleeps: Arc<AtomicU64>,
}

impl BenchClock {
    pub(crate) fn new() -> Self {
        Self {
            system: SystemClock::new(),
            ahead: Arc::default(),
            sleeps: Arc::default(),
        }
    }

    /// Puts it forward, so that it shows `now` now.
    pub(crate) fn put_forward(&self, now: Timestamp) {
        let ahead = now.as_millis() - self.system.now().as_millis();
        self.ahead.fetch_max(ahead, Ordering::Relaxed);
    }

    /// How often anybody has waited for it.
    pub(crate) fn sleeps(&self) -> u64 {
        self.sleeps.load(Ordering::Relaxed)
    }

    fn shifted(&self, time: Timestamp, by: i64) -> Timestamp {
        Timestamp::from_millis(time.as_millis().saturating_add(by))
    }
}

#[async_trait]
impl Clock for BenchClock {
    fn info(&self) -> AdapterInfo {
        self.system.info()
    }

    fn now(&self) -> Timestamp {
        self.shifted(self.system.now(), self.ahead.load(Ordering::Relaxed))
    }

    async fn sleep_until(&self, until: Timestamp) {
        self.sleeps.fetch_add(1, Ordering::Relaxed);
        let ahead = self.ahead.load(Ordering::Relaxed);
        self.system.sleep_until(self.shifted(until, -ahead)).await;
    }
}
