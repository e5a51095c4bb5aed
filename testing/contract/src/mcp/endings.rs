//! MC-3: sessions that end, and what is left of them.

use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use seaworthy_ports::Effect;
use seaworthy_ports::mcp::Kind;
use serde_json::json;

use super::Harness;
use super::script::Seen;
use super::stage::{SHORT, Stage, begun, call, done, fails, is_usable, made};
use crate::outcome::{Outcome, ok, refused, within};

/// MC-3.
pub async fn a_closed_session_leaves_nothing_and_rejects_every_call<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    is_usable(&session, "connecting").await?;
    for time in ["closed a session", "closed a session again"] {
        ok(time, within(time, session.close()).await?)?;
        stage.until_gone(time).await?;
    }
    let did = "asked a closed session";
    fails(
        did,
        made(&session, call("echo", json!({}))).await?,
        &[Kind::Rejected],
        Effect::None,
    )?;
    refused(did, within(did, session.tools()).await?, Kind::Rejected)?;
    refused(did, within(did, session.resources()).await?, Kind::Rejected)?;
    refused(
        did,
        within(did, session.resource_templates()).await?,
        Kind::Rejected,
    )?;
    refused(did, within(did, session.prompts()).await?, Kind::Rejected)?;
    refused(
        did,
        within(did, session.read_resource("contract:0")).await?,
        Kind::Rejected,
    )?;
    refused(
        did,
        within(did, session.prompt("x", BTreeMap::new())).await?,
        Kind::Rejected,
    )?;
    stage.called("echo", 1)?;
    stage.until_gone(did).await
}

/// MC-3.
pub async fn a_call_in_flight_fails_when_its_session_is_closed<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let slow = begun(&session, call("never", json!({})));
    stage.until(&Seen::Called("never".to_owned()), 1).await?;
    let closed = "closed a session with a call in flight";
    ok(closed, within(closed, session.close()).await?)?;
    let ends = [Kind::Unavailable, Kind::Cancelled, Kind::Rejected];
    fails(closed, done(closed, slow).await?, &ends, Effect::Unknown)?;
    stage.called("never", 1)
}

/// MC-3.
pub async fn a_server_that_never_speaks_times_out_and_leaves_nothing<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "silent").await?;
    let mut server = stage.server()?;
    server.connect_timeout = SHORT;
    let did = "connected to a server that never says a word";
    let connected = within(did, stage.harness.mcp().connect(server)).await?;
    refused(did, connected.map(|_session| ()), Kind::Timeout)?;
    stage.until_gone(did).await
}

/// MC-3.
pub async fn a_dropped_connect_leaves_nothing<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "silent").await?;
    let (mcp, server) = (stage.harness.mcp(), stage.server()?);
    let connecting = tokio::spawn(async move { mcp.connect(server).await });
    stage
        .until_seen("the server's start", |seen| {
            seen.iter().any(|seen| matches!(seen, Seen::Started(_)))
        })
        .await?;
    connecting.abort();
    stage.until_gone("dropped a connect").await
}

/// MC-3.
pub async fn a_process_that_ignores_its_end_is_killed<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "stays").await?;
    let session = stage.session().await?;
    is_usable(&session, "connecting").await?;
    let did = "closed a session whose server ignores the end of its input and SIGTERM";
    ok(did, within(did, session.close()).await?)?;
    stage.until_gone(did).await
}

/// MC-3.
pub async fn a_dropped_close_kills_all_the_same<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "stays").await?;
    let session = stage.session().await?;
    is_usable(&session, "connecting").await?;
    // It may or may not have come to its end in one step.
    let _begun = session.close().now_or_never();
    stage
        .until_gone("began to close a session and dropped that")
        .await
}

/// MC-3.
pub async fn a_process_that_a_server_started_goes_with_it<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "leaves_child").await?;
    let session = stage.session().await?;
    is_usable(&session, "connecting").await?;
    let did = "closed a session whose server has started a process";
    ok(did, within(did, session.close()).await?)?;
    stage.until_gone(did).await
}
