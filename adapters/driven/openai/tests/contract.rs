//! The contract suite on the adapter, with a server that says in Chat Completions what a scenario writes down.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

use std::sync::Arc;

use seaworthy_contract::http::{Act, Backend, chunked, head};
use seaworthy_contract::model_provider::{
    Answer, Failure, Flood, Harness, Owner, RetryAfter, Said, Script, Step,
};
use seaworthy_openai::{OpenAi, OpenAiConfig};
use seaworthy_ports::model_provider::{FinishReason, Kind, ModelProvider, RateLimits, Usage};
use seaworthy_ports::{Secret, async_trait};
use serde_json::{Map, Value, json};

const KEY: &str = "sk-canary-0123456789";

struct Endpoint {
    model: OpenAi,
    backend: Backend,
}

#[async_trait]
impl Harness for Endpoint {
    async fn start() -> Self {
        let backend = Backend::start().await;
        let config = OpenAiConfig::new(Some(Secret::new(KEY)))
            .with_base_url(backend.url())
            .with_max_event_bytes(1 << 16)
            .with_max_stream_bytes(1 << 20);
        Self {
            model: OpenAi::connect(config).unwrap(),
            backend,
        }
    }

    fn provider(&self) -> Arc<dyn ModelProvider> {
        Arc::new(self.model.clone())
    }

    async fn answer(&self, answer: &Answer) -> Option<Said> {
        let (acts, said) = match answer {
            Answer::Stream(script) => streamed(script)?,
            Answer::Refuse(failure) => refused(failure)?,
            Answer::Silence => (vec![Act::Wait], Said::default()),
            Answer::HangUp => (Vec::new(), Said::default()),
            _ => return None,
        };
        self.backend.perform(acts);
        Some(said)
    }

    fn requests(&self) -> Option<Vec<String>> {
        Some(self.backend.bodies())
    }

    fn hang_ups(&self) -> Option<usize> {
        Some(self.backend.hang_ups())
    }

    fn secrets(&self) -> Vec<String> {
        vec![KEY.to_owned()]
    }
}

seaworthy_contract::model_provider_contract! {
    harness: Endpoint,
    not_checkable: {
        an_answer_that_fills_the_context_says_so: "Chat Completions calls that a length",
        an_answer_that_pauses_says_so: "no model of Chat Completions pauses",
        an_item_of_reasoning_returns_in_its_place: "Chat Completions takes no reasoning back",
    }
}

/// Status and code of a failure.
fn words(kind: Kind) -> Option<(u16, Option<&'static str>)> {
    Some(match kind {
        Kind::Authentication => (401, Some("invalid_api_key")),
        Kind::Permission => (403, None),
        Kind::NotFound => (404, Some("model_not_found")),
        Kind::InvalidRequest => (400, Some("invalid_value")),
        Kind::ContextLength => (400, Some("context_length_exceeded")),
        Kind::RateLimited => (429, Some("rate_limit_exceeded")),
        Kind::QuotaExhausted => (429, Some("insufficient_quota")),
        Kind::Overloaded => (503, Some("engine_overloaded")),
        Kind::Server => (500, Some("server_error")),
        Kind::Timeout => (504, None),
        Kind::ContentFilter => (400, Some("content_filter")),
        Kind::Unsupported => (400, Some("unsupported_parameter")),
        _ => return None,
    })
}

fn body(failure: &Failure, code: Option<&str>) -> String {
    let error = json!({
        "message": failure.message,
        "type": "invalid_request_error",
        "param": null,
        "code": code,
    });
    json!({ "error": error }).to_string()
}

fn refused(failure: &Failure) -> Option<(Vec<Act>, Said)> {
    let (status, code) = words(failure.kind)?;
    let mut headers = named(failure.request_id.as_deref());
    headers += &match failure.retry_after {
        Some(RetryAfter::Seconds(seconds)) => format!("retry-after: {seconds}\r\n"),
        Some(RetryAfter::Date(date)) => {
            format!("retry-after: {}\r\n", httpdate::fmt_http_date(date))
        }
        None => String::new(),
    };
    let body = body(failure, code);
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let said = Said {
        status: Some(status),
        code: code.map(str::to_owned),
        ..Said::default()
    };
    Some((vec![Act::Say(answer.into_bytes())], said))
}

fn named(request_id: Option<&str>) -> String {
    request_id.map_or_else(String::new, |id| format!("x-request-id: {id}\r\n"))
}

fn limits(limits: &RateLimits) -> String {
    let seconds =
        |span: Option<std::time::Duration>| span.map(|span| format!("{}s", span.as_secs()));
    let count = |count: Option<u64>| count.map(|count| count.to_string());
    [
        ("remaining-requests", count(limits.requests_remaining)),
        ("reset-requests", seconds(limits.requests_reset)),
        ("remaining-tokens", count(limits.tokens_remaining)),
        ("reset-tokens", seconds(limits.tokens_reset)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("x-ratelimit-{name}: {}\r\n", value?)))
    .collect()
}

fn streamed(script: &Script) -> Option<(Vec<Act>, Said)> {
    let mut said = Said::default();
    let (mut body, mut usage) = (String::new(), String::new());
    let mut last = None;
    for step in &script.steps {
        match step {
            Step::Finish(reason) => said.finish = Some(raw(*reason)?.to_owned()),
            Step::Fail(failure) => {
                said.status = Some(200);
                said.code = words(failure.kind)?.1.map(str::to_owned);
            }
            Step::Cut => last = Some(None),
            Step::Silence => last = Some(Some(Act::Wait)),
            Step::Endless(flood) => {
                last = Some(Some(Act::Repeat(chunked(
                    endless(*flood).as_bytes(),
                    1 << 16,
                ))))
            }
            _ => {}
        }
        if last.is_some() {
            break;
        }
        match step {
            // Chat Completions tells it last.
            Step::Usage(_) => usage += &frame(step)?,
            _ => body += &frame(step)?,
        }
    }
    body += &usage;
    if said.finish.is_some() {
        body += "data: [DONE]\n\n";
    }
    let mut headers = named(script.request_id.as_deref());
    headers += &script.limits.as_ref().map(limits).unwrap_or_default();
    headers += "transfer-encoding: chunked\r\n";
    let mut acts = vec![
        Act::Say(head(&headers)),
        Act::Say(chunked(body.as_bytes(), script.pieces.unwrap_or(1 << 16))),
    ];
    acts.extend(last.unwrap_or_else(|| Some(Act::Say(b"0\r\n\r\n".to_vec()))));
    Some((acts, said))
}

fn endless(flood: Flood) -> String {
    match flood {
        Flood::Text => delta(&json!({"content": "x".repeat(1_000)})),
        Flood::Frame => "x".repeat(1 << 16),
        Flood::Noise => ": ping\n\ndata: {\"type\":\"ping\"}\n\n".repeat(1_000),
    }
}

fn delta(delta: &Value) -> String {
    choice(delta, None)
}

fn choice(delta: &Value, finish: Option<&str>) -> String {
    data(&json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
}

fn data(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn call(number: u32, mut call: Value) -> String {
    call["index"] = json!(number);
    delta(&json!({ "tool_calls": [call] }))
}

fn frame(step: &Step) -> Option<String> {
    Some(match step {
        Step::Text(text) => delta(&json!({ "content": text })),
        Step::Reasoning(text) => delta(&json!({ "reasoning_content": text })),
        Step::Decline(text) => delta(&json!({ "refusal": text })),
        Step::Call { call: number, name } => {
            let function = json!({"name": name, "arguments": ""});
            let id = format!("call_{number}");
            call(
                *number,
                json!({"id": id, "type": "function", "function": function}),
            )
        }
        Step::Arguments {
            call: number,
            fragment,
        } => call(*number, json!({"function": {"arguments": fragment}})),
        // As Gemini's compatible endpoint signs its calls.
        Step::Item {
            of: Owner::Call(number),
            data,
        } => {
            let signature = json!({"google": {"thought_signature": data}});
            call(*number, json!({ "extra_content": signature }))
        }
        Step::Usage(usage) => data(&json!({"choices": [], "usage": used(usage)})),
        Step::Finish(reason) => choice(&json!({}), raw(*reason)),
        Step::Unknown => "event: ping\ndata: {\n\ndata: {\"type\":\"new\"}\n\n".to_owned(),
        Step::Malformed(text) => data(&json!({ "choices": text })),
        Step::Fail(failure) => {
            let body = body(failure, words(failure.kind)?.1);
            // Some servers name the event, some do not.
            let is_named = failure.kind == Kind::Overloaded;
            let name = if is_named { "event: error\n" } else { "" };
            format!("{name}data: {body}\n\n")
        }
        _ => return None,
    })
}

fn raw(reason: FinishReason) -> Option<&'static str> {
    match reason {
        // A refusal has a field of its own and no reason.
        FinishReason::Stop | FinishReason::Refusal => Some("stop"),
        FinishReason::Length => Some("length"),
        FinishReason::ToolCalls => Some("tool_calls"),
        FinishReason::ContentFilter => Some("content_filter"),
        FinishReason::Other => Some("something_new"),
        _ => None,
    }
}

fn used(usage: &Usage) -> Value {
    let some = |pairs: &[(&str, Option<Value>)]| -> Option<Value> {
        let fields: Map<String, Value> = pairs
            .iter()
            .filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)))
            .collect();
        (!fields.is_empty()).then_some(Value::Object(fields))
    };
    let number = |count: Option<u64>| count.map(|count| json!(count));
    let prompt = some(&[
        ("cached_tokens", number(usage.cache_read_tokens)),
        ("cache_write_tokens", number(usage.cache_write_tokens)),
    ]);
    let completion = some(&[("reasoning_tokens", number(usage.reasoning_tokens))]);
    let all = some(&[
        ("prompt_tokens", number(usage.input_tokens)),
        ("completion_tokens", number(usage.output_tokens)),
        ("prompt_tokens_details", prompt),
        ("completion_tokens_details", completion),
    ]);
    all.unwrap_or_default()
}
