//! Facts as spans.

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use seaworthy_ports::RunId;
use seaworthy_ports::model_provider::{ToolChoice, Usage};
use seaworthy_ports::observer::{
    Execution, Fact, ModelAsked, ModelCallEnd, RunEnd, ServerLink, Span, ToolCallOutcome,
};

use crate::attributes::{
    finish, instant, later, list, model_error, number, provider, short, text, texts,
};
use crate::names::Names;

/// The span that `fact` ends, where it ends one.
pub(crate) fn ended(fact: &Fact, names: Names, scope: &InstrumentationScope) -> Option<SpanData> {
    let (span, duration, parts) = match fact {
        Fact::ModelCallEnded { span, duration, .. } => (span, duration, model_call(fact, names)?),
        Fact::ToolCallEnded { span, duration, .. } => (span, duration, tool_call(fact)?),
        Fact::RunEnded { span, duration, .. } => (span, duration, run(fact)?),
        Fact::AttemptEnded { span, duration, .. } => (span, duration, attempt(fact)?),
        _ => return None,
    };
    // Whoever began the trace did not want it.
    if !span.context.is_sampled() {
        return None;
    }
    let mut attributes = parts.attributes;
    let status = match parts.error {
        Some(error) => {
            attributes.push(text("error.type", &error));
            Status::error("")
        }
        None => Status::Unset,
    };
    Some(SpanData {
        span_context: context(span),
        parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| {
            SpanId::from_bytes(parent.to_bytes())
        }),
        parent_span_is_remote: false,
        span_kind: parts.kind,
        name: parts.name.into(),
        start_time: instant(span.started),
        end_time: later(span.started, *duration),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: scope.clone(),
    })
}

pub(crate) fn context(span: &Span) -> SpanContext {
    let state = span.context.tracestate().unwrap_or_default();
    SpanContext::new(
        TraceId::from_bytes(span.context.trace().to_bytes()),
        SpanId::from_bytes(span.context.span().to_bytes()),
        TraceFlags::new(span.context.flags()),
        false,
        // One that this library does not take is left out.
        state.parse().unwrap_or_else(|_error| TraceState::default()),
    )
}

struct Parts {
    name: String,
    kind: SpanKind,
    attributes: Vec<KeyValue>,
    error: Option<String>,
}

fn of_run(run: &RunId) -> KeyValue {
    text("seaworthy.run.id", run.as_str())
}

fn of_attempt(attempt: u32) -> KeyValue {
    number("seaworthy.attempt", attempt.into())
}

fn model_call(fact: &Fact, names: Names) -> Option<Parts> {
    let Fact::ModelCallEnded {
        run,
        attempt,
        session,
        provider: adapter,
        model,
        asked,
        answered_by,
        request_id,
        usage,
        end,
        first_chunk,
        ..
    } = fact
    else {
        return None;
    };
    let mut attributes = vec![
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.provider.name", provider(adapter)),
        text("gen_ai.request.model", model),
        KeyValue::new("gen_ai.request.stream", true),
        of_run(run),
        of_attempt(*attempt),
    ];
    add_asked(&mut attributes, asked);
    if let Some(session) = session {
        attributes.push(text("gen_ai.conversation.id", session.as_str()));
    }
    if let Some(model) = answered_by {
        attributes.push(text("gen_ai.response.model", model));
    }
    if let Some(id) = request_id {
        attributes.push(text("seaworthy.model.request_id", id));
    }
    match end {
        ModelCallEnd::Finished(reason) => {
            attributes.push(list("gen_ai.response.finish_reasons", finish(*reason)));
        }
        ModelCallEnd::Failed(_) if first_chunk.is_some() => {
            attributes.push(list("gen_ai.response.finish_reasons", "error"));
        }
        ModelCallEnd::Failed(_) => {}
    }
    if let Some(first) = first_chunk {
        let seconds = first.as_secs_f64();
        attributes.push(KeyValue::new(
            "gen_ai.response.time_to_first_chunk",
            seconds,
        ));
    }
    add_usage(&mut attributes, usage);
    for (name, tokens) in [
        (
            "gen_ai.usage.cache_read.input_tokens",
            usage.cache_read_tokens,
        ),
        (names.cache_write(), usage.cache_write_tokens),
        (
            "gen_ai.usage.reasoning.output_tokens",
            usage.reasoning_tokens,
        ),
    ] {
        attributes.extend(tokens.map(|tokens| number(name, tokens)));
    }
    Some(Parts {
        name: format!("chat {}", short(model)),
        kind: SpanKind::Client,
        attributes,
        error: model_error(*end).map(ToOwned::to_owned),
    })
}

/// How the model was to answer. What the conventions have no name for is this project's.
fn add_asked(attributes: &mut Vec<KeyValue>, asked: &ModelAsked) {
    let parameters = &*asked.parameters;
    for (name, value) in [
        ("gen_ai.request.max_tokens", asked.max_output_tokens),
        ("gen_ai.request.seed", parameters.seed),
    ] {
        attributes.extend(value.map(|value| number(name, value.into())));
    }
    for (name, value) in [
        ("gen_ai.request.temperature", parameters.temperature),
        ("gen_ai.request.top_p", parameters.top_p),
    ] {
        attributes.extend(value.map(|value| KeyValue::new(name, value)));
    }
    if !parameters.stop.is_empty() {
        attributes.push(texts("gen_ai.request.stop_sequences", &parameters.stop));
    }
    if asked.is_structured {
        attributes.push(text("gen_ai.output.type", "json"));
    }
    if let Some(effort) = parameters.reasoning {
        let effort = effort.as_str();
        attributes.push(text("seaworthy.request.reasoning", effort));
    }
    if let Some(choice) = &parameters.tool_choice {
        let choice = match choice {
            ToolChoice::Auto => "auto",
            ToolChoice::None => "none",
            ToolChoice::Required => "required",
            ToolChoice::Tool(name) => name.as_str(),
        };
        attributes.push(text("seaworthy.request.tool_choice", choice));
    }
}

fn add_usage(attributes: &mut Vec<KeyValue>, usage: &Usage) {
    for (name, tokens) in [
        ("gen_ai.usage.input_tokens", usage.input_tokens),
        ("gen_ai.usage.output_tokens", usage.output_tokens),
    ] {
        attributes.extend(tokens.map(|tokens| number(name, tokens)));
    }
}

fn tool_call(fact: &Fact) -> Option<Parts> {
    let Fact::ToolCallEnded {
        run,
        attempt,
        call,
        tool,
        side_effect,
        execution,
        served_by,
        outcome,
        error,
        ..
    } = fact
    else {
        return None;
    };
    let mut attributes = vec![
        of_run(run),
        of_attempt(*attempt),
        text("seaworthy.tool.side_effect", side_effect),
        text("seaworthy.tool.execution", execution.as_str()),
        text("seaworthy.tool.outcome", outcome.as_str()),
    ];
    if let Some(by) = served_by {
        attributes.push(text("seaworthy.tool.server", by.server.as_str()));
    }
    let asks = match execution {
        Execution::First | Execution::Again => None,
        Execution::Verify => Some("verify_tool"),
        Execution::Poll => Some("poll_tool"),
    };
    let name = if let Some(asks) = asks {
        // Nothing is executed, so nothing may be reported as executed.
        attributes.push(text("seaworthy.tool.name", tool.as_str()));
        attributes.push(text("seaworthy.tool.call.id", call.as_str()));
        format!("{asks} {tool}")
    } else {
        attributes.extend([
            text("gen_ai.operation.name", "execute_tool"),
            text("gen_ai.tool.name", tool.as_str()),
            text("gen_ai.tool.type", "function"),
            text("gen_ai.tool.call.id", call.as_str()),
        ]);
        // The request to the server is this execution: it has no span of its own.
        attributes.extend(served_by.iter().flat_map(|by| mcp_call(by.link)));
        format!("execute_tool {tool}")
    };
    Some(Parts {
        name,
        kind: SpanKind::Internal,
        attributes,
        error: tool_error(*outcome, error.as_deref()),
    })
}

/// What the conventions want said of a request to an MCP server that calls a tool.
pub(crate) fn mcp_call(link: ServerLink) -> [KeyValue; 2] {
    let transport = match link {
        ServerLink::Stdio => "pipe",
        ServerLink::Http => "tcp",
    };
    [
        text("mcp.method.name", "tools/call"),
        text("network.transport", transport),
    ]
}

/// What went wrong with a tool call, if anything did.
pub(crate) fn tool_error(outcome: ToolCallOutcome, error: Option<&str>) -> Option<String> {
    match (outcome, error) {
        (ToolCallOutcome::Succeeded | ToolCallOutcome::Deferred, _) => None,
        (_, Some(error)) => Some(error.to_owned()),
        (outcome, None) => Some(outcome.as_str().to_owned()),
    }
}

fn run(fact: &Fact) -> Option<Parts> {
    let Fact::RunEnded {
        run,
        agent,
        session,
        attempts,
        status,
        error,
        usage,
        ..
    } = fact
    else {
        return None;
    };
    let mut attributes = vec![
        text("gen_ai.operation.name", "invoke_agent"),
        text("gen_ai.agent.name", agent),
        of_run(run),
        text("seaworthy.run.status", status.as_str()),
        number("seaworthy.run.attempts", (*attempts).into()),
    ];
    if let Some(session) = session {
        attributes.push(text("gen_ai.conversation.id", session.as_str()));
    }
    add_usage(&mut attributes, usage);
    Some(Parts {
        name: format!("invoke_agent {}", short(agent)),
        kind: SpanKind::Internal,
        attributes,
        error: run_error(*status, error.as_deref()),
    })
}

/// What went wrong with a run, if anything did. Somebody who ends it meant to.
pub(crate) fn run_error(status: RunEnd, error: Option<&str>) -> Option<String> {
    (status == RunEnd::Failed).then(|| error.unwrap_or("failed").to_owned())
}

fn attempt(fact: &Fact) -> Option<Parts> {
    let Fact::AttemptEnded {
        run,
        attempt,
        worker,
        end,
        ..
    } = fact
    else {
        return None;
    };
    Some(Parts {
        name: "attempt".to_owned(),
        kind: SpanKind::Internal,
        attributes: vec![
            of_run(run),
            of_attempt(*attempt),
            text("seaworthy.worker.id", worker.as_str()),
            text("seaworthy.attempt.end", end.as_str()),
        ],
        error: None,
    })
}
