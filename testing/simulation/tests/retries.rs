//! The policy of retries, row by row, as runs keep to it in a time that a test moves.

#![expect(clippy::unwrap_used, reason = "what cannot be built is a failed test")]

mod support;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use seaworthy_core::event::{Event, FailedTry, WaitReason};
use seaworthy_core::record::Link;
use seaworthy_core::state::Outcome;
use seaworthy_fakes::{FakeClock, FakeModel, Faults, Step};
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::Then;
use seaworthy_ports::model_provider::Kind;
use seaworthy_simulation::{Process, World};
use support::together;

const TRANSIENT: [Kind; 5] = [
    Kind::RateLimited,
    Kind::Overloaded,
    Kind::Server,
    Kind::Timeout,
    Kind::Network,
];
const LASTING: [Kind; 12] = [
    Kind::Authentication,
    Kind::Permission,
    Kind::NotFound,
    Kind::InvalidRequest,
    Kind::ContextLength,
    Kind::QuotaExhausted,
    Kind::Refusal,
    Kind::ContentFilter,
    Kind::Truncated,
    Kind::Decode,
    Kind::Unsupported,
    Kind::Cancelled,
];

/// What came of the first delivery of a run.
struct Seen {
    then: Option<Then>,
    took: Duration,
    asked: usize,
    /// `None`: it has not failed.
    code: Option<String>,
    waits_for: Option<WaitReason>,
    failed: Vec<FailedTry>,
}

impl Seen {
    fn waited_ms(&self) -> Vec<u64> {
        self.failed.iter().filter_map(|one| one.waited_ms).collect()
    }
}

/// Runs against a model that does this, with this said of its retries.
fn seen(retry: &str, steps: impl FnOnce(&FakeClock) -> Vec<Step>) -> Seen {
    let clock = FakeClock::new();
    let model = FakeModel::new(steps(&clock));
    let section = format!("  main: {{ provider: openai, model: table{retry} }}");
    let world = World::new()
        .unwrap()
        .on_clock(&clock)
        .with_aliases(&section)
        .unwrap()
        .with_model(Arc::new(model.clone()));
    let process = world.process(1, Faults::none()).unwrap();
    let mut seen = None;
    let story = async {
        process.start().await.unwrap();
        let begun = clock.now();
        let then = process.deliver().await;
        let took = clock.now().since(begun);
        let state = process.view().await.unwrap().state;
        seen = Some(Seen {
            then,
            took,
            asked: model.used(),
            code: match state.outcome {
                Some(Outcome::Failed { code, .. }) => Some(code),
                _ => None,
            },
            waits_for: process.waits_for().await.unwrap(),
            failed: failed(&process).await,
        });
    };
    together(&clock, vec![("story", Box::pin(story))]);
    seen.unwrap()
}

/// The failed tries on record.
async fn failed(process: &Process) -> Vec<FailedTry> {
    let run = process.view().await.unwrap().state.run().clone();
    let harness = process.harness();
    let events: Vec<Event> = harness
        .records(&run, Link::default())
        .map(|loaded| loaded.unwrap().envelope.event().unwrap())
        .collect()
        .await;
    let tries = events.into_iter().map(|event| match event {
        Event::ModelCalled(called) => called.failed_tries,
        Event::ModelFailed { failed_tries, .. } => failed_tries,
        _ => Vec::new(),
    });
    tries.flatten().collect()
}

/// Says that each delay lies between half of its longest and that, and that no other time passed.
fn waited(seen: &Seen, longest_ms: &[u64]) {
    let waited = seen.waited_ms();
    assert_eq!(waited.len(), longest_ms.len(), "{waited:?}");
    for (waited, longest) in waited.iter().zip(longest_ms) {
        let band: RangeInclusive<u64> = longest / 2..=*longest;
        assert!(band.contains(waited), "{waited} of {band:?}");
    }
    let all = Duration::from_millis(waited.iter().sum());
    assert_eq!(seen.took, all);
}

fn fails(kind: Kind, times: usize) -> Vec<Step> {
    (0..times).map(|_time| Step::fails(kind)).collect()
}

#[test]
fn a_failure_that_may_pass_has_three_tries_half_a_second_and_a_second_apart() {
    for kind in TRANSIENT {
        let seen = seen("", |_clock| fails(kind, 3));
        assert_eq!(seen.asked, 3, "{kind}");
        let code = format!("model_{}", kind.as_str());
        assert_eq!(seen.code.as_deref(), Some(code.as_str()));
        waited(&seen, &[500, 1_000]);
        let codes = seen.failed.iter().map(|one| one.code.as_str());
        assert_eq!(codes.collect::<Vec<_>>(), [kind.as_str(); 3]);
    }
}

#[test]
fn a_failure_that_lasts_has_one_try_and_no_time() {
    for kind in LASTING {
        let seen = seen("", |_clock| fails(kind, 1));
        assert_eq!((seen.asked, seen.took), (1, Duration::ZERO), "{kind}");
        let code = format!("model_{}", kind.as_str());
        assert_eq!(seen.code.as_deref(), Some(code.as_str()));
    }
}

#[test]
fn delays_double_up_to_eight_seconds() {
    let retry = ", retry: { attempts: 8, elapsed: 10m }";
    let seen = seen(retry, |_clock| fails(Kind::Server, 8));
    assert_eq!(seen.asked, 8);
    waited(&seen, &[500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
}

#[test]
fn the_third_try_may_succeed_and_what_failed_before_it_is_on_record() {
    let seen = seen("", |_clock| {
        let mut steps = fails(Kind::Network, 2);
        steps.push(Step::says("done"));
        steps
    });
    assert_eq!(seen.then, Some(Then::Done));
    assert_eq!(seen.code, None);
    waited(&seen, &[500, 1_000]);
}

#[test]
fn no_try_begins_when_a_minute_is_over() {
    let first = |clock: &FakeClock, after_ms| {
        let slow = Step::fails(Kind::Server).after(clock, Duration::from_millis(after_ms));
        vec![slow, Step::says("done")]
    };
    // With the longest delay the second try begins a tenth of a second before the minute is over.
    let in_time = seen("", |clock| first(clock, 59_400));
    assert_eq!((in_time.asked, in_time.code), (2, None));
    // With the shortest it would begin after it.
    let late = seen("", |clock| first(clock, 59_800));
    assert_eq!((late.asked, late.took), (1, Duration::from_millis(59_800)));
    assert_eq!(late.code.as_deref(), Some("model_server"));
}

#[test]
fn a_delay_that_the_provider_names_is_kept_up_to_twenty_seconds_and_put_off_beyond() {
    let asks = |ms| {
        move |_clock: &FakeClock| {
            let wait = Duration::from_millis(ms);
            vec![
                Step::asks_to_wait(Kind::RateLimited, wait),
                Step::says("done"),
            ]
        }
    };
    for ms in [1, 7_777, 20_000] {
        let seen = seen("", asks(ms));
        assert_eq!(seen.then, Some(Then::Done));
        assert_eq!(seen.took, Duration::from_millis(ms));
    }
    let longer = seen("", asks(20_001));
    assert!(matches!(longer.then, Some(Then::Park { wake_at: Some(_) })));
    assert_eq!(longer.waits_for, Some(WaitReason::ModelDeferred));
    assert_eq!((longer.asked, longer.took), (1, Duration::ZERO));
    // Where the alias says so, it fails in place of that.
    let failing = seen(", retry: { too_long: fail }", asks(20_001));
    assert_eq!(failing.code.as_deref(), Some("model_rate_limited"));
    assert_eq!((failing.asked, failing.took), (1, Duration::ZERO));
}

#[test]
fn nothing_is_tried_again_after_its_first_chunk() {
    let cut = |_clock: &FakeClock| {
        vec![
            Step::says("half of an answer").cut_after(3),
            Step::says("done"),
        ]
    };
    let seen_by_default = seen("", cut);
    assert_eq!(seen_by_default.code.as_deref(), Some("model_network"));
    assert_eq!(
        (seen_by_default.asked, seen_by_default.took),
        (1, Duration::ZERO)
    );
    let again = seen(", retry: { after_first_chunk: true }", cut);
    assert_eq!((again.asked, again.code.as_deref()), (2, None));
    waited(&again, &[500]);
}

#[test]
fn a_run_whose_model_answers_at_once_takes_no_time() {
    let seen = seen("", |_clock| vec![Step::says("done")]);
    assert_eq!((seen.then, seen.took), (Some(Then::Done), Duration::ZERO));
    assert!(seen.failed.is_empty() && seen.waits_for.is_none());
}
