//! MC-6: what is too large.

use seaworthy_ports::Effect;
use seaworthy_ports::mcp::{Kind, MAX_LISTED, McpContent};
use serde_json::json;

use super::Harness;
use super::script::Does;
use super::stage::{Stage, call, fails, is_usable, made};
use crate::outcome::{Outcome, ok, refused, same, within};

/// MC-6.
pub async fn a_message_that_is_too_large_is_refused_and_the_session_goes_on<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let did = "called a tool whose answer is larger than a message may be";
    for time in 1..=2 {
        let answer = made(&session, call("too_long", json!({}))).await?;
        fails(did, answer, &[Kind::TooLarge], Effect::Unknown)?;
        is_usable(&session, "an answer that is too large").await?;
        stage.called("too_long", time)?;
    }
    Ok(())
}

/// MC-6.
pub async fn a_hundred_megabytes_are_refused_and_the_session_goes_on<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let did = "called a tool that answers ten times what a message may be";
    let answer = made(&session, call("huge", json!({}))).await?;
    fails(did, answer, &[Kind::TooLarge], Effect::Unknown)?;
    is_usable(&session, "a hundred megabytes").await?;
    stage.called("huge", 1)
}

/// MC-6.
pub async fn a_message_below_the_bound_arrives<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let long = stage.script.tools.iter().find_map(|tool| match tool.does {
        Does::AnswersAtLength(bytes) if tool.name == "long" => Some(bytes),
        _ => None,
    });
    let did = "called a tool whose answer is almost as large as a message may be";
    let answer = ok(did, made(&session, call("long", json!({}))).await?)?;
    let bytes = answer.content.first().map(|piece| match piece {
        McpContent::Text(text) => text.len(),
        _ => 0,
    });
    same(did, bytes, long)
}

/// MC-6.
pub async fn a_list_without_an_end_is_refused_and_the_session_goes_on<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "endless").await?;
    let session = stage.session().await?;
    for _time in 0..2 {
        let did = "asked for a list whose every page has a successor";
        refused(did, within(did, session.tools()).await?, Kind::TooLarge)?;
        refused(did, within(did, session.resources()).await?, Kind::TooLarge)?;
        let did = "read a resource of a server whose lists have no end";
        let read = within(did, session.read_resource("contract:0")).await?;
        same(did, ok(did, read)?.len(), 2)?;
    }
    same("counted the server's starts", stage.starts()?, 1)
}

/// MC-6.
pub async fn a_list_of_the_most_entries_arrives<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "full").await?;
    let session = stage.session().await?;
    let did = "asked for a list of the most entries";
    let tools = ok(did, within(did, session.tools()).await?)?;
    same(did, tools.len(), MAX_LISTED)?;
    let resources = ok(did, within(did, session.resources()).await?)?;
    same(did, resources.len(), MAX_LISTED)
}
