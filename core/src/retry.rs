//! Whether and when a failed model call is tried again: the one owner of retries.
//!
//! Pure: what it needs to know comes in, and the answer is one of three. Providers never retry by themselves (MP-9).

use std::time::Duration;

use seaworthy_ports::model_provider::{Kind, ModelError};
use seaworthy_ports::{Effect, Retry};
use serde::{Deserialize, Serialize};

use crate::millis;

/// How patient a run is with a model.
///
/// Members are in the order in which canonical JSON has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryPolicy {
    /// Whether a call is tried again although part of its answer was streamed. What was shown of it is shown again.
    pub after_first_chunk: bool,
    /// Tries of one call, the first included.
    pub attempts: u32,
    /// How often in a row a call may be put off to a later time.
    pub deferrals: u32,
    /// How long one call may be worked on, delays included: no try begins later than this.
    #[serde(rename = "elapsed_ms", with = "millis")]
    pub elapsed: Duration,
    /// The first delay where the provider names none; each further one is twice as long.
    #[serde(rename = "first_backoff_ms", with = "millis")]
    pub first_backoff: Duration,
    /// The longest delay where the provider names none.
    #[serde(rename = "longest_backoff_ms", with = "millis")]
    pub longest_backoff: Duration,
    /// The longest time a call is put off for. A provider that asks for more fails the call.
    #[serde(rename = "longest_deferral_ms", with = "millis")]
    pub longest_deferral: Duration,
    /// The longest delay that a worker waits for.
    #[serde(rename = "longest_delay_ms", with = "millis")]
    pub longest_delay: Duration,
    /// What becomes of a call whose provider asks for more time than a worker waits.
    pub too_long: TooLong,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            after_first_chunk: false,
            attempts: 3,
            deferrals: 16,
            elapsed: Duration::from_secs(60),
            first_backoff: Duration::from_millis(500),
            longest_backoff: Duration::from_secs(8),
            longest_deferral: Duration::from_secs(24 * 60 * 60),
            longest_delay: Duration::from_secs(20),
            too_long: TooLong::Defer,
        }
    }
}

/// What becomes of a call whose provider asks for more time than a worker waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TooLong {
    /// It fails.
    Fail,
    /// The run is parked until then.
    Defer,
}

/// What a call has behind it when a try has failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Tries, the failed one included.
    pub tries: u32,
    /// Since the first of them began.
    pub elapsed: Duration,
    /// How often in a row the call was put off before.
    pub deferrals: u32,
}

/// What happens after a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The worker waits, then tries again.
    Again {
        /// How long.
        after: Duration,
    },
    /// The run is parked, and the call made later.
    Defer {
        /// When, as the provider said.
        after: Duration,
    },
    /// The call has failed.
    Final(Final),
}

/// Why a call is not tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Final {
    /// The same call would fail again.
    #[error("trying again does not help")]
    Permanent,
    /// Part of the answer was streamed already.
    #[error("part of the answer was there already, so it is not asked for again")]
    Started,
    /// It had all its tries.
    #[error("all tries are used up")]
    Attempts,
    /// It had all its time.
    #[error("the time for tries is used up")]
    Elapsed,
    /// The provider asks for more time than the call has.
    #[error("the provider asks for more time than the call has")]
    TooLong,
    /// It was put off too often in a row.
    #[error("it was put off too often in a row")]
    Deferrals,
}

impl RetryPolicy {
    /// What to do about `error`. `chance` moves a delay of our own choice between half of it and all of it, so that many
    /// runs do not come back at once; a delay that the provider named is kept to the millisecond.
    #[must_use]
    pub fn decide(&self, error: &ModelError, spent: Spent, chance: u128) -> Verdict {
        if !is_transient(error.kind()) || error.retry() == Retry::No {
            return Verdict::Final(Final::Permanent);
        }
        if error.response_started && !self.after_first_chunk {
            return Verdict::Final(Final::Started);
        }
        let (after, named) = match error.retry() {
            Retry::After(after) => (after, true),
            _ => (self.backoff(spent.tries, chance), false),
        };
        let in_time = spent.elapsed.saturating_add(after) <= self.elapsed;
        if after <= self.longest_delay && in_time {
            return if spent.tries < self.attempts {
                Verdict::Again { after }
            } else {
                Verdict::Final(Final::Attempts)
            };
        }
        if !named {
            return Verdict::Final(Final::Elapsed);
        }
        self.put_off(after, spent.deferrals)
    }

    /// What to do where something is free again only after this time, whatever the tries were.
    #[must_use]
    pub fn put_off(&self, after: Duration, deferrals: u32) -> Verdict {
        match self.too_long {
            TooLong::Defer if after > self.longest_deferral => Verdict::Final(Final::TooLong),
            TooLong::Defer if deferrals >= self.deferrals => Verdict::Final(Final::Deferrals),
            TooLong::Defer => Verdict::Defer { after },
            TooLong::Fail => Verdict::Final(Final::TooLong),
        }
    }

    fn backoff(&self, tries: u32, chance: u128) -> Duration {
        let doubled = 1_u32
            .checked_shl(tries.saturating_sub(1))
            .unwrap_or(u32::MAX);
        let full = self
            .first_backoff
            .saturating_mul(doubled)
            .min(self.longest_backoff);
        let part = u32::try_from(chance % 513).unwrap_or(0);
        full / 2 + full.saturating_mul(part) / 1024
    }
}

/// Whether the failure may pass by itself. A quota that is used up does not, however long its provider says to wait.
#[must_use]
pub const fn is_transient(kind: Kind) -> bool {
    match kind {
        Kind::RateLimited | Kind::Overloaded | Kind::Server | Kind::Timeout | Kind::Network => true,
        Kind::Authentication
        | Kind::Permission
        | Kind::NotFound
        | Kind::InvalidRequest
        | Kind::ContextLength
        | Kind::QuotaExhausted
        | Kind::Refusal
        | Kind::ContentFilter
        | Kind::Truncated
        | Kind::Decode
        | Kind::Unsupported
        | Kind::Cancelled => false,
    }
}

/// Whether another model may do better than one that failed like this.
#[must_use]
pub const fn another_may_help(kind: Kind) -> bool {
    match kind {
        Kind::RateLimited
        | Kind::Overloaded
        | Kind::Server
        | Kind::Timeout
        | Kind::Network
        | Kind::QuotaExhausted
        | Kind::Authentication
        | Kind::Permission
        | Kind::NotFound
        | Kind::ContextLength
        | Kind::Unsupported
        | Kind::Decode => true,
        // What the model said no to, what is wrong with the request, and what somebody ended stays as it is.
        Kind::InvalidRequest
        | Kind::Refusal
        | Kind::ContentFilter
        | Kind::Truncated
        | Kind::Cancelled => false,
    }
}

/// Whether the provider certainly did nothing, so that the call costs nothing twice. It says nothing about trying again:
/// a model call changes nothing in the world, and after a crash it is made again either way.
#[must_use]
pub fn is_replay_safe(error: &ModelError) -> bool {
    error.error.effect() == Effect::None && !error.response_started
}
