//! The suite of the port.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use seaworthy_contract::observer::Harness;
use seaworthy_otlp::{OtlpConfig, OtlpObserver};
use seaworthy_ports::Secret;
use seaworthy_ports::observer::Observer;
use support::Collector;

const SECRET: &str = "key-41d6f0";

struct Sending {
    collector: Collector,
    observer: Arc<OtlpObserver>,
}

#[async_trait]
impl Harness for Sending {
    async fn start() -> Self {
        let collector = Collector::start();
        let config = OtlpConfig::new(collector.url())
            .with_header("x-api-key", Secret::new(SECRET))
            .with_queue(256)
            .with_delay(Duration::from_millis(5))
            .with_interval(Duration::from_millis(20));
        let observer = Arc::new(OtlpObserver::start(&config).unwrap());
        Self {
            collector,
            observer,
        }
    }

    fn observer(&self) -> Arc<dyn Observer> {
        Arc::<OtlpObserver>::clone(&self.observer)
    }

    async fn lose_backend(&self) -> bool {
        self.collector.lose();
        true
    }

    async fn hold_up(&self) -> Option<Box<dyn Send>> {
        Some(Box::new(self.collector.hold()))
    }

    fn dropped(&self) -> Option<u64> {
        Some(self.observer.dropped())
    }

    async fn written(&self) -> Option<String> {
        Some(self.collector.text())
    }

    fn secret(&self) -> Option<String> {
        Some(SECRET.to_owned())
    }
}

seaworthy_contract::observer_contract! {
    harness: Sending,
    not_checkable: {
        the_facts_of_a_run_come_out_in_their_order: "an append comes out as a count, without its run",
    }
}

#[test]
fn the_secret_reaches_the_collector_in_its_header() {
    let sending = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(Sending::start());
    support::until(|| {
        let headers = sending.collector.headers();
        headers.contains(&format!("x-api-key: {SECRET}"))
    });
}
