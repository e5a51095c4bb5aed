//! Long conversations: what the model is shown of them, and what becomes of a run whose conversation is shortened.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what cannot be built is a failed test"
)]

use std::sync::{Arc, Mutex};

use futures_executor::block_on;
use futures_util::{StreamExt as _, stream};
use seaworthy_core::context::{Cause, Compacted, NotCompacted};
use seaworthy_core::descriptor::CompactionSpec;
use seaworthy_core::event::Event;
use seaworthy_core::history::{Window, estimate};
use seaworthy_core::record::Link;
use seaworthy_core::state::{Outcome, Status};
use seaworthy_fakes::{Fault, Faults, TableModel, TableTurn};
use seaworthy_ports::checkpoint_store::{CheckpointKind, CheckpointStore as _};
use seaworthy_ports::model_provider::{
    Block, CountTokens, Directory, Embeddings, Kind, Message, ModelCapabilities, ModelError,
    ModelEvent, ModelProvider, ModelRequest, Rerank, Role, Tokens, check_history,
};
use seaworthy_ports::{AdapterInfo, BoxStream, Digest, PortError, RunId, async_trait};
use seaworthy_simulation::{Ending, World, reproduce, turn};

const SUMMARY: &str = "The user wants everything done; some of it is.";

fn turns() -> Vec<TableTurn> {
    vec![
        turn("look around", &["look", "store", "send"], true),
        turn("twice on purpose", &["send", "send", "unknown"], true),
        turn("pay and shout", &["pay", "shout", "look"], true),
        turn("pay once more", &["pay"], false),
        turn("all done", &[], true),
    ]
}

/// Says the turns in their order, however much of the conversation it is shown, and writes summaries.
#[derive(Debug)]
struct Writer {
    /// Its turns, and then what it says where it is to sum up.
    table: TableModel,
    turns: usize,
    /// Refuses longer conversations.
    most: Option<u64>,
    /// Counts tokens: as many for each message.
    counts: Option<u64>,
    /// What it was asked to continue.
    asked: Mutex<Vec<Arc<Vec<Message>>>>,
    /// How often it was to sum up.
    summaries: Mutex<u32>,
}

impl Writer {
    fn new(summary: &str) -> Self {
        Self::saying(turns(), summary)
    }

    fn saying(mut table: Vec<TableTurn>, summary: &str) -> Self {
        let turns = table.len();
        table.push(TableTurn {
            text: summary.to_owned(),
            calls: Vec::new(),
        });
        Self {
            table: TableModel::new(table),
            turns,
            most: None,
            counts: None,
            asked: Mutex::default(),
            summaries: Mutex::default(),
        }
    }

    fn asked(&self) -> Vec<Arc<Vec<Message>>> {
        self.asked.lock().unwrap().clone()
    }

    fn summaries(&self) -> u32 {
        *self.summaries.lock().unwrap()
    }
}

/// The turn that the results at the end of a conversation lead to.
fn next_turn(messages: &[Message]) -> usize {
    let Some(Block::ToolResult(result)) = messages.last().and_then(|last| last.blocks.last())
    else {
        return 0;
    };
    let number = result.id.split('_').nth(1).unwrap();
    number.parse::<usize>().unwrap() + 1
}

#[async_trait]
impl ModelProvider for Writer {
    fn info(&self) -> AdapterInfo {
        self.table.info()
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        self.table.capabilities(model)
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let refuse = |kind| {
            let error = PortError::new(kind, "writer", "stream", "refused");
            stream::iter([Err(error.into())]).boxed()
        };
        if check_history(&request.messages).is_err() {
            return refuse(Kind::InvalidRequest);
        }
        let sums_up = request.tools.is_empty();
        let number = if sums_up {
            *self.summaries.lock().unwrap() += 1;
            self.turns
        } else {
            self.asked
                .lock()
                .unwrap()
                .push(Arc::clone(&request.messages));
            let tokens = estimate(&request.messages);
            if self.most.is_some_and(|most| tokens > most) {
                return refuse(Kind::ContextLength);
            }
            next_turn(&request.messages)
        };
        // The table goes by how much the model has said.
        let said = Message {
            role: Role::Assistant,
            ..Message::user("so")
        };
        let mut messages = vec![Message::user("go")];
        messages.extend(std::iter::repeat_n(said, number));
        self.table.stream(ModelRequest {
            messages: Arc::new(messages),
            ..request
        })
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        None
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        None
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        self.counts.is_some().then_some(self)
    }

    fn directory(&self) -> Option<&dyn Directory> {
        None
    }
}

#[async_trait]
impl CountTokens for Writer {
    async fn count(&self, request: &ModelRequest) -> Result<Tokens, ModelError> {
        let messages = u64::try_from(request.messages.len()).unwrap();
        Ok(Tokens {
            count: messages * self.counts.unwrap(),
            estimated: false,
        })
    }
}

/// A world whose agent keeps one answer of its model where a call would have more than 5000 tokens.
fn world(model: &Arc<Writer>) -> World {
    let provider: Arc<dyn ModelProvider> = Arc::<Writer>::clone(model);
    let shortens = CompactionSpec {
        at_tokens: 5000,
        keep_turns: 1,
        model: None,
    };
    World::saying(turns())
        .unwrap()
        .with_model(provider)
        .with_agent(move |agent| agent.compaction = Some(shortens.clone()))
}

/// What the log says of the context.
async fn changes(world: &World) -> (Vec<Compacted>, Vec<NotCompacted>) {
    let process = world.process(u64::MAX, Faults::none()).unwrap();
    let mut records = process.harness().records(world.run(), Link::default());
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

/// Every summary in the log names a checkpoint that is there.
async fn no_reference_dangles(world: &World, place: &str) {
    for event in changes(world).await.0 {
        let found = world
            .checkpoints()
            .latest(world.run(), CheckpointKind::Summary, event.checkpoint.seq)
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("{place}: the checkpoint is not there"));
        assert_eq!(found.seq, event.checkpoint.seq, "{place}");
        assert_eq!(
            Digest::of(&found.content),
            event.checkpoint.digest,
            "{place}"
        );
    }
}

/// Lives to the end, and says what port calls that took.
async fn undisturbed(world: &World) -> (Ending, Vec<&'static str>) {
    let faults = Faults::none();
    let process = world.process(1, faults.clone()).unwrap();
    while !process.live_once().await.unwrap() {}
    let calls = faults.calls();
    (process.ending().await.unwrap(), calls)
}

/// How the run ends that is never shortened.
fn whole() -> Ending {
    block_on(World::saying(turns()).unwrap().finish(1)).unwrap()
}

/// A run that is shortened once, with few port calls.
fn short() -> Vec<TableTurn> {
    vec![
        turn("look around", &["look"], true),
        turn("send", &["send"], true),
        turn("done", &[], true),
    ]
}

fn short_world() -> World {
    world(&Arc::new(Writer::saying(short(), SUMMARY)))
}

fn short_whole() -> Ending {
    block_on(World::saying(short()).unwrap().finish(1)).unwrap()
}

fn short_calls() -> Vec<&'static str> {
    let (ending, calls) = block_on(undisturbed(&short_world()));
    same(&short_whole(), &ending, "undisturbed");
    assert!(calls.contains(&"checkpoint write"), "{calls:?}");
    calls
}

/// The two may differ in what the model was shown, and in nothing else.
fn same(expected: &Ending, ending: &Ending, place: &str) {
    assert_eq!(ending.status, expected.status, "{place}");
    assert_eq!(ending.once, expected.once, "{place}");
    assert_eq!(ending.calls, expected.calls, "{place}");
    assert!(ending.messages == expected.messages, "{place}");
    assert_eq!(ending.session, expected.session, "{place}");
}

#[test]
fn a_long_conversation_is_shortened_and_the_run_ends_as_it_would_have() {
    let model = Arc::new(Writer::new(SUMMARY));
    let world = world(&model);
    let (ending, calls) = block_on(undisturbed(&world));
    same(&whole(), &ending, "shortened");
    assert!(calls.contains(&"checkpoint write"), "{calls:?}");
    block_on(reproduce(&world, 5)).unwrap();
    let (compacted, kept) = block_on(changes(&world));
    assert_eq!((compacted.len(), kept.len()), (2, 0));
    for event in &compacted {
        assert!(event.tokens_after < event.tokens_before);
        assert!(event.estimated);
        assert_eq!(
            (event.summary.as_str(), event.cause),
            (SUMMARY, Cause::Limit)
        );
    }
    assert_eq!(compacted[0].through.own, 3);
    assert_eq!(compacted[1].through.own, 5);
    block_on(no_reference_dangles(&world, "undisturbed"));
    // From the third call on the model sees the summary, the task and one answer.
    let asked = model.asked();
    let third = &asked[2];
    assert_eq!(third.len(), 3);
    assert!(third[0].text().contains(SUMMARY) && third[0].text().ends_with("go"));
    assert!(third[1..] == ending.messages[3..5]);
}

#[test]
fn a_crash_at_any_port_call_of_a_shortened_run_changes_nothing() {
    let expected = short_whole();
    let calls = short_calls();
    for (number, name) in calls.iter().enumerate() {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            let place = format!("{fault:?} at call {number} ({name})");
            let world = short_world();
            let faults = Faults::at([(number, fault)]);
            let process = world.process(1, faults.clone()).unwrap();
            let ending = block_on(async {
                while !process.live_once().await? && !faults.dead().is_set() {}
                world.finish(2).await
            });
            let ending = ending.unwrap_or_else(|why| panic!("{place}: {why}"));
            same(&expected, &ending, &place);
            block_on(no_reference_dangles(&world, &place));
            let (compacted, kept) = block_on(changes(&world));
            assert_eq!((compacted.len(), kept.len()), (1, 0), "{place}");
        }
    }
}

#[test]
fn a_failing_port_at_any_call_of_a_shortened_run_changes_nothing() {
    let expected = short_whole();
    let calls = short_calls();
    for (number, name) in calls.iter().enumerate() {
        if name.starts_with("sandbox") {
            continue;
        }
        for fault in [Fault::FailBefore, Fault::FailAfter] {
            let place = format!("{fault:?} at call {number} ({name})");
            let world = short_world();
            let process = world.process(1, Faults::at([(number, fault)])).unwrap();
            let ending = block_on(async {
                for _round in 0..100 {
                    if process.live_once().await.unwrap_or(false) {
                        return world.finish(2).await;
                    }
                }
                Err("the run is stuck".to_owned())
            });
            let ending = ending.unwrap_or_else(|why| panic!("{place}: {why}"));
            same(&expected, &ending, &place);
            block_on(no_reference_dangles(&world, &place));
        }
    }
}

#[test]
fn checkpoints_may_be_gone_when_the_run_is_resumed() {
    use seaworthy_ports::checkpoint_store::DeleteCheckpoints;
    let expected = whole();
    let model = Arc::new(Writer::new(SUMMARY));
    let world = world(&model);
    let calls = block_on(undisturbed(&self::world(&Arc::new(Writer::new(SUMMARY))))).1;
    let last = calls
        .iter()
        .rposition(|name| *name == "model stream")
        .unwrap();
    let faults = Faults::at([(last, Fault::CrashBefore)]);
    let process = world.process(1, faults.clone()).unwrap();
    let ending = block_on(async {
        while !process.live_once().await? && !faults.dead().is_set() {}
        let all = DeleteCheckpoints {
            run: world.run().clone(),
            kind: None,
            before: None,
        };
        assert!(world.checkpoints().delete(all).await.unwrap() > 0);
        world.finish(2).await
    });
    same(&expected, &ending.unwrap(), "without checkpoints");
    let asked = model.asked();
    let newest = asked.last().unwrap();
    assert!(newest[0].text().contains(SUMMARY), "the summary is lost");
}

#[test]
fn a_summary_that_says_nothing_or_saves_nothing_leaves_the_conversation_and_is_not_tried_every_turn()
 {
    let long = "word ".repeat(60_000);
    for (summary, code) in [(" ", "empty"), (long.as_str(), "no_reduction")] {
        let model = Arc::new(Writer::new(summary));
        let world = world(&model);
        let (ending, _calls) = block_on(undisturbed(&world));
        same(&whole(), &ending, code);
        let (compacted, kept) = block_on(changes(&world));
        assert!(compacted.is_empty(), "{code}");
        let codes: Vec<&str> = kept.iter().map(|event| event.code.as_str()).collect();
        // After the second turn, and once more when it has grown by a quarter: not after the fourth.
        assert_eq!(codes, [code, code]);
        assert_eq!(model.summaries(), 2, "{code}");
        let asked = model.asked();
        assert!(ending.messages.starts_with(asked.last().unwrap()), "{code}");
    }
}

/// A world whose model refuses more than `most` tokens, and whose agent only shortens what is refused.
fn refusing(most: u64) -> (Arc<Writer>, World) {
    let mut writer = Writer::new(SUMMARY);
    writer.most = Some(most);
    let model = Arc::new(writer);
    let world = world(&model).with_agent(|agent| {
        agent.compaction = Some(CompactionSpec {
            at_tokens: 1_000_000,
            keep_turns: 4,
            model: None,
        });
    });
    (model, world)
}

#[test]
fn a_conversation_that_the_model_refuses_is_shortened_and_goes_on() {
    // One look at things is about ten thousand tokens; the second is too much.
    let (model, world) = refusing(15_000);
    let (ending, _calls) = block_on(undisturbed(&world));
    same(&whole(), &ending, "refused");
    let (compacted, kept) = block_on(changes(&world));
    assert_eq!((compacted.len(), kept.len()), (1, 0));
    assert_eq!(compacted[0].cause, Cause::Refused);
    assert_eq!(compacted[0].through.own, 5);
    assert_eq!(model.summaries(), 1);
}

#[test]
fn a_newest_answer_that_is_too_long_by_itself_fails_the_run_at_once() {
    let (model, world) = refusing(9_000);
    let (ending, _calls) = block_on(undisturbed(&world));
    assert_eq!(ending.status, Status::Failed);
    let process = world.process(2, Faults::none()).unwrap();
    let failed = block_on(process.view()).unwrap().state;
    let too_long = |code: &str| matches!(&failed.outcome, Some(Outcome::Failed { code: was, .. }) if was == code);
    assert!(too_long("model_context_length"), "{:?}", failed.outcome);
    assert_eq!((model.asked().len(), model.summaries()), (2, 0));
}

#[test]
fn a_conversation_that_is_refused_even_when_it_is_shortened_is_not_tried_again() {
    // A look at things is too much even with nothing but a summary before it.
    let table = vec![
        turn("send", &["send"], true),
        turn("look around", &["look"], true),
        turn("done", &[], true),
    ];
    let (_other, world) = refusing(9_000);
    let mut writer = Writer::saying(table, SUMMARY);
    writer.most = Some(9_000);
    let model = Arc::new(writer);
    let provider: Arc<dyn ModelProvider> = Arc::<Writer>::clone(&model);
    let world = world.with_model(provider);
    let (ending, _calls) = block_on(undisturbed(&world));
    assert_eq!(ending.status, Status::Failed);
    assert_eq!(model.summaries(), 1);
    let (compacted, kept) = block_on(changes(&world));
    assert_eq!((compacted.len(), kept.len()), (1, 0));
}

#[test]
fn a_provider_that_counts_is_asked_and_its_count_is_no_guess() {
    let mut writer = Writer::new(SUMMARY);
    writer.counts = Some(4000);
    let model = Arc::new(writer);
    let world = world(&model);
    let (ending, _calls) = block_on(undisturbed(&world));
    same(&whole(), &ending, "counted");
    let (compacted, _kept) = block_on(changes(&world));
    assert!(!compacted.is_empty());
    for event in compacted {
        assert!(!event.estimated);
        assert_eq!(event.tokens_before % 4000, 0);
    }
}

#[test]
fn a_run_sees_of_its_session_what_its_agent_says() {
    for (window, expected) in [
        (Window::All, 2),
        (Window::Newest(1), 1),
        (Window::NewestMessages(2), 1),
        (Window::None, 0),
    ] {
        let model = Arc::new(Writer::saying(vec![turn("done", &[], true)], SUMMARY));
        let provider: Arc<dyn ModelProvider> = Arc::<Writer>::clone(&model);
        let world = World::saying(turns())
            .unwrap()
            .with_model(provider)
            .with_agent(move |agent| agent.history = window);
        block_on(async {
            let process = world.process(1, Faults::none()).unwrap();
            for name in ["one", "two", "three"] {
                let run = RunId::new(name).unwrap();
                let mut start = world.start(name).unwrap();
                start.run = Some(run.clone());
                process.harness().start(start).await.unwrap();
                process.deliver_run(&run).await;
                let state = process.harness().view(&run).await.unwrap().state;
                assert_eq!(state.status(), Status::Succeeded);
            }
        });
        let asked = model.asked();
        // Each exchange before it has two messages; then comes the run's input.
        assert_eq!(asked[2].len(), expected * 2 + 1, "{window:?}");
        assert_eq!(asked[2].last().unwrap().text(), "three");
    }
}
