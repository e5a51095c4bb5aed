//! What clients pass to tools and prompts.

use rmcp::model::JsonObject;
use seaworthy_ports::{CallId, InvalidId, RunId, SessionId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The most bytes of an input.
pub(crate) const MAX_INPUT_BYTES: usize = 1024 * 1024;
/// The most bytes of a reason.
pub(crate) const MAX_REASON_BYTES: usize = 4096;

/// What was passed cannot be meant: said to whoever calls, so that it can call again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvalidArguments(pub(crate) String);

impl From<InvalidId> for InvalidArguments {
    fn from(error: InvalidId) -> Self {
        Self(error.to_string())
    }
}

/// For an agent's tool.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begin {
    pub(crate) input: String,
    pub(crate) run_id: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) wait_seconds: Option<u32>,
}

/// For `run_status`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    pub(crate) run_id: String,
}

/// For `run_wait`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Await {
    pub(crate) run_id: String,
    pub(crate) wait_seconds: Option<u32>,
}

/// For `run_approve` and `run_deny`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decide {
    pub(crate) approval_id: String,
    pub(crate) reason: Option<String>,
    pub(crate) wait_seconds: Option<u32>,
}

/// For `run_answer`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) question_id: String,
    pub(crate) action: Action,
    pub(crate) content: Option<Value>,
    pub(crate) wait_seconds: Option<u32>,
}

/// What a person does with a question.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Accept,
    Decline,
    Dismiss,
}

/// For `run_cancel`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct End {
    pub(crate) run_id: String,
    pub(crate) reason: Option<String>,
}

/// The arguments, as what they should be.
pub(crate) fn read<T: DeserializeOwned>(
    arguments: Option<JsonObject>,
) -> Result<T, InvalidArguments> {
    let value = Value::Object(arguments.unwrap_or_default());
    serde_json::from_value(value).map_err(|error| {
        InvalidArguments(format!(
            "the arguments do not fit the tool's input schema: {error}"
        ))
    })
}

pub(crate) fn run_id(text: &str) -> Result<RunId, InvalidArguments> {
    Ok(text.parse()?)
}

pub(crate) fn session_id(text: &str) -> Result<SessionId, InvalidArguments> {
    Ok(text.parse()?)
}

pub(crate) fn approval_id(text: &str) -> Result<CallId, InvalidArguments> {
    Ok(text.parse()?)
}

/// An input of a size that a run takes.
pub(crate) fn input(text: String) -> Result<String, InvalidArguments> {
    within("input", text, MAX_INPUT_BYTES)
}

/// A reason of a size that a log takes.
pub(crate) fn reason(text: Option<String>) -> Result<Option<String>, InvalidArguments> {
    text.map(|text| within("reason", text, MAX_REASON_BYTES))
        .transpose()
}

fn within(what: &str, text: String, limit: usize) -> Result<String, InvalidArguments> {
    if text.len() > limit {
        return Err(InvalidArguments(format!(
            "`{what}` has {} bytes, at most {limit}",
            text.len()
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Option<JsonObject> {
        value.as_object().cloned()
    }

    #[test]
    fn an_argument_that_no_tool_has_is_refused_by_its_name() {
        let read: Result<Which, _> = read(object(json!({ "run_id": "r", "force": true })));
        assert!(read.unwrap_err().0.contains("force"));
    }

    #[test]
    fn an_input_has_at_most_a_mebibyte() {
        assert!(input("x".repeat(MAX_INPUT_BYTES)).is_ok());
        assert!(input("x".repeat(MAX_INPUT_BYTES + 1)).is_err());
    }
}
