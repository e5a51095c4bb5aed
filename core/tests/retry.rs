//! The policy of retries, row by row.

use std::time::Duration;

use proptest::prelude::*;
use seaworthy_core::retry::{
    Final, RetryPolicy, Spent, TooLong, Verdict, another_may_help, is_replay_safe,
};
use seaworthy_ports::model_provider::{Kind, ModelError};
use seaworthy_ports::{PortError, Retry};

const KINDS: [Kind; 17] = [
    Kind::Authentication,
    Kind::Permission,
    Kind::NotFound,
    Kind::InvalidRequest,
    Kind::ContextLength,
    Kind::RateLimited,
    Kind::QuotaExhausted,
    Kind::Overloaded,
    Kind::Server,
    Kind::Timeout,
    Kind::Network,
    Kind::Refusal,
    Kind::ContentFilter,
    Kind::Truncated,
    Kind::Decode,
    Kind::Unsupported,
    Kind::Cancelled,
];
const TRANSIENT: [Kind; 5] = [
    Kind::RateLimited,
    Kind::Overloaded,
    Kind::Server,
    Kind::Timeout,
    Kind::Network,
];

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn error(kind: Kind) -> ModelError {
    PortError::new(kind, "test", "stream", "no").into()
}

fn asks_for(kind: Kind, after: Duration) -> ModelError {
    PortError::new(kind, "test", "stream", "no")
        .with_retry(Retry::After(after))
        .into()
}

fn started(mut error: ModelError) -> ModelError {
    error.response_started = true;
    error
}

/// After the first try, at once.
const FIRST: Spent = Spent {
    tries: 1,
    elapsed: Duration::ZERO,
    deferrals: 0,
};

fn usual(error: &ModelError, spent: Spent) -> Verdict {
    RetryPolicy::default().decide(error, spent, 0)
}

#[test]
fn network_timeout_rate_limit_and_server_errors_are_tried_again_and_nothing_else_is() {
    for kind in KINDS {
        let verdict = usual(&error(kind), FIRST);
        if TRANSIENT.contains(&kind) {
            assert!(matches!(verdict, Verdict::Again { .. }), "{kind:?}");
        } else {
            assert_eq!(verdict, Verdict::Final(Final::Permanent), "{kind:?}");
            // However long the provider says to wait: the quota of a day is gone, and that is final.
            let patient = asks_for(kind, secs(5));
            assert_eq!(usual(&patient, FIRST), Verdict::Final(Final::Permanent));
        }
    }
}

#[test]
fn a_provider_that_says_no_to_trying_again_is_believed() {
    let told: ModelError = PortError::new(Kind::Server, "test", "stream", "no")
        .with_retry(Retry::No)
        .into();
    assert_eq!(usual(&told, FIRST), Verdict::Final(Final::Permanent));
}

#[test]
fn there_are_three_tries() {
    for (tries, again) in [(1, true), (2, true), (3, false), (4, false)] {
        let verdict = usual(&error(Kind::Server), Spent { tries, ..FIRST });
        assert_eq!(matches!(verdict, Verdict::Again { .. }), again, "{tries}");
        if !again {
            assert_eq!(verdict, Verdict::Final(Final::Attempts));
        }
    }
}

#[test]
fn delays_double_from_half_a_second_to_eight() {
    let patient = RetryPolicy {
        attempts: 100,
        elapsed: secs(600),
        ..RetryPolicy::default()
    };
    let full = [500, 1000, 2000, 4000, 8000, 8000, 8000];
    for (tries, full) in (1..).zip(full) {
        let spent = Spent { tries, ..FIRST };
        let least = Duration::from_millis(full / 2);
        let most = Duration::from_millis(full);
        let delay = |chance| patient.decide(&error(Kind::Network), spent, chance);
        assert_eq!(delay(0), Verdict::Again { after: least }, "{tries}");
        assert_eq!(delay(512), Verdict::Again { after: most }, "{tries}");
    }
}

#[test]
fn a_delay_that_the_provider_names_is_kept_to_the_millisecond() {
    for millis in [0, 1, 999, 20_000] {
        let after = Duration::from_millis(millis);
        for chance in [0, 77, u128::MAX] {
            let verdict =
                RetryPolicy::default().decide(&asks_for(Kind::RateLimited, after), FIRST, chance);
            assert_eq!(verdict, Verdict::Again { after });
        }
    }
}

#[test]
fn a_longer_delay_is_put_off_by_exactly_as_much() {
    for after in [
        Duration::from_millis(20_001),
        secs(2 * 60 * 60),
        secs(24 * 60 * 60),
    ] {
        let verdict = usual(&asks_for(Kind::RateLimited, after), FIRST);
        assert_eq!(verdict, Verdict::Defer { after });
        // It is not one more try: the last of them may be put off too.
        let last = Spent { tries: 3, ..FIRST };
        assert_eq!(
            usual(&asks_for(Kind::RateLimited, after), last),
            Verdict::Defer { after }
        );
    }
}

#[test]
fn a_longer_delay_fails_where_the_policy_says_so() {
    let strict = RetryPolicy {
        too_long: TooLong::Fail,
        ..RetryPolicy::default()
    };
    let verdict = strict.decide(&asks_for(Kind::Overloaded, secs(21)), FIRST, 0);
    assert_eq!(verdict, Verdict::Final(Final::TooLong));
}

#[test]
fn nobody_waits_longer_than_a_day_nor_again_and_again() {
    let day = secs(24 * 60 * 60);
    let longer = day + Duration::from_millis(1);
    assert_eq!(
        usual(&asks_for(Kind::RateLimited, longer), FIRST),
        Verdict::Final(Final::TooLong)
    );
    assert_eq!(
        usual(&asks_for(Kind::RateLimited, Duration::MAX), FIRST),
        Verdict::Final(Final::TooLong)
    );
    let often = Spent {
        deferrals: 16,
        ..FIRST
    };
    assert_eq!(
        usual(&asks_for(Kind::RateLimited, day), often),
        Verdict::Final(Final::Deferrals)
    );
}

#[test]
fn no_try_begins_later_than_a_minute() {
    let spent = |millis| Spent {
        elapsed: Duration::from_millis(millis),
        ..FIRST
    };
    let five = asks_for(Kind::RateLimited, secs(5));
    assert_eq!(
        usual(&five, spent(55_000)),
        Verdict::Again { after: secs(5) }
    );
    // The provider named the time: it is a timer then, not a failure.
    assert_eq!(
        usual(&five, spent(55_001)),
        Verdict::Defer { after: secs(5) }
    );
    assert_eq!(
        usual(&error(Kind::Network), spent(60_000)),
        Verdict::Final(Final::Elapsed)
    );
}

#[test]
fn nothing_is_tried_again_after_its_first_chunk_unless_the_policy_says_so() {
    for error in [error(Kind::Network), asks_for(Kind::Overloaded, secs(7200))] {
        assert_eq!(
            usual(&started(error), FIRST),
            Verdict::Final(Final::Started)
        );
    }
    let eager = RetryPolicy {
        after_first_chunk: true,
        ..RetryPolicy::default()
    };
    let verdict = eager.decide(&started(error(Kind::Network)), FIRST, 0);
    assert!(matches!(verdict, Verdict::Again { .. }));
}

#[test]
fn replay_safety_is_about_what_was_done_and_not_about_trying_again() {
    let refused = error(Kind::InvalidRequest);
    assert!(
        is_replay_safe(&refused),
        "it is final, and nothing was done"
    );
    let lost: ModelError = PortError::new(Kind::Network, "test", "stream", "no")
        .with_unknown_effect()
        .into();
    assert!(!is_replay_safe(&lost));
    assert!(matches!(usual(&lost, FIRST), Verdict::Again { .. }));
    assert!(!is_replay_safe(&started(error(Kind::Network))));
}

#[test]
fn another_model_is_asked_where_it_may_do_better() {
    let never = [
        Kind::InvalidRequest,
        Kind::Refusal,
        Kind::ContentFilter,
        Kind::Truncated,
        Kind::Cancelled,
    ];
    for kind in KINDS {
        assert_eq!(another_may_help(kind), !never.contains(&kind), "{kind:?}");
    }
}

#[test]
fn a_policy_is_written_in_milliseconds_and_read_back() {
    let policy = RetryPolicy::default();
    let text = serde_json::to_string(&policy).unwrap();
    assert!(text.contains("\"longest_delay_ms\":20000"), "{text}");
    assert_eq!(serde_json::from_str::<RetryPolicy>(&text).unwrap(), policy);
}

proptest! {
    /// Whatever comes in: bounded waiting, bounded tries, no panic.
    #[test]
    fn every_verdict_keeps_to_the_policy(
        kind in prop::sample::select(KINDS.to_vec()),
        named in prop::option::of(0_u64..200_000_000),
        begun: bool,
        spent in (0_u32..10, 0_u64..100_000, 0_u32..20),
        chance: u128,
    ) {
        let mut error = match named {
            Some(millis) => asks_for(kind, Duration::from_millis(millis)),
            None => error(kind),
        };
        error.response_started = begun;
        let spent = Spent {
            tries: spent.0,
            elapsed: Duration::from_millis(spent.1),
            deferrals: spent.2,
        };
        let policy = RetryPolicy::default();
        match policy.decide(&error, spent, chance) {
            Verdict::Again { after } => {
                prop_assert!(after <= policy.longest_delay);
                prop_assert!(spent.elapsed + after <= policy.elapsed);
                prop_assert!(spent.tries < policy.attempts);
                prop_assert!(!begun && TRANSIENT.contains(&kind));
            }
            Verdict::Defer { after } => {
                prop_assert!(after <= policy.longest_deferral);
                prop_assert_eq!(Some(u64::try_from(after.as_millis()).unwrap()), named);
                prop_assert!(spent.deferrals < policy.deferrals);
                prop_assert!(!begun && TRANSIENT.contains(&kind));
            }
            Verdict::Final(_) => {}
        }
    }
}
