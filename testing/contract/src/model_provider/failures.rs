//! MP-5 and MP-6: how failures are classified, and what comes with them.

use std::time::{Duration, SystemTime};

use seaworthy_ports::Retry;
use seaworthy_ports::model_provider::{FinishReason, Kind, ModelEvent, RateLimits};

use super::stage::{call, hello, request, texts};
use super::{Answer, Failure, Harness, RetryAfter, Script, Step};
use crate::outcome::{Halt, Outcome, holds, same};

/// One scenario for each kind of error that a backend tells about.
macro_rules! classified {
    ($($name:ident: $kind:ident;)*) => {
        $(
            /// MP-5.
            pub async fn $name<H: Harness>(harness: H) -> Outcome {
                classified(&harness, Kind::$kind).await
            }
        )*
    };
}

classified! {
    a_wrong_key_is_classified: Authentication;
    a_forbidden_call_is_classified: Permission;
    a_missing_model_is_classified: NotFound;
    a_wrong_request_is_classified: InvalidRequest;
    a_conversation_that_is_too_long_is_classified: ContextLength;
    too_many_calls_are_classified: RateLimited;
    a_used_up_quota_is_classified: QuotaExhausted;
    an_overloaded_backend_is_classified: Overloaded;
    a_failing_backend_is_classified: Server;
    a_backend_that_took_too_long_is_classified: Timeout;
    a_filtered_request_is_classified: ContentFilter;
    a_request_beyond_the_model_is_classified: Unsupported;
}

async fn classified<H: Harness>(harness: &H, kind: Kind) -> Outcome {
    let (said, seen) = hello(harness, &Answer::Refuse(Failure::of(kind))).await?;
    let did = format!("called a backend that refuses with {kind:?}");
    let error = seen.failed_as(&did, kind)?;
    same(
        format!("{did}, and read status and code"),
        (error.status, error.code),
        (said.status, said.code),
    )?;
    same(
        format!("{did}, before it answered anything"),
        error.response_started,
        false,
    )
}

/// MP-5.
pub async fn a_connection_that_breaks_is_classified<H: Harness>(harness: H) -> Outcome {
    let did = "called a backend that hangs up without a word";
    let (_, seen) = hello(&harness, &Answer::HangUp).await?;
    let error = seen.failed_as(did, Kind::Network)?;
    same(
        format!("{did}, and read status and code"),
        (error.status, error.code),
        (None, None),
    )?;
    same(
        format!("{did}, before it answered anything"),
        error.response_started,
        false,
    )
}

/// MP-5.
pub async fn an_error_names_its_request<H: Harness>(harness: H) -> Outcome {
    let id = || Some("req_contract-1".to_owned());
    let failure = Failure {
        request_id: id(),
        ..Failure::of(Kind::Server)
    };
    let (_, seen) = hello(&harness, &Answer::Refuse(failure)).await?;
    let did = "called a backend that names the request it refuses";
    same(did, seen.failed(did)?.request_id, id())
}

/// MP-5.
pub async fn an_error_within_a_stream_names_its_request_and_code<H: Harness>(
    harness: H,
) -> Outcome {
    let id = || Some("req_contract-1".to_owned());
    for kind in [Kind::RateLimited, Kind::Server] {
        let answer = Answer::Stream(Script {
            request_id: id(),
            steps: vec![Step::text("half"), Step::Fail(Failure::of(kind))],
            ..Script::default()
        });
        let (said, seen) = hello(&harness, &answer).await?;
        // Whether it is an error at all is for MP-6.
        if let Some(error) = seen.error {
            let did =
                format!("called a backend that names its request and then fails with {kind:?}");
            same(
                format!("{did}, and read status and code"),
                (error.status, error.code),
                (said.status, said.code),
            )?;
            same(did, error.request_id, id())?;
        }
    }
    Ok(())
}

/// MP-5.
pub async fn an_error_tells_whether_the_response_had_started<H: Harness>(harness: H) -> Outcome {
    let failures = || {
        [
            Step::Cut,
            Step::Fail(Failure::of(Kind::Server)),
            Step::Malformed("damaged".to_owned()),
        ]
    };
    let mut failed = 0_usize;
    for (text, started) in [(None, false), (Some("half"), true)] {
        for failure in failures() {
            let steps = text.map(Step::text).into_iter().chain([failure.clone()]);
            let answer = Answer::of(steps.collect::<Vec<_>>());
            let Some(_said) = harness.answer(&answer).await else {
                continue;
            };
            let seen = call(&harness, request(&harness)).await?;
            // Whether it must fail is for other clauses.
            if let Some(error) = seen.error {
                failed = failed.saturating_add(1);
                let did = format!("called a backend that said {text:?} and then {failure:?}");
                same(did, error.response_started, started)?;
            }
        }
    }
    if failed == 0 {
        return Err(Halt::NotCheckable("no answer fails after it has begun"));
    }
    Ok(())
}

/// MP-6.
pub async fn a_delay_in_seconds_is_kept<H: Harness>(harness: H) -> Outcome {
    for seconds in [1, 7, 3_600] {
        let retry = told(&harness, RetryAfter::Seconds(seconds)).await?;
        same(
            format!("called a backend that wants {seconds} seconds of peace"),
            retry,
            Retry::After(Duration::from_secs(seconds)),
        )?;
    }
    Ok(())
}

/// MP-6.
pub async fn a_delay_until_a_date_is_kept<H: Harness>(harness: H) -> Outcome {
    const HOUR: Duration = Duration::from_secs(3_600);
    let retry = told(&harness, RetryAfter::Date(SystemTime::now() + HOUR)).await?;
    let (soonest, latest) = (
        HOUR - Duration::from_secs(600),
        HOUR + Duration::from_secs(1),
    );
    holds(
        matches!(retry, Retry::After(delay) if (soonest..=latest).contains(&delay)),
        "called a backend that wants peace until in an hour",
        "that delay",
        retry,
    )?;
    let past = told(&harness, RetryAfter::Date(SystemTime::now() - HOUR)).await?;
    holds(
        matches!(past, Retry::After(Duration::ZERO) | Retry::Backoff),
        "called a backend that wanted peace until an hour ago",
        "no delay of its own",
        past,
    )
}

async fn told<H: Harness>(harness: &H, retry_after: RetryAfter) -> Result<Retry, Halt> {
    let failure = Failure {
        retry_after: Some(retry_after),
        ..Failure::of(Kind::RateLimited)
    };
    let (_, seen) = hello(harness, &Answer::Refuse(failure)).await?;
    Ok(seen.failed("called a backend that wants peace")?.retry())
}

/// MP-6.
pub async fn what_is_left_of_the_limits_is_told<H: Harness>(harness: H) -> Outcome {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let all = RateLimits {
        requests_remaining: Some(59),
        requests_reset: seconds(3_600),
        tokens_remaining: Some(149_984),
        tokens_reset: seconds(7_201),
    };
    let one = RateLimits {
        tokens_remaining: Some(0),
        ..RateLimits::default()
    };
    for limits in [Some(all), Some(one), None] {
        let said = texts(["done"])
            .into_iter()
            .chain([Step::Finish(FinishReason::Stop)]);
        let answer = Answer::Stream(Script {
            limits,
            steps: said.collect(),
            ..Script::default()
        });
        let (_, seen) = hello(&harness, &answer).await?;
        let told = seen.events.iter().rev().find_map(|event| match event {
            ModelEvent::RateLimits(limits) => Some(*limits),
            _ => None,
        });
        let did = "called a backend that tells its limits";
        let (seen, expected) = (told.unwrap_or_default(), limits.unwrap_or_default());
        let is_like = |seen: Option<Duration>, expected: Option<Duration>| match (seen, expected) {
            // A backend may name the moment instead, and some time has passed since.
            (Some(seen), Some(expected)) => {
                seen <= expected && seen + Duration::from_secs(600) >= expected
            }
            (seen, expected) => seen == expected,
        };
        let counts = |limits: RateLimits| (limits.requests_remaining, limits.tokens_remaining);
        same(did, counts(seen), counts(expected))?;
        holds(
            is_like(seen.requests_reset, expected.requests_reset)
                && is_like(seen.tokens_reset, expected.tokens_reset),
            did,
            format!("{expected:?}"),
            seen,
        )?;
    }
    Ok(())
}

/// MP-6.
pub async fn an_error_within_a_stream_is_an_error<H: Harness>(harness: H) -> Outcome {
    for kind in [Kind::RateLimited, Kind::Overloaded, Kind::Server] {
        for text in [None, Some("half")] {
            let mut steps: Vec<Step> = text.map(Step::text).into_iter().collect();
            steps.push(Step::Fail(Failure::of(kind)));
            let (_, seen) = hello(&harness, &Answer::of(steps)).await?;
            let did = format!("called a backend that said {text:?} and then failed with {kind:?}");
            seen.failed_as(&did, kind)?;
        }
    }
    Ok(())
}
