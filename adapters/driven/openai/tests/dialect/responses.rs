//! How a server speaks Responses.

use std::collections::BTreeMap;
use std::sync::Arc;

use seaworthy_contract::http::{Asked, Dialect, Refusal};
use seaworthy_contract::model_provider::{Failure, Flood, Owner, Step};
use seaworthy_openai::{Api, OpenAi, OpenAiConfig};
use seaworthy_ports::Secret;
use seaworthy_ports::model_provider::{
    FinishReason, Kind, ListedModel, ModelProvider, RateLimits, Usage,
};
use serde_json::{Map, Value, json};

use super::{headers, refusal, some};

/// Gives items their indices, as they come, and ends them before the response.
#[derive(Default)]
pub(crate) struct Responses {
    sequence: u64,
    /// Each with what it is once it is whole.
    items: Vec<Value>,
    message: Option<usize>,
    reasoning: Option<usize>,
    calls: BTreeMap<u32, usize>,
    usage: Value,
}

impl Dialect for Responses {
    const KEY: &'static str = "sk-canary-9876543210";

    fn provider(url: &str, frame_bytes: usize, stream_bytes: usize) -> Arc<dyn ModelProvider> {
        let config = OpenAiConfig::new(Some(Secret::new(Self::KEY)))
            .with_api(Api::Responses)
            .with_base_url(url)
            .with_rerank_base_url(url)
            .with_max_event_bytes(frame_bytes)
            .with_max_stream_bytes(stream_bytes);
        Arc::new(OpenAi::connect(config).unwrap())
    }

    fn told(model: &ListedModel) -> Option<ListedModel> {
        Some(super::told(model))
    }

    fn offering(asked: &Asked<'_>, models: &[ListedModel]) -> Option<Value> {
        super::offering(asked, models)
    }

    fn content_type() -> &'static str {
        "text/event-stream; charset=utf-8"
    }

    fn whole() -> &'static [u8] {
        include_bytes!("../recorded/responses.sse")
    }

    fn terminal() -> &'static [u8] {
        b"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n"
    }

    fn beginning() -> &'static [u8] {
        b"event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"half\"}\n\n"
    }

    fn failures() -> Vec<(Vec<u8>, Kind)> {
        [
            (
                "event: error\ndata: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"slow down\",\"param\":null}\n\n",
                Kind::RateLimited,
            ),
            (
                "data: {\"type\":\"error\",\"error\":{\"type\":\"insufficient_quota\",\"message\":\"no\"}}\n\n",
                Kind::QuotaExhausted,
            ),
            (
                "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"status\":\"failed\",\"error\":{\"code\":\"server_error\",\"message\":\"no\"}}}\n\n",
                Kind::Server,
            ),
            (
                "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"invalid_image_url\",\"message\":\"no\"}}}\n\n",
                Kind::InvalidRequest,
            ),
            (
                "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"error\":null}}\n\n",
                Kind::Server,
            ),
        ]
        .map(|(frame, kind)| (frame.as_bytes().to_vec(), kind))
        .to_vec()
    }

    fn wrong_types() -> Vec<Vec<u8>> {
        [
            "data: garbage\n\n",
            "data: [3]\n\n",
            "data: {\"type\":3}\n\n",
            "event: response.output_text.delta\ndata: garbage\n\n",
            "data: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":3}\n\n",
            "data: {\"type\":\"response.output_text.delta\",\"output_index\":-1,\"delta\":\"x\"}\n\n",
            "data: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":[]}\n\n",
            "data: {\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":{\"type\":\"function_call\",\"name\":3}}\n\n",
            "data: {\"type\":\"response.output_item.done\",\"output_index\":9,\"item\":{\"type\":\"reasoning\",\"summary\":3}}\n\n",
            "data: {\"type\":\"response.function_call_arguments.delta\",\"output_index\":9,\"delta\":\"{}\"}\n\n",
            "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":-1}}}\n\n",
            "data: {\"type\":\"response.completed\"}\n\n",
        ]
        .map(|frame| frame.as_bytes().to_vec())
        .to_vec()
    }

    fn frame_with(bytes: &[u8]) -> Vec<u8> {
        let before =
            b"data: {\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"";
        [&before[..], bytes, b"\"}\n\n"].concat()
    }

    fn limited() -> String {
        r#"{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}"#
            .to_owned()
    }

    fn refusal(failure: &Failure) -> Option<Refusal> {
        refusal(failure)
    }

    fn headers(request_id: Option<&str>, limits: Option<&RateLimits>) -> Option<String> {
        Some(headers(request_id, limits))
    }

    fn reason(reason: FinishReason) -> Option<&'static str> {
        match reason {
            // Calls and refusals are items of a response that is complete.
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Refusal => {
                Some("completed")
            }
            FinishReason::Length => Some("max_output_tokens"),
            FinishReason::ContentFilter => Some("content_filter"),
            FinishReason::Other => Some("something_new"),
            _ => None,
        }
    }

    fn step(&mut self, step: &Step, body: &mut String) -> Option<()> {
        match step {
            Step::Text(text) => {
                let index = self.message(body);
                self.say(body, "response.output_text.delta", index, "delta", text);
            }
            Step::Decline(text) => {
                let index = self.message(body);
                self.say(body, "response.refusal.delta", index, "delta", text);
            }
            Step::Reasoning(text) => {
                let index = self.reasoning(body);
                let sort = "response.reasoning_summary_text.delta";
                self.say(body, sort, index, "delta", text);
            }
            Step::Item {
                of: Owner::Reasoning,
                data,
            } => {
                let index = self.reasoning(body);
                self.keep(index, "encrypted_content", data);
            }
            Step::Item {
                of: Owner::Call(call),
                data,
            } => {
                let index = *self.calls.get(call)?;
                self.keep(index, "namespace", data);
            }
            Step::Call { call, name } => {
                let call_id = format!("call_{call}");
                let item = json!({"type": "function_call", "call_id": call_id, "name": name, "arguments": ""});
                let index = self.open(body, item);
                self.calls.insert(*call, index);
            }
            Step::Arguments { call, fragment } => {
                let index = *self.calls.get(call)?;
                let sort = "response.function_call_arguments.delta";
                self.say(body, sort, index, "delta", fragment);
            }
            Step::Usage(usage) => self.usage = used(usage),
            Step::Finish(reason) => self.finish(*reason, body)?,
            Step::Unknown => {
                *body +=
                    "event: response.new_thing\ndata: {\n\ndata: {\"type\":\"newer_thing\"}\n\n";
                self.open(body, json!({"type": "new_item", "status": 7}));
            }
            Step::Malformed(text) => {
                let item = json!({"type": text, "item": text});
                self.event(body, "response.output_item.added", json!({ "items": item }));
            }
            Step::Fail(failure) => {
                let code = refusal(failure)?.code;
                let error = json!({"code": code, "message": failure.message});
                // Failures come in two forms.
                if failure.kind == Kind::Overloaded {
                    self.event(body, "error", error);
                } else {
                    let response = json!({"status": "failed", "error": error});
                    self.event(body, "response.failed", json!({ "response": response }));
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn endless(&mut self, flood: Flood, body: &mut String) -> String {
        match flood {
            Flood::Text => {
                let index = self.message(body);
                let mut frame = String::new();
                let text = "x".repeat(1_000);
                self.say(
                    &mut frame,
                    "response.output_text.delta",
                    index,
                    "delta",
                    &text,
                );
                frame
            }
            Flood::Frame => "x".repeat(1 << 16),
            Flood::Noise => {
                ": ping\n\nevent: keepalive\ndata: {\"type\":\"keepalive\"}\n\n".repeat(1_000)
            }
        }
    }

    fn end(&mut self, _body: &mut String) -> Option<()> {
        Some(())
    }

    fn texts(request: &Value) -> Option<Vec<String>> {
        super::texts(request)
    }

    fn vectors(vectors: &[Vec<f32>], tokens: Option<u64>) -> Value {
        super::vectors(vectors, tokens)
    }

    fn documents(request: &Value) -> Option<Vec<String>> {
        super::documents(request)
    }

    fn scores(scores: &[f32], tokens: Option<u64>) -> Value {
        super::scores(scores, tokens)
    }
}

impl Responses {
    fn event(&mut self, body: &mut String, sort: &str, mut data: Value) {
        if let Some(fields) = data.as_object_mut() {
            fields.insert("type".to_owned(), json!(sort));
            fields.insert("sequence_number".to_owned(), json!(self.sequence));
        }
        self.sequence += 1;
        *body += &format!("event: {sort}\ndata: {data}\n\n");
    }

    fn say(&mut self, body: &mut String, sort: &str, index: usize, name: &str, text: &str) {
        let id = format!("item_{index}");
        self.event(
            body,
            sort,
            json!({"output_index": index, "item_id": id, name: text}),
        );
    }

    fn open(&mut self, body: &mut String, mut item: Value) -> usize {
        let index = self.items.len();
        if let Some(fields) = item.as_object_mut() {
            fields.insert("id".to_owned(), json!(format!("item_{index}")));
        }
        let added = json!({"output_index": index, "item": item});
        self.event(body, "response.output_item.added", added);
        self.items.push(item);
        index
    }

    fn keep(&mut self, index: usize, name: &str, text: &str) {
        if let Some(fields) = self.items.get_mut(index).and_then(Value::as_object_mut) {
            fields.insert(name.to_owned(), json!(text));
        }
    }

    fn message(&mut self, body: &mut String) -> usize {
        if let Some(index) = self.message {
            return index;
        }
        let index = self.open(
            body,
            json!({"type": "message", "role": "assistant", "content": []}),
        );
        self.message = Some(index);
        index
    }

    fn reasoning(&mut self, body: &mut String) -> usize {
        if let Some(index) = self.reasoning {
            return index;
        }
        // What is encrypted here is not yet whole and must not be kept.
        let item = json!({"type": "reasoning", "summary": [], "encrypted_content": "begun"});
        let index = self.open(body, item);
        self.keep(index, "encrypted_content", "");
        self.reasoning = Some(index);
        index
    }

    /// Items that are cut off do not end.
    fn finish(&mut self, reason: FinishReason, body: &mut String) -> Option<()> {
        let raw = Self::reason(reason)?;
        let is_complete = raw == "completed";
        if is_complete {
            for (index, item) in self.items.clone().into_iter().enumerate() {
                let done = json!({"output_index": index, "item": item});
                self.event(body, "response.output_item.done", done);
            }
        }
        let mut response = Map::new();
        response.insert("model".to_owned(), json!("gpt-test"));
        response.insert("usage".to_owned(), std::mem::take(&mut self.usage));
        let sort = if is_complete {
            "response.completed"
        } else {
            let details = json!({ "reason": raw });
            response.insert("incomplete_details".to_owned(), details);
            "response.incomplete"
        };
        self.event(body, sort, json!({ "response": response }));
        Some(())
    }
}

fn used(usage: &Usage) -> Value {
    let number = |count: Option<u64>| count.map(|count| json!(count));
    let input = some(&[
        ("cached_tokens", number(usage.cache_read_tokens)),
        ("cache_write_tokens", number(usage.cache_write_tokens)),
    ]);
    let output = some(&[("reasoning_tokens", number(usage.reasoning_tokens))]);
    let all = some(&[
        ("input_tokens", number(usage.input_tokens)),
        ("output_tokens", number(usage.output_tokens)),
        ("input_tokens_details", input),
        ("output_tokens_details", output),
    ]);
    all.unwrap_or_default()
}
