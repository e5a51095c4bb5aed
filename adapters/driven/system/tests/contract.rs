//! The contract suites on the operating system.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use seaworthy_contract::{clock as cl, entropy as en};
use seaworthy_ports::async_trait;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::entropy::Entropy;
use seaworthy_system::{SystemClock, SystemEntropy};

struct Time(SystemClock);

#[async_trait]
impl cl::Harness for Time {
    async fn start() -> Self {
        Self(SystemClock::new())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.0.clone())
    }

    /// The system's time is not ours to move: this waits for it.
    async fn advance(&self, by: Duration) {
        let until = self.0.now().plus(by);
        while self.0.now() < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

seaworthy_contract::clock_contract! { harness: Time }

struct Chance(SystemEntropy);

#[async_trait]
impl en::Harness for Chance {
    async fn start() -> Self {
        Self(SystemEntropy::new().unwrap())
    }

    fn entropy(&self) -> Arc<dyn Entropy> {
        Arc::new(self.0.clone())
    }

    fn another(&self) -> Option<Arc<dyn Entropy>> {
        Some(Arc::new(SystemEntropy::new().unwrap()))
    }
}

seaworthy_contract::entropy_contract! { harness: Chance }
