//! What a server answered, as runs keep it and models read it.

use seaworthy_ports::Effect;
use seaworthy_ports::mcp::{Kind, McpCallResult, McpContent, McpError, McpResource, ResourceData};
use serde_json::{Value, json};

use crate::tool::{MAX_RESULT_BYTES, ToolAnswer, ToolFailure, code};

/// What an answer without failure is kept as: its data where it has some, else its text, else a list of its pieces. What
/// neither is text nor data is described.
#[must_use]
pub fn told(result: &McpCallResult) -> Value {
    let is_text = |piece: &McpContent| matches!(piece, McpContent::Text(_));
    let texts_alone = result.content.iter().all(is_text);
    match &result.structured {
        // Its text is the same again, as the protocol wants it.
        Some(data) if texts_alone => data.clone(),
        Some(data) => json!({ "content": pieces(result), "structured": data }),
        None if texts_alone => Value::String(text(result)),
        None => json!({ "content": pieces(result) }),
    }
}

/// The text of an answer, piece by piece.
fn text(result: &McpCallResult) -> String {
    let texts: Vec<String> = result
        .content
        .iter()
        .map(|piece| match piece {
            McpContent::Text(text) => text.clone(),
            other => self::piece(other).to_string(),
        })
        .collect();
    texts.join("\n")
}

fn pieces(result: &McpCallResult) -> Vec<Value> {
    result.content.iter().map(piece).collect()
}

fn piece(piece: &McpContent) -> Value {
    match piece {
        McpContent::Text(text) => json!({ "type": "text", "text": text }),
        McpContent::Image { media_type, bytes } => {
            json!({ "type": "image", "media_type": media_type, "bytes": bytes.len() })
        }
        McpContent::Audio { media_type, bytes } => {
            json!({ "type": "audio", "media_type": media_type, "bytes": bytes.len() })
        }
        McpContent::Resource(contents) => {
            let mut value = json!({ "type": "resource", "uri": contents.uri });
            match &contents.data {
                ResourceData::Text(text) => add(&mut value, "text", text.as_str()),
                ResourceData::Bytes(bytes) => add(&mut value, "bytes", bytes.len()),
            }
            if let Some(media_type) = &contents.media_type {
                add(&mut value, "media_type", media_type.as_str());
            }
            value
        }
        McpContent::ResourceLink(link) => {
            let McpResource {
                uri,
                name,
                title: _,
                description,
                media_type,
                size: _,
            } = link;
            let mut value = json!({ "type": "resource_link", "uri": uri, "name": name });
            for (key, word) in [("description", description), ("media_type", media_type)] {
                if let Some(word) = word {
                    add(&mut value, key, word.as_str());
                }
            }
            value
        }
    }
}

fn add(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(members) = object.as_object_mut() {
        members.insert(key.to_owned(), value.into());
    }
}

/// How a call ended that its server answered.
pub(crate) fn answered(result: &McpCallResult) -> ToolAnswer {
    if result.is_error {
        let said = text(result);
        let message = if said.trim().is_empty() {
            "the tool failed and does not say why".to_owned()
        } else {
            said
        };
        return ToolAnswer::Failed(ToolFailure::new(code::TOOL, bounded(message)));
    }
    let output = told(result);
    let bytes = match &output {
        Value::String(text) => text.len(),
        other => other.to_string().len(),
    };
    if bytes > MAX_RESULT_BYTES {
        return ToolAnswer::Failed(ToolFailure::new(
            code::OUTPUT_TOO_LARGE,
            format!(
                "The tool ended well but answered {bytes} bytes; a result may have {MAX_RESULT_BYTES}. Ask it for less."
            ),
        ));
    }
    ToolAnswer::Succeeded(output)
}

/// The most characters of a failure's message.
const MAX_MESSAGE: usize = 16 * 1024;

fn bounded(message: String) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
        None => message,
    }
}

/// How a call ended that has no answer.
pub(super) fn failed(error: &McpError) -> ToolAnswer {
    let code = match error.kind() {
        Kind::Unavailable => code::UNAVAILABLE,
        Kind::Authentication | Kind::Permission => code::DENIED,
        Kind::NotFound => code::NOT_FOUND,
        Kind::InvalidArguments => code::INVALID,
        Kind::Timeout => code::TIMEOUT,
        Kind::Cancelled => code::CANCELLED,
        Kind::TooLarge => code::OUTPUT_TOO_LARGE,
        Kind::Malformed => code::MALFORMED,
        Kind::Server | Kind::Unsupported | Kind::Rejected => code::TOOL,
    };
    let failure = ToolFailure::new(code, error.to_string());
    match error.effect() {
        Effect::None => ToolAnswer::FailedNoEffect(failure),
        Effect::Unknown => ToolAnswer::Failed(failure),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn result(structured: Option<Value>, content: Vec<McpContent>) -> McpCallResult {
        McpCallResult {
            is_error: false,
            structured,
            content,
        }
    }

    fn words(text: &str) -> McpContent {
        McpContent::Text(text.to_owned())
    }

    #[test]
    fn data_goes_before_its_text_and_text_stays_text() {
        let data = result(Some(json!({"a": 1})), vec![words("{\"a\":1}")]);
        assert_eq!(told(&data), json!({"a": 1}));
        assert_eq!(
            told(&result(None, vec![words("a"), words("b")])),
            json!("a\nb")
        );
        assert_eq!(told(&result(None, Vec::new())), json!(""));
    }

    #[test]
    fn what_is_neither_is_described_and_its_bytes_stay_away() {
        let image = McpContent::Image {
            media_type: "image/png".to_owned(),
            bytes: Bytes::from_static(b"canary"),
        };
        let told = told(&result(None, vec![words("see"), image]));
        assert_eq!(
            told,
            json!({"content": [
                {"type": "text", "text": "see"},
                {"type": "image", "media_type": "image/png", "bytes": 6},
            ]})
        );
    }

    #[test]
    fn a_failing_tool_says_why_within_bounds() {
        let mut failing = result(None, vec![words(&"é".repeat(MAX_MESSAGE * 2))]);
        failing.is_error = true;
        let ToolAnswer::Failed(failure) = answered(&failing) else {
            panic!("it failed");
        };
        assert_eq!(failure.code, code::TOOL);
        assert!(failure.message.chars().count() <= MAX_MESSAGE + 1);
    }

    #[test]
    fn a_result_that_is_too_large_is_a_failure_that_may_have_had_an_effect() {
        let large = result(None, vec![words(&"x".repeat(MAX_RESULT_BYTES + 1))]);
        assert!(
            matches!(answered(&large), ToolAnswer::Failed(failure) if failure.code == code::OUTPUT_TOO_LARGE)
        );
    }

    #[test]
    fn what_the_server_may_have_done_is_not_taken_for_nothing() {
        let error = |kind| McpError::new(kind, "test", "call", "…");
        let unknown = failed(&error(Kind::Unavailable).with_unknown_effect());
        assert!(
            matches!(unknown, ToolAnswer::Failed(failure) if failure.code == code::UNAVAILABLE)
        );
        let none = failed(&error(Kind::InvalidArguments));
        assert!(
            matches!(none, ToolAnswer::FailedNoEffect(failure) if failure.code == code::INVALID)
        );
    }
}
