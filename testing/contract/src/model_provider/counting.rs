//! MP-14: counting the tokens of requests.

use std::sync::Arc;

use seaworthy_ports::ToolName;
use seaworthy_ports::model_provider::{Message, ModelRequest, Tokens, ToolSpec};
use serde_json::json;

use super::Harness;
use super::stage::{UNSEEN, request};
use crate::outcome::{Halt, Outcome, broken, holds, same, within};

/// In the part of a request that makes it longer, and long enough to be some tokens.
const MARK: &str = "a-mark-in-the-request";

/// What the provider counts.
async fn count<H: Harness>(harness: &H, request: &ModelRequest, did: &str) -> Result<Tokens, Halt> {
    let provider = harness.provider();
    let counter = provider.tokens().ok_or(Halt::NotDeclared {
        capability: "tokens",
        reason: "the provider counts no tokens",
    })?;
    within(did, counter.count(request))
        .await?
        .map_err(|error| broken(did, "a count", error.kind()))
}

/// Requests that are longer than a hello, each by another part.
fn longer<H: Harness>(harness: &H) -> [(&'static str, ModelRequest); 3] {
    let long = [MARK; 20].join(" ");
    let hello = || request(harness);
    let tool = ToolName::new("read").map(|name| ToolSpec {
        name,
        description: long.clone(),
        input_schema: json!({"type": "object", "properties": {}}),
    });
    [
        (
            "longer instructions",
            ModelRequest {
                instructions: Arc::from(format!("Be brief. {long}")),
                ..hello()
            },
        ),
        (
            "a longer message",
            ModelRequest {
                messages: Arc::new(vec![Message::user(format!("hello {long}"))]),
                ..hello()
            },
        ),
        (
            "a tool",
            ModelRequest {
                tools: Arc::new(tool.into_iter().collect()),
                ..hello()
            },
        ),
    ]
}

/// MP-14.
pub async fn everything_of_a_request_is_counted<H: Harness>(harness: H) -> Outcome {
    let told = harness.count(1000).await;
    let hello = count(&harness, &request(&harness), "counted a hello").await?;
    if told.is_none() && harness.requests().is_none() {
        return Err(UNSEEN);
    }
    for (what, request) in longer(&harness) {
        let did = format!("counted a hello with {what}");
        let before = harness.requests().map(|requests| requests.len());
        let counted = count(&harness, &request, &did).await?;
        let sent = harness.requests().unwrap_or_default();
        let newest = sent.get(before.unwrap_or(0)..).unwrap_or_default();
        if newest.is_empty() {
            let more = counted.count > hello.count;
            holds(more, did, format!("more than {}", hello.count), counted)?;
        } else {
            // The backend counts what it is sent.
            let all = newest.iter().any(|request| request.contains(MARK));
            holds(all, did, "all of the request sent to be counted", newest)?;
        }
    }
    Ok(())
}

/// MP-14.
pub async fn what_the_backend_counts_is_told_and_is_no_guess<H: Harness>(harness: H) -> Outcome {
    const COUNTED: u64 = 1234;
    let told = harness.count(COUNTED).await;
    let did = "counted a hello that the backend says has 1234 tokens";
    let seen = count(&harness, &request(&harness), did).await?;
    told.ok_or(Halt::NotCheckable(
        "the backend cannot be made to count like this",
    ))?;
    let expected = Tokens {
        count: COUNTED,
        estimated: false,
    };
    same(did, seen, expected)
}
