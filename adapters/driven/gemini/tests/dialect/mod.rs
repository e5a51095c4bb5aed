//! How a server speaks `generateContent`.

use std::collections::BTreeMap;
use std::sync::Arc;

use seaworthy_contract::http::{Asked, Dialect, Refusal};
use seaworthy_contract::model_provider::{Failure, Flood, Owner, RetryAfter, Step};
use seaworthy_gemini::{Gemini, GeminiConfig};
use seaworthy_ports::Secret;
use seaworthy_ports::model_provider::{
    FinishReason, Kind, ListedModel, ModelCapabilities, ModelProvider, RateLimits, Usage,
};
use serde_json::{Map, Value, json};

/// Calls come whole: they are written once all of them is known.
#[derive(Default)]
pub(crate) struct Generate {
    calls: BTreeMap<u32, (String, String, Option<String>)>,
}

impl Dialect for Generate {
    const KEY: &'static str = "AIza-canary-0123456789";

    fn provider(url: &str, frame_bytes: usize, stream_bytes: usize) -> Arc<dyn ModelProvider> {
        let config = GeminiConfig::new(Secret::new(Self::KEY))
            .with_base_url(url)
            .with_max_event_bytes(frame_bytes)
            .with_max_stream_bytes(stream_bytes);
        Arc::new(Gemini::connect(config).unwrap())
    }

    fn counted(tokens: u64) -> Option<Value> {
        Some(json!({ "totalTokens": tokens }))
    }

    fn told(model: &ListedModel) -> Option<ListedModel> {
        Some(ListedModel {
            can: ModelCapabilities::NONE,
            cannot: ModelCapabilities::NONE.with_embeddings(),
            ..model.clone()
        })
    }

    fn offering(asked: &Asked<'_>, models: &[ListedModel]) -> Option<Value> {
        let one = |model: &ListedModel| {
            let entry = json!({
                "name": format!("models/{}", model.id), "version": "1",
                "supportedGenerationMethods": ["generateContent", "countTokens"],
                "inputTokenLimit": model.context_tokens, "outputTokenLimit": model.max_output_tokens,
            });
            without_nulls(entry)
        };
        match asked.path.rsplit_once("/models")? {
            (_, "") => {
                let (page, has_more) = asked.page(models, "pageSize", "pageToken");
                let all: Vec<Value> = page.iter().map(one).collect();
                let next = page.last().filter(|_last| has_more);
                let next = next.map(|last| &last.id);
                Some(without_nulls(
                    json!({ "models": all, "nextPageToken": next }),
                ))
            }
            (_, wanted) => {
                let wanted = wanted.trim_start_matches('/');
                models.iter().find(|model| model.id == wanted).map(one)
            }
        }
    }

    fn content_type() -> &'static str {
        "text/event-stream"
    }

    fn whole() -> &'static [u8] {
        include_bytes!("../recorded/tools.sse")
    }

    fn terminal() -> &'static [u8] {
        b"data: {\"candidates\":[{\"finishReason\":\"STOP\",\"index\":0}]}\n\n"
    }

    fn beginning() -> &'static [u8] {
        b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"half\"}]}}]}\n\n"
    }

    fn failures() -> Vec<(Vec<u8>, Kind)> {
        let frame = |code: u16, status: &str| {
            let data = format!(
                "{{\"error\":{{\"code\":{code},\"message\":\"no\",\"status\":\"{status}\"}}}}"
            );
            format!("data: {data}\n\n").into_bytes()
        };
        vec![
            (frame(503, "UNAVAILABLE"), Kind::Overloaded),
            (frame(429, "RESOURCE_EXHAUSTED"), Kind::RateLimited),
            (frame(500, "INTERNAL"), Kind::Server),
            (frame(400, "SOMETHING_NEW"), Kind::InvalidRequest),
            (
                b"data: {\"promptFeedback\":{\"blockReason\":\"SAFETY\"}}\n\n".to_vec(),
                Kind::ContentFilter,
            ),
        ]
    }

    fn wrong_types() -> Vec<Vec<u8>> {
        [
            "data: garbage\n\n",
            "data: [3]\n\n",
            "data: 3\n\n",
            "data: {\"candidates\":3}\n\n",
            "data: {\"candidates\":[3]}\n\n",
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":3}]}}]}\n\n",
            "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"args\":{}}}]}}]}\n\n",
            "data: {\"candidates\":[{\"finishReason\":3}]}\n\n",
            "data: {\"candidates\":[],\"usageMetadata\":{\"promptTokenCount\":-1}}\n\n",
        ]
        .map(|frame| frame.as_bytes().to_vec())
        .to_vec()
    }

    fn frame_with(bytes: &[u8]) -> Vec<u8> {
        [
            &b"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\""[..],
            bytes,
            b"\"}]}}]}\n\n",
        ]
        .concat()
    }

    fn limited() -> String {
        r#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}"#.to_owned()
    }

    fn refusal(failure: &Failure) -> Option<Refusal> {
        let (status, code, mut details) = words(failure.kind)?;
        match failure.retry_after {
            None => {}
            Some(RetryAfter::Seconds(seconds)) => details.as_array_mut()?.push(json!({
                "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")})),
            Some(RetryAfter::Date(_)) => return None,
        }
        let error =
            json!({"code": status, "message": failure.message, "status": code, "details": details});
        Some(Refusal {
            status,
            code: Some(code.to_owned()),
            headers: String::new(),
            body: json!({ "error": error }).to_string(),
        })
    }

    /// The provider names neither requests nor limits.
    fn headers(request_id: Option<&str>, limits: Option<&RateLimits>) -> Option<String> {
        (request_id.is_none() && limits.is_none()).then(String::new)
    }

    fn reason(reason: FinishReason) -> Option<&'static str> {
        Some(match reason {
            FinishReason::Stop | FinishReason::ToolCalls => "STOP",
            FinishReason::Length => "MAX_TOKENS",
            FinishReason::ContentFilter => "SAFETY",
            FinishReason::Other => "SOMETHING_NEW",
            _ => return None,
        })
    }

    fn step(&mut self, step: &Step, body: &mut String) -> Option<()> {
        match step {
            Step::Text(text) => *body += &parts(&[json!({ "text": text })]),
            Step::Reasoning(text) => {
                *body += &parts(&[json!({"text": text, "thought": true})]);
            }
            Step::Item {
                of: Owner::Reasoning,
                data,
            } => {
                let part = json!({"text": "", "thought": true, "thoughtSignature": data});
                *body += &parts(&[part]);
            }
            Step::Item {
                of: Owner::Call(call),
                data,
            } => self.calls.get_mut(call)?.2 = Some(data.clone()),
            Step::Call { call, name } => {
                let begun = (name.clone(), String::new(), None);
                self.calls.insert(*call, begun);
            }
            Step::Arguments { call, fragment } => {
                self.calls.get_mut(call)?.1.push_str(fragment);
            }
            Step::Usage(usage) => {
                let usage = used(usage)?;
                *body += &data(&json!({"candidates": [], "usageMetadata": usage}));
            }
            Step::Finish(reason) => {
                // A call that was cut off does not come at all.
                let written = self.write(body);
                if *reason != FinishReason::Length {
                    written?;
                }
                let reason = Self::reason(*reason)?;
                *body += &data(&json!({"candidates": [{"finishReason": reason, "index": 0}]}));
            }
            Step::Unknown => {
                *body += "event: new_thing\ndata: {\n\ndata: {\"newThing\":{}}\n\n";
                *body += &parts(&[json!({"executableCode": {"code": "1"}})]);
            }
            Step::Malformed(text) => *body += &data(&json!({ "candidates": text })),
            Step::Fail(failure) => {
                *body += &format!("data: {}\r\n\r\n", Self::refusal(failure)?.body)
            }
            _ => return None,
        }
        Some(())
    }

    fn endless(&mut self, flood: Flood, _body: &mut String) -> String {
        match flood {
            Flood::Text => parts(&[json!({"text": "x".repeat(1_000)})]),
            Flood::Frame => "x".repeat(1 << 16),
            Flood::Noise => ": ping\n\ndata: {\"newThing\":{}}\n\n".repeat(1_000),
        }
    }

    /// A stream may end after its calls.
    fn end(&mut self, body: &mut String) -> Option<()> {
        self.write(body)
    }

    fn texts(request: &Value) -> Option<Vec<String>> {
        let requests = request.get("requests")?.as_array()?.iter();
        let text = |request: &Value| {
            let text = request.pointer("/content/parts/0/text")?.as_str()?;
            Some(text.to_owned())
        };
        requests.map(text).collect()
    }

    fn vectors(vectors: &[Vec<f32>], tokens: Option<u64>) -> Value {
        let all: Vec<Value> = vectors
            .iter()
            .map(|vector| json!({"values": vector}))
            .collect();
        json!({"embeddings": all, "usageMetadata": {"promptTokenCount": tokens}})
    }
}

impl Generate {
    /// `None`: what the model wrote is no JSON.
    fn write(&mut self, body: &mut String) -> Option<()> {
        let calls = std::mem::take(&mut self.calls);
        let mut written = Vec::new();
        for (name, arguments, signature) in calls.into_values() {
            let args: Value = match arguments.as_str() {
                "" => json!({}),
                arguments => serde_json::from_str(arguments).ok()?,
            };
            let mut part = json!({"functionCall": {"name": name, "args": args}});
            if let (Some(signature), Some(fields)) = (signature, part.as_object_mut()) {
                fields.insert("thoughtSignature".to_owned(), json!(signature));
            }
            written.push(part);
        }
        if !written.is_empty() {
            *body += &parts(&written);
        }
        Some(())
    }
}

/// Status and code of a failure, and what its details say.
fn words(kind: Kind) -> Option<(u16, &'static str, Value)> {
    let day = json!([{"@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]);
    Some(match kind {
        Kind::Authentication => (401, "UNAUTHENTICATED", json!([])),
        Kind::Permission => (403, "PERMISSION_DENIED", json!([])),
        Kind::NotFound => (404, "NOT_FOUND", json!([])),
        Kind::InvalidRequest => (400, "INVALID_ARGUMENT", json!([])),
        Kind::RateLimited => (429, "RESOURCE_EXHAUSTED", json!([])),
        Kind::QuotaExhausted => (429, "RESOURCE_EXHAUSTED", day),
        Kind::Overloaded => (503, "UNAVAILABLE", json!([])),
        Kind::Server => (500, "INTERNAL", json!([])),
        Kind::Timeout => (504, "DEADLINE_EXCEEDED", json!([])),
        Kind::Unsupported => (501, "UNIMPLEMENTED", json!([])),
        _ => return None,
    })
}

fn data(data: &Value) -> String {
    format!("data: {data}\r\n\r\n")
}

fn parts(parts: &[Value]) -> String {
    data(&json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}]}))
}

/// Candidates do not hold the thoughts.
fn used(usage: &Usage) -> Option<Value> {
    if usage.cache_write_tokens.is_some() {
        return None;
    }
    let mut fields = Map::new();
    let mut put = |name: &str, count: Option<u64>| {
        if let Some(count) = count {
            fields.insert(name.to_owned(), json!(count));
        }
    };
    let thoughts = usage.reasoning_tokens;
    put("promptTokenCount", usage.input_tokens);
    put("cachedContentTokenCount", usage.cache_read_tokens);
    put("thoughtsTokenCount", thoughts);
    let candidates = usage.output_tokens.map(|all| all - thoughts.unwrap_or(0));
    put("candidatesTokenCount", candidates);
    Some(Value::Object(fields))
}

fn without_nulls(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_name, value| !value.is_null());
    }
    object
}
