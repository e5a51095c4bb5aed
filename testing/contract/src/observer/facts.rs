//! Facts to tell an observer.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_ports::mcp::{McpLogLevel, McpLogMessage};
use seaworthy_ports::model_provider::{
    Block, Effort, FinishReason, Kind, Message, Parameters, PromptCache, Role, ToolChoice, Usage,
};
use seaworthy_ports::observer::{
    AttemptEnd, Execution, Fact, ModelAsked, ModelCallEnd, ModelContent, ParkReason, RunEnd,
    ServedBy, ServerLink, Span, ToolCallOutcome, ToolContent,
};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{
    CallId, RunId, ServerAlias, SpanId, Timestamp, ToolName, TraceContext, TraceId, WorkerId,
};
use serde_json::json;

use crate::outcome::{Halt, id};

pub(super) fn run_named(name: &str) -> Result<RunId, Halt> {
    id(RunId::new(name))
}

pub(super) fn appended(run: &RunId, head: u64) -> Fact {
    Fact::RecordsAppended {
        run: run.clone(),
        head: Seq(head),
        records: 1,
        bytes: 100,
        duration: Duration::from_millis(1),
    }
}

/// A span at the beginning of time or at its end.
pub(super) fn a_span(name: &str, number: u32, length: Duration) -> Span {
    let name = format!("{name} {number}");
    let context = TraceContext::new(TraceId::of(b"trace"), SpanId::of(name.as_bytes()));
    Span {
        context,
        parent: (number > 0).then(|| SpanId::of(b"whole")),
        started: Timestamp::from_millis(if length.is_zero() { i64::MIN } else { i64::MAX }),
    }
}

pub(super) fn model_content(text: &str) -> ModelContent {
    ModelContent {
        instructions: text.into(),
        input: Arc::new(vec![Message::user(text)]),
        tools: Arc::default(),
        output: Some(Arc::new(Message {
            role: Role::Assistant,
            blocks: vec![Block::Text {
                text: text.to_owned(),
                opaque: None,
            }],
        })),
    }
}

pub(super) fn tool_content(text: &str) -> ToolContent {
    ToolContent {
        arguments: Arc::new(json!({ "text": text })),
        result: Some(Arc::new(json!(text))),
    }
}

/// Each sort of fact, with the smallest and the largest that it can hold.
pub(super) fn every_sort() -> Result<Vec<Fact>, Halt> {
    let long = "r".repeat(200);
    let mut facts = Vec::new();
    for (name, number, duration, text) in [
        ("r", 0, Duration::ZERO, ""),
        (
            &*long,
            u32::MAX,
            Duration::MAX,
            "\u{1F6A2}\n\"%s\0\u{1b}[31m",
        ),
    ] {
        let (run, call) = (
            run_named(name)?,
            id(CallId::new(format!("{name}.c{number}")))?,
        );
        let tool = id(ToolName::new("tool"))?;
        let server = id(ServerAlias::new("server"))?;
        let (provider, model): (Arc<str>, Arc<str>) = (text.into(), text.repeat(1_000).into());
        let worker = id(WorkerId::new("w"))?;
        let span = a_span(text, number, duration);
        facts.extend([
            Fact::AttemptStarted {
                run: run.clone(),
                attempt: number,
                worker: worker.clone(),
                span: span.clone(),
            },
            Fact::ModelCallStarted {
                run: run.clone(),
                attempt: number,
                provider: Arc::clone(&provider),
                model: Arc::clone(&model),
                span: span.clone(),
            },
            Fact::ModelCallContent {
                run: run.clone(),
                span: span.clone(),
                content: model_content(text),
            },
            Fact::ToolCallContent {
                run: run.clone(),
                span: span.clone(),
                content: tool_content(text),
            },
            Fact::ServerLogged {
                run: run.clone(),
                server: id(ServerAlias::new("server"))?,
                level: McpLogLevel::Emergency,
                bytes: text.len(),
                dropped: u64::from(number),
            },
            Fact::ServerLogContent {
                run: run.clone(),
                server: id(ServerAlias::new("server"))?,
                message: McpLogMessage::new(McpLogLevel::Debug, Some(text), text),
            },
            Fact::RecordsAppended {
                run: run.clone(),
                head: Seq(u64::from(number)),
                records: number,
                bytes: u64::from(number),
                duration,
            },
            Fact::RunStalled {
                run: run.clone(),
                message: text.into(),
            },
        ]);
        for end in [
            AttemptEnd::Ended,
            AttemptEnd::Parked,
            AttemptEnd::Stalled,
            AttemptEnd::Abandoned,
        ] {
            facts.push(Fact::AttemptEnded {
                run: run.clone(),
                attempt: number,
                worker: worker.clone(),
                end,
                span: span.clone(),
                duration,
            });
        }
        for end in [
            ModelCallEnd::Finished(FinishReason::Stop),
            ModelCallEnd::Failed(Kind::Network),
        ] {
            let most = (number > 0).then_some(u64::MAX);
            let asked = if number > 0 {
                all_asked(text)
            } else {
                ModelAsked::default()
            };
            facts.push(Fact::ModelCallEnded {
                run: run.clone(),
                attempt: number,
                agent: Arc::clone(&model),
                session: None,
                provider: Arc::clone(&provider),
                model: Arc::clone(&model),
                asked: asked.clone(),
                answered_by: most.map(|_most| Arc::clone(&model)),
                request_id: most.map(|_most| text.into()),
                usage: Usage {
                    input_tokens: most,
                    cache_read_tokens: most,
                    cache_write_tokens: most,
                    output_tokens: most,
                    reasoning_tokens: most,
                },
                end,
                span: span.clone(),
                first_chunk: most.map(|_most| duration),
                duration,
            });
        }
        for execution in [
            Execution::First,
            Execution::Again,
            Execution::Verify,
            Execution::Poll,
        ] {
            facts.push(Fact::ToolCallStarted {
                run: run.clone(),
                attempt: number,
                call: call.clone(),
                tool: tool.clone(),
                side_effect: "read_only",
                execution,
                span: span.clone(),
            });
            for outcome in [
                ToolCallOutcome::Succeeded,
                ToolCallOutcome::Failed,
                ToolCallOutcome::Refused,
                ToolCallOutcome::Cancelled,
                ToolCallOutcome::InDoubt,
                ToolCallOutcome::Deferred,
            ] {
                facts.push(Fact::ToolCallEnded {
                    run: run.clone(),
                    attempt: number,
                    agent: Arc::clone(&model),
                    call: call.clone(),
                    tool: tool.clone(),
                    side_effect: "non_idempotent",
                    execution,
                    served_by: Some(ServedBy {
                        server: server.clone(),
                        link: ServerLink::Http,
                    }),
                    outcome,
                    error: Some(text.into()),
                    span: span.clone(),
                    duration,
                });
            }
        }
        for reason in [
            ParkReason::Approval,
            ParkReason::InDoubt,
            ParkReason::Timer,
            ParkReason::Signal,
            ParkReason::Child,
            ParkReason::Provider,
            ParkReason::Limit,
            ParkReason::Question,
            ParkReason::Task,
        ] {
            facts.push(Fact::RunParked {
                run: run.clone(),
                reason,
            });
        }
        for status in [RunEnd::Succeeded, RunEnd::Failed, RunEnd::Cancelled] {
            facts.push(Fact::RunEnded {
                run: run.clone(),
                agent: Arc::clone(&model),
                session: None,
                attempts: number,
                status,
                error: Some(text.into()),
                usage: Usage::default(),
                model_calls: number,
                tool_calls: number,
                span: span.clone(),
                duration,
            });
        }
    }
    Ok(facts)
}

/// The facts of a run of one attempt, with a model call and a tool call.
pub(super) fn facts_of_a_run(run: &RunId) -> Vec<Fact> {
    let name = |part: &str| format!("{run} {part}");
    let whole = SpanId::of(name("whole").as_bytes());
    let context = TraceContext::new(TraceId::of(run.as_str().as_bytes()), whole);
    let span = |part: &str| Span {
        context: context.at(SpanId::of(name(part).as_bytes())),
        parent: Some(whole),
        started: Timestamp::from_millis(1_000),
    };
    let mut facts = Vec::new();
    let (Ok(worker), Ok(tool), Ok(call)) = (
        WorkerId::new("w"),
        ToolName::new("tool"),
        CallId::new(format!("{run}.c1")),
    ) else {
        return facts;
    };
    let (attempt, duration) = (1, Duration::from_millis(5));
    let (agent, provider, model): (Arc<str>, Arc<str>, Arc<str>) =
        ("agent".into(), "provider".into(), "model".into());
    facts.extend([
        Fact::AttemptStarted {
            run: run.clone(),
            attempt,
            worker: worker.clone(),
            span: span("attempt"),
        },
        Fact::ModelCallStarted {
            run: run.clone(),
            attempt,
            provider: Arc::clone(&provider),
            model: Arc::clone(&model),
            span: span("model"),
        },
        Fact::ModelCallEnded {
            run: run.clone(),
            attempt,
            agent: Arc::clone(&agent),
            session: None,
            provider,
            model,
            asked: ModelAsked::default(),
            answered_by: None,
            request_id: None,
            usage: Usage::default(),
            end: ModelCallEnd::Finished(FinishReason::ToolCalls),
            span: span("model"),
            first_chunk: Some(duration),
            duration,
        },
        Fact::ToolCallStarted {
            run: run.clone(),
            attempt,
            call: call.clone(),
            tool: tool.clone(),
            side_effect: "read_only",
            execution: Execution::First,
            span: span("tool"),
        },
        Fact::ToolCallEnded {
            run: run.clone(),
            attempt,
            agent: Arc::clone(&agent),
            call,
            tool,
            side_effect: "read_only",
            execution: Execution::First,
            served_by: None,
            outcome: ToolCallOutcome::Succeeded,
            error: None,
            span: span("tool"),
            duration,
        },
    ]);
    facts.extend((1..=100).map(|head| appended(run, head)));
    facts.extend([
        Fact::RunEnded {
            run: run.clone(),
            agent,
            session: None,
            attempts: attempt,
            status: RunEnd::Succeeded,
            error: None,
            usage: Usage::default(),
            model_calls: 1,
            tool_calls: 1,
            span: Span {
                context: context.clone(),
                parent: None,
                started: Timestamp::from_millis(1_000),
            },
            duration,
        },
        Fact::AttemptEnded {
            run: run.clone(),
            attempt,
            worker,
            end: AttemptEnd::Ended,
            span: span("attempt"),
            duration,
        },
    ]);
    facts
}

/// All that a model can be asked for, in values at their ends.
fn all_asked(text: &str) -> ModelAsked {
    let parameters = Parameters {
        cache: Some(PromptCache::Long),
        parallel_tool_calls: Some(false),
        reasoning: Some(Effort::Max),
        seed: Some(u32::MAX),
        stop: vec![text.to_owned(); 16],
        temperature: Some(f64::MAX),
        tool_choice: Some(ToolChoice::Required),
        top_p: Some(f64::MIN_POSITIVE),
    };
    ModelAsked {
        max_output_tokens: Some(u32::MAX),
        is_structured: true,
        parameters: Arc::new(parameters),
    }
}
