//! MC-3: what is passed on with a call, and what ends one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use seaworthy_ports::mcp::{Kind, Progress};
use seaworthy_ports::{Effect, Latch};
use serde_json::json;
use tokio::time::Instant;

use super::Harness;
use super::script::{SILENT_URI, Seen};
use super::scripts::{STEPS, TOTAL};
use super::serve::echoed;
use super::stage::{SHORT, Stage, begun, call, done, fails, is_usable, made};
use crate::outcome::{Outcome, broken, holds, ok, patience, refused, same, within};

fn never() -> Seen {
    Seen::Called("never".to_owned())
}

fn never_cancelled() -> Seen {
    Seen::Cancelled("never".to_owned())
}

/// MC-3.
pub async fn a_call_that_takes_too_long_times_out_and_is_cancelled<H: Harness>(
    harness: H,
) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    // The list is there already, so that the time goes to the call.
    ok("asked for the tools", session.tools().await)?;
    let mut slow = call("never", json!({}));
    slow.timeout = SHORT;
    let before = Instant::now();
    let late = made(&session, slow).await?;
    let took = before.elapsed();
    fails(
        "called a tool that never answers",
        late,
        &[Kind::Timeout],
        Effect::Unknown,
    )?;
    // Two clocks are compared, and one may count in milliseconds.
    holds(
        took + Duration::from_millis(2) >= SHORT,
        "measured how long a call waited",
        format!("at least {SHORT:?}"),
        took,
    )?;
    // A machine that is busy may have let the time pass before the call was sent.
    if stage.count(&never())? > 0 {
        stage.until(&never_cancelled(), 1).await?;
        stage.called("never", 1)?;
    }
    is_usable(&session, "a call that timed out").await
}

/// MC-3.
pub async fn a_cancelled_call_ends_and_the_server_hears_of_it<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let (setter, cancel) = Latch::new();
    let mut slow = call("never", json!({}));
    slow.cancel = cancel;
    let slow = begun(&session, slow);
    stage.until(&never(), 1).await?;
    setter.set();
    let did = "cancelled a call";
    fails(
        did,
        done(did, slow).await?,
        &[Kind::Cancelled],
        Effect::Unknown,
    )?;
    stage.until(&never_cancelled(), 1).await?;
    stage.called("never", 1)?;
    is_usable(&session, "a call that was cancelled").await
}

/// MC-3.
pub async fn a_call_that_is_cancelled_beforehand_is_not_made<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let (setter, cancel) = Latch::new();
    setter.set();
    let mut late = call("never", json!({}));
    late.cancel = cancel;
    let did = "made a call that is cancelled already";
    fails(
        did,
        made(&session, late).await?,
        &[Kind::Cancelled],
        Effect::None,
    )?;
    is_usable(&session, "a call that was not made").await?;
    stage.called("never", 0)
}

/// MC-3.
pub async fn a_dropped_call_is_cancelled<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let slow = begun(&session, call("never", json!({})));
    stage.until(&never(), 1).await?;
    slow.abort();
    stage.until(&never_cancelled(), 1).await?;
    stage.called("never", 1)?;
    is_usable(&session, "a call that was dropped").await
}

/// MC-3.
pub async fn an_answer_after_the_cancellation_disturbs_nobody<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    for number in 1..=3 {
        let (setter, cancel) = Latch::new();
        let mut slow = call("too_late", json!({"number": number}));
        slow.cancel = cancel;
        let slow = begun(&session, slow);
        stage
            .until(&Seen::Called("too_late".to_owned()), number)
            .await?;
        setter.set();
        let did = "cancelled a call that is answered all the same";
        fails(
            did,
            done(did, slow).await?,
            &[Kind::Cancelled],
            Effect::Unknown,
        )?;
        is_usable(&session, "a call that was cancelled").await?;
        stage
            .until(&Seen::Cancelled("too_late".to_owned()), number)
            .await?;
        is_usable(&session, "an answer that came too late").await?;
    }
    same("counted the server's starts", stage.starts()?, 1)
}

/// MC-3.
pub async fn a_request_that_takes_too_long_times_out<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let mut server = stage.server()?;
    server.request_timeout = SHORT;
    let session = stage.session_with(server).await?;
    let did = "read a resource that never answers";
    refused(
        did,
        within(did, session.read_resource(SILENT_URI)).await?,
        Kind::Timeout,
    )
}

/// MC-3.
pub async fn progress_arrives_in_order<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let shown = Arc::<Mutex<Vec<Progress>>>::default();
    let mut long = call("progress", json!({}));
    let sink = Arc::clone(&shown);
    long.on_progress = Some(Arc::new(move |progress| {
        sink.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(progress);
    }));
    let did = "called a tool that tells how far it is";
    ok(did, made(&session, long).await?)?;
    let expected = STEPS.map(|done| Progress {
        done,
        total: Some(TOTAL),
    });
    // Whoever shows it may do so a moment after the answer.
    let deadline = Instant::now() + patience();
    loop {
        let seen = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if seen == expected {
            break;
        }
        if Instant::now() >= deadline || !expected.starts_with(&seen) {
            return Err(broken(did, format!("{expected:?}"), seen));
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    // Nobody asked this time, so nothing must be told.
    ok(did, made(&session, call("progress", json!({}))).await?)?;
    let told = shown.lock().unwrap_or_else(PoisonError::into_inner).len();
    same("counted the steps", told, STEPS.len())
}

/// MC-3.
pub async fn arguments_and_metadata_arrive_as_they_were_given<H: Harness>(harness: H) -> Outcome {
    let stage = Stage::of(harness, "usual").await?;
    let session = stage.session().await?;
    let arguments = json!({
        "text": "line\n\"quoted\" \u{0} \u{1f980}",
        "numbers": [0, -1, 1.5, 9_007_199_254_740_991_i64],
        "nothing": null,
        "deep": {"er": [[], {}, [true]]},
    });
    let meta = BTreeMap::from([
        ("example.org/trace".to_owned(), json!("00-abc")),
        ("example.org/key".to_owned(), json!({"n": 1})),
    ]);
    let mut sent = call("echo", arguments.clone());
    sent.meta = meta.clone();
    let did = "sent arguments and metadata";
    let answer = ok(did, made(&session, sent).await?)?;
    same(
        did,
        answer.structured,
        echoed(&arguments, &json!(meta)).structured,
    )
}
