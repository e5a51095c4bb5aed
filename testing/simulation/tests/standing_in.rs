//! Models that stand in for others, limits that processes share, and watchers who go away.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what cannot be built is a failed test"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use seaworthy_core::event::{Event, FailedTry, ModelCalled, WaitReason};
use seaworthy_core::live::{Live, OnDrop};
use seaworthy_core::record::Link;
use seaworthy_core::state::{Outcome, Status};
use seaworthy_fakes::{FakeClock, FakeModel, Faults, Step};
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::{Scope, Then};
use seaworthy_ports::model_provider::Kind;
use seaworthy_ports::observer::RunEnd;
use seaworthy_ports::{Latch, RunId};
use seaworthy_simulation::{Process, World};
use support::{sleep, together};

const TWO: &str = "
  main: { provider: openai, model: table, fallback: [backup] }
  backup: { provider: openai, model: spare }";

const HOURS: Duration = Duration::from_secs(2 * 60 * 60);

fn world(clock: &FakeClock, section: &str, main: &FakeModel, spare: &FakeModel) -> World {
    World::new()
        .unwrap()
        .on_clock(clock)
        .with_aliases(section)
        .unwrap()
        .with_model(Arc::new(main.clone()))
        .with_other("spare", Arc::new(spare.clone()))
}

/// Starts a run with these models and tells its story.
fn live(
    section: &str,
    main: &FakeModel,
    spare: &FakeModel,
    story: impl AsyncFnOnce(&FakeClock, &Process),
) {
    let clock = FakeClock::new();
    let process = world(&clock, section, main, spare)
        .process(1, Faults::none())
        .unwrap();
    let story = async {
        process.start().await.unwrap();
        story(&clock, &process).await;
    };
    together(&clock, vec![("story", Box::pin(story))]);
    main.assert_all_used();
    spare.assert_all_used();
}

fn nobody() -> FakeModel {
    FakeModel::new([])
}

async fn events(process: &Process) -> Vec<Event> {
    let harness = process.harness();
    let state = process.view().await.unwrap().state;
    harness
        .records(state.run(), Link::default())
        .map(|loaded| loaded.unwrap().envelope.event().unwrap())
        .collect()
        .await
}

async fn answer(process: &Process) -> ModelCalled {
    let answers = events(process).await.into_iter();
    let mut answers = answers.filter_map(|event| match event {
        Event::ModelCalled(called) => Some(*called),
        _ => None,
    });
    answers.next_back().unwrap()
}

async fn succeeds(process: &Process) {
    assert_eq!(process.deliver().await, Some(Then::Done));
    assert_eq!(process.ending().await.unwrap().status, Status::Succeeded);
}

async fn fails(process: &Process) -> String {
    assert_eq!(process.deliver().await, Some(Then::Done));
    match process.view().await.unwrap().state.outcome {
        Some(Outcome::Failed { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

fn tried(called: &[FailedTry]) -> Vec<(&str, &str)> {
    called
        .iter()
        .map(|one| (one.model.as_str(), one.code.as_str()))
        .collect()
}

#[test]
fn another_model_answers_once_the_first_has_had_its_tries() {
    let main = FakeModel::new([
        Step::fails(Kind::Overloaded),
        Step::fails(Kind::Server),
        Step::fails(Kind::Overloaded),
    ]);
    let spare = FakeModel::new([Step::says("done")]);
    live(TWO, &main, &spare, async |_clock, process| {
        succeeds(process).await;
        let called = answer(process).await;
        assert_eq!((called.model.as_str(), called.tries), ("spare", 4));
        let before = [
            ("table", "overloaded"),
            ("table", "server"),
            ("table", "overloaded"),
        ];
        assert_eq!(tried(&called.failed_tries), before);
        let waited: Vec<bool> = called
            .failed_tries
            .iter()
            .map(|one| one.waited_ms.is_some())
            .collect();
        assert_eq!(waited, [true, true, false]);
    });
}

#[test]
fn another_model_answers_at_once_where_the_first_wants_to_be_left_alone() {
    let main = FakeModel::new([Step::asks_to_wait(Kind::RateLimited, HOURS)]);
    let spare = FakeModel::new([Step::says("done")]);
    live(TWO, &main, &spare, async |clock, process| {
        let begun = clock.now();
        succeeds(process).await;
        assert_eq!(clock.now(), begun);
    });
}

#[test]
fn where_both_want_to_be_left_alone_the_run_waits_for_the_sooner() {
    let main = FakeModel::new([
        Step::asks_to_wait(Kind::RateLimited, HOURS),
        Step::fails(Kind::QuotaExhausted),
    ]);
    let spare = FakeModel::new([
        Step::asks_to_wait(Kind::RateLimited, HOURS / 2),
        Step::says("done"),
    ]);
    live(TWO, &main, &spare, async |clock, process| {
        let wake_at = Some(clock.now().plus(HOURS / 2));
        assert_eq!(process.deliver().await, Some(Then::Park { wake_at }));
        sleep(clock, HOURS / 2).await;
        succeeds(process).await;
    });
}

#[test]
fn nobody_stands_in_for_a_model_that_declined() {
    for kind in [Kind::Refusal, Kind::ContentFilter, Kind::InvalidRequest] {
        let main = FakeModel::new([Step::fails(kind)]);
        live(TWO, &main, &nobody(), async |_clock, process| {
            assert!(fails(process).await.starts_with("model_"));
        });
    }
}

#[test]
fn nobody_stands_in_after_the_first_chunk_unless_the_alias_says_so() {
    let cut = || FakeModel::new([Step::says("half of an answer").cut_after(3)]);
    let main = cut();
    live(TWO, &main, &nobody(), async |_clock, process| {
        assert_eq!(fails(process).await, "model_network");
    });
    let section = "
  main: { provider: openai, model: table, fallback: { models: [backup], after_first_chunk: true } }
  backup: { provider: openai, model: spare }";
    let spare = FakeModel::new([Step::says("done")]);
    live(section, &cut(), &spare, async |_clock, process| {
        succeeds(process).await
    });
}

#[test]
fn where_nobody_can_answer_the_first_models_failure_counts_and_all_tries_are_on_record() {
    let main = FakeModel::new([Step::fails(Kind::QuotaExhausted)]);
    let spare = FakeModel::new([Step::fails(Kind::NotFound)]);
    live(TWO, &main, &spare, async |_clock, process| {
        assert_eq!(fails(process).await, "model_quota_exhausted");
        let events = events(process).await;
        let failed = events.iter().find_map(|event| match event {
            Event::ModelFailed {
                failed_tries,
                tries,
                ..
            } => Some((failed_tries, *tries)),
            _ => None,
        });
        let (failed, tries) = failed.unwrap();
        assert_eq!(tries, 2);
        assert_eq!(
            tried(failed),
            [("table", "quota_exhausted"), ("spare", "not_found")]
        );
        assert!(failed.iter().all(|one| one.replay_safe));
    });
}

#[test]
fn an_alias_has_its_own_patience_and_price() {
    let section = "
  main:
    provider: openai
    model: table
    retry: { attempts: 1, too_long: fail }";
    for step in [
        Step::fails(Kind::Server),
        Step::asks_to_wait(Kind::RateLimited, HOURS),
    ] {
        let main = FakeModel::new([step]);
        live(section, &main, &nobody(), async |_clock, process| {
            assert!(fails(process).await.starts_with("model_"));
        });
    }
    let section = "
  main: { provider: openai, model: table, price: { input: 1.25, output: 10 } }";
    let main = FakeModel::new([Step::says("done")]);
    live(section, &main, &nobody(), async |_clock, process| {
        succeeds(process).await;
        let called = answer(process).await;
        let tokens = called.usage.input_tokens.zip(called.usage.output_tokens);
        assert_eq!(called.cost.is_some(), tokens.is_some());
        if let (Some(cost), Some((input, output))) = (called.cost, tokens) {
            assert_eq!(cost.currency, "USD");
            assert_eq!(cost.micros, (input * 125 + output * 1000).div_ceil(100));
        }
    });
}

#[test]
fn a_provider_that_puts_a_run_off_for_ever_fails_it_in_the_end() {
    let hour = HOURS / 2;
    let steps = (0..17).map(|_| Step::asks_to_wait(Kind::RateLimited, hour));
    let main = FakeModel::new(steps);
    let section = "
  main: { provider: openai, model: table }";
    live(section, &main, &nobody(), async |clock, process| {
        for _ in 0..16 {
            assert!(matches!(process.deliver().await, Some(Then::Park { .. })));
            sleep(clock, hour).await;
        }
        assert_eq!(fails(process).await, "model_rate_limited");
    });
}

/// Two runs of one world, each in a process of its own.
fn two_processes(clock: &FakeClock, section: &str, main: &FakeModel) -> (Process, Process) {
    let world = world(clock, section, main, &nobody());
    let other = world.about(RunId::new("other").unwrap());
    (
        world.process(1, Faults::none()).unwrap(),
        other.process(2, Faults::none()).unwrap(),
    )
}

#[test]
fn calls_at_once_are_limited_across_processes() {
    let clock = FakeClock::new();
    let section = "
  main: { provider: openai, model: table, limits: { concurrent: 1 } }";
    let slow = Duration::from_secs(5);
    let main = FakeModel::new([
        Step::says("one").after(&clock, slow),
        Step::says("two").after(&clock, slow),
    ]);
    let (one, two) = two_processes(&clock, section, &main);
    let begun = clock.now();
    let first = async {
        one.start().await.unwrap();
        succeeds(&one).await;
    };
    let second = async {
        two.start().await.unwrap();
        succeeds(&two).await;
    };
    together(
        &clock,
        vec![("one", Box::pin(first)), ("two", Box::pin(second))],
    );
    main.assert_all_used();
    assert!(clock.now().since(begun) >= slow * 2, "they called at once");
}

#[test]
fn a_place_of_a_dead_process_is_free_again_when_its_call_must_have_ended() {
    let clock = FakeClock::new();
    let section = "
  main: { provider: openai, model: table, limits: { concurrent: 1 } }";
    let main = FakeModel::new([
        Step::says("never heard").after(&clock, Duration::from_secs(3600)),
        Step::says("done"),
    ]);
    let (dead, alive) = two_processes(&clock, section, &main);
    let begun = clock.now();
    let story = async {
        dead.start().await.unwrap();
        {
            let dying = std::pin::pin!(dead.deliver());
            let death = std::pin::pin!(sleep(&clock, Duration::from_secs(1)));
            futures_util::future::select(dying, death).await;
        }
        alive.start().await.unwrap();
        loop {
            match alive.deliver().await {
                Some(Then::Park {
                    wake_at: Some(wake_at),
                }) => {
                    assert_eq!(
                        alive.waits_for().await.unwrap(),
                        Some(WaitReason::ModelLimit)
                    );
                    clock.sleep_until(wake_at).await;
                }
                other => {
                    assert_eq!(other, Some(Then::Done));
                    break;
                }
            }
        }
        assert_eq!(alive.ending().await.unwrap().status, Status::Succeeded);
    };
    together(&clock, vec![("story", Box::pin(story))]);
    main.assert_all_used();
    let waited = clock.now().since(begun);
    assert!(waited >= Duration::from_secs(330), "{waited:?}");
    assert!(waited < Duration::from_secs(400), "{waited:?}");
}

#[test]
fn a_minutes_calls_are_limited_across_processes() {
    let clock = FakeClock::new();
    let section = "
  main: { provider: openai, model: table, limits: { requests_per_minute: 1, group: shared } }";
    let main = FakeModel::new([Step::says("one"), Step::says("two")]);
    let (one, two) = two_processes(&clock, section, &main);
    let story = async {
        one.start().await.unwrap();
        two.start().await.unwrap();
        let begun = clock.now();
        succeeds(&one).await;
        let Some(Then::Park {
            wake_at: Some(wake_at),
        }) = two.deliver().await
        else {
            panic!("it did not wait");
        };
        let wait = wake_at.since(begun);
        assert!(wait >= Duration::from_secs(60), "{wait:?}");
        assert_eq!(two.waits_for().await.unwrap(), Some(WaitReason::ModelLimit));
        assert_eq!(two.view().await.unwrap().state.deferrals, 0);
        clock.sleep_until(wake_at).await;
        succeeds(&two).await;
    };
    together(&clock, vec![("story", Box::pin(story))]);
    main.assert_all_used();
}

/// A run that is served while somebody watches its first text and then goes away.
fn watched(on_drop: OnDrop) -> Status {
    let clock = FakeClock::new();
    let main = FakeModel::new([
        Step::calls("look", &serde_json::json!({})).and_says("one moment"),
        Step::says("done").after(&clock, Duration::from_secs(60)),
    ]);
    let section = "
  main: { provider: openai, model: table }";
    let process = world(&clock, section, &main, &nobody())
        .process(1, Faults::none())
        .unwrap();
    let run = RunId::new("simulated").unwrap();
    let (done, finished) = Latch::new();
    let serving = async {
        process.start().await.unwrap();
        let worker =
            seaworthy_core::harness::worker(process.worker().clone(), Scope::Run(run.clone()), 1);
        process.harness().serve(worker, finished).await.unwrap();
    };
    let mut watch = process.harness().watch(&run).on_drop(on_drop);
    let watching = async {
        while let Some(live) = watch.next().await {
            if matches!(live, Live::Text { .. }) {
                break;
            }
        }
        drop(watch);
        done.set();
    };
    together(
        &clock,
        vec![
            ("watching", Box::pin(watching)),
            ("serving", Box::pin(serving)),
        ],
    );
    futures_executor::block_on(async { process.view().await.unwrap().status() })
}

#[test]
fn a_watcher_who_goes_away_leaves_the_run_alone_or_has_it_cancelled() {
    assert_eq!(watched(OnDrop::Detach), Status::Succeeded);
    let by = "somebody".to_owned();
    assert_eq!(watched(OnDrop::Cancel { by }), Status::Cancelled);
}

#[test]
fn whoever_watches_sees_the_end_last_and_nobody_is_cancelled_afterwards() {
    let clock = FakeClock::new();
    let main = FakeModel::new([Step::says("done")]);
    let section = "
  main: { provider: openai, model: table }";
    let process = world(&clock, section, &main, &nobody())
        .process(1, Faults::none())
        .unwrap();
    let run = RunId::new("simulated").unwrap();
    let (done, finished) = Latch::new();
    let story = async {
        process.start().await.unwrap();
        let by = "somebody".to_owned();
        let watch = process.harness().watch(&run).on_drop(OnDrop::Cancel { by });
        let worker =
            seaworthy_core::harness::worker(process.worker().clone(), Scope::Run(run.clone()), 1);
        process.harness().serve(worker, finished).await.unwrap();
        let seen: Vec<Live> = watch.collect().await;
        let end = Live::Ended {
            status: RunEnd::Succeeded,
        };
        assert_eq!(seen.last(), Some(&end));
        let texts: String = seen
            .iter()
            .filter_map(|live| match live {
                Live::Text { delta } => Some(delta.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(texts, "done");
        done.set();
    };
    together(&clock, vec![("story", Box::pin(story))]);
    futures_executor::block_on(async {
        assert_eq!(process.view().await.unwrap().status(), Status::Succeeded);
    });
}
