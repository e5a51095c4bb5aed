//! How a server speaks Chat Completions.

use std::sync::Arc;

use seaworthy_contract::http::{Asked, Dialect, Refusal};
use seaworthy_contract::model_provider::{Failure, Flood, Owner, Step};
use seaworthy_openai::{OpenAi, OpenAiConfig};
use seaworthy_ports::Secret;
use seaworthy_ports::model_provider::{
    FinishReason, Kind, ListedModel, ModelProvider, RateLimits, Usage,
};
use serde_json::{Value, json};

use super::{headers, refusal, some};

#[derive(Default)]
pub(crate) struct Chat {
    /// Told last.
    usage: String,
    is_finished: bool,
}

impl Dialect for Chat {
    const KEY: &'static str = "sk-canary-0123456789";

    fn provider(url: &str, frame_bytes: usize, stream_bytes: usize) -> Arc<dyn ModelProvider> {
        let config = OpenAiConfig::new(Some(Secret::new(Self::KEY)))
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
        "text/event-stream"
    }

    fn whole() -> &'static [u8] {
        include_bytes!("../recorded/text.sse")
    }

    fn terminal() -> &'static [u8] {
        b"data: [DONE]\n\n"
    }

    fn beginning() -> &'static [u8] {
        b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"half\"}}]}\n\n"
    }

    fn failures() -> Vec<(Vec<u8>, Kind)> {
        [
            (
                "data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n",
                Kind::RateLimited,
            ),
            (
                "event: error\ndata: {\"message\":\"no\",\"code\":\"insufficient_quota\"}\n\n",
                Kind::QuotaExhausted,
            ),
            ("data: {\"error\":\"no\"}\n\n", Kind::Server),
        ]
        .map(|(frame, kind)| (frame.as_bytes().to_vec(), kind))
        .to_vec()
    }

    fn wrong_types() -> Vec<Vec<u8>> {
        [
            "data: garbage\n\n",
            "data: {\"choices\":3}\n\n",
            "data: {\"choices\":[{\"delta\":[3]}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":3}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"tool_calls\":{}}}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":-1}}\n\n",
            "data: [3]\n\n",
        ]
        .map(|frame| frame.as_bytes().to_vec())
        .to_vec()
    }

    fn frame_with(bytes: &[u8]) -> Vec<u8> {
        [
            &b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\""[..],
            bytes,
            b"\"}}]}\n\n",
        ]
        .concat()
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
            // A refusal has a field of its own and no reason.
            FinishReason::Stop | FinishReason::Refusal => Some("stop"),
            FinishReason::Length => Some("length"),
            FinishReason::ToolCalls => Some("tool_calls"),
            FinishReason::ContentFilter => Some("content_filter"),
            FinishReason::Other => Some("something_new"),
            _ => None,
        }
    }

    fn step(&mut self, step: &Step, body: &mut String) -> Option<()> {
        let frame = match step {
            Step::Text(text) => delta(&json!({ "content": text })),
            Step::Reasoning(text) => delta(&json!({ "reasoning_content": text })),
            Step::Decline(text) => delta(&json!({ "refusal": text })),
            Step::Call { call: number, name } => {
                let function = json!({"name": name, "arguments": ""});
                let id = format!("call_{number}");
                call(
                    *number,
                    &json!({"id": id, "type": "function", "function": function}),
                )
            }
            Step::Arguments {
                call: number,
                fragment,
            } => call(*number, &json!({"function": {"arguments": fragment}})),
            // As Gemini's compatible endpoint signs its calls.
            Step::Item {
                of: Owner::Call(number),
                data,
            } => {
                let signature = json!({"google": {"thought_signature": data}});
                call(*number, &json!({ "extra_content": signature }))
            }
            Step::Usage(usage) => {
                self.usage = data(&json!({"choices": [], "usage": used(usage)}));
                return Some(());
            }
            Step::Finish(reason) => {
                self.is_finished = true;
                choice(&json!({}), Self::reason(*reason))
            }
            Step::Unknown => "event: ping\ndata: {\n\ndata: {\"type\":\"new\"}\n\n".to_owned(),
            Step::Malformed(text) => data(&json!({ "choices": text })),
            Step::Fail(failure) => {
                let body = refusal(failure)?.body;
                // Some servers name the event, some do not.
                let is_named = failure.kind == Kind::Overloaded;
                let name = if is_named { "event: error\n" } else { "" };
                format!("{name}data: {body}\n\n")
            }
            _ => return None,
        };
        *body += &frame;
        Some(())
    }

    fn endless(&mut self, flood: Flood, _body: &mut String) -> String {
        match flood {
            Flood::Text => delta(&json!({"content": "x".repeat(1_000)})),
            Flood::Frame => "x".repeat(1 << 16),
            Flood::Noise => ": ping\n\ndata: {\"type\":\"ping\"}\n\n".repeat(1_000),
        }
    }

    fn end(&mut self, body: &mut String) -> Option<()> {
        *body += &self.usage;
        if self.is_finished {
            *body += "data: [DONE]\n\n";
        }
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

fn delta(delta: &Value) -> String {
    choice(delta, None)
}

fn choice(delta: &Value, finish: Option<&str>) -> String {
    data(&json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
}

fn data(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn call(number: u32, call: &Value) -> String {
    let mut call = call.clone();
    if let Some(fields) = call.as_object_mut() {
        fields.insert("index".to_owned(), json!(number));
    }
    delta(&json!({ "tool_calls": [call] }))
}

fn used(usage: &Usage) -> Value {
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
