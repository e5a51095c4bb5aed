//! The facts of a run.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_ports::model_provider::{
    Block, Effort, FinishReason, Kind, Message, Parameters, Role, ToolCallBlock, ToolChoice,
    ToolResultBlock, ToolSpec, Usage,
};
use seaworthy_ports::observer::{
    AttemptEnd, Execution, Fact, ModelAsked, ModelCallEnd, ModelContent, ParkReason, RunEnd,
    ServedBy, ServerLink, Span, ToolCallOutcome, ToolContent,
};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{
    CallId, RunId, ServerAlias, SessionId, SpanId, Timestamp, ToolName, TraceContext, WorkerId,
};
use serde_json::json;

/// What the run was started in.
pub(crate) const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// What is said in it.
pub(crate) const CONTENT: &str = "the moon is full";

pub(crate) fn run() -> RunId {
    RunId::new("run_1").unwrap()
}

pub(crate) fn whole() -> Span {
    let parent = TraceContext::parse(PARENT, Some("vendor=1")).unwrap();
    Span {
        context: parent.at(SpanId::of(b"whole")),
        parent: Some(parent.span()),
        started: Timestamp::from_millis(1_000),
    }
}

pub(crate) fn part(name: &str, after: i64) -> Span {
    let whole = whole();
    Span {
        context: whole.context.at(SpanId::of(name.as_bytes())),
        parent: Some(whole.context.span()),
        started: Timestamp::from_millis(1_000 + after),
    }
}

pub(crate) fn usage() -> Usage {
    Usage {
        input_tokens: Some(100),
        cache_read_tokens: Some(60),
        cache_write_tokens: Some(20),
        output_tokens: Some(30),
        reasoning_tokens: Some(10),
    }
}

pub(crate) fn asked() -> ModelAsked {
    ModelAsked {
        max_output_tokens: Some(512),
        is_structured: true,
        parameters: Arc::new(Parameters {
            reasoning: Some(Effort::High),
            seed: Some(7),
            stop: vec!["END".to_owned(), "STOP".to_owned()],
            temperature: Some(0.25),
            tool_choice: Some(ToolChoice::Required),
            top_p: Some(0.5),
            ..Parameters::default()
        }),
    }
}

pub(crate) fn model_call(name: &str, after: i64, end: ModelCallEnd) -> Fact {
    let is_answer = matches!(end, ModelCallEnd::Finished(_));
    Fact::ModelCallEnded {
        run: run(),
        attempt: 1,
        agent: "starter".into(),
        session: Some(SessionId::new("session_1").unwrap()),
        provider: "gemini".into(),
        model: "moon-1".into(),
        asked: asked(),
        answered_by: is_answer.then(|| "moon-1-2026".into()),
        request_id: Some("req_1".into()),
        usage: if is_answer { usage() } else { Usage::default() },
        end,
        span: part(name, after),
        first_chunk: is_answer.then(|| Duration::from_millis(250)),
        duration: Duration::from_millis(500),
    }
}

/// The same of a tool of a server.
fn served(name: &str, link: ServerLink) -> Fact {
    let mut fact = tool_call(name, Execution::First, ToolCallOutcome::Succeeded);
    if let Fact::ToolCallEnded { served_by, .. } = &mut fact {
        *served_by = Some(ServedBy {
            server: ServerAlias::new("press").unwrap(),
            link,
        });
    }
    fact
}

pub(crate) fn tool_call(name: &str, execution: Execution, outcome: ToolCallOutcome) -> Fact {
    Fact::ToolCallEnded {
        run: run(),
        attempt: 1,
        agent: "starter".into(),
        call: CallId::new("run_1.c1").unwrap(),
        tool: ToolName::new("publish").unwrap(),
        side_effect: "non_idempotent",
        execution,
        served_by: None,
        outcome,
        error: (outcome != ToolCallOutcome::Succeeded).then(|| "timeout".into()),
        span: part(name, 600),
        duration: Duration::from_millis(40),
    }
}

/// All that a run with every sort of end tells.
pub(crate) fn of_a_run() -> Vec<Fact> {
    let ends = [
        ModelCallEnd::Finished(FinishReason::ToolCalls),
        ModelCallEnd::Finished(FinishReason::Stop),
        ModelCallEnd::Finished(FinishReason::Interrupted),
        ModelCallEnd::Failed(Kind::RateLimited),
        ModelCallEnd::Failed(Kind::Cancelled),
    ];
    let mut facts = vec![Fact::AttemptStarted {
        run: run(),
        attempt: 1,
        worker: WorkerId::new("w").unwrap(),
        span: part("attempt", 0),
    }];
    facts.push(Fact::ModelCallContent {
        run: run(),
        span: part("model 0", 0),
        content: model_content(),
    });
    for (number, end) in ends.into_iter().enumerate() {
        facts.push(model_call(&format!("model {number}"), 0, end));
    }
    facts.push(Fact::ToolCallContent {
        run: run(),
        span: part("tool", 600),
        content: ToolContent {
            arguments: Arc::new(json!({ "title": CONTENT })),
            result: Some(Arc::new(json!("published"))),
        },
    });
    facts.extend([
        tool_call("tool", Execution::First, ToolCallOutcome::Succeeded),
        tool_call("tool again", Execution::Again, ToolCallOutcome::Failed),
        tool_call("verify", Execution::Verify, ToolCallOutcome::InDoubt),
        served("of a process", ServerLink::Stdio),
        served("at an address", ServerLink::Http),
        Fact::RecordsAppended {
            run: run(),
            head: Seq(7),
            records: 3,
            bytes: 900,
            duration: Duration::from_millis(2),
        },
        Fact::RunParked {
            run: run(),
            reason: ParkReason::Approval,
        },
        Fact::RunStalled {
            run: run(),
            message: "the store is gone".into(),
        },
        Fact::RunEnded {
            run: run(),
            agent: "starter".into(),
            session: None,
            attempts: 2,
            status: RunEnd::Failed,
            error: Some("max_turns".into()),
            usage: usage(),
            model_calls: 2,
            tool_calls: 1,
            span: whole(),
            duration: Duration::from_secs(3),
        },
        Fact::AttemptEnded {
            run: run(),
            attempt: 1,
            worker: WorkerId::new("w").unwrap(),
            end: AttemptEnd::Ended,
            span: part("attempt", 0),
            duration: Duration::from_secs(1),
        },
    ]);
    facts
}

pub(crate) fn model_content() -> ModelContent {
    let text = |text: &str| Block::Text {
        text: text.to_owned(),
        opaque: None,
    };
    ModelContent {
        instructions: "Publish.".into(),
        input: Arc::new(vec![
            Message::user("Begin."),
            Message {
                role: Role::Assistant,
                blocks: vec![
                    Block::Reasoning {
                        text: "Hm.".to_owned(),
                        opaque: None,
                    },
                    Block::ToolCall(ToolCallBlock {
                        id: "c1".to_owned(),
                        name: "publish".to_owned(),
                        arguments: "{\"title\":1}".to_owned(),
                        opaque: None,
                    }),
                ],
            },
            Message {
                role: Role::User,
                blocks: vec![Block::ToolResult(ToolResultBlock {
                    id: "c1".to_owned(),
                    name: "publish".to_owned(),
                    content: "done".to_owned(),
                    is_error: false,
                    media: Vec::new(),
                })],
            },
        ]),
        tools: Arc::new(vec![ToolSpec {
            name: ToolName::new("publish").unwrap(),
            description: "Publishes.".to_owned(),
            input_schema: json!({ "type": "object" }),
        }]),
        output: Some(Arc::new(Message {
            role: Role::Assistant,
            blocks: vec![text(CONTENT)],
        })),
    }
}
