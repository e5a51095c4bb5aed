//! What it costs. Measurements of a machine, so none of them is a test that fails; run them on one that is idle otherwise:
//! `cargo xtask services run --only restate -- cargo nextest run -p seaworthy-restate --run-ignored all --no-capture measures`

#![expect(clippy::expect_used, reason = "what cannot be built is a failed test")]
#![expect(clippy::print_stdout, reason = "that is what it is for")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use seaworthy_ports::durable_runtime::{
    Advance, DurableRuntime, Next, Scope, Served, Signal, Submit, Then, Turn, Worker,
};
use seaworthy_ports::{Latch, LatchSetter, QueueName, RunId, SignalId, WorkerId, async_trait};
use support::Server;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

const SIGNALS: usize = 200;
const RUNS: usize = 400;

/// Says when a turn begins, and ends it at once.
struct Tells {
    began: UnboundedSender<Instant>,
    then: Then,
}

#[async_trait]
impl Advance for Tells {
    async fn advance(&self, turn: Turn) -> Next {
        let _nobody_listens = self.began.send(Instant::now());
        Next {
            consumed: turn
                .signals
                .iter()
                .map(|signal| signal.id.clone())
                .collect(),
            then: self.then.clone(),
        }
    }
}

struct Serving {
    began: UnboundedReceiver<Instant>,
    stop: LatchSetter,
    task: JoinHandle<Served>,
}

fn serve(runtime: &Arc<dyn DurableRuntime>, concurrency: usize, then: Then) -> Serving {
    let (tell, began) = unbounded_channel();
    let (stop, stopped) = Latch::new();
    let worker = Worker {
        id: WorkerId::new("w").expect("an id"),
        scope: Scope::All,
        concurrency,
        lease: Duration::from_secs(30),
        poll: Duration::from_secs(1),
        drain: Duration::from_secs(5),
    };
    let runtime = Arc::clone(runtime);
    let advance = Arc::new(Tells { began: tell, then });
    let task = tokio::spawn(async move {
        let served = runtime.serve(worker, advance, stopped).await;
        served.expect("a worker")
    });
    Serving { began, stop, task }
}

fn run(number: usize) -> Submit {
    Submit {
        run: RunId::new(format!("r{number}")).expect("an id"),
        session: None,
        queue: QueueName::new("q").expect("a name"),
        not_before: None,
    }
}

async fn measured(syncs: bool) {
    let server = Server::start_that_syncs(syncs).await;
    let runtime = server.runtime();
    let mut serving = serve(&runtime, 1, Then::Park { wake_at: None });
    runtime.submit(run(0)).await.expect("a run");
    serving.began.recv().await.expect("a turn");
    let mut took = Vec::with_capacity(SIGNALS);
    for number in 0..SIGNALS {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let signal = Signal {
            id: SignalId::new(format!("s{number}")).expect("an id"),
            payload: "yes".into(),
        };
        let sent = Instant::now();
        runtime.signal(&run(0).run, signal).await.expect("a signal");
        let began = serving.began.recv().await.expect("a turn");
        took.push(began.saturating_duration_since(sent));
    }
    serving.stop.set();
    serving.task.await.expect("no panic");
    took.sort();
    let at = |part: usize| took.get(SIGNALS * part / 100).expect("a time");
    println!(
        "syncs: {syncs}; from a signal to its turn: median {:?}, 90 % {:?}",
        at(50),
        at(90)
    );

    let mut serving = serve(&runtime, 32, Then::Done);
    let start = Instant::now();
    let submitting = (1..=RUNS).map(|number| runtime.submit(run(number)));
    for submitted in futures_util::future::join_all(submitting).await {
        submitted.expect("a run");
    }
    for _run in 0..RUNS {
        serving.began.recv().await.expect("a turn");
    }
    let each = start.elapsed().as_secs_f64() / RUNS as f64;
    println!(
        "runs submitted, served and ended: {:.0} a second",
        1.0 / each
    );
    serving.stop.set();
    serving.task.await.expect("no panic");
    println!("the server has {} MB in memory", server.memory() / 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measures_a_server_that_syncs() {
    measured(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measures_a_server_that_does_not_sync() {
    measured(false).await;
}
