//! How often the server is asked.

#![expect(clippy::expect_used, reason = "helpers of tests fail tests")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seaworthy_ports::durable_runtime::{Advance, Next, Scope, Then, Turn, Worker};
use seaworthy_ports::{Latch, QueueName, WorkerId, async_trait};
use seaworthy_postgres::Postgres;
use support::proxy::proxied;
use support::time::RealClock;
use support::{Schema, append};

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn a_step_of_one_run_is_one_round_trip() {
    const STEPS: u32 = 20;
    let schema = Schema::migrated().await;
    let (proxy, config) = proxied(&schema).await;
    let opened = Postgres::connect(config, Arc::new(RealClock)).await;
    let store = opened.expect("connected").state_store();
    // The first two open the connections of both lanes and prepare the statements.
    let mut head = 0;
    while head < 8 {
        store
            .append(append("a", head, &[b"x"]))
            .await
            .expect("appended");
        head += 1;
    }
    let before = proxy.asked();
    for _step in 0..STEPS {
        store
            .append(append("a", head, &[b"x"]))
            .await
            .expect("appended");
        head += 1;
    }
    assert_eq!(proxy.asked() - before, STEPS);
}

struct Nothing;

#[async_trait]
impl Advance for Nothing {
    async fn advance(&self, _turn: Turn) -> Next {
        Next {
            consumed: Vec::new(),
            then: Then::Done,
        }
    }
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn an_idle_worker_asks_at_most_twice_a_second() {
    let schema = Schema::migrated().await;
    let (proxy, config) = proxied(&schema).await;
    let opened = Postgres::connect(config, Arc::new(RealClock)).await;
    let runtime = opened.expect("connected").durable_runtime();
    for scope in [
        Scope::All,
        Scope::Queues(BTreeSet::from([QueueName::new("q").expect("a queue")])),
    ] {
        let (stop, stopped) = Latch::new();
        let worker = Worker {
            id: WorkerId::new("w").expect("a worker id"),
            scope,
            concurrency: 4,
            lease: Duration::from_secs(30),
            poll: Duration::from_millis(1),
            drain: Duration::from_secs(5),
        };
        let serving = tokio::spawn({
            let runtime = Arc::clone(&runtime);
            async move { runtime.serve(worker, Arc::new(Nothing), stopped).await }
        });
        // Connections are opened, statements prepared, and what a listener may have missed is looked for.
        // Nothing shows from outside when the last of that is over.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (before, began) = (proxy.asked(), Instant::now());
        // The promise is so many in a second of real time, and what must not happen can only be waited for.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let asked = f64::from(proxy.asked() - before);
        let allowed = 2.0 * began.elapsed().as_secs_f64() + 1.0;
        assert!(
            asked <= allowed,
            "{asked} questions where {allowed} are allowed"
        );
        assert!(asked >= 1.0, "it asks at all");
        stop.set();
        serving.await.expect("no panic").expect("served");
    }
}
