//! How a server speaks Ollama's chat.

use std::collections::BTreeMap;
use std::sync::Arc;

use seaworthy_contract::http::{Asked, Dialect, Refusal, retry_after};
use seaworthy_contract::model_provider::{Failure, Flood, Step};
use seaworthy_ollama::{Ollama, OllamaConfig};
use seaworthy_ports::Secret;
use seaworthy_ports::model_provider::{
    FinishReason, Kind, ListedModel, ModelCapabilities, ModelProvider, RateLimits, Usage,
};
use serde_json::{Map, Value, json};

/// Calls come whole: they are written once all of them is known.
#[derive(Default)]
pub(crate) struct Chat {
    calls: BTreeMap<u32, (String, String)>,
    usage: Map<String, Value>,
}

impl Dialect for Chat {
    const KEY: &'static str = "canary-0123456789";

    fn provider(url: &str, frame_bytes: usize, stream_bytes: usize) -> Arc<dyn ModelProvider> {
        let config = OllamaConfig::new()
            .with_api_key(Secret::new(Self::KEY))
            .with_base_url(url)
            .with_max_event_bytes(frame_bytes)
            .with_max_stream_bytes(stream_bytes);
        Arc::new(Ollama::connect(config).unwrap())
    }

    fn told(model: &ListedModel) -> Option<ListedModel> {
        // Its list of words is whole: what is not in it the model cannot do.
        let about = ModelCapabilities::NONE
            .with_tool_use()
            .with_vision_input()
            .with_embeddings();
        let mut told = ListedModel {
            id: model.id.clone(),
            context_tokens: model.context_tokens,
            ..ListedModel::default()
        };
        let schema = ModelCapabilities::NONE.with_structured_output();
        told.say(model.can.without(schema), about);
        Some(told)
    }

    fn offering(asked: &Asked<'_>, models: &[ListedModel]) -> Option<Value> {
        if asked.path.ends_with("/api/tags") {
            // Other servers' order is not that of names.
            let all = models.iter().rev();
            let all: Vec<Value> = all
                .map(|model| json!({"name": model.id, "model": model.id, "size": 1}))
                .collect();
            return Some(json!({ "models": all }));
        }
        let body: Value = serde_json::from_str(asked.body).ok()?;
        let wanted = body.get("model")?.as_str()?;
        let model = models.iter().find(|model| model.id == wanted)?;
        let info = match model.context_tokens {
            Some(tokens) => {
                json!({"general.architecture": "small", "small.context_length": tokens})
            }
            None => json!({"general.architecture": "small", "small.block_count": 30}),
        };
        let mut words = vec!["completion"];
        if model.can.tool_use {
            words.push("tools");
        }
        if model.can.vision_input {
            words.push("vision");
        }
        Some(json!({"model_info": info, "capabilities": words}))
    }

    fn content_type() -> &'static str {
        "application/x-ndjson"
    }

    fn whole() -> &'static [u8] {
        include_bytes!("../recorded/tools.ndjson")
    }

    fn terminal() -> &'static [u8] {
        b"{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"}\n"
    }

    fn beginning() -> &'static [u8] {
        b"{\"message\":{\"content\":\"half\"},\"done\":false}\n"
    }

    fn failures() -> Vec<(Vec<u8>, Kind)> {
        vec![
            (b"{\"error\":\"no\"}\n".to_vec(), Kind::Server),
            (b"{\"error\":{\"message\":\"no\"}}\n".to_vec(), Kind::Server),
        ]
    }

    fn wrong_types() -> Vec<Vec<u8>> {
        [
            "garbage\n",
            "[3]\n",
            "3\n",
            "{\"message\":3}\n",
            "{\"message\":{\"content\":3}}\n",
            "{\"message\":{\"tool_calls\":{}}}\n",
            "{\"message\":{\"tool_calls\":[{\"function\":{\"arguments\":{}}}]}}\n",
            "{\"done\":\"yes\"}\n",
            "{\"done\":true,\"eval_count\":-1}\n",
            "{\"message\":{\n",
        ]
        .map(|frame| frame.as_bytes().to_vec())
        .to_vec()
    }

    fn frame_with(bytes: &[u8]) -> Vec<u8> {
        [&b"{\"message\":{\"content\":\""[..], bytes, b"\"}}\n"].concat()
    }

    fn limited() -> String {
        r#"{"error":"slow down"}"#.to_owned()
    }

    fn refusal(failure: &Failure) -> Option<Refusal> {
        Some(Refusal {
            status: status(failure.kind)?,
            code: None,
            headers: retry_after(failure),
            body: json!({"error": failure.message}).to_string(),
        })
    }

    /// A server names neither requests nor limits.
    fn headers(request_id: Option<&str>, limits: Option<&RateLimits>) -> Option<String> {
        (request_id.is_none() && limits.is_none()).then(String::new)
    }

    fn reason(reason: FinishReason) -> Option<&'static str> {
        Some(match reason {
            FinishReason::Stop | FinishReason::ToolCalls => "stop",
            FinishReason::Length => "length",
            FinishReason::Other => "unload",
            _ => return None,
        })
    }

    fn step(&mut self, step: &Step, body: &mut String) -> Option<()> {
        match step {
            Step::Text(text) => *body += &record(&json!({ "content": text })),
            Step::Reasoning(text) => {
                *body += &record(&json!({"content": "", "thinking": text}));
            }
            Step::Call { call, name } => {
                self.calls.insert(*call, (name.clone(), String::new()));
            }
            Step::Arguments { call, fragment } => {
                self.calls.get_mut(call)?.1.push_str(fragment);
            }
            Step::Usage(usage) => self.usage = used(usage)?,
            Step::Finish(reason) => {
                // A call that was cut off does not come at all.
                let written = self.write(body);
                if *reason != FinishReason::Length {
                    written?;
                }
                let mut last = std::mem::take(&mut self.usage);
                last.insert("message".to_owned(), json!({"content": ""}));
                last.insert("done".to_owned(), json!(true));
                last.insert("done_reason".to_owned(), json!(Self::reason(*reason)?));
                *body += &format!("{}\n", Value::Object(last));
            }
            Step::Unknown => *body += "{\"new_thing\":{}}\n",
            Step::Malformed(text) => *body += &format!("{}\n", json!({ "message": text })),
            Step::Fail(failure) if failure.kind == Kind::Server => {
                *body += &format!("{}\n", json!({"error": failure.message}));
            }
            _ => return None,
        }
        Some(())
    }

    fn endless(&mut self, flood: Flood, _body: &mut String) -> String {
        match flood {
            Flood::Text => record(&json!({"content": "x".repeat(1_000)})),
            Flood::Frame => "x".repeat(1 << 16),
            Flood::Noise => "\n{\"new_thing\":{}}\n".repeat(1_000),
        }
    }

    /// A stream may end after its calls.
    fn end(&mut self, body: &mut String) -> Option<()> {
        self.write(body)
    }

    fn texts(request: &Value) -> Option<Vec<String>> {
        let texts = request.get("input")?.as_array()?.iter();
        texts.map(|text| text.as_str().map(str::to_owned)).collect()
    }

    fn vectors(vectors: &[Vec<f32>], tokens: Option<u64>) -> Value {
        json!({"model": "m", "embeddings": vectors, "prompt_eval_count": tokens})
    }
}

impl Chat {
    /// `None`: what the model wrote is no JSON.
    fn write(&mut self, body: &mut String) -> Option<()> {
        for (name, arguments) in std::mem::take(&mut self.calls).into_values() {
            let arguments: Value = match arguments.as_str() {
                "" => json!({}),
                arguments => serde_json::from_str(arguments).ok()?,
            };
            let call = json!({"function": {"name": name, "arguments": arguments}});
            *body += &record(&json!({"content": "", "tool_calls": [call]}));
        }
        Some(())
    }
}

const fn status(kind: Kind) -> Option<u16> {
    Some(match kind {
        Kind::Authentication => 401,
        Kind::Permission => 403,
        Kind::NotFound => 404,
        Kind::InvalidRequest => 400,
        Kind::RateLimited => 429,
        Kind::Overloaded => 503,
        Kind::Server => 500,
        Kind::Timeout => 504,
        _ => return None,
    })
}

fn record(message: &Value) -> String {
    format!(
        "{}\n",
        json!({"model": "m", "message": message, "done": false})
    )
}

fn used(usage: &Usage) -> Option<Map<String, Value>> {
    if usage.cache_write_tokens.is_some() || usage.reasoning_tokens.is_some() {
        return None;
    }
    let counts = [
        ("prompt_eval_count", usage.input_tokens),
        ("prompt_eval_cached_count", usage.cache_read_tokens),
        ("eval_count", usage.output_tokens),
    ];
    let some = counts
        .into_iter()
        .filter_map(|(name, count)| Some((name.to_owned(), json!(count?))));
    Some(some.collect())
}
