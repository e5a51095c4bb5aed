//! Values as the conventions want them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::{Array, KeyValue, StringValue, Value};
use seaworthy_ports::Timestamp;
use seaworthy_ports::model_provider::FinishReason;
use seaworthy_ports::observer::ModelCallEnd;

/// The most letters of a name or a code. Ids are shorter; what a provider calls itself may be anything.
const LONGEST: usize = 256;
/// Later instants cannot be told in nanoseconds.
const LAST_MILLIS: u64 = 18_000_000_000_000;

/// A text attribute, cut where it is too long.
pub(crate) fn text(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, short(value))
}

pub(crate) fn short(value: &str) -> String {
    value.chars().take(LONGEST).collect()
}

pub(crate) fn number(key: &'static str, value: u64) -> KeyValue {
    KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX))
}

pub(crate) fn list(key: &'static str, value: &str) -> KeyValue {
    let values = vec![StringValue::from(short(value))];
    KeyValue::new(key, Value::Array(Array::String(values)))
}

pub(crate) fn texts(key: &'static str, values: &[String]) -> KeyValue {
    let values = values.iter().map(|value| StringValue::from(short(value)));
    KeyValue::new(key, Value::Array(Array::String(values.collect())))
}

/// The conventions' word for who answers. An adapter they have no word for keeps its own.
pub(crate) fn provider(adapter: &str) -> &str {
    match adapter {
        "gemini" => "gcp.gemini",
        "bedrock" => "aws.bedrock",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        other => other,
    }
}

/// The conventions' word for why a model stopped, where they have one.
pub(crate) const fn finish(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length | FinishReason::ContextLimit => "length",
        FinishReason::ToolCalls => "tool_call",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Refusal => "refusal",
        FinishReason::Pause => "pause",
        FinishReason::Malformed | FinishReason::Cancelled | FinishReason::Interrupted => "error",
        FinishReason::Other => "other",
    }
}

/// What went wrong with a model call, if anything did.
pub(crate) const fn model_error(end: ModelCallEnd) -> Option<&'static str> {
    match end {
        ModelCallEnd::Finished(FinishReason::Malformed) => Some("malformed"),
        ModelCallEnd::Finished(FinishReason::Cancelled) => Some("cancelled"),
        ModelCallEnd::Finished(FinishReason::Interrupted) => Some("interrupted"),
        ModelCallEnd::Finished(_) => None,
        ModelCallEnd::Failed(kind) => Some(kind.as_str()),
    }
}

/// The instant, within what can be told.
pub(crate) fn instant(at: Timestamp) -> SystemTime {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0).min(LAST_MILLIS);
    UNIX_EPOCH + Duration::from_millis(millis)
}

/// The instant so much later, within what can be told.
pub(crate) fn later(at: Timestamp, duration: Duration) -> SystemTime {
    instant(at.plus(duration))
}
