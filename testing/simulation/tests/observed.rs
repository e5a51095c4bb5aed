//! What an observer is told of a run that is crashed at every port call.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

use std::collections::BTreeSet;

use futures_executor::block_on;
use seaworthy_contract::observer::check;
use seaworthy_fakes::{Fault, Faults};
use seaworthy_ports::TraceContext;
use seaworthy_ports::observer::{Execution, Fact, ModelCallEnd};
use seaworthy_simulation::World;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn undisturbed(world: &World) -> Vec<&'static str> {
    let faults = Faults::none();
    let process = world.process(1, faults.clone()).unwrap();
    block_on(async { while !process.live_once().await.unwrap() {} });
    faults.calls()
}

/// The first process crashes there, another one goes on.
fn crashed(world: &World, number: usize, fault: Fault) {
    let faults = Faults::at([(number, fault)]);
    let process = world.process(1, faults.clone()).unwrap();
    block_on(async {
        for _round in 0..100 {
            if faults.dead().is_set() || process.live_once().await.unwrap_or(true) {
                break;
            }
        }
    });
    drop(process);
    block_on(world.finish(2)).unwrap();
}

/// Answers of the model that were told, and their tokens.
fn answers(facts: &[Fact]) -> (usize, u64) {
    let usages = facts.iter().filter_map(|fact| match fact {
        Fact::ModelCallEnded {
            usage,
            end: ModelCallEnd::Finished(_),
            ..
        } => Some(usage.input_tokens.unwrap_or(0) + usage.output_tokens.unwrap_or(0)),
        _ => None,
    });
    usages.fold((0, 0), |(calls, tokens), more| (calls + 1, tokens + more))
}

/// What the run's end says of the same.
fn on_record(facts: &[Fact]) -> (usize, u64) {
    let ended = facts.iter().find_map(|fact| match fact {
        Fact::RunEnded {
            usage, model_calls, ..
        } => {
            let tokens = usage.input_tokens.unwrap_or(0) + usage.output_tokens.unwrap_or(0);
            Some((usize::try_from(*model_calls).unwrap(), tokens))
        }
        _ => None,
    });
    ended.unwrap()
}

#[test]
fn all_of_an_undisturbed_run_is_told_once() {
    let world = World::new().unwrap();
    undisturbed(&world);
    let facts = world.told();
    check(&facts, false).unwrap();
    assert_eq!(answers(&facts), on_record(&facts));
    let again = facts.iter().filter(|fact| {
        let execution = match fact {
            Fact::ToolCallStarted { execution, .. } => *execution,
            _ => Execution::First,
        };
        execution != Execution::First
    });
    assert_eq!(again.count(), 0);
}

#[test]
fn a_crash_anywhere_has_nothing_on_record_told_again() {
    let calls = undisturbed(&World::new().unwrap());
    for (number, name) in calls.iter().enumerate() {
        // The crash matrix has both at each call; of what is told, one of them at a time is enough.
        let fault = if number % 2 == 0 {
            Fault::CrashBefore
        } else {
            Fault::CrashAfter
        };
        let place = format!("{fault:?} at call {number} ({name})");
        let world = World::new().unwrap();
        crashed(&world, number, fault);
        let facts = world.told();
        check(&facts, false).unwrap_or_else(|halt| panic!("{place}: {halt:?}"));
        let ends = facts
            .iter()
            .filter(|fact| matches!(fact, Fact::RunEnded { .. }))
            .count();
        // A crash behind the last record loses what was not told yet.
        assert!(ends <= 1, "{place}: the run ended {ends} times");
        if ends == 1 {
            let (told, tokens) = answers(&facts);
            let (recorded, used) = on_record(&facts);
            // At most the answer that the crash lost was paid for twice.
            assert!((recorded..=recorded + 1).contains(&told), "{place}");
            assert!(told > recorded || tokens == used, "{place}");
        }
    }
}

#[test]
fn a_run_stays_in_the_trace_it_was_started_in_whoever_goes_on_with_it() {
    let parent = TraceContext::parse(PARENT, Some("vendor=1")).unwrap();
    let number = undisturbed(&World::new().unwrap()).len() / 2;
    let world = World::new().unwrap().within(parent.clone());
    crashed(&world, number, Fault::CrashBefore);
    let facts = world.told();
    let workers: BTreeSet<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::AttemptStarted { worker, .. } => Some(worker.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(workers.len(), 2);
    let spans: Vec<_> = facts.iter().filter_map(Fact::span).collect();
    assert!(spans.iter().all(|span| {
        span.context.trace() == parent.trace() && span.context.tracestate() == Some("vendor=1")
    }));
    let whole = facts.iter().find_map(|fact| match fact {
        Fact::RunEnded { span, .. } => Some(span.clone()),
        _ => None,
    });
    assert_eq!(whole.unwrap().parent, Some(parent.span()));
}

#[test]
fn two_runs_of_one_name_have_traces_of_their_own() {
    use seaworthy_fakes::FakeClock;
    use std::time::Duration;
    let trace = |later: Duration| {
        let clock = FakeClock::jumping();
        clock.advance(later);
        let world = World::new().unwrap().on_clock(&clock);
        undisturbed(&world);
        let facts = world.told();
        facts.iter().find_map(Fact::span).unwrap().context.trace()
    };
    assert_eq!(trace(Duration::ZERO), trace(Duration::ZERO));
    assert_ne!(trace(Duration::ZERO), trace(Duration::from_secs(1)));
}
