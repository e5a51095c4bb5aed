//! Harnesses of the operating system's time and randomness.

use std::sync::Arc;
use std::time::Duration;

use seaworthy::ports::async_trait;
use seaworthy::ports::clock::Clock;
use seaworthy::ports::entropy::Entropy;
use seaworthy::system::{SystemClock, SystemEntropy};
use seaworthy_contract::{clock as cl, entropy as en};

pub(super) struct Time(SystemClock);

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

pub(super) struct Chance(SystemEntropy);

impl Chance {
    #[expect(
        clippy::expect_used,
        reason = "a harness cannot fail; the suite counts its panic as a failed scenario"
    )]
    fn source() -> SystemEntropy {
        SystemEntropy::new().expect("randomness of the operating system")
    }
}

#[async_trait]
impl en::Harness for Chance {
    async fn start() -> Self {
        Self(Self::source())
    }

    fn entropy(&self) -> Arc<dyn Entropy> {
        Arc::new(self.0.clone())
    }

    fn another(&self) -> Option<Arc<dyn Entropy>> {
        Some(Arc::new(Self::source()))
    }
}
