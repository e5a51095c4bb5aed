//! A clock behind faults.

use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::{AdapterInfo, Timestamp};

use super::{Faults, wrapper};

wrapper!(
    /// A clock whose sleepers stop with their process.
    FaultyClock, Clock
);

#[async_trait]
impl Clock for FaultyClock {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    /// Not counted as a call: sleeping has no effect.
    async fn sleep_until(&self, until: Timestamp) {
        self.faults.alive().await;
        self.inner.sleep_until(until).await;
        self.faults.alive().await;
    }
}
