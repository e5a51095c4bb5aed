//! Clocks with a bug.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seaworthy_contract::clock::Harness;
use seaworthy_fakes::FakeClock;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::{AdapterInfo, Timestamp, async_trait};

pub(crate) const NONE: u8 = 0;
pub(crate) const GOES_BACK: u8 = 1;
pub(crate) const SLOW_TIME: u8 = 2;
pub(crate) const WAKES_EARLY: u8 = 3;
pub(crate) const WAITS_FOR_THE_PAST: u8 = 4;
pub(crate) const ONE_SLEEPER: u8 = 5;

pub(crate) struct Broken(Arc<Bad>);

#[async_trait]
impl Harness for Broken {
    async fn start() -> Self {
        Self(Arc::new(Bad {
            bug: super::chosen(),
            ..Bad::default()
        }))
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::<Bad>::clone(&self.0)
    }

    async fn advance(&self, by: Duration) {
        // A second is a second, but not here.
        let is_long = by >= Duration::from_millis(20);
        let by = if self.0.bug == SLOW_TIME && is_long {
            by / 2
        } else {
            by
        };
        self.0.inner.advance(by);
    }
}

#[derive(Debug, Default)]
struct Bad {
    bug: u8,
    inner: FakeClock,
    looks: AtomicU64,
    sleeps: AtomicU64,
}

#[async_trait]
impl Clock for Bad {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn now(&self) -> Timestamp {
        let (now, looks) = (self.inner.now(), self.looks.fetch_add(1, Ordering::SeqCst));
        if self.bug == GOES_BACK && looks == 20_000 {
            Timestamp::from_millis(now.as_millis() - 1)
        } else {
            now
        }
    }

    async fn sleep_until(&self, until: Timestamp) {
        let number = self.sleeps.fetch_add(1, Ordering::SeqCst) + 1;
        match self.bug {
            WAKES_EARLY => {
                let early = Timestamp::from_millis(until.as_millis().saturating_sub(1));
                self.inner.sleep_until(early).await;
            }
            WAITS_FOR_THE_PAST => {
                tokio::task::yield_now().await;
                self.inner.sleep_until(until).await;
            }
            ONE_SLEEPER => {
                self.inner.sleep_until(until).await;
                if self.sleeps.load(Ordering::SeqCst) != number {
                    std::future::pending::<()>().await;
                }
            }
            _ => self.inner.sleep_until(until).await,
        }
    }
}
