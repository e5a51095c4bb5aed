//! Cases 42 to 44: what a run does and does not do again when another worker goes on with it.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_executor::block_on;
use futures_util::future::{Either, select};
use seaworthy_core::state::Status;
use seaworthy_fakes::{FakeClock, Fault, Faults, TableModel, TableTurn};
use seaworthy_ports::durable_runtime::Then;
use seaworthy_ports::model_provider::{
    CountTokens, Directory, Embeddings, HistoryFault, ModelCapabilities, ModelError, ModelEvent,
    ModelProvider, ModelRequest, Rerank, check_history,
};
use seaworthy_ports::{AdapterInfo, BoxStream};
use seaworthy_simulation::{World, turn};
use support::{sleep, times, together};

/// Holds every conversation that it is asked to continue against what providers accept.
#[derive(Debug)]
struct Strict {
    table: TableModel,
    asked: Mutex<u32>,
    faults: Mutex<Vec<HistoryFault>>,
}

impl ModelProvider for Strict {
    fn info(&self) -> AdapterInfo {
        self.table.info()
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        self.table.capabilities(model)
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        *self.asked.lock().unwrap() += 1;
        self.faults
            .lock()
            .unwrap()
            .extend(check_history(&request.messages).err());
        self.table.stream(request)
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        None
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        None
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        None
    }

    fn directory(&self) -> Option<&dyn Directory> {
        None
    }
}

fn turns() -> Vec<TableTurn> {
    vec![
        turn("three at once", &["look", "store", "send"], true),
        turn("the same again", &["send", "send", "unknown"], true),
        turn("done", &[], true),
    ]
}

/// The calls of a whole run that nothing befalls.
fn calls_of(turns: Vec<TableTurn>) -> Vec<&'static str> {
    let world = World::saying(turns).unwrap();
    let faults = Faults::none();
    let process = world.process(1, faults.clone()).unwrap();
    block_on(async { while !process.live_once().await.unwrap() {} });
    faults.calls()
}

#[test]
fn a_run_killed_anywhere_asks_its_provider_only_what_one_would_continue() {
    for number in 0..calls_of(turns()).len() {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let model = Arc::new(Strict {
                table: TableModel::new(turns()),
                asked: Mutex::default(),
                faults: Mutex::default(),
            });
            let provider: Arc<dyn ModelProvider> = Arc::<Strict>::clone(&model);
            let world = World::new().unwrap().with_model(provider);
            let faults = Faults::at([(number, fault)]);
            let process = world.process(1, faults.clone()).unwrap();
            let ending = block_on(async {
                while !process.live_once().await? && !faults.dead().is_set() {}
                world.finish(2).await
            });
            let place = format!("{fault:?} at call {number}");
            assert_eq!(ending.unwrap().status, Status::Succeeded, "{place}");
            assert_eq!(*model.faults.lock().unwrap(), [], "{place}");
            assert!(*model.asked.lock().unwrap() >= 3, "{place}");
        }
    }
}

/// To the runtime the run was still the first worker's when it was reopened, so nobody else was given it.
#[test]
fn a_run_that_is_reopened_before_the_runtime_knows_that_it_failed_goes_on() {
    let call = |calls: &[&str], name: &str| calls.iter().position(|call| *call == name);
    let fails = |more: &[(usize, Fault)]| {
        let open = call(&calls_of(turns()), "sandbox open").unwrap();
        let faults = Faults::at([&[(open, Fault::FailBefore)], more].concat());
        let world = World::saying(turns()).unwrap();
        let process = world.process(1, faults.clone()).unwrap();
        block_on(process.start()).unwrap();
        (world, process, faults)
    };
    let (_world, process, faults) = fails(&[]);
    assert_eq!(block_on(process.deliver()), Some(Then::Done));
    let looks = call(&faults.calls(), "head").unwrap();

    let (world, process, faults) = fails(&[(looks, Fault::Pause)]);
    let second = world.process(2, Faults::none()).unwrap();
    block_on(async {
        let then = {
            let mut delivering = std::pin::pin!(process.deliver());
            let paused = faults.paused();
            let paused = std::pin::pin!(paused.wait());
            assert!(matches!(
                select(&mut delivering, paused).await,
                Either::Right(_)
            ));
            second.harness().reopen(world.run(), "me").await.unwrap();
            faults.resume();
            delivering.await
        };
        assert!(matches!(then, Some(Then::Again { .. })), "{then:?}");
        while !second.live_once().await.unwrap() {}
        assert_eq!(
            second.view().await.unwrap().state.status(),
            Status::Succeeded
        );
    });
}

#[test]
fn of_parallel_calls_only_those_run_after_a_crash_that_had_not_finished() {
    let turns = || {
        vec![
            turn("three at once", &["look", "store", "send"], true),
            turn("done", &[], true),
        ]
    };
    let second = calls_of(turns())
        .iter()
        .enumerate()
        .filter(|(_, name)| **name == "sandbox exec")
        .nth(1)
        .unwrap()
        .0;
    let clock = FakeClock::new();
    let world = World::saying(turns()).unwrap().on_clock(&clock);
    // The second of three commands takes a minute; the worker dies after ten seconds.
    let slow = Faults::at([(second, Fault::Delay(Duration::from_secs(60)))])
        .on_clock(Arc::new(clock.clone()));
    let (first, next) = (slow, Faults::none());
    let process = world.process(1, first.clone()).unwrap();
    let heir = world.process(2, next.clone()).unwrap();
    let work = async {
        process.start().await.unwrap();
        let turn = std::pin::pin!(process.deliver());
        let death = std::pin::pin!(sleep(&clock, Duration::from_secs(10)));
        assert!(matches!(select(turn, death).await, Either::Right(_)));
        let execs = |faults: &Faults| {
            let calls = faults.calls();
            calls.iter().filter(|name| **name == "sandbox exec").count()
        };
        assert_eq!((execs(&first), times(&world, "store")), (3, 0));
        heir.deliver().await;
        assert_eq!(execs(&next), 1, "only the slow one runs again");
        assert_eq!(heir.ending().await.unwrap().status, Status::Succeeded);
    };
    together(&clock, vec![("work", Box::pin(work))]);
    for tool in ["look", "store", "send"] {
        assert_eq!(times(&world, tool), 1, "{tool}");
    }
}

#[test]
fn the_same_call_twice_on_purpose_happens_twice_and_repeated_after_a_crash_once() {
    let calls = calls_of(turns());
    let execs = calls.iter().enumerate();
    for (number, _name) in execs.filter(|(_, name)| **name == "sandbox exec") {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let world = World::saying(turns()).unwrap();
            let faults = Faults::at([(number, fault)]);
            let process = world.process(1, faults.clone()).unwrap();
            let ending = block_on(async {
                while !process.live_once().await? && !faults.dead().is_set() {}
                world.finish(2).await
            });
            assert_eq!(ending.unwrap().status, Status::Succeeded);
            let once: Vec<u32> = world.once().into_values().collect();
            assert_eq!(once, [1, 1, 1], "{fault:?} at call {number}");
        }
    }
}
