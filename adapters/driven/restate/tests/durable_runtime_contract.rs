//! The contract suite, each scenario on a server of its own. Time has to be waited for: the server has its own.

#![expect(clippy::expect_used, reason = "what cannot be built is a failed test")]

mod support;

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use seaworthy_contract::durable_runtime::Harness;
use seaworthy_contract::{Outcome, durable_runtime as dr, process};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::DurableRuntime;
use seaworthy_ports::{AdapterInfo, Timestamp, async_trait};
use support::{Server, clock, runtime};

/// A server of one node on two cores needs longer than the usual half minute for a scenario of a thousand runs.
const PATIENCE: Duration = Duration::from_secs(60);

struct Runs {
    server: Arc<Server>,
    runtime: Mutex<Arc<dyn DurableRuntime>>,
}

#[async_trait]
impl Harness for Runs {
    async fn start() -> Self {
        seaworthy_contract::suite::set_patience(PATIENCE);
        let server = Server::start().await;
        let runtime = Mutex::new(server.runtime());
        Self {
            server: Arc::new(server),
            runtime,
        }
    }

    fn runtime(&self) -> Arc<dyn DurableRuntime> {
        Arc::clone(&self.runtime.lock().expect("no panic"))
    }

    fn now(&self) -> Timestamp {
        clock().now()
    }

    async fn advance(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(3)
    }

    async fn second_handle(&self) -> Option<Arc<dyn DurableRuntime>> {
        Some(self.server.runtime())
    }

    /// The server is killed, and started again on its data.
    async fn reopen(&self) -> Option<Arc<dyn DurableRuntime>> {
        self.server.crash().await;
        let runtime = self.server.runtime();
        *self.runtime.lock().expect("no panic") = Arc::clone(&runtime);
        Some(runtime)
    }

    /// The server stands still.
    async fn hold_up(&self) -> Option<Box<dyn Send>> {
        self.server.signal(Signal::STOP);
        Some(Box::new(Stopped(Arc::clone(&self.server))))
    }

    async fn handle_with_clock_off(
        &self,
        by: Duration,
        fast: bool,
    ) -> Option<Arc<dyn DurableRuntime>> {
        let by = i64::try_from(by.as_millis()).expect("not so far off");
        let by = if fast { by } else { -by };
        let clock = Arc::new(Off { clock: clock(), by });
        Some(runtime(&self.server.ingress(), clock))
    }

    async fn handle_on_machine_time(&self) -> Option<Arc<dyn DurableRuntime>> {
        Some(self.server.runtime())
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_process_that_serves_runs", self.server.ingress())
    }
}

struct Stopped(Arc<Server>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}

/// A clock that is off by so many milliseconds.
#[derive(Debug)]
struct Off {
    clock: Arc<dyn Clock>,
    by: i64,
}

#[async_trait]
impl Clock for Off {
    fn info(&self) -> AdapterInfo {
        self.clock.info()
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now().as_millis() + self.by)
    }

    async fn sleep_until(&self, until: Timestamp) {
        let until = Timestamp::from_millis(until.as_millis() - self.by);
        self.clock.sleep_until(until).await;
    }
}

seaworthy_contract::durable_runtime_contract! {
    harness: Runs,
    each: [#[cfg_attr(not(has_restate), ignore = "needs a Restate server: cargo xtask test starts one")]],
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_that_serves_runs() -> Outcome {
    dr::work(async |ingress| {
        let ingress = ingress.to_str().expect("an address").to_owned();
        runtime(&ingress, clock())
    })
}
