//! How servers speak OpenAI's two interfaces.

mod chat;
mod responses;

use std::time::Duration;

pub(crate) use chat::Chat;
pub(crate) use responses::Responses;
use seaworthy_contract::http::{Asked, Refusal, retry_after};
use seaworthy_contract::model_provider::Failure;
use seaworthy_ports::model_provider::{Kind, ListedModel, RateLimits};
use serde_json::{Map, Value, json};

/// A refusal, in words that both share.
fn refusal(failure: &Failure) -> Option<Refusal> {
    let (status, code) = match failure.kind {
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
    };
    let error = json!({
        "message": failure.message,
        "type": "invalid_request_error",
        "param": null,
        "code": code,
    });
    Some(Refusal {
        status,
        code: code.map(str::to_owned),
        headers: retry_after(failure),
        body: json!({ "error": error }).to_string(),
    })
}

fn headers(request_id: Option<&str>, limits: Option<&RateLimits>) -> String {
    let seconds = |span: Option<Duration>| span.map(|span| format!("{}s", span.as_secs()));
    let count = |count: Option<u64>| count.map(|count| count.to_string());
    let limits = limits.copied().unwrap_or_default();
    [
        ("x-request-id", request_id.map(str::to_owned)),
        (
            "x-ratelimit-remaining-requests",
            count(limits.requests_remaining),
        ),
        ("x-ratelimit-reset-requests", seconds(limits.requests_reset)),
        (
            "x-ratelimit-remaining-tokens",
            count(limits.tokens_remaining),
        ),
        ("x-ratelimit-reset-tokens", seconds(limits.tokens_reset)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("{name}: {}\r\n", value?)))
    .collect()
}

/// The pairs that have a value, if any has.
fn some(pairs: &[(&str, Option<Value>)]) -> Option<Value> {
    let fields: Map<String, Value> = pairs
        .iter()
        .filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)))
        .collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}

fn strings(list: &Value) -> Option<Vec<String>> {
    let list = list.as_array()?.iter();
    list.map(|text| text.as_str().map(str::to_owned)).collect()
}

fn texts(request: &Value) -> Option<Vec<String>> {
    strings(request.get("input")?)
}

/// The places tell them apart, so they come in another order.
fn vectors(vectors: &[Vec<f32>], tokens: Option<u64>) -> Value {
    let one = |(index, vector)| json!({"object": "embedding", "index": index, "embedding": vector});
    let data: Vec<Value> = vectors.iter().enumerate().map(one).rev().collect();
    json!({"object": "list", "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
}

fn documents(request: &Value) -> Option<Vec<String>> {
    strings(request.get("documents")?)
}

/// The best comes first.
fn scores(scores: &[f32], tokens: Option<u64>) -> Value {
    let one = |(index, score)| json!({"index": index, "relevance_score": score});
    let results: Vec<Value> = scores.iter().enumerate().map(one).rev().collect();
    json!({"id": "r", "results": results, "meta": {"tokens": {"input_tokens": tokens}}})
}

/// OpenAI itself says nothing but names; what others say is read too.
fn told(model: &ListedModel) -> ListedModel {
    ListedModel {
        id: model.id.clone(),
        context_tokens: model.context_tokens,
        max_output_tokens: model.max_output_tokens,
        ..ListedModel::default()
    }
}

fn offering(asked: &Asked<'_>, models: &[ListedModel]) -> Option<Value> {
    asked.path.ends_with("/models").then(|| {
        let one = |model: &ListedModel| {
            json!({
                "id": model.id, "object": "model", "created": 1, "owned_by": "contract",
                "context_length": model.context_tokens, "max_completion_tokens": model.max_output_tokens,
            })
        };
        let data: Vec<Value> = models.iter().rev().map(one).collect();
        json!({"object": "list", "data": data})
    })
}
