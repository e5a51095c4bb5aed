//! MP-8: answers with an output schema.

use std::sync::Arc;

use seaworthy_ports::model_provider::{FinishReason, Kind, ModelRequest};
use serde_json::json;

use super::stage::{Seen, call, ended, request, set};
use super::{Answer, Harness, Step};
use crate::outcome::{Halt, Outcome, broken, declared};

/// Whether the provider says that the model keeps to schemas.
fn is_declared<H: Harness>(harness: &H) -> bool {
    let capabilities = harness.provider().capabilities(&harness.model());
    capabilities.structured_output
}

/// What comes of an answer that must be an object with a whole number `n`.
async fn asked<H: Harness>(
    harness: &H,
    mut steps: Vec<Step>,
    finish: FinishReason,
) -> Result<Seen, Halt> {
    steps.push(Step::Finish(finish));
    set(harness, &Answer::of(steps)).await?;
    let schema = json!({
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": false,
    });
    let request = ModelRequest {
        output_schema: Some(Arc::new(schema)),
        ..request(harness)
    };
    call(harness, request).await
}

/// MP-8.
pub async fn an_answer_that_fits_its_schema_is_done<H: Harness>(harness: H) -> Outcome {
    let is_declared = is_declared(&harness);
    declared("structured_output", is_declared, fits(&harness).await)
}

async fn fits<H: Harness>(harness: &H) -> Outcome {
    for said in [vec!["{\"n\": 3}"], vec!["{\"n", "\":", " -3", "}"]] {
        let did = format!("read the answer {said:?}, which fits its schema");
        let steps = said.into_iter().map(Step::text).collect();
        let seen = asked(harness, steps, FinishReason::Stop).await?;
        ended(&did, &seen, FinishReason::Stop)?;
    }
    // The schema is for the last answer, not for the calls before it.
    let calls = vec![Step::call(0, "read"), Step::arguments(0, "{\"m\":1}")];
    let seen = asked(harness, calls, FinishReason::ToolCalls).await?;
    ended(
        "read an answer with calls where a schema is wanted",
        &seen,
        FinishReason::ToolCalls,
    )
}

/// MP-8.
pub async fn an_answer_that_does_not_fit_its_schema_is_malformed<H: Harness>(
    harness: H,
) -> Outcome {
    let is_declared = is_declared(&harness);
    for said in [
        "three",
        "{\"n\": \"3\"}",
        "{\"m\": 3}",
        "[3]",
        "{\"n\": 3",
        "Here it is: {\"n\": 3}",
    ] {
        let seen = asked(&harness, vec![Step::text(said)], FinishReason::Stop).await?;
        let did = format!("read the answer {said:?}, which does not fit its schema");
        match &seen.error {
            // Who keeps to no schema says so before the call.
            Some(error) if !is_declared && error.kind() == Kind::Unsupported => {}
            Some(error) => return Err(broken(did, "a finish of Malformed", error.kind())),
            None => ended(&did, &seen, FinishReason::Malformed)?,
        }
    }
    Ok(())
}
