//! MC-1: what a server offers and answers.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use seaworthy_ports::Effect;
use seaworthy_ports::mcp::{Kind, McpError, McpServerInfo, McpTool};
use serde_json::json;
use tokio::time::Instant;

use super::script::{PREVIOUS_PROTOCOL, Seen};
use super::stage::{Stage, call, fails, is_usable, made};
use super::{Harness, VERSION, scripts};
use crate::outcome::{Halt, Outcome, broken, holds, ok, patience, same, within};

fn list<T: ?Sized>(what: &str, list: Result<Arc<T>, McpError>) -> Result<Arc<T>, Halt> {
    ok(format!("asked for the {what}"), list)
}

fn equal<T: PartialEq + Debug>(what: &str, seen: &[T], expected: &[T]) -> Outcome {
    same(format!("counted the {what}"), seen.len(), expected.len())?;
    for (seen, expected) in seen.iter().zip(expected) {
        same(format!("asked for the {what}"), seen, expected)?;
    }
    Ok(())
}

fn remotes(tools: &[McpTool]) -> Vec<&str> {
    tools.iter().map(|tool| tool.remote.as_str()).collect()
}

async fn tells_who_it_is<H: Harness>(harness: H, name: &str, protocol: &str) -> Outcome {
    let stage = Stage::of(harness, name).await?;
    let session = stage.session().await?;
    let expected = McpServerInfo {
        name: stage.script.name.clone(),
        version: VERSION.to_owned(),
        protocol: protocol.to_owned(),
        instructions: stage.script.instructions.clone(),
        tools: true,
        resources: true,
        prompts: true,
        completions: false,
        logging: false,
    };
    same("connected and asked who it is", session.server(), expected)?;
    is_usable(&session, "connecting").await
}

/// MC-1.
pub async fn a_server_tells_who_it_is_and_what_it_has<H: Harness>(harness: H) -> Outcome {
    let protocol = harness.protocol();
    tells_who_it_is(harness, "usual", protocol).await
}

/// MC-1.
pub async fn a_server_of_the_previous_protocol_is_understood<H: Harness>(harness: H) -> Outcome {
    tells_who_it_is(harness, "previous", PREVIOUS_PROTOCOL).await
}

/// MC-1.
pub async fn a_server_that_offers_nothing_has_empty_lists<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "bare").await?;
    let session = stage.session().await?;
    let info = session.server();
    same(
        "asked a server what it has that offers nothing",
        (info.tools, info.resources, info.prompts),
        (false, false, false),
    )?;
    same(
        "asked for no tools",
        list("tools", session.tools().await)?.len(),
        0,
    )?;
    let resources = list("resources", session.resources().await)?;
    same("asked for no resources", resources.len(), 0)?;
    let templates = list("templates", session.resource_templates().await)?;
    same("asked for no templates", templates.len(), 0)?;
    same(
        "asked for no prompts",
        list("prompts", session.prompts().await)?.len(),
        0,
    )
}

/// MC-1.
pub async fn lists_are_paged_through_in_the_servers_order<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let script = &stage.script;
    let tools = list("tools", within("listed", session.tools()).await?)?;
    let expected: Vec<_> = script.tools.iter().map(|tool| tool.name.as_str()).collect();
    equal("tools", &remotes(&tools), &expected)?;
    let resources = list("resources", within("listed", session.resources()).await?)?;
    let expected: Vec<_> = script
        .resources
        .iter()
        .map(|(resource, _)| resource.clone())
        .collect();
    equal("resources", &resources, &expected)?;
    let templates = within("listed", session.resource_templates()).await?;
    equal(
        "templates",
        &list("templates", templates)?,
        &script.templates,
    )?;
    let prompts = list("prompts", within("listed", session.prompts()).await?)?;
    let expected: Vec<_> = script
        .prompts
        .iter()
        .map(|(prompt, _)| prompt.clone())
        .collect();
    equal("prompts", &prompts, &expected)
}

/// MC-1.
pub async fn a_tool_arrives_with_everything_the_server_says_of_it<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let tools = list("tools", session.tools().await)?;
    for (seen, expected) in tools.iter().zip(&stage.script.tools) {
        let seen = (
            &seen.title,
            seen.description.as_str(),
            &seen.input_schema,
            &seen.output_schema,
        );
        let description = expected.description();
        let expected = (
            &expected.title,
            description.as_str(),
            &expected.input_schema,
            &expected.output_schema,
        );
        same("asked for a tool", seen, expected)?;
    }
    Ok(())
}

/// MC-1.
pub async fn lists_are_cached<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let mut pages = Vec::new();
    for _time in 0..2 {
        list("tools", session.tools().await)?;
        list("resources", session.resources().await)?;
        list("templates", session.resource_templates().await)?;
        list("prompts", session.prompts().await)?;
        is_usable(&session, "listing").await?;
        let seen = stage.seen()?;
        pages.push(
            seen.iter()
                .filter(|seen| matches!(seen, Seen::Listed(_)))
                .count(),
        );
    }
    let turned = pages.first().copied().unwrap_or_default();
    same(
        "listed everything twice, and counted the pages",
        pages,
        vec![turned, turned],
    )?;
    // Eleven pages of tools, three of resources, two each of templates and prompts.
    holds(
        turned >= 18,
        "listed everything, and counted the pages",
        "all pages",
        turned,
    )
}

/// MC-1.
pub async fn a_list_that_changed_is_asked_for_again<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    list("tools", session.tools().await)?;
    let changed = made(&session, call("change", json!({}))).await?;
    ok("called a tool that changes the list", changed)?;
    let expected: Vec<_> = stage
        .script
        .later_tools
        .iter()
        .map(|tool| tool.name.as_str())
        .collect();
    // The notification may be dealt with a moment after the answer.
    let deadline = Instant::now() + patience();
    loop {
        let tools = list("tools", within("listed", session.tools()).await?)?;
        if remotes(&tools) == expected {
            break;
        }
        if Instant::now() >= deadline {
            return Err(broken(
                "asked for the tools after list_changed",
                format!("{expected:?}"),
                remotes(&tools),
            ));
        }
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    let new = made(&session, call("new", json!({}))).await?;
    ok("called a tool that is new", new).map(|_answer| ())
}

/// MC-1.
pub async fn every_kind_of_content_arrives_typed<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let answer = made(&session, call("pieces", json!({}))).await?;
    let answer = ok("called pieces", answer)?;
    let expected = scripts::pieces();
    same(
        "counted the content",
        answer.content.len(),
        expected.content.len(),
    )?;
    // `Debug` of content shows sizes alone, so a piece is named by its place.
    let pieces = answer.content.iter().zip(&expected.content);
    for (place, (seen, expected)) in pieces.enumerate() {
        holds(
            seen == expected,
            format!("looked at piece {place} of an answer"),
            format!("{expected:?}, bit for bit"),
            seen,
        )?;
    }
    same(
        "looked at an answer without data",
        (answer.is_error, answer.structured),
        (false, None),
    )
}

/// MC-1.
pub async fn a_tool_that_failed_is_an_answer<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let answer = made(&session, call("fails", json!({}))).await?;
    same(
        "called a tool that fails",
        ok("called a tool that fails", answer)?,
        scripts::failed(),
    )
}

/// MC-1.
pub async fn structured_content_arrives_as_data<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let answer = ok(
        "called counts",
        made(&session, call("counts", json!({}))).await?,
    )?;
    same(
        "looked at the data of an answer",
        answer.structured,
        Some(json!({"count": 3})),
    )
}

/// MC-1.
pub async fn resources_read_as_text_and_bytes<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    for (resource, expected) in &stage.script.resources {
        let read = within("read a resource", session.read_resource(&resource.uri)).await?;
        let read = ok("read a resource", read)?;
        holds(
            read == *expected,
            "read a resource",
            format!("{expected:?}, bit for bit"),
            read,
        )?;
    }
    let none = within("read a resource", session.read_resource("contract:none")).await?;
    let none = none.map_err(|error| error.kind());
    same(
        "read a resource that is not there",
        none,
        Err(Kind::NotFound),
    )
}

/// MC-1.
pub async fn a_prompt_is_filled_in<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    for (prompt, expected) in &stage.script.prompts {
        let who = BTreeMap::from([("who".to_owned(), "me".to_owned())]);
        let filled = within("filled a prompt in", session.prompt(&prompt.name, who)).await?;
        same(
            "filled a prompt in",
            &ok("filled a prompt in", filled)?,
            expected,
        )?;
        let nobody = within("left it out", session.prompt(&prompt.name, BTreeMap::new())).await?;
        let nobody = nobody.map_err(|error| error.kind());
        same(
            "left out what a prompt must be given",
            nobody,
            Err(Kind::InvalidArguments),
        )?;
    }
    Ok(())
}

/// MC-1.
pub async fn an_answer_of_another_shape_is_malformed_and_the_session_goes_on<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let answer = made(&session, call("wrongly", json!({}))).await?;
    fails(
        "called a tool whose answer is no result",
        answer,
        &[Kind::Malformed],
        Effect::Unknown,
    )?;
    is_usable(&session, "an answer that is no result").await?;
    stage.called("wrongly", 1)
}

/// MC-1. Whether the call that the line came in the way of succeeds is left open.
pub async fn a_line_that_is_no_message_ends_nothing<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    if let Err(error) = made(&session, call("noise", json!({}))).await? {
        same(
            "called a tool that writes something else before its answer",
            (error.kind(), error.effect()),
            (Kind::Malformed, Effect::Unknown),
        )?;
    }
    is_usable(&session, "a line that is no message").await?;
    stage.called("noise", 1)
}
