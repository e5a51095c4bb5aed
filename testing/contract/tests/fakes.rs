//! The contract suites on the doubles that claim to keep a contract.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_contract::{clock as cl, entropy as en};
use seaworthy_fakes::{FakeClock, SeededEntropy};
use seaworthy_ports::async_trait;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::entropy::Entropy;

struct Time(FakeClock);

#[async_trait]
impl cl::Harness for Time {
    async fn start() -> Self {
        Self(FakeClock::new())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.0.clone())
    }

    async fn advance(&self, by: Duration) {
        self.0.advance(by);
    }
}

seaworthy_contract::clock_contract! { harness: Time }

struct Chance;

#[async_trait]
impl en::Harness for Chance {
    async fn start() -> Self {
        Self
    }

    fn entropy(&self) -> Arc<dyn Entropy> {
        Arc::new(SeededEntropy::new(7))
    }
}

seaworthy_contract::entropy_contract! {
    harness: Chance,
    not_checkable: {
        no_value_repeats_between_sources: "two sources of one seed are meant to be the same",
    }
}
