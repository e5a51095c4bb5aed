//! Limits of models that all workers keep to together, through a document of the store.
//!
//! Requests and tokens follow the generic cell rate algorithm (ITU-T I.371): a tenth of a minute's worth may come at
//! once, then each as long after the one before that no minute has more than its limit. A call at once is a place in a list, given back when
//! the call ends; a worker that dies gives it back by the place's end. Clocks of workers that differ make the limits
//! looser or tighter by as much, and nothing else.

use std::time::Duration;

use seaworthy_ports::model_provider::Usage;
use seaworthy_ports::state_store::{
    DocumentKey, ExpectedVersion, Kind, PutDocument, StateStoreError,
};
use seaworthy_ports::{
    Digest, DocumentPath, InvalidId, LogId, LogKind, LogName, Timestamp, WriterId,
};
use serde::{Deserialize, Serialize};

use crate::agent::Candidate;
use crate::descriptor::Limits;
use crate::stack::Ports;

/// How often a write is tried again when another worker was first.
const TRIES: u32 = 16;
const MINUTE_MS: i64 = 60_000;
/// When to look again for a place that somebody may give back at any time.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What the workers share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Shared {
    /// Calls under way.
    calls: Vec<Place>,
    /// When as many requests as were made would have come at an even pace.
    requests_ms: i64,
    /// The same for tokens.
    tokens_ms: i64,
}

/// A call under way, or one whose worker died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    id: String,
    until_ms: i64,
}

/// Leave to make one call.
#[derive(Debug)]
pub(crate) struct Permit {
    key: DocumentKey,
    id: String,
    limits: Limits,
}

/// What the limits say to one more call.
#[derive(Debug)]
pub(crate) enum Leave {
    /// It may be made. `None`: there are no limits to give anything back to.
    Granted(Option<Permit>),
    /// Not before this time has passed.
    Wait(Duration),
}

/// A limit cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LimitError {
    #[error(transparent)]
    Store(#[from] StateStoreError),
    #[error(transparent)]
    Id(#[from] InvalidId),
}

impl Shared {
    /// Takes one more call in, or says how long to wait.
    fn take(
        &mut self,
        limits: &Limits,
        id: &str,
        now: Timestamp,
        longest: Duration,
    ) -> Result<(), Duration> {
        let now_ms = now.as_millis();
        let wait = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        self.calls.retain(|call| call.until_ms > now_ms);
        if let Some(most) = limits.concurrent
            && self.calls.len() >= usize::try_from(most).unwrap_or(usize::MAX)
        {
            let first = self.calls.iter().map(|call| call.until_ms).min();
            let known = wait(first.unwrap_or(now_ms).saturating_sub(now_ms));
            return Err(known.min(LOOK_AGAIN));
        }
        if limits.tokens_per_minute.is_some() {
            let ahead = self.tokens_ms.saturating_sub(now_ms);
            if ahead > MINUTE_MS / 10 {
                return Err(wait(ahead - MINUTE_MS / 10));
            }
        }
        if let Some(most) = limits.requests_per_minute {
            let at_once = (most / 10).max(1);
            // So many at once, and then at this pace, are the most in any minute.
            let pace = share(1, most - at_once + 1);
            let tolerated = pace.saturating_mul(i64::from(at_once - 1));
            let due = self.requests_ms.max(now_ms);
            let ahead = due.saturating_sub(now_ms);
            if ahead > tolerated {
                return Err(wait(ahead - tolerated));
            }
            self.requests_ms = due.saturating_add(pace);
        }
        if limits.concurrent.is_some() {
            self.calls.push(Place {
                id: id.to_owned(),
                until_ms: now.plus(longest).as_millis(),
            });
        }
        Ok(())
    }

    /// Takes note of what a call used, and gives its place back.
    fn give_back(&mut self, limits: &Limits, id: &str, now: Timestamp, usage: Usage) {
        self.calls.retain(|call| call.id != id);
        if let Some(most) = limits.tokens_per_minute {
            let used = usage
                .input_tokens
                .unwrap_or(0)
                .saturating_add(usage.output_tokens.unwrap_or(0));
            self.tokens_ms = self
                .tokens_ms
                .max(now.as_millis())
                .saturating_add(share(used, most));
        }
    }
}

/// The part of a minute that so many of the most are, rounded up, so that a limit is never exceeded.
fn share(part: u64, most: u32) -> i64 {
    let scaled = part.saturating_mul(60_000).div_ceil(u64::from(most.max(1)));
    i64::try_from(scaled).unwrap_or(i64::MAX)
}

/// Asks whether `candidate` may be called now. `longest` is how long the call can take at most.
///
/// # Errors
///
/// A store that fails. Dropped while it waits, it may leave a place taken until the place's end.
pub(crate) async fn ask(
    ports: &Ports,
    candidate: &Candidate,
    longest: Duration,
) -> Result<Leave, LimitError> {
    let Some(limits) = &candidate.settings.limits else {
        return Ok(Leave::Granted(None));
    };
    let permit = Permit {
        key: key(candidate, limits)?,
        id: format!("{:032x}", ports.entropy.bits()),
        limits: limits.clone(),
    };
    let mut wait = None;
    let changed = change(ports, &permit.key, |shared| {
        match shared.take(limits, &permit.id, ports.clock.now(), longest) {
            Ok(()) => {
                wait = None;
                true
            }
            Err(time) => {
                wait = Some(time);
                false
            }
        }
    })
    .await?;
    Ok(match wait {
        Some(time) => Leave::Wait(time),
        None if changed => Leave::Granted(Some(permit)),
        // Others were first all the time.
        None => Leave::Wait(LOOK_AGAIN),
    })
}

impl Permit {
    /// Gives back what the call held. Where the store fails, the place's end does it.
    pub(crate) async fn give_back(self, ports: &Ports, usage: Usage) {
        let needless = self.limits.concurrent.is_none() && self.limits.tokens_per_minute.is_none();
        if needless {
            return;
        }
        let now = ports.clock.now();
        let _best_effort = change(ports, &self.key, |shared| {
            shared.give_back(&self.limits, &self.id, now, usage);
            true
        })
        .await;
    }
}

/// Changes the document until nobody else was first, if `edit` wants it changed. Whether it was.
async fn change(
    ports: &Ports,
    key: &DocumentKey,
    mut edit: impl FnMut(&mut Shared) -> bool,
) -> Result<bool, LimitError> {
    for _ in 0..TRIES {
        let found = ports.state_store.get(key).await?;
        let expected = found.as_ref().map_or(ExpectedVersion::Absent, |document| {
            ExpectedVersion::Version(document.version)
        });
        // What cannot be read was not written by this program: it is replaced.
        let mut shared: Shared = found
            .and_then(|document| serde_json::from_slice(&document.value).ok())
            .unwrap_or_default();
        if !edit(&mut shared) {
            return Ok(false);
        }
        let value = serde_json::to_vec(&shared).unwrap_or_default();
        let put = PutDocument {
            key: key.clone(),
            expected,
            writer: WriterId::new("model-limits")?,
            value: value.into(),
        };
        match ports.state_store.put(put).await {
            Ok(_version) => return Ok(true),
            Err(error) if matches!(error.kind(), Kind::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

fn key(candidate: &Candidate, limits: &Limits) -> Result<DocumentKey, InvalidId> {
    let group = match &limits.group {
        Some(group) => format!("group {group}"),
        None => format!("model {} {}", candidate.provider(), candidate.model.name),
    };
    let name = Digest::of(group.as_bytes()).to_string();
    Ok(DocumentKey {
        scope: LogId::new(LogKind::new("model")?, LogName::new(&name)?),
        path: DocumentPath::new("limits")?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(330);

    fn limits() -> Limits {
        Limits {
            concurrent: None,
            group: None,
            requests_per_minute: None,
            tokens_per_minute: None,
        }
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn a_place_is_taken_given_back_and_lost_with_its_worker() {
        let two = Limits {
            concurrent: Some(2),
            ..limits()
        };
        let mut shared = Shared::default();
        let begun = at(1_000_000);
        assert_eq!(shared.take(&two, "a", begun, LONGEST), Ok(()));
        assert_eq!(shared.take(&two, "b", begun, LONGEST), Ok(()));
        assert_eq!(shared.take(&two, "c", begun, LONGEST), Err(LOOK_AGAIN));
        shared.give_back(&two, "a", begun, Usage::default());
        assert_eq!(shared.take(&two, "c", begun, LONGEST), Ok(()));
        // The workers of b and c died; what is left until their places end is waited for.
        let nearly = begun.plus(LONGEST - Duration::from_millis(5));
        assert_eq!(
            shared.take(&two, "d", nearly, LONGEST),
            Err(Duration::from_millis(5))
        );
        assert_eq!(shared.take(&two, "d", begun.plus(LONGEST), LONGEST), Ok(()));
        assert_eq!(shared.calls.len(), 1, "dead places are gone");
    }

    #[test]
    fn what_calls_used_holds_the_next_ones_back() {
        let tokens = Limits {
            tokens_per_minute: Some(60_000),
            ..limits()
        };
        let mut shared = Shared::default();
        let begun = at(5);
        let used = |input, output| Usage {
            input_tokens: Some(input),
            output_tokens: Some(output),
            ..Usage::default()
        };
        assert_eq!(shared.take(&tokens, "a", begun, LONGEST), Ok(()));
        shared.give_back(&tokens, "a", begun, used(20_000, 10_000));
        // Half a minute's worth, of which a tenth of a minute may come at once.
        let wait = Duration::from_secs(24);
        assert_eq!(shared.take(&tokens, "b", begun, LONGEST), Err(wait));
        assert_eq!(shared.take(&tokens, "b", begun.plus(wait), LONGEST), Ok(()));
        shared.give_back(&tokens, "b", begun.plus(wait), Usage::default());
    }

    proptest! {
        /// No minute has more than its limit, whoever waits as long as told is let in, and a tenth may come at once.
        #[test]
        fn no_minute_has_more_than_its_limit(
            most in 1_u32..500,
            gaps in prop::collection::vec(0_u64..2_000, 1..400),
        ) {
            let limits = Limits { requests_per_minute: Some(most), ..limits() };
            let mut shared = Shared::default();
            let mut now = at(0);
            let mut made: Vec<i64> = Vec::new();
            for gap in gaps {
                now = now.plus(Duration::from_millis(gap));
                if let Err(wait) = shared.take(&limits, "a", now, LONGEST) {
                    prop_assert!(!wait.is_zero());
                    now = now.plus(wait);
                    prop_assert_eq!(shared.take(&limits, "a", now, LONGEST), Ok(()));
                }
                made.push(now.as_millis());
            }
            for (index, begin) in made.iter().enumerate() {
                let minute = made[index..].iter().take_while(|at| **at < begin + MINUTE_MS);
                prop_assert!(minute.count() <= usize::try_from(most).unwrap());
            }
        }
    }
}
