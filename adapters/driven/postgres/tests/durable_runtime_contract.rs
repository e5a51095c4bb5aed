//! The contract suite of the durable runtime, in a database whose time the suite moves; with other processes on the
//! server's own.

#![expect(clippy::expect_used, reason = "what cannot be built is a failed test")]

mod support;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_contract::durable_runtime::Harness;
use seaworthy_contract::{Outcome, durable_runtime as dr, process};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::DurableRuntime;
use seaworthy_ports::{Timestamp, async_trait};
use seaworthy_postgres::Postgres;
use support::time::{Mover, Off, RealClock, let_go};
use support::{Schema, config, server, sql};

struct Runs {
    mover: Mover,
    opened: Mutex<Vec<Postgres>>,
    runtime: Mutex<Arc<dyn DurableRuntime>>,
    schema: Schema,
}

async fn open(schema: &str, clock: Arc<dyn Clock>) -> Postgres {
    Postgres::connect(config(&server(), schema), clock)
        .await
        .expect("a migrated schema")
}

impl Runs {
    async fn another_handle(&self, clock: Arc<dyn Clock>) -> Arc<dyn DurableRuntime> {
        let postgres = open(&self.schema.name, clock).await;
        let runtime = postgres.durable_runtime();
        self.opened.lock().expect("no panic").push(postgres);
        runtime
    }
}

#[async_trait]
impl Harness for Runs {
    async fn start() -> Self {
        let schema = Schema::migrated().await;
        let mover = Mover::start(schema.url.clone(), schema.name.clone()).await;
        let postgres = open(&schema.name, Arc::new(mover.clock.clone())).await;
        let runtime = Mutex::new(postgres.durable_runtime());
        let opened = Mutex::new(vec![postgres]);
        Self {
            mover,
            opened,
            runtime,
            schema,
        }
    }

    fn runtime(&self) -> Arc<dyn DurableRuntime> {
        Arc::clone(&self.runtime.lock().expect("no panic"))
    }

    fn now(&self) -> Timestamp {
        self.mover.clock.now()
    }

    async fn advance(&self, by: Duration) {
        self.mover.advance(by).await;
    }

    async fn second_handle(&self) -> Option<Arc<dyn DurableRuntime>> {
        Some(
            self.another_handle(Arc::new(self.mover.clock.clone()))
                .await,
        )
    }

    async fn reopen(&self) -> Option<Arc<dyn DurableRuntime>> {
        self.opened.lock().expect("no panic").clear();
        let runtime = self.second_handle().await?;
        *self.runtime.lock().expect("no panic") = Arc::clone(&runtime);
        Some(runtime)
    }

    async fn hold_up(&self) -> Option<Box<dyn Send>> {
        let mut connection = self.schema.raw().await;
        sql(&mut connection, "BEGIN; LOCK TABLE runs IN EXCLUSIVE MODE").await;
        Some(Box::new(connection))
    }

    async fn handle_with_clock_off(
        &self,
        by: Duration,
        fast: bool,
    ) -> Option<Arc<dyn DurableRuntime>> {
        let by = i64::try_from(by.as_millis()).expect("not so far off");
        let clock = Off {
            clock: self.mover.clock.clone(),
            by: if fast { by } else { -by },
        };
        Some(self.another_handle(Arc::new(clock)).await)
    }

    async fn handle_on_machine_time(&self) -> Option<Arc<dyn DurableRuntime>> {
        let_go(&mut self.schema.raw().await).await;
        Some(self.another_handle(Arc::new(RealClock)).await)
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_process_that_serves_runs", &self.schema.name)
    }
}

seaworthy_contract::durable_runtime_contract! {
    harness: Runs,
    each: [#[cfg_attr(not(has_postgres), ignore = "needs PostgreSQL: cargo xtask test starts one")]],
}

seaworthy_contract::durable_runtime_contract! {
    harness: Runs,
    each: [#[cfg_attr(not(has_postgres), ignore = "needs PostgreSQL: cargo xtask test starts one")]],
    profile: many_threads,
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_that_serves_runs() -> Outcome {
    dr::work(async |schema| {
        let schema = schema.to_str().expect("a schema's name").to_owned();
        open(&schema, Arc::new(RealClock)).await.durable_runtime()
    })
}
