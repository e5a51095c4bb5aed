//! MC-2: servers that die, lose sessions or no longer take a token, and calls that are made once all the same.

use seaworthy_ports::Effect;
use seaworthy_ports::mcp::Kind;
use serde_json::json;

use super::Harness;
use super::script::Seen;
use super::scripts::IN_REVERSE;
use super::serve::echoed;
use super::stage::{Stage, begun, call, done, fails, is_usable, made};
use crate::outcome::{Outcome, ok, refused, same, within};

/// MC-2.
pub async fn a_death_leaves_the_call_unknown_and_the_next_call_reconnects<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    is_usable(&session, "connecting").await?;
    for death in 1..=2 {
        let died = made(&session, call("dies", json!({}))).await?;
        fails(
            "called a tool that kills its server",
            died,
            &[Kind::Unavailable],
            Effect::Unknown,
        )?;
        is_usable(&session, "the server's death").await?;
        stage.called("dies", death)?;
        same("counted the server's starts", stage.starts()?, death + 1)?;
    }
    Ok(())
}

/// MC-2.
pub async fn every_call_in_flight_fails_with_its_server<H: Harness>(harness: H) -> Outcome {
    const MANY: usize = 3;
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let waiting: Vec<_> = (0..MANY)
        .map(|_call| begun(&session, call("never", json!({}))))
        .collect();
    stage.until(&Seen::Called("never".to_owned()), MANY).await?;
    let killed = made(&session, call("dies", json!({}))).await?;
    fails(
        "killed a server",
        killed,
        &[Kind::Unavailable],
        Effect::Unknown,
    )?;
    for call in waiting {
        let did = "waited for a call whose server was killed";
        fails(
            did,
            done(did, call).await?,
            &[Kind::Unavailable],
            Effect::Unknown,
        )?;
    }
    is_usable(&session, "the server's death").await?;
    stage.called("never", MANY)?;
    stage.called("dies", 1)
}

/// MC-2.
pub async fn answers_in_any_order_reach_their_callers<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let calls: Vec<_> = (0..IN_REVERSE)
        .map(|number| begun(&session, call("in_reverse", json!({"number": number}))))
        .collect();
    for (number, call) in calls.into_iter().enumerate() {
        let did = "waited for an answer that came out of order";
        let answer = ok(did, done(did, call).await?)?;
        same(did, answer, echoed(&json!({"number": number}), &json!({})))?;
    }
    stage.called("in_reverse", IN_REVERSE)
}

/// MC-2.
pub async fn answers_that_nobody_waits_for_disturb_nobody<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    for number in 0..3 {
        let arguments = json!({"number": number});
        let did = "called a tool that answers strangers, and its caller twice";
        let answer = made(&session, call("too_often", arguments.clone())).await?;
        same(did, ok(did, answer)?, echoed(&arguments, &json!({})))?;
        is_usable(&session, "answers too many").await?;
    }
    stage.called("too_often", 3)?;
    same("counted the server's starts", stage.starts()?, 1)
}

/// MC-2.
pub async fn a_server_that_does_not_start_is_unavailable<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "exits").await?;
    let did = "connected to a server that ends at once";
    let connected = within(did, stage.harness.mcp().connect(stage.server()?)).await?;
    refused(did, connected.map(|_session| ()), Kind::Unavailable)?;
    stage.until_gone(did).await
}

/// MC-2.
pub async fn an_expired_token_is_refreshed_once_and_the_call_made_once<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "expired").await?;
    let session = stage.session().await?;
    is_usable(&session, "the token expired").await?;
    stage.called("echo", 1)?;
    same("counted the refreshes", stage.count(&Seen::Refreshed)?, 1)?;
    same(
        "counted the new tokens that were kept",
        stage.tokens.saved(),
        1,
    )
}

/// MC-2.
pub async fn a_token_that_refreshing_does_not_help_is_an_authentication_error<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "forbidden").await?;
    let session = stage.session().await?;
    let did = "called a server that takes no token";
    let answer = made(&session, call("echo", json!({}))).await?;
    fails(did, answer, &[Kind::Authentication], Effect::None)?;
    stage.called("echo", 0)?;
    same("counted the refreshes", stage.count(&Seen::Refreshed)?, 1)
}

/// MC-2.
pub async fn a_lost_session_is_begun_again_and_the_call_made_once<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "forgets").await?;
    let session = stage.session().await?;
    is_usable(&session, "the server lost its session").await?;
    stage.called("echo", 1)?;
    same("counted the server's sessions", stage.starts()?, 2)
}

/// MC-2.
pub async fn a_session_that_is_lost_again_is_unavailable<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "always_forgets").await?;
    let session = stage.session().await?;
    let did = "called a server that keeps no session";
    let answer = made(&session, call("echo", json!({}))).await?;
    fails(did, answer, &[Kind::Unavailable], Effect::None)?;
    stage.called("echo", 0)?;
    same("counted the server's sessions", stage.starts()?, 2)
}
