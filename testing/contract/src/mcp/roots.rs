//! MC-11: the folders that a server is to work in.

use std::sync::Arc;

use seaworthy_ports::mcp::{Kind, MAX_ROOTS, McpRoot, McpSession};
use serde_json::json;

use super::Harness;
use super::script::{Answered, Root};
use super::stage::{Stage, call, is_usable, made, reached_again};
use crate::outcome::{Outcome, broken, ok, same, within};

fn roots() -> Vec<McpRoot> {
    let root = |uri: &str, name: Option<&str>| McpRoot {
        uri: uri.to_owned(),
        name: name.map(str::to_owned),
    };
    vec![
        root("file:///srv/notes", Some("notes \u{1f980}")),
        root("file:///srv/a%20b", None),
        root("file:///srv/notes", Some("the same again")),
    ]
}

/// Has the server ask, and compares what it heard.
async fn hears(session: &Arc<dyn McpSession>, expected: Answered) -> Outcome {
    let did = "called a tool that asks which folders it is to work in";
    let answer = ok(did, made(session, call("roots", json!({}))).await?)?;
    match answer.structured.map(serde_json::from_value::<Answered>) {
        Some(Ok(heard)) => same(did, heard, expected),
        other => Err(broken(did, format!("{expected:?}"), other)),
    }
}

async fn knows(session: &Arc<dyn McpSession>, there_are_some: bool) -> Outcome {
    let did = "had the server tell what it may ask";
    let told = ok(did, made(session, call("may_ask", json!({}))).await?)?;
    let told = told.structured.unwrap_or_default();
    same(did, told.get("roots").cloned(), Some(json!(there_are_some)))
}

/// MC-11.
pub async fn a_server_that_asks_learns_which_folders_it_is_to_work_in<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let mut server = stage.server()?;
    server.roots = roots();
    let session = stage.session_with(server).await?;
    let expected = roots()
        .into_iter()
        .map(|McpRoot { uri, name }| Root { uri, name });
    let expected = Answered::Roots(expected.collect());
    knows(&session, true).await?;
    hears(&session, expected.clone()).await?;
    // The next connection has them too.
    reached_again(&session).await?;
    knows(&session, true).await?;
    hears(&session, expected).await
}

/// MC-11.
pub async fn without_folders_the_question_is_refused_and_the_server_knows<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    knows(&session, false).await?;
    hears(&session, Answered::Refused).await?;
    is_usable(&session, "a question that nobody answers").await
}

/// MC-11.
pub async fn a_folder_that_is_none_is_rejected_before_anything_starts<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let root = |uri: &str| McpRoot {
        uri: uri.to_owned(),
        name: None,
    };
    let too_many = vec![root("file:///srv"); MAX_ROOTS + 1];
    let wrong = ["", "/srv", "https://example.com/srv", "file:///a\nb"];
    let wrong = wrong.map(|uri| vec![root("file:///srv"), root(uri)]);
    for roots in wrong.into_iter().chain([too_many]) {
        let did = format!("connected with {} folders, one of them none", roots.len());
        let mut server = stage.server()?;
        server.roots = roots;
        let mcp = stage.harness.mcp();
        let connected = within(&did, mcp.connect(server)).await?;
        same(
            did,
            connected.map(|_session| ()).map_err(|error| error.kind()),
            Err(Kind::Rejected),
        )?;
    }
    same(
        "counted how often the server was started",
        stage.starts()?,
        0,
    )
}
