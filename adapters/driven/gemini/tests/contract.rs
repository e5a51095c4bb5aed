//! The contract suite on the adapter, with a server that says in `generateContent` what a scenario writes down.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use seaworthy_contract::http::{Act, Backend, chunked, head};
use seaworthy_contract::model_provider::{
    Answer, Failure, Flood, Harness, Owner, RetryAfter, Said, Script, Step,
};
use seaworthy_gemini::{Gemini, GeminiConfig};
use seaworthy_ports::model_provider::{FinishReason, Kind, ModelProvider, Usage};
use seaworthy_ports::{Secret, async_trait};
use serde_json::{Map, Value, json};

const KEY: &str = "AIza-canary-0123456789";

struct Endpoint {
    model: Gemini,
    backend: Backend,
}

#[async_trait]
impl Harness for Endpoint {
    async fn start() -> Self {
        let backend = Backend::start().await;
        let config = GeminiConfig::new(Secret::new(KEY))
            .with_base_url(backend.url())
            .with_max_event_bytes(1 << 16)
            .with_max_stream_bytes(1 << 20);
        Self {
            model: Gemini::connect(config).unwrap(),
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
        an_answer_that_fills_the_context_says_so: "Gemini calls that a length",
        an_answer_that_declines_is_a_refusal: "Gemini has no word for it",
        an_answer_that_pauses_says_so: "no model of Gemini pauses",
        all_parts_of_the_usage_are_counted_once: "Gemini does not count what is written to a cache",
        arguments_that_are_no_json_are_malformed: "arguments come as JSON",
        a_conversation_that_is_too_long_is_classified: "Gemini has no code for it",
        a_filtered_request_is_classified: "a prompt that is blocked is answered with status 200",
        an_error_names_its_request: "Gemini does not name requests that it refuses",
        an_error_within_a_stream_names_its_request_and_code: "Gemini does not name requests that fail",
        a_delay_until_a_date_is_kept: "Gemini tells a span",
        what_is_left_of_the_limits_is_told: "Gemini does not tell its limits",
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

fn body(failure: &Failure) -> Option<Value> {
    let (code, status, mut details) = words(failure.kind)?;
    match failure.retry_after {
        None => {}
        Some(RetryAfter::Seconds(seconds)) => details.as_array_mut()?.push(json!({
            "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")})),
        Some(RetryAfter::Date(_)) => return None,
    }
    let error =
        json!({"code": code, "message": failure.message, "status": status, "details": details});
    Some(json!({ "error": error }))
}

fn refused(failure: &Failure) -> Option<(Vec<Act>, Said)> {
    let (status, code, _) = words(failure.kind)?;
    let body = body(failure).filter(|_body| failure.request_id.is_none())?;
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json; charset=UTF-8\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let said = Said {
        status: Some(status),
        code: Some(code.to_owned()),
        ..Said::default()
    };
    Some((vec![Act::Say(answer.into_bytes())], said))
}

fn data(data: &Value) -> String {
    format!("data: {data}\r\n\r\n")
}

fn parts(parts: &[Value]) -> String {
    data(&json!({"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0}]}))
}

/// Calls come whole: they are written once all of them is known.
#[derive(Default)]
struct Writer {
    body: String,
    calls: BTreeMap<u32, (String, String, Option<String>)>,
}

impl Writer {
    /// `None`: what the model wrote is no JSON.
    fn calls(&mut self) -> Option<()> {
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
            self.body += &parts(&written);
        }
        Some(())
    }

    fn step(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::Text(text) => self.body += &parts(&[json!({ "text": text })]),
            Step::Reasoning(text) => {
                self.body += &parts(&[json!({"text": text, "thought": true})]);
            }
            Step::Item {
                of: Owner::Reasoning,
                data,
            } => {
                let part = json!({"text": "", "thought": true, "thoughtSignature": data});
                self.body += &parts(&[part]);
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
                self.body += &data(&json!({"candidates": [], "usageMetadata": usage}));
            }
            Step::Finish(reason) => {
                // A call that was cut off does not come at all.
                let written = self.calls();
                if *reason != FinishReason::Length {
                    written?;
                }
                let reason = raw(*reason)?;
                self.body += &data(&json!({"candidates": [{"finishReason": reason, "index": 0}]}));
            }
            Step::Unknown => {
                self.body += "event: new_thing\ndata: {\n\ndata: {\"newThing\":{}}\n\n";
                self.body += &parts(&[json!({"executableCode": {"code": "1"}})]);
            }
            Step::Malformed(text) => self.body += &data(&json!({ "candidates": text })),
            Step::Fail(failure) => self.body += &data(&body(failure)?),
            _ => return None,
        }
        Some(())
    }
}

fn streamed(script: &Script) -> Option<(Vec<Act>, Said)> {
    if script.request_id.is_some() || script.limits.is_some() {
        return None;
    }
    let mut said = Said::default();
    let mut writer = Writer::default();
    let mut last = None;
    for step in &script.steps {
        match step {
            Step::Cut => last = Some(None),
            Step::Silence => last = Some(Some(Act::Wait)),
            Step::Endless(flood) => {
                let bytes = chunked(endless(*flood).as_bytes(), 1 << 16);
                last = Some(Some(Act::Repeat(bytes)));
            }
            _ => writer.step(step)?,
        }
        match step {
            Step::Finish(reason) => said.finish = Some(raw(*reason)?.to_owned()),
            Step::Fail(failure) => {
                said.status = Some(200);
                said.code = Some(words(failure.kind)?.1.to_owned());
            }
            _ => {}
        }
        if last.is_some() {
            break;
        }
    }
    // A stream may end after its calls.
    writer.calls()?;
    let pieces = script.pieces.unwrap_or(1 << 16);
    let mut acts = vec![
        Act::Say(head("transfer-encoding: chunked\r\n")),
        Act::Say(chunked(writer.body.as_bytes(), pieces)),
    ];
    acts.extend(last.unwrap_or_else(|| Some(Act::Say(b"0\r\n\r\n".to_vec()))));
    Some((acts, said))
}

fn endless(flood: Flood) -> String {
    match flood {
        Flood::Text => parts(&[json!({"text": "x".repeat(1_000)})]),
        Flood::Frame => "x".repeat(1 << 16),
        Flood::Noise => ": ping\n\ndata: {\"newThing\":{}}\n\n".repeat(1_000),
    }
}

fn raw(reason: FinishReason) -> Option<&'static str> {
    Some(match reason {
        FinishReason::Stop | FinishReason::ToolCalls => "STOP",
        FinishReason::Length => "MAX_TOKENS",
        FinishReason::ContentFilter => "SAFETY",
        FinishReason::Other => "SOMETHING_NEW",
        _ => return None,
    })
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
