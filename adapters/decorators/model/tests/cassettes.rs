//! What is recorded, what is said again, and what is kept out.

use std::sync::Arc;
use std::time::Duration;

use futures_executor::block_on;
use futures_util::{StreamExt as _, stream};
use seaworthy_contract::observer::{Recorder, check};
use seaworthy_fakes::FakeClock;
use seaworthy_model_decorators::{
    About, Cassette, CassetteError, Mismatch, Observe, Record, Replay, Timeout,
};
use seaworthy_ports::model_provider::{
    Block, BlockKind, CountTokens, Directory, Embeddings, Finish, FinishReason, Kind, Message,
    ModelCapabilities, ModelError, ModelEvent, ModelProvider, ModelRequest, OpaqueItem, Parameters,
    RateLimits, Rerank, Role, ToolCallBlock, ToolResultBlock, Usage,
};
use seaworthy_ports::observer::{Fact, ModelCallEnd};
use seaworthy_ports::{
    AdapterInfo, BoxStream, Latch, PortError, Retry, RunId, Secret, SpanId, TraceContext, TraceId,
    async_trait,
};
use serde_json::json;

const INFO: AdapterInfo = AdapterInfo {
    id: "said",
    package: "said",
    version: "0",
};

type Item = Result<ModelEvent, ModelError>;

/// A model that says the same each time, as a function makes it.
#[derive(Debug)]
struct Says(fn() -> Vec<Item>);

#[async_trait]
impl ModelProvider for Says {
    fn info(&self) -> AdapterInfo {
        INFO
    }

    fn capabilities(&self, _model: &str) -> ModelCapabilities {
        ModelCapabilities::NONE
    }

    fn stream(&self, _request: ModelRequest) -> BoxStream<'static, Item> {
        stream::iter((self.0)()).boxed()
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

fn request(messages: Vec<Message>) -> ModelRequest {
    ModelRequest {
        model: "moon-1".to_owned(),
        instructions: "Answer.".into(),
        messages: Arc::new(messages),
        tools: Arc::default(),
        output_schema: None,
        max_output_tokens: None,
        parameters: Arc::default(),
        idle_timeout: Duration::from_secs(60),
        cancel: Latch::never(),
    }
}

fn asks(text: &str) -> ModelRequest {
    request(vec![Message::user(text)])
}

/// A conversation with a call whose id is this.
fn with_call(id: &str) -> ModelRequest {
    request(vec![
        Message::user("go"),
        Message {
            role: Role::Assistant,
            blocks: vec![Block::ToolCall(ToolCallBlock {
                id: id.to_owned(),
                name: "look".to_owned(),
                arguments: "{ \"a\":1}".to_owned(),
                opaque: None,
            })],
        },
        Message {
            role: Role::User,
            blocks: vec![Block::ToolResult(ToolResultBlock {
                id: id.to_owned(),
                name: "look".to_owned(),
                content: "seen".to_owned(),
                is_error: false,
                media: Vec::new(),
            })],
        },
    ])
}

fn text(parts: &[&str]) -> Vec<Item> {
    let delta = |part: &&str| {
        Ok(ModelEvent::BlockDelta {
            block: 0,
            delta: (*part).to_owned(),
        })
    };
    let started = ModelEvent::BlockStarted {
        block: 0,
        kind: BlockKind::Text,
    };
    let finish = Finish {
        reason: FinishReason::Stop,
        raw_reason: None,
    };
    std::iter::once(Ok(started))
        .chain(parts.iter().map(delta))
        .chain([
            Ok(ModelEvent::BlockEnded { block: 0 }),
            Ok(ModelEvent::Finish(finish)),
        ])
        .collect()
}

/// An answer with every sort of item.
fn everything() -> Vec<Item> {
    let call = BlockKind::ToolCall {
        id: "c9".to_owned(),
        name: "look".to_owned(),
    };
    let item = OpaqueItem {
        provider: "said".to_owned(),
        data: json!({ "signature": [1, 2] }),
    };
    let limits = RateLimits {
        requests_remaining: Some(3),
        requests_reset: Some(Duration::from_millis(1_500)),
        ..RateLimits::default()
    };
    let usage = Usage {
        input_tokens: Some(7),
        output_tokens: Some(0),
        ..Usage::default()
    };
    let mut said = vec![
        Ok(ModelEvent::Started {
            request_id: Some("req".to_owned()),
            model: Some("moon-1-2026".to_owned()),
        }),
        Ok(ModelEvent::RateLimits(limits)),
        Ok(ModelEvent::BlockStarted {
            block: 4,
            kind: call,
        }),
        Ok(ModelEvent::BlockOpaque { block: 4, item }),
        Ok(ModelEvent::BlockEnded { block: 4 }),
        Ok(ModelEvent::Usage(usage)),
    ];
    said.extend(text(&["two ", "parts"]));
    said
}

fn failure() -> Vec<Item> {
    let error = PortError::new(Kind::RateLimited, "said", "stream", "slow down")
        .with_retry(Retry::After(Duration::from_secs(9)))
        .with_unknown_effect();
    vec![Err(ModelError {
        error,
        status: Some(429),
        code: Some("slow".to_owned()),
        request_id: Some("req".to_owned()),
        response_started: true,
    })]
}

fn all(model: &dyn ModelProvider, request: ModelRequest) -> Vec<Item> {
    block_on(model.stream(request).collect())
}

/// What can be compared of an answer.
fn shown(items: &[Item]) -> Vec<String> {
    let one = |item: &Item| match item {
        Ok(ModelEvent::BlockDelta { block, delta }) => format!("{block}: {delta}"),
        Ok(ModelEvent::BlockStarted { block, kind }) => format!("{block} is {kind:?}"),
        Ok(ModelEvent::BlockOpaque { block, item }) => format!("{block} has {}", item.data),
        Ok(ModelEvent::Started { request_id, model }) => format!("{request_id:?} {model:?}"),
        Ok(event) => format!("{event:?}"),
        Err(error) => format!(
            "{:?} {:?} {:?} {error} {:?} {:?} {:?} {}",
            error.kind(),
            error.retry(),
            error.error.effect(),
            error.status,
            error.code,
            error.request_id,
            error.response_started
        ),
    };
    items.iter().map(one).collect()
}

fn recorded(says: fn() -> Vec<Item>, request: ModelRequest) -> Cassette {
    let cassette = Cassette::new();
    let said = all(
        &Record::new(Arc::new(Says(says)), cassette.clone()),
        request,
    );
    assert_eq!(shown(&said), shown(&says()));
    cassette
}

fn strict(cassette: Cassette) -> Replay {
    Replay::strict(cassette, INFO, ModelCapabilities::NONE)
}

#[test]
fn what_was_recorded_is_said_again_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    for (number, says) in [everything, failure].into_iter().enumerate() {
        let path = folder.path().join(format!("{number}.json"));
        recorded(says, asks("go")).save(&path).unwrap();
        let replay = strict(Cassette::load(&path).unwrap());
        assert_eq!(shown(&all(&replay, asks("go"))), shown(&says()));
    }
}

#[test]
fn a_question_is_the_same_whatever_its_ids_and_spaces_are() {
    let cassette = recorded(|| text(&["yes"]), with_call("toolu_1"));
    let said = all(&strict(cassette), with_call("call-other"));
    assert_eq!(shown(&said), shown(&text(&["yes"])));
}

#[test]
fn other_parameters_are_another_question() {
    let warm = |temperature| {
        let mut request = asks("go");
        request.parameters = Arc::new(Parameters {
            temperature: Some(temperature),
            ..Parameters::default()
        });
        request
    };
    let replay = strict(recorded(|| text(&["yes"]), warm(0.5)));
    let said = all(&replay, warm(0.25));
    assert!(matches!(said.as_slice(), [Err(error)] if error.kind() == Kind::Unsupported));
    let mismatches = replay.mismatches();
    let [Mismatch::Unknown { differences }] = mismatches.as_slice() else {
        panic!("it was recorded");
    };
    assert_eq!(differences[0].place, "/parameters/temperature");
    assert_eq!(shown(&all(&replay, warm(0.5))), shown(&text(&["yes"])));
}

#[test]
fn a_question_that_was_asked_twice_has_its_answers_in_order() {
    let cassette = recorded(|| text(&["one"]), asks("go"));
    let second = Record::new(Arc::new(Says(|| text(&["two"]))), cassette.clone());
    all(&second, asks("go"));
    let replay = strict(cassette);
    let answers: Vec<_> = (0..2).map(|_| shown(&all(&replay, asks("go")))).collect();
    assert_eq!(answers, [shown(&text(&["one"])), shown(&text(&["two"]))]);
    all(&replay, asks("go"));
    assert_eq!(replay.mismatches(), [Mismatch::Exhausted { recorded: 2 }]);
}

#[test]
fn another_question_fails_and_says_where_it_differs_without_quoting() {
    let replay = strict(recorded(|| text(&["yes"]), asks("the first question")));
    let said = all(&replay, asks("the secret question"));
    let [Err(error)] = said.as_slice() else {
        panic!("{:?}", shown(&said));
    };
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("/messages/0/blocks/0/text"));
    assert!(!error.to_string().contains("secret"));
    let [Mismatch::Unknown { differences }] = &*replay.mismatches() else {
        panic!("{:?}", replay.mismatches());
    };
    assert_eq!(differences.len(), 1);
}

#[test]
fn what_is_not_recorded_is_asked_and_recorded_where_there_is_a_model() {
    let cassette = recorded(|| text(&["old"]), asks("go"));
    let replay = Replay::or_ask(cassette.clone(), Arc::new(Says(|| text(&["new"]))));
    assert_eq!(shown(&all(&replay, asks("go"))), shown(&text(&["old"])));
    assert_eq!(shown(&all(&replay, asks("on"))), shown(&text(&["new"])));
    assert_eq!(cassette.len(), 2);
    assert_eq!(
        shown(&all(&strict(cassette), asks("on"))),
        shown(&text(&["new"]))
    );
}

#[test]
fn an_answer_that_its_caller_left_is_not_recorded() {
    let cassette = Cassette::new();
    let record = Record::new(Arc::new(Says(everything)), cassette.clone());
    block_on(async {
        let mut answer = record.stream(asks("go"));
        answer.next().await.unwrap().unwrap();
    });
    assert!(cassette.is_empty());
}

#[test]
fn a_secret_is_replaced_wherever_it_is_even_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cassette.json");
    let cassette = Cassette::new()
        .hiding(Secret::new("hunter2-hunter2"))
        .calling("/home/me/work", "workspace");
    let record = Record::new(
        Arc::new(Says(|| {
            text(&["it is hun", "ter2-hun", "ter2 in /home/me/work"])
        })),
        cassette.clone(),
    );
    all(
        &record,
        asks("log in with hunter2-hunter2 at /home/me/work"),
    );
    cassette.save(&path).unwrap();
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        !written.contains("hunter2") && !written.contains("ter2-hun"),
        "{written}"
    );
    assert!(!written.contains("/home/me"), "{written}");
    // Elsewhere, with another secret, it is the same question.
    let elsewhere = Cassette::load(&path)
        .unwrap()
        .hiding(Secret::new("swordfish-7"))
        .calling("/srv", "workspace");
    let said = all(&strict(elsewhere), asks("log in with swordfish-7 at /srv"));
    assert_eq!(
        shown(&said),
        shown(&text(&["it is <secret> in <workspace>"]))
    );
}

#[test]
fn a_cassette_with_what_looks_like_a_secret_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cassette.json");
    let encoded = "aHVudGVyMi1odW50ZXIy";
    for (asked, hidden) in [
        ("my key is sk-abcdefghijklmnop1234", None),
        (encoded, Some("hunter2-hunter2")),
    ] {
        let mut cassette = Cassette::new();
        if let Some(hidden) = hidden {
            cassette = cassette.hiding(Secret::new(hidden));
        }
        all(
            &Record::new(Arc::new(Says(everything)), cassette.clone()),
            asks(asked),
        );
        let error = cassette.save(&path).unwrap_err();
        assert!(
            matches!(error, CassetteError::Secret { number: 0, .. }),
            "{asked}"
        );
        assert!(!error.to_string().contains(asked));
        assert!(!path.exists());
    }
    let harmless = recorded(
        everything,
        asks("the task-force asks for risk-assessment-of-everything"),
    );
    harmless.save(&path).unwrap();
}

#[test]
fn what_is_no_cassette_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cassette.json");
    assert!(matches!(
        Cassette::load(&path),
        Err(CassetteError::File { .. })
    ));
    recorded(everything, asks("go")).save(&path).unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    for text in [
        String::new(),
        whole.replace("\"version\": 1", "\"version\": 2"),
        // Edited by hand: the hash is not that of the question any more.
        whole.replace("\"text\": \"go\"", "\"text\": \"come\""),
    ] {
        assert_ne!(text, whole);
        std::fs::write(&path, text).unwrap();
        assert!(matches!(
            Cassette::load(&path),
            Err(CassetteError::Format { .. })
        ));
    }
}

/// Begins, and falls silent.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl ModelProvider for Silent {
    fn info(&self) -> AdapterInfo {
        INFO
    }

    fn capabilities(&self, _model: &str) -> ModelCapabilities {
        ModelCapabilities::NONE
    }

    fn stream(&self, _request: ModelRequest) -> BoxStream<'static, Item> {
        let begun = text(&["half"]).into_iter().take(2);
        stream::iter(begun).chain(stream::pending()).boxed()
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

#[test]
fn an_answer_that_falls_silent_ends_in_time() {
    for (idle, total) in [(5, 600), (600, 5)] {
        let clock = FakeClock::jumping();
        let timed = Timeout::new(
            Arc::new(Silent),
            Arc::new(clock),
            Duration::from_secs(idle),
            Duration::from_secs(total),
        );
        let said = all(&timed, asks("go"));
        let Some(Err(error)) = said.last() else {
            panic!("{:?}", shown(&said));
        };
        assert_eq!(said.len(), 3);
        assert_eq!(error.kind(), Kind::Timeout);
        assert!(error.response_started);
    }
}

#[test]
fn a_call_is_told_once_even_if_its_caller_leaves() {
    let recorder = Arc::new(Recorder::default());
    let clock = FakeClock::new();
    let observed = |inner: Arc<dyn ModelProvider>| {
        let about = About {
            run: RunId::new("r").unwrap(),
            agent: "a".into(),
            session: None,
            within: TraceContext::new(TraceId::of(b"t"), SpanId::of(b"s")),
        };
        let observer = Arc::<Recorder>::clone(&recorder);
        Observe::new(inner, observer, Arc::new(clock.clone()), about)
    };
    let whole = observed(Arc::new(Says(everything)));
    all(&whole, asks("go"));
    all(&whole, asks("go"));
    clock.advance(Duration::from_secs(1));
    block_on(async {
        let mut left = observed(Arc::new(Silent)).stream(asks("never"));
        left.next().await.unwrap().unwrap();
    });
    let facts = recorder.told();
    check(&facts, false).unwrap();
    let ends: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::ModelCallEnded { end, usage, .. } => Some((*end, usage.input_tokens)),
            _ => None,
        })
        .collect();
    let stop = ModelCallEnd::Finished(FinishReason::Stop);
    let cancelled = ModelCallEnd::Failed(Kind::Cancelled);
    assert_eq!(ends, [(stop, Some(7)), (stop, Some(7)), (cancelled, None)]);
}
