//! Calls in rounds: a server of the protocol version 2026-07-28 asks by answering with its questions, and the same request
//! is sent again with the answers. Nothing is open at the server in between.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::HeaderMap;
use seaworthy_ports::mcp::{MAX_KEY_BYTES, TaskId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use crate::connection::{Connection, Request};
use crate::error::{Fault, INVALID_PARAMS};
use crate::inbox::Answer;
use crate::modern::{self, Judged};
use crate::questions::{About, MOST_OPEN};

/// How often a server may ask before it answers.
const MOST_ROUNDS: usize = 10;
/// The most bytes of what a server wants to be told again, as it is written.
const MOST_STATE: usize = 1024 * 1024;
/// How long to wait where a server asks nothing and wants to be asked again.
const PAUSE: Duration = Duration::from_millis(250);

/// What a server asks before it answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Required<'a> {
    #[serde(borrow, default)]
    input_requests: BTreeMap<String, Asked<'a>>,
    /// What it wants to hear again, word for word.
    #[serde(borrow, default)]
    request_state: Option<&'a RawValue>,
}

/// A question that came in an answer.
#[derive(Deserialize)]
pub(crate) struct Asked<'a> {
    method: String,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// What a request says more when it is sent again.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Heard {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    input_responses: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_state: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Again<'a, P> {
    #[serde(flatten)]
    params: P,
    #[serde(flatten)]
    heard: &'a Heard,
}

/// Sends a request and, where the server asks before it answers, answers and sends it again, until it is answered or out of
/// time.
pub(crate) async fn ask<P: Serialize>(
    connection: &Connection,
    request: Request<'_>,
    headers: HeaderMap,
    params: impl Fn(u64) -> P,
) -> Answer {
    if !connection.is_stateless() {
        return connection.turn(request, headers, params).await;
    }
    let may_ask = matches!(
        request.method,
        "tools/call" | "prompts/get" | "resources/read"
    );
    let mut heard = Heard::default();
    for round in 0..=MOST_ROUNDS {
        let sent = |id| Again {
            params: params(id),
            heard: &heard,
        };
        let turn = connection.turn(request.clone(), headers.clone(), sent);
        let result = turn.await.map_err(|fault| {
            let fault = about(request.method, fault);
            later(round, fault)
        })?;
        match modern::judged(&result, request.may_be_task)? {
            Judged::Whole | Judged::Task => return Ok(result),
            Judged::Asking if may_ask => {}
            Judged::Asking => modern::must_be_whole(&result)?,
        }
        if round == MOST_ROUNDS {
            break;
        }
        heard = answer(connection, &result, &request).await?;
    }
    Err(Fault::Malformed(
        "the server asked again and again, and never answered",
    ))
}

/// What a fault says of what was asked for: from this version on, an unknown resource is a wrong parameter.
fn about(method: &str, fault: Fault) -> Fault {
    match fault {
        Fault::Refused(INVALID_PARAMS) if method == "resources/read" => {
            Fault::NotFound("the server has no such resource")
        }
        fault => fault,
    }
}

/// What a fault is in a later round: whatever comes then, the server may have begun before.
fn later(round: usize, fault: Fault) -> Fault {
    if round > 0 && !fault.may_follow_an_effect() {
        Fault::Midway(fault.kind())
    } else {
        fault
    }
}

/// Has all questions of a round answered, one after the other.
async fn answer(
    connection: &Connection,
    result: &[u8],
    request: &Request<'_>,
) -> Result<Heard, Fault> {
    const UNREADABLE: Fault = Fault::Malformed("the server's questions cannot be read");
    let required: Required<'_> = serde_json::from_slice(result).map_err(|_error| UNREADABLE)?;
    let state = required.request_state;
    if state.is_some_and(|state| state.get().len() > MOST_STATE) {
        return Err(Fault::TooLarge);
    }
    // It is a text, which none but the server reads.
    if state.is_some_and(|state| !state.get().starts_with('"')) {
        return Err(UNREADABLE);
    }
    let asked = required.input_requests;
    if asked.is_empty() && state.is_none() {
        return Err(Fault::Malformed(
            "the server asks something and says not what",
        ));
    }
    if asked.is_empty() {
        sleep(PAUSE).await;
    }
    Ok(Heard {
        input_responses: answers(connection, asked, None, request.until).await?,
        request_state: state.map(ToOwned::to_owned),
    })
}

/// Has questions answered, one after the other, by their names. `task`: they are about this one, and their names are never
/// given to others of it.
pub(crate) async fn answers(
    connection: &Connection,
    asked: BTreeMap<String, Asked<'_>>,
    task: Option<&TaskId>,
    until: Instant,
) -> Result<BTreeMap<String, Value>, Fault> {
    if asked.len() > MOST_OPEN || asked.keys().any(|key| key.len() > MAX_KEY_BYTES) {
        return Err(Fault::TooLarge);
    }
    let mut answers = BTreeMap::new();
    for (key, Asked { method, params }) in asked {
        let about = task.map(|task| About {
            task: task.clone(),
            key: key.clone(),
        });
        let questions = connection.inbox().questions();
        let answer = questions.answered(&method, params, about, until).await?;
        answers.insert(key, answer);
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use seaworthy_ports::mcp::Kind;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_sent_again_repeats_the_state_as_it_was_written() {
        let written =
            r#"{"inputRequests":{"a":{"method":"roots/list"}},"requestState":"caf\u00e9\/\"1\""}"#;
        let required: Required<'_> = serde_json::from_str(written).unwrap();
        assert_eq!(required.input_requests.len(), 1);
        let heard = Heard {
            input_responses: BTreeMap::from([("a".to_owned(), json!({"roots": []}))]),
            request_state: required.request_state.map(ToOwned::to_owned),
        };
        let again = Again {
            params: json!({"name": "t"}),
            heard: &heard,
        };
        // What is told again is the same text, however it is written.
        let again = serde_json::to_value(&again).unwrap();
        assert_eq!(again.pointer("/requestState"), Some(&json!("café/\"1\"")));
        assert_eq!(again.pointer("/inputResponses/a/roots"), Some(&json!([])));
        let first = Again {
            params: json!({"name": "t"}),
            heard: &Heard::default(),
        };
        assert_eq!(serde_json::to_value(&first).unwrap(), json!({"name": "t"}));
    }

    #[test]
    fn what_fails_in_a_later_round_may_have_had_an_effect() {
        for fault in [
            Fault::Unauthorized,
            Fault::SessionLost,
            Fault::Refused(-32_602),
        ] {
            assert_eq!(later(0, fault), fault);
            assert_eq!(later(1, fault), Fault::Midway(fault.kind()));
        }
        assert_eq!(later(1, Fault::Timeout).kind(), Kind::Timeout);
        assert!(later(1, Fault::VersionLost).may_follow_an_effect());
    }
}
