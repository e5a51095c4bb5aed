//! Whether a request is a message at all, so that one that is none is told in the protocol's words.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// What a request is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NoJson,
    /// JSON, but not one message: several at once are none either.
    NoMessage,
}

/// What every message has.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    id: Option<Id>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    result: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Number(#[expect(dead_code, reason = "only its kind is looked at")] i64),
    Text(#[expect(dead_code, reason = "only its kind is looked at")] String),
}

/// What is wrong with the request as a whole, if anything.
pub(super) fn fault(body: &[u8]) -> Option<Fault> {
    match serde_json::from_slice::<Message<'_>>(body) {
        Ok(message) => {
            let answers = message.result.is_some() || message.error.is_some();
            let is_one = message.method.is_some() || (message.id.is_some() && answers);
            (message.jsonrpc != "2.0" || !is_one).then_some(Fault::NoMessage)
        }
        // Only what is refused is read twice.
        Err(_error) => Some(match serde_json::from_slice::<IgnoredAny>(body) {
            Ok(_json) => Fault::NoMessage,
            Err(_error) => Fault::NoJson,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_from_everything_else() {
        for message in [
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            r#"{"id":1,"error":{},"jsonrpc":"2.0"}"#,
        ] {
            assert_eq!(fault(message.as_bytes()), None, "{message}");
        }
        for other in [
            "null",
            "{}",
            "[]",
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":[],"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}"#,
        ] {
            assert_eq!(fault(other.as_bytes()), Some(Fault::NoMessage), "{other}");
        }
        let deep = "[".repeat(100_000);
        for other in ["", "{not json", "{}{}", deep.as_str()] {
            assert_eq!(fault(other.as_bytes()), Some(Fault::NoJson));
        }
    }
}
