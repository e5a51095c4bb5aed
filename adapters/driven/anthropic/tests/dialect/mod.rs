//! How a server speaks Messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use seaworthy_anthropic::{Anthropic, AnthropicConfig};
use seaworthy_contract::http::{Asked, Dialect, Refusal, retry_after};
use seaworthy_contract::model_provider::{Failure, Flood, Owner, Step};
use seaworthy_ports::Secret;
use seaworthy_ports::model_provider::{
    FinishReason, Kind, ListedModel, ModelCapabilities, ModelProvider, RateLimits, Usage,
};
use serde_json::{Value, json};

/// Gives blocks their indices, as they come.
#[derive(Default)]
pub(crate) struct Messages {
    is_begun: bool,
    next: u64,
    text: Option<u64>,
    thinking: Option<u64>,
    calls: BTreeMap<u32, u64>,
    usage: Value,
}

impl Dialect for Messages {
    const KEY: &'static str = "sk-ant-canary-0123456789";

    fn provider(url: &str, frame_bytes: usize, stream_bytes: usize) -> Arc<dyn ModelProvider> {
        let config = AnthropicConfig::new(Secret::new(Self::KEY))
            .with_base_url(url)
            .with_max_event_bytes(frame_bytes)
            .with_max_stream_bytes(stream_bytes);
        Arc::new(Anthropic::connect(config).unwrap())
    }

    fn counted(tokens: u64) -> Option<Value> {
        Some(json!({ "input_tokens": tokens }))
    }

    fn told(model: &ListedModel) -> Option<ListedModel> {
        // It says nothing of tools.
        let tools = ModelCapabilities::NONE.with_tool_use();
        Some(ListedModel {
            can: model.can.without(tools),
            cannot: model.cannot.without(tools),
            ..model.clone()
        })
    }

    fn offering(asked: &Asked<'_>, models: &[ListedModel]) -> Option<Value> {
        let one = |model: &ListedModel| {
            let supported = |of: fn(&ModelCapabilities) -> bool| {
                let said = of(&model.can) || of(&model.cannot);
                said.then(|| json!({"supported": of(&model.can)}))
            };
            json!({
                "type": "model", "id": model.id, "display_name": model.id, "created_at": "2026-01-01T00:00:00Z",
                "max_input_tokens": model.context_tokens, "max_tokens": model.max_output_tokens,
                "capabilities": {
                    "image_input": supported(|flags| flags.vision_input),
                    "structured_outputs": supported(|flags| flags.structured_output),
                    "batch": {"supported": true},
                },
            })
        };
        match asked.path.rsplit_once("/models")? {
            (_, "") => {
                let (page, has_more) = asked.page(models, "limit", "after_id");
                let data: Vec<Value> = page.iter().map(one).collect();
                let (first, last) = (page.first(), page.last());
                Some(json!({
                    "data": data, "has_more": has_more, "first_id": first.map(|model| &model.id),
                    "last_id": last.map(|model| &model.id),
                }))
            }
            (_, wanted) => {
                let wanted = wanted.trim_start_matches('/');
                models.iter().find(|model| model.id == wanted).map(one)
            }
        }
    }

    fn content_type() -> &'static str {
        "text/event-stream; charset=utf-8"
    }

    fn whole() -> &'static [u8] {
        include_bytes!("../recorded/tools.sse")
    }

    fn terminal() -> &'static [u8] {
        b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
    }

    fn beginning() -> &'static [u8] {
        b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n\
          data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
          data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"half\"}}\n\n"
    }

    fn failures() -> Vec<(Vec<u8>, Kind)> {
        let frame = |sort: &str| {
            let data = format!(
                "{{\"type\":\"error\",\"error\":{{\"type\":\"{sort}\",\"message\":\"no\"}}}}"
            );
            format!("event: error\ndata: {data}\n\n").into_bytes()
        };
        vec![
            (frame("overloaded_error"), Kind::Overloaded),
            (frame("rate_limit_error"), Kind::RateLimited),
            (frame("api_error"), Kind::Server),
            (frame("invalid_request_error"), Kind::InvalidRequest),
            (frame("something_new"), Kind::Server),
        ]
    }

    fn wrong_types() -> Vec<Vec<u8>> {
        [
            "event: message_start\ndata: garbage\n\n",
            "data: [3]\n\n",
            "data: {\"type\":3}\n\n",
            "data: {\"type\":\"message_start\"}\n\n",
            "data: {\"type\":\"message_start\",\"message\":3}\n\n",
            "data: {\"type\":\"content_block_start\",\"index\":-1,\"content_block\":{}}\n\n",
            "data: {\"type\":\"content_block_start\",\"index\":7,\"content_block\":{\"type\":\"tool_use\"}}\n\n",
            "data: {\"type\":\"content_block_delta\",\"index\":9,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n",
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":3}}\n\n",
            "data: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":-1}}\n\n",
        ]
        .map(|frame| frame.as_bytes().to_vec())
        .to_vec()
    }

    fn frame_with(bytes: &[u8]) -> Vec<u8> {
        [
            &b"data: {\"type\":\"content_block_start\",\"index\":8,\"content_block\":{\"type\":\"text\",\"text\":\""[..],
            bytes,
            b"\"}}\n\n",
        ]
        .concat()
    }

    fn limited() -> String {
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"},"request_id":"req_1"}"#.to_owned()
    }

    fn refusal(failure: &Failure) -> Option<Refusal> {
        let (status, sort, code) = words(failure.kind)?;
        let mut error = json!({"type": sort, "message": failure.message});
        if let (Some(code), Some(fields)) = (code, error.as_object_mut()) {
            fields.insert("error_code".to_owned(), json!(code));
        }
        let body = json!({"type": "error", "error": error, "request_id": "req_body"});
        Some(Refusal {
            status,
            code: Some(code.unwrap_or(sort).to_owned()),
            headers: retry_after(failure),
            body: body.to_string(),
        })
    }

    /// The provider names the moments of its limits, as RFC 3339 writes them.
    fn headers(request_id: Option<&str>, limits: Option<&RateLimits>) -> Option<String> {
        let moment = |span: Option<Duration>| {
            span.map(|span| {
                jiff::Timestamp::try_from(SystemTime::now() + span)
                    .unwrap()
                    .to_string()
            })
        };
        let count = |count: Option<u64>| count.map(|count| count.to_string());
        let limits = limits.copied().unwrap_or_default();
        let headers = [
            ("request-id", request_id.map(str::to_owned)),
            (
                "anthropic-ratelimit-requests-remaining",
                count(limits.requests_remaining),
            ),
            (
                "anthropic-ratelimit-requests-reset",
                moment(limits.requests_reset),
            ),
            (
                "anthropic-ratelimit-tokens-remaining",
                count(limits.tokens_remaining),
            ),
            (
                "anthropic-ratelimit-tokens-reset",
                moment(limits.tokens_reset),
            ),
        ];
        let headers = headers
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}: {}\r\n", value?)));
        Some(headers.collect())
    }

    fn reason(reason: FinishReason) -> Option<&'static str> {
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

    fn step(&mut self, step: &Step, body: &mut String) -> Option<()> {
        self.begin(body);
        match step {
            Step::Text(text) | Step::Decline(text) => {
                let index = match self.text {
                    Some(index) => index,
                    None => self.open(body, &json!({"type": "text", "text": ""})),
                };
                self.text = Some(index);
                delta(body, index, &json!({"type": "text_delta", "text": text}));
            }
            Step::Reasoning(text) => {
                let index = match self.thinking {
                    Some(index) => index,
                    None => self.open(
                        body,
                        &json!({"type": "thinking", "thinking": "", "signature": ""}),
                    ),
                };
                self.thinking = Some(index);
                delta(
                    body,
                    index,
                    &json!({"type": "thinking_delta", "thinking": text}),
                );
            }
            Step::Item {
                of: Owner::Reasoning,
                data,
            } => {
                let index = self.thinking?;
                delta(
                    body,
                    index,
                    &json!({"type": "signature_delta", "signature": data}),
                );
            }
            Step::Call { call, name } => {
                let id = format!("toolu_{call}");
                let index = self.open(
                    body,
                    &json!({"type": "tool_use", "id": id, "name": name, "input": {}}),
                );
                self.calls.insert(*call, index);
            }
            Step::Arguments { call, fragment } => {
                let index = *self.calls.get(call)?;
                let fragment = json!({"type": "input_json_delta", "partial_json": fragment});
                delta(body, index, &fragment);
            }
            Step::Usage(usage) => self.usage = used(usage),
            Step::Finish(reason) => {
                for index in 0..self.next {
                    say(body, &json!({"type": "content_block_stop", "index": index}));
                }
                let mut delta = json!({"type": "message_delta", "delta": {"stop_reason": Self::reason(*reason)?}});
                let usage = std::mem::take(&mut self.usage);
                if let (false, Some(fields)) = (usage.is_null(), delta.as_object_mut()) {
                    fields.insert("usage".to_owned(), usage);
                }
                say(body, &delta);
                say(body, &json!({"type": "message_stop"}));
            }
            Step::Unknown => {
                *body += "event: new_thing\ndata: {\n\ndata: {\"type\":\"newer_thing\"}\n\n";
            }
            Step::Malformed(text) => say(
                body,
                &json!({"type": "content_block_delta", "index": text, "delta": {"type": text}}),
            ),
            Step::Fail(failure) => {
                *body += &format!("event: error\ndata: {}\n\n", Self::refusal(failure)?.body);
            }
            _ => return None,
        }
        Some(())
    }

    fn endless(&mut self, flood: Flood, body: &mut String) -> String {
        self.begin(body);
        match flood {
            Flood::Text => {
                let index = self.open(body, &json!({"type": "text", "text": ""}));
                let delta = json!({"type": "text_delta", "text": "x".repeat(1_000)});
                event(&json!({"type": "content_block_delta", "index": index, "delta": delta}))
            }
            Flood::Frame => "x".repeat(1 << 16),
            Flood::Noise => ": ping\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n".repeat(1_000),
        }
    }

    fn end(&mut self, _body: &mut String) -> Option<()> {
        Some(())
    }
}

impl Messages {
    fn begin(&mut self, body: &mut String) {
        if !std::mem::replace(&mut self.is_begun, true) {
            let message = json!({"model": "claude-test", "content": []});
            say(body, &json!({"type": "message_start", "message": message}));
        }
    }

    fn open(&mut self, body: &mut String, content: &Value) -> u64 {
        let index = self.next;
        self.next += 1;
        say(
            body,
            &json!({"type": "content_block_start", "index": index, "content_block": content}),
        );
        index
    }
}

fn event(data: &Value) -> String {
    let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n")
}

fn say(body: &mut String, data: &Value) {
    *body += &event(data);
}

fn delta(body: &mut String, index: u64, delta: &Value) {
    say(
        body,
        &json!({"type": "content_block_delta", "index": index, "delta": delta}),
    );
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
