//! Summaries by models that others stand in for, or whose limits make the run wait.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what cannot be built is a failed test"
)]

mod support;

use std::sync::Arc;

use futures_util::StreamExt as _;
use seaworthy_core::context::{Compacted, NotCompacted};
use seaworthy_core::descriptor::CompactionSpec;
use seaworthy_core::event::{Event, WaitReason};
use seaworthy_core::record::Link;
use seaworthy_core::state::Status;
use seaworthy_fakes::{FakeClock, FakeModel, Faults, Step};
use seaworthy_ports::clock::Clock as _;
use seaworthy_ports::durable_runtime::Then;
use seaworthy_ports::model_provider::{Kind, ModelRequest};
use seaworthy_simulation::{Process, World};
use serde_json::json;
use support::together;

const SUMMARY: &str = "It looked around.";

fn look() -> Step {
    Step::calls("look", &json!({}))
}

fn is_summary(request: &ModelRequest) -> bool {
    request.tools.is_empty()
}

fn summary() -> Step {
    Step::says(SUMMARY).when("a summary is asked for", is_summary)
}

fn refuses_a_summary(kind: Kind) -> Step {
    Step::fails(kind).when("a summary is asked for", is_summary)
}

fn done() -> Step {
    Step::says("done").when("it is shown the summary", |request: &ModelRequest| {
        let first = request.messages.first();
        first.is_some_and(|first| first.text().contains(SUMMARY))
    })
}

/// A run of these models, whose conversation is worth a summary from the second look on.
fn world(
    clock: &FakeClock,
    section: &str,
    by: Option<&str>,
    models: &[(&str, &FakeModel)],
) -> World {
    let by = by.map(str::to_owned);
    let mut world = World::new()
        .unwrap()
        .on_clock(clock)
        .with_aliases(section)
        .unwrap()
        .with_agent(|agent| {
            agent.compaction = Some(CompactionSpec {
                at_tokens: 5000,
                keep_turns: 1,
                model: by.clone(),
            });
        });
    for (name, model) in models {
        world = world.with_other(name, Arc::new((*model).clone()));
    }
    world
}

async fn changes(process: &Process) -> (Vec<Compacted>, Vec<NotCompacted>) {
    let state = process.view().await.unwrap().state;
    let mut records = process.harness().records(state.run(), Link::default());
    let (mut compacted, mut kept) = (Vec::new(), Vec::new());
    while let Some(loaded) = records.next().await {
        match loaded.unwrap().envelope.event().unwrap() {
            Event::ContextCompacted(event) => compacted.push(*event),
            Event::ContextNotCompacted(event) => kept.push(*event),
            _ => {}
        }
    }
    (compacted, kept)
}

/// Delivers the run until it has ended, whenever it wants to be; returns how often it waited for its models' limits.
async fn lives(clock: &FakeClock, process: &Process) -> u32 {
    let mut waited = 0;
    process.start().await.unwrap();
    loop {
        match process.deliver().await {
            Some(Then::Park {
                wake_at: Some(wake_at),
            }) => {
                let reason = process.waits_for().await.unwrap();
                assert_eq!(reason, Some(WaitReason::ModelLimit));
                waited += 1;
                clock.sleep_until(wake_at).await;
            }
            Some(Then::Done) => break,
            other => panic!("{other:?}"),
        }
    }
    let ending = process.ending().await.unwrap();
    assert_eq!(ending.status, Status::Succeeded);
    waited
}

fn live(
    section: &str,
    by: Option<&str>,
    models: &[(&str, &FakeModel)],
    check: impl AsyncFnOnce(&Process, u32),
) {
    let clock = FakeClock::new();
    let process = world(&clock, section, by, models)
        .process(1, Faults::none())
        .unwrap();
    let story = async {
        let waited = lives(&clock, &process).await;
        check(&process, waited).await;
    };
    together(&clock, vec![("story", Box::pin(story))]);
    for (_name, model) in models {
        model.assert_all_used();
    }
}

#[test]
fn a_model_that_stands_in_writes_the_summary_and_goes_on_from_it() {
    let section = "
  main: { provider: openai, model: table, fallback: [backup] }
  backup: { provider: openai, model: spare }";
    let table = FakeModel::new([
        look(),
        look(),
        refuses_a_summary(Kind::QuotaExhausted),
        Step::fails(Kind::QuotaExhausted),
    ]);
    let spare = FakeModel::new([summary(), done()]);
    let models = [("table", &table), ("spare", &spare)];
    live(section, None, &models, async |process, _waited| {
        let (compacted, kept) = changes(process).await;
        assert_eq!((compacted.len(), kept.len()), (1, 0));
        let event = &compacted[0];
        assert_eq!(event.model, "spare");
        let tried: Vec<(&str, &str)> = event
            .failed_tries
            .iter()
            .map(|one| (one.model.as_str(), one.code.as_str()))
            .collect();
        assert_eq!(tried, [("table", "quota_exhausted")]);
    });
}

#[test]
fn the_alias_that_writes_summaries_has_those_who_stand_in_for_it() {
    let section = "
  main: { provider: openai, model: table }
  small: { provider: openai, model: tiny, fallback: [backup] }
  backup: { provider: openai, model: spare }";
    let table = FakeModel::new([look(), look(), done()]);
    let tiny = FakeModel::new([refuses_a_summary(Kind::NotFound)]);
    let spare = FakeModel::new([summary()]);
    let models = [("table", &table), ("tiny", &tiny), ("spare", &spare)];
    live(section, Some("small"), &models, async |process, _waited| {
        let (compacted, _kept) = changes(process).await;
        assert_eq!(compacted[0].model, "spare");
    });
}

#[test]
fn nobody_stands_in_for_a_model_that_declines_to_sum_up_and_the_run_goes_on_without() {
    let section = "
  main: { provider: openai, model: table, fallback: [backup] }
  backup: { provider: openai, model: spare }";
    let table = FakeModel::new([
        look(),
        look(),
        refuses_a_summary(Kind::Refusal),
        Step::says("done"),
    ]);
    let spare = FakeModel::new([]);
    let models = [("table", &table), ("spare", &spare)];
    live(section, None, &models, async |process, _waited| {
        let (compacted, kept) = changes(process).await;
        assert_eq!(compacted.len(), 0);
        let codes: Vec<&str> = kept.iter().map(|event| event.code.as_str()).collect();
        assert_eq!(codes, ["refusal"]);
    });
}

#[test]
fn a_summary_waits_for_its_models_limit_as_calls_do_and_is_written_once() {
    let section = "
  main: { provider: openai, model: table, limits: { requests_per_minute: 1 } }";
    let table = FakeModel::new([look(), look(), summary(), done()]);
    live(
        section,
        None,
        &[("table", &table)],
        async |process, waited| {
            assert_eq!(waited, 3, "before every call but the first");
            let (compacted, kept) = changes(process).await;
            assert_eq!((compacted.len(), kept.len()), (1, 0));
        },
    );
}
