//! MP-9: calls that their caller ends, and calls that nobody repeats.

use futures_util::{StreamExt as _, future};
use seaworthy_ports::Latch;
use seaworthy_ports::model_provider::{FinishReason, Kind, ModelError, ModelEvent, ModelRequest};

use super::stage::{Seen, UNSEEN, call, request, set, until, watch};
use super::{Answer, Failure, Harness, RetryAfter, Step};
use crate::outcome::{Halt, Outcome, broken, same, within};

const UNHEARD: Halt = Halt::NotCheckable("whether a connection was closed cannot be seen");

fn half() -> Answer {
    Answer::of([Step::text("half"), Step::Silence])
}

/// A cancelled call fails as cancelled, or its answer ends so.
fn cancelled(did: &str, seen: &Seen) -> Outcome {
    let kind = seen.error.as_ref().map(ModelError::kind);
    match (kind, seen.reason()) {
        (Some(Kind::Cancelled), None) | (None, Some(FinishReason::Cancelled)) => Ok(()),
        other => Err(broken(did, "an end as cancelled", other)),
    }
}

/// MP-9.
pub async fn a_call_that_is_cancelled_before_it_begins_is_not_made<H: Harness>(
    harness: H,
) -> Outcome {
    let said = [Step::text("done"), Step::Finish(FinishReason::Stop)];
    set(&harness, &Answer::of(said)).await?;
    let (setter, cancel) = Latch::new();
    setter.set();
    let request = ModelRequest {
        cancel,
        ..request(&harness)
    };
    let did = "made a call that was cancelled already";
    cancelled(did, &call(&harness, request).await?)?;
    let requests = harness.requests().map_or(0, |requests| requests.len());
    same(format!("{did}, and counted what was sent"), requests, 0)
}

/// MP-9.
pub async fn cancelling_ends_a_call_without_an_answer<H: Harness>(harness: H) -> Outcome {
    set(&harness, &Answer::Silence).await?;
    cancelled(
        "cancelled a call that the backend did not answer",
        &cancel_in_silence(&harness).await?,
    )
}

/// Cancels a call that the backend has, and does not answer.
async fn cancel_in_silence<H: Harness>(harness: &H) -> Result<Seen, Halt> {
    let (setter, cancel) = Latch::new();
    let request = ModelRequest {
        cancel,
        ..request(harness)
    };
    let calling = watch(harness.provider().stream(request));
    let cancelling = async {
        // The call is on its way before this looks for the first time.
        let is_there = || {
            harness
                .requests()
                .is_none_or(|requests| !requests.is_empty())
        };
        let waited = until("waited for a call to reach the backend", is_there).await;
        setter.set();
        waited
    };
    let (seen, waited) = future::join(calling, cancelling).await;
    waited?;
    seen
}

/// MP-9.
pub async fn cancelling_ends_an_answer_in_its_middle<H: Harness>(harness: H) -> Outcome {
    set(&harness, &half()).await?;
    let seen = cancel_in_the_middle(&harness).await?;
    cancelled("cancelled a call in the middle of its answer", &seen)
}

/// Cancels a call after the first text of its answer; what it saw after that.
async fn cancel_in_the_middle<H: Harness>(harness: &H) -> Result<Seen, Halt> {
    let (setter, cancel) = Latch::new();
    let request = ModelRequest {
        cancel,
        ..request(harness)
    };
    let mut stream = harness.provider().stream(request);
    let text = async {
        while let Some(item) = stream.next().await {
            if matches!(item, Ok(ModelEvent::BlockDelta { .. })) {
                return Ok(());
            }
        }
        Err(broken("read a text", "the text", "the end"))
    };
    within("read the first text of an answer", text).await??;
    setter.set();
    watch(stream).await
}

/// MP-9.
pub async fn cancelling_closes_the_connection<H: Harness>(harness: H) -> Outcome {
    set(&harness, &Answer::Silence).await?;
    harness.hang_ups().ok_or(UNHEARD)?;
    harness.requests().ok_or(UNSEEN)?;
    cancel_in_silence(&harness).await?;
    left(&harness, "cancelled a call that was not answered", 1).await?;
    set(&harness, &half()).await?;
    cancel_in_the_middle(&harness).await?;
    left(&harness, "cancelled a call in the middle of its answer", 2).await
}

/// MP-9.
pub async fn dropping_the_stream_closes_the_connection<H: Harness>(harness: H) -> Outcome {
    set(&harness, &half()).await?;
    harness.hang_ups().ok_or(UNHEARD)?;
    let mut stream = harness.provider().stream(request(&harness));
    let first = within("read the first event of an answer", stream.next()).await?;
    same("read the first event of an answer", first.is_some(), true)?;
    drop(stream);
    left(&harness, "dropped a stream", 1).await
}

async fn left<H: Harness>(harness: &H, did: &str, times: usize) -> Outcome {
    let is_left = || harness.hang_ups().is_some_and(|count| count >= times);
    until(
        &format!("{did}, and waited for its connection to close"),
        is_left,
    )
    .await
}

/// MP-9.
pub async fn nothing_is_repeated<H: Harness>(harness: H) -> Outcome {
    let mut before = harness.requests().ok_or(UNSEEN)?.len();
    let refused = |kind: Kind| {
        Answer::Refuse(Failure {
            retry_after: Some(RetryAfter::Seconds(0)),
            ..Failure::of(kind)
        })
    };
    let answers = [
        refused(Kind::RateLimited),
        refused(Kind::Overloaded),
        refused(Kind::Server),
        refused(Kind::Timeout),
        Answer::HangUp,
        Answer::of([Step::Cut]),
        Answer::of([Step::Fail(Failure::of(Kind::Overloaded))]),
    ];
    let mut checked = 0_usize;
    for answer in answers {
        let Some(_said) = harness.answer(&answer).await else {
            continue;
        };
        checked = checked.saturating_add(1);
        call(&harness, request(&harness)).await?;
        let now = harness.requests().ok_or(UNSEEN)?.len();
        same(
            format!("called a backend that does this: {answer:?}, and counted the calls"),
            now.saturating_sub(before),
            1,
        )?;
        before = now;
    }
    if checked == 0 {
        return Err(Halt::NotCheckable("the backend never fails"));
    }
    Ok(())
}
