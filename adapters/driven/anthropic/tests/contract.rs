//! The contract suite on the adapter, with a server that says in Messages what a scenario writes down.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use seaworthy_anthropic::{Anthropic, AnthropicConfig};
use seaworthy_contract::http::{Act, Backend, chunked, head};
use seaworthy_contract::model_provider::{
    Answer, Failure, Flood, Harness, Owner, RetryAfter, Said, Script, Step,
};
use seaworthy_ports::model_provider::{FinishReason, Kind, ModelProvider, RateLimits, Usage};
use seaworthy_ports::{Secret, async_trait};
use serde_json::{Value, json};

const KEY: &str = "sk-ant-canary-0123456789";

struct Endpoint {
    model: Anthropic,
    backend: Backend,
}

#[async_trait]
impl Harness for Endpoint {
    async fn start() -> Self {
        let backend = Backend::start().await;
        let config = AnthropicConfig::new(Secret::new(KEY))
            .with_base_url(backend.url())
            .with_max_event_bytes(1 << 16)
            .with_max_stream_bytes(1 << 20);
        Self {
            model: Anthropic::connect(config).unwrap(),
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
        a_filtered_answer_says_so: "Messages calls that a refusal",
        an_item_of_a_call_returns_in_its_place: "Messages signs thinking, not calls",
        a_filtered_request_is_classified: "Messages has no such failure",
        a_request_beyond_the_model_is_classified: "Messages has no such failure",
    }
}

/// Status and type of a failure, and its finer code.
fn words(kind: Kind) -> Option<(u16, &'static str, Option<&'static str>)> {
    Some(match kind {
        Kind::Authentication => (401, "authentication_error", None),
        Kind::Permission => (403, "permission_error", None),
        Kind::NotFound => (404, "not_found_error", None),
        Kind::InvalidRequest => (400, "invalid_request_error", None),
        Kind::ContextLength => (400, "invalid_request_error", Some("prompt_too_long")),
        Kind::RateLimited => (429, "rate_limit_error", None),
        Kind::QuotaExhausted => (402, "billing_error", None),
        Kind::Overloaded => (529, "overloaded_error", None),
        Kind::Server => (500, "api_error", None),
        Kind::Timeout => (504, "timeout_error", None),
        _ => return None,
    })
}

fn body(failure: &Failure) -> Option<String> {
    let (_, sort, code) = words(failure.kind)?;
    let mut error = json!({"type": sort, "message": failure.message});
    if let (Some(code), Some(fields)) = (code, error.as_object_mut()) {
        fields.insert("error_code".to_owned(), json!(code));
    }
    Some(json!({"type": "error", "error": error, "request_id": "req_body"}).to_string())
}

fn refused(failure: &Failure) -> Option<(Vec<Act>, Said)> {
    let (status, sort, code) = words(failure.kind)?;
    let mut headers = named(failure.request_id.as_deref());
    headers += &match failure.retry_after {
        Some(RetryAfter::Seconds(seconds)) => format!("retry-after: {seconds}\r\n"),
        Some(RetryAfter::Date(date)) => {
            format!("retry-after: {}\r\n", httpdate::fmt_http_date(date))
        }
        None => String::new(),
    };
    let body = body(failure)?;
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let said = Said {
        status: Some(status),
        code: Some(code.unwrap_or(sort).to_owned()),
        ..Said::default()
    };
    Some((vec![Act::Say(answer.into_bytes())], said))
}

fn named(request_id: Option<&str>) -> String {
    request_id.map_or_else(String::new, |id| format!("request-id: {id}\r\n"))
}

/// The provider names the moments, as RFC 3339 writes them.
fn limits(limits: &RateLimits) -> String {
    let moment = |span: Option<Duration>| {
        span.map(|span| {
            jiff::Timestamp::try_from(SystemTime::now() + span)
                .unwrap()
                .to_string()
        })
    };
    let count = |count: Option<u64>| count.map(|count| count.to_string());
    [
        ("requests-remaining", count(limits.requests_remaining)),
        ("requests-reset", moment(limits.requests_reset)),
        ("tokens-remaining", count(limits.tokens_remaining)),
        ("tokens-reset", moment(limits.tokens_reset)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("anthropic-ratelimit-{name}: {}\r\n", value?)))
    .collect()
}

fn event(data: &Value) -> String {
    let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}

/// Gives blocks their indices, as they come.
#[derive(Default)]
struct Writer {
    body: String,
    next: u64,
    text: Option<u64>,
    thinking: Option<u64>,
    calls: BTreeMap<u32, u64>,
    usage: Value,
}

impl Writer {
    fn say(&mut self, data: &Value) {
        self.body += &event(data);
    }

    fn open(&mut self, content: &Value) -> u64 {
        let index = self.next;
        self.next += 1;
        self.say(&json!({"type": "content_block_start", "index": index, "content_block": content}));
        index
    }

    fn delta(&mut self, index: u64, delta: &Value) {
        self.say(&json!({"type": "content_block_delta", "index": index, "delta": delta}));
    }

    fn step(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::Text(text) | Step::Decline(text) => {
                let index = match self.text {
                    Some(index) => index,
                    None => self.open(&json!({"type": "text", "text": ""})),
                };
                self.text = Some(index);
                self.delta(index, &json!({"type": "text_delta", "text": text}));
            }
            Step::Reasoning(text) => {
                let index = match self.thinking {
                    Some(index) => index,
                    None => {
                        self.open(&json!({"type": "thinking", "thinking": "", "signature": ""}))
                    }
                };
                self.thinking = Some(index);
                self.delta(index, &json!({"type": "thinking_delta", "thinking": text}));
            }
            Step::Item {
                of: Owner::Reasoning,
                data,
            } => {
                let index = self.thinking?;
                self.delta(
                    index,
                    &json!({"type": "signature_delta", "signature": data}),
                );
            }
            Step::Call { call, name } => {
                let id = format!("toolu_{call}");
                let index =
                    self.open(&json!({"type": "tool_use", "id": id, "name": name, "input": {}}));
                self.calls.insert(*call, index);
            }
            Step::Arguments { call, fragment } => {
                let index = *self.calls.get(call)?;
                let delta = json!({"type": "input_json_delta", "partial_json": fragment});
                self.delta(index, &delta);
            }
            Step::Usage(usage) => self.usage = used(usage),
            Step::Finish(reason) => {
                for index in 0..self.next {
                    self.say(&json!({"type": "content_block_stop", "index": index}));
                }
                let mut delta =
                    json!({"type": "message_delta", "delta": {"stop_reason": raw(*reason)?}});
                let usage = std::mem::take(&mut self.usage);
                if let (false, Some(fields)) = (usage.is_null(), delta.as_object_mut()) {
                    fields.insert("usage".to_owned(), usage);
                }
                self.say(&delta);
                self.say(&json!({"type": "message_stop"}));
            }
            Step::Unknown => {
                self.body += "event: new_thing\ndata: {\n\ndata: {\"type\":\"newer_thing\"}\n\n";
            }
            Step::Malformed(text) => self.say(
                &json!({"type": "content_block_delta", "index": text, "delta": {"type": text}}),
            ),
            Step::Fail(failure) => {
                self.body += &format!("event: error\ndata: {}\n\n", body(failure)?);
            }
            _ => return None,
        }
        Some(())
    }
}

fn streamed(script: &Script) -> Option<(Vec<Act>, Said)> {
    let mut said = Said::default();
    let mut writer = Writer::default();
    if !script.steps.is_empty() {
        writer.say(
            &json!({"type": "message_start", "message": {"model": "claude-test", "content": []}}),
        );
    }
    let mut last = None;
    for step in &script.steps {
        match step {
            Step::Cut => last = Some(None),
            Step::Silence => last = Some(Some(Act::Wait)),
            Step::Endless(flood) => {
                let bytes = endless(*flood, &mut writer);
                last = Some(Some(Act::Repeat(chunked(bytes.as_bytes(), 1 << 16))));
            }
            _ => writer.step(step)?,
        }
        match step {
            Step::Finish(reason) => said.finish = Some(raw(*reason)?.to_owned()),
            Step::Fail(failure) => {
                let (_, sort, code) = words(failure.kind)?;
                said.status = Some(200);
                said.code = Some(code.unwrap_or(sort).to_owned());
            }
            _ => {}
        }
        if last.is_some() {
            break;
        }
    }
    let mut headers = named(script.request_id.as_deref());
    headers += &script.limits.as_ref().map(limits).unwrap_or_default();
    headers += "transfer-encoding: chunked\r\n";
    let pieces = script.pieces.unwrap_or(1 << 16);
    let mut acts = vec![
        Act::Say(head(&headers)),
        Act::Say(chunked(writer.body.as_bytes(), pieces)),
    ];
    acts.extend(last.unwrap_or_else(|| Some(Act::Say(b"0\r\n\r\n".to_vec()))));
    Some((acts, said))
}

fn endless(flood: Flood, writer: &mut Writer) -> String {
    match flood {
        Flood::Text => {
            let index = writer.open(&json!({"type": "text", "text": ""}));
            let delta = json!({"type": "text_delta", "text": "x".repeat(1_000)});
            event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
        }
        Flood::Frame => "x".repeat(1 << 16),
        Flood::Noise => ": ping\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n".repeat(1_000),
    }
}

fn raw(reason: FinishReason) -> Option<&'static str> {
    Some(match reason {
        FinishReason::Stop => "end_turn",
        FinishReason::Length => "max_tokens",
        FinishReason::ContextLimit => "model_context_window_exceeded",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::Refusal => "refusal",
        FinishReason::Pause => "pause_turn",
        FinishReason::Other => "something_new",
        _ => return None,
    })
}

/// The provider's input is what no cache has to do with.
fn used(usage: &Usage) -> Value {
    let cached = usage.cache_read_tokens.unwrap_or(0) + usage.cache_write_tokens.unwrap_or(0);
    let mut fields = serde_json::Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value);
        }
    };
    put(
        "input_tokens",
        usage.input_tokens.map(|all| json!(all - cached)),
    );
    put(
        "cache_read_input_tokens",
        usage.cache_read_tokens.map(|count| json!(count)),
    );
    put(
        "cache_creation_input_tokens",
        usage.cache_write_tokens.map(|count| json!(count)),
    );
    put(
        "output_tokens",
        usage.output_tokens.map(|count| json!(count)),
    );
    let thought = usage.reasoning_tokens;
    put(
        "output_tokens_details",
        thought.map(|count| json!({"thinking_tokens": count})),
    );
    Value::Object(fields)
}
