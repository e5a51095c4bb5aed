//! MP-7: silence, floods, and frames that nobody expects.

use std::time::Duration;

use futures_util::StreamExt as _;
use seaworthy_ports::model_provider::{FinishReason, Kind, ModelEvent, ModelRequest};

use super::stage::{Seen, ended, hello, request, set, texts, watch};
use super::{Answer, Flood, Harness, Step};
use crate::outcome::{Halt, Outcome, broken, same, within};

/// The longest silence where there will be one.
const SHORT: Duration = Duration::from_millis(200);

/// MP-7.
pub async fn a_backend_that_never_answers_times_out<H: Harness>(harness: H) -> Outcome {
    times_out(&harness, &Answer::Silence, "never answers").await
}

/// MP-7.
pub async fn an_answer_that_falls_silent_times_out<H: Harness>(harness: H) -> Outcome {
    let silent = Answer::of([Step::Silence]);
    times_out(&harness, &silent, "answers with nothing").await?;
    let half = Answer::of([Step::text("half"), Step::Silence]);
    times_out(&harness, &half, "falls silent in its answer").await
}

async fn times_out<H: Harness>(harness: &H, answer: &Answer, what: &str) -> Outcome {
    set(harness, answer).await?;
    let request = ModelRequest {
        idle_timeout: SHORT,
        ..request(harness)
    };
    let did = format!("called a backend that {what}, with an idle timeout of {SHORT:?}");
    let stream = harness.provider().stream(request);
    let seen = watch(stream).await?;
    seen.failed_as(&did, Kind::Timeout).map(|_error| ())
}

/// MP-7.
pub async fn a_slow_reader_is_no_silent_backend<H: Harness>(harness: H) -> Outcome {
    let mut steps = texts(["it ", "was ", "all ", "said ", "at once"]);
    steps.push(Step::Finish(FinishReason::Stop));
    set(&harness, &Answer::in_pieces(16, steps)).await?;
    let mut last = None;
    // What is slow may be this machine: then a longer timeout tells.
    for attempt in 0..4 {
        let timeout = SHORT * 2_u32.pow(attempt);
        let seen = read_slowly(&harness, timeout).await?;
        if seen.error.is_none() {
            let text = seen.reply("read slowly").await?.message.text();
            return same("read slowly", text.as_str(), "it was all said at once");
        }
        last = seen.error.map(|error| error.kind());
    }
    Err(broken(
        "read an answer, with a pause longer than the idle timeout after its first event",
        "the answer, for the backend was not silent",
        last,
    ))
}

async fn read_slowly<H: Harness>(harness: &H, timeout: Duration) -> Result<Seen, Halt> {
    let request = ModelRequest {
        idle_timeout: timeout,
        ..request(harness)
    };
    let mut stream = harness.provider().stream(request);
    let first = within("read the first event of an answer", stream.next()).await?;
    tokio::time::sleep(timeout + timeout / 4).await;
    watch(futures_util::stream::iter(first).chain(stream).boxed()).await
}

/// MP-7.
pub async fn an_answer_without_end_is_cut_off<H: Harness>(harness: H) -> Outcome {
    cut_off(&harness, Flood::Text).await
}

/// MP-7.
pub async fn a_frame_without_end_is_cut_off<H: Harness>(harness: H) -> Outcome {
    cut_off(&harness, Flood::Frame).await
}

/// MP-7.
pub async fn noise_without_end_is_cut_off<H: Harness>(harness: H) -> Outcome {
    cut_off(&harness, Flood::Noise).await
}

async fn cut_off<H: Harness>(harness: &H, flood: Flood) -> Outcome {
    /// More than this no provider takes by itself.
    const MOST: usize = 256 << 20;
    set(harness, &Answer::of([Step::Endless(flood)])).await?;
    let mut stream = harness.provider().stream(request(harness));
    let did = format!("called a backend that sends {flood:?} without an end");
    let reading = async {
        let mut taken = 0_usize;
        let mut error = None;
        while let Some(item) = stream.next().await {
            match item {
                Ok(ModelEvent::BlockDelta { delta, .. }) => {
                    taken = taken.saturating_add(delta.len());
                }
                Ok(_) => taken = taken.saturating_add(1),
                Err(failed) => error = Some(failed.kind()),
            }
            if taken > MOST {
                return Err(broken(&did, "a cap", "256 MiB were taken"));
            }
        }
        Ok(error)
    };
    let seen = within(&did, reading).await??;
    same(did, seen, Some(Kind::Truncated))
}

/// MP-7.
pub async fn unknown_events_are_skipped<H: Harness>(harness: H) -> Outcome {
    let steps = [
        Step::Unknown,
        Step::text("one "),
        Step::Unknown,
        Step::Unknown,
        Step::text("two"),
        Step::Unknown,
        Step::Finish(FinishReason::Stop),
    ];
    let (_, seen) = hello(&harness, &Answer::of(steps)).await?;
    let did = "read an answer with events that nobody knows";
    ended(did, &seen, FinishReason::Stop)?;
    let text = seen.reply(did).await?.message.text();
    same(did, text.as_str(), "one two")
}

/// MP-7.
pub async fn a_malformed_event_is_an_error<H: Harness>(harness: H) -> Outcome {
    for text in [None, Some("half")] {
        let mut steps: Vec<Step> = text.map(Step::text).into_iter().collect();
        steps.push(Step::Malformed("damaged".to_owned()));
        steps.push(Step::Finish(FinishReason::Stop));
        let (_, seen) = hello(&harness, &Answer::of(steps)).await?;
        let did = format!("called a backend that said {text:?} and then a damaged event");
        seen.failed_as(&did, Kind::Decode)?;
    }
    Ok(())
}
