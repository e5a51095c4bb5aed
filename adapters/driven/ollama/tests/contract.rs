//! The contract suite on the adapter, with a server that says in Ollama's chat what a scenario writes down.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use seaworthy_contract::http::{Act, Backend, chunked};
use seaworthy_contract::model_provider::{
    Answer, Failure, Flood, Harness, RetryAfter, Said, Script, Step,
};
use seaworthy_ollama::{Ollama, OllamaConfig};
use seaworthy_ports::model_provider::{FinishReason, Kind, ModelProvider, Usage};
use seaworthy_ports::{Secret, async_trait};
use serde_json::{Map, Value, json};

const KEY: &str = "canary-0123456789";

struct Endpoint {
    model: Ollama,
    backend: Backend,
}

#[async_trait]
impl Harness for Endpoint {
    async fn start() -> Self {
        let backend = Backend::start().await;
        let config = OllamaConfig::new()
            .with_api_key(Secret::new(KEY))
            .with_base_url(backend.url())
            .with_max_event_bytes(1 << 16)
            .with_max_stream_bytes(1 << 20);
        Self {
            model: Ollama::connect(config).unwrap(),
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
        an_answer_that_fills_the_context_says_so: "Ollama calls that a length",
        a_filtered_answer_says_so: "nothing is filtered",
        an_answer_that_declines_is_a_refusal: "Ollama has no word for it",
        an_answer_that_pauses_says_so: "no model of Ollama pauses",
        all_parts_of_the_usage_are_counted_once: "Ollama counts neither reasoning nor what is written to a cache",
        what_the_usage_leaves_out_is_not_zero: "Ollama does not count reasoning",
        arguments_that_are_no_json_are_malformed: "arguments come as JSON",
        an_item_of_a_call_returns_in_its_place: "Ollama signs nothing",
        an_item_of_reasoning_returns_in_its_place: "Ollama signs nothing",
        a_conversation_that_is_too_long_is_classified: "Ollama drops its beginning and says nothing",
        a_used_up_quota_is_classified: "there is none",
        a_filtered_request_is_classified: "nothing is filtered",
        a_request_beyond_the_model_is_classified: "Ollama has no code for it",
        an_error_names_its_request: "Ollama does not name requests",
        an_error_within_a_stream_names_its_request_and_code: "Ollama does not name requests",
        what_is_left_of_the_limits_is_told: "Ollama does not tell its limits",
        an_error_within_a_stream_is_an_error: "an error in a stream has words for people alone; hostile.rs has it",
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

fn refused(failure: &Failure) -> Option<(Vec<Act>, Said)> {
    if failure.request_id.is_some() {
        return None;
    }
    let status = status(failure.kind)?;
    let headers = match failure.retry_after {
        Some(RetryAfter::Seconds(seconds)) => format!("retry-after: {seconds}\r\n"),
        Some(RetryAfter::Date(date)) => {
            format!("retry-after: {}\r\n", httpdate::fmt_http_date(date))
        }
        None => String::new(),
    };
    let body = json!({"error": failure.message}).to_string();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json; charset=utf-8\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let said = Said {
        status: Some(status),
        ..Said::default()
    };
    Some((vec![Act::Say(answer.into_bytes())], said))
}

fn record(message: &Value) -> String {
    format!(
        "{}\n",
        json!({"model": "m", "message": message, "done": false})
    )
}

/// Calls come whole: they are written once all of them is known.
#[derive(Default)]
struct Writer {
    body: String,
    calls: BTreeMap<u32, (String, String)>,
    usage: Map<String, Value>,
}

impl Writer {
    /// `None`: what the model wrote is no JSON.
    fn calls(&mut self) -> Option<()> {
        for (name, arguments) in std::mem::take(&mut self.calls).into_values() {
            let arguments: Value = match arguments.as_str() {
                "" => json!({}),
                arguments => serde_json::from_str(arguments).ok()?,
            };
            let call = json!({"function": {"name": name, "arguments": arguments}});
            self.body += &record(&json!({"content": "", "tool_calls": [call]}));
        }
        Some(())
    }

    fn step(&mut self, step: &Step) -> Option<()> {
        match step {
            Step::Text(text) => self.body += &record(&json!({ "content": text })),
            Step::Reasoning(text) => {
                self.body += &record(&json!({"content": "", "thinking": text}));
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
                let written = self.calls();
                if *reason != FinishReason::Length {
                    written?;
                }
                let mut last = std::mem::take(&mut self.usage);
                last.insert("message".to_owned(), json!({"content": ""}));
                last.insert("done".to_owned(), json!(true));
                last.insert("done_reason".to_owned(), json!(raw(*reason)?));
                self.body += &format!("{}\n", Value::Object(last));
            }
            Step::Unknown => self.body += "{\"new_thing\":{}}\n",
            Step::Malformed(text) => self.body += &format!("{}\n", json!({ "message": text })),
            Step::Fail(failure) if failure.kind == Kind::Server => {
                self.body += &format!("{}\n", json!({"error": failure.message}));
            }
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
            Step::Fail(_) => said.status = Some(200),
            _ => {}
        }
        if last.is_some() {
            break;
        }
    }
    // A stream may end after its calls.
    writer.calls()?;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let pieces = script.pieces.unwrap_or(1 << 16);
    let mut acts = vec![
        Act::Say(head.into()),
        Act::Say(chunked(writer.body.as_bytes(), pieces)),
    ];
    acts.extend(last.unwrap_or_else(|| Some(Act::Say(b"0\r\n\r\n".to_vec()))));
    Some((acts, said))
}

fn endless(flood: Flood) -> String {
    match flood {
        Flood::Text => record(&json!({"content": "x".repeat(1_000)})),
        Flood::Frame => "x".repeat(1 << 16),
        Flood::Noise => "\n{\"new_thing\":{}}\n".repeat(1_000),
    }
}

const fn raw(reason: FinishReason) -> Option<&'static str> {
    Some(match reason {
        FinishReason::Stop | FinishReason::ToolCalls => "stop",
        FinishReason::Length => "length",
        FinishReason::Other => "unload",
        _ => return None,
    })
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
