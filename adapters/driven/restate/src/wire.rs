//! What travels between this crate's callers, its handlers and its objects. All of it is JSON.
//!
//! An object's state outlives a release, so fields are only ever added, with `serde(default)`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use seaworthy_ports::durable_runtime::{Next, Scope, Then};
use seaworthy_ports::{QueueName, RunId, SessionId, SignalId, Timestamp, WorkerId};
use serde::{Deserialize, Serialize};

/// The object of a run.
pub(crate) const RUN: &str = "SeaworthyRun";
/// The object that gives due runs to workers.
pub(crate) const LINE: &str = "SeaworthyLine";
/// The object that tells a worker of signals.
pub(crate) const BELL: &str = "SeaworthyBell";
/// The one key of [`LINE`].
pub(crate) const THE_LINE: &str = "line";

/// A time as milliseconds: unlike a date it can be every time that the port knows.
pub(crate) mod millis {
    use seaworthy_ports::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde asks for a reference"
    )]
    pub(crate) fn serialize<S: Serializer>(
        time: &Timestamp,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.as_millis())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Timestamp, D::Error> {
        i64::deserialize(deserializer).map(Timestamp::from_millis)
    }
}

/// The same of a time that may not be.
pub(crate) mod maybe_millis {
    use seaworthy_ports::Timestamp;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "serde asks for a reference")]
    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(Timestamp::as_millis).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let millis = Option::<i64>::deserialize(deserializer)?;
        Ok(millis.map(Timestamp::from_millis))
    }
}

/// Bytes as base64.
pub(crate) mod base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        bytes: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(D::Error::custom)
    }
}

/// Bytes that may be somewhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload(#[serde(with = "base64")] pub(crate) bytes::Bytes);

/// To [`RUN`]: make it due.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SubmitRun {
    pub(crate) queue: QueueName,
    pub(crate) session: Option<SessionId>,
    #[serde(with = "maybe_millis")]
    pub(crate) not_before: Option<Timestamp>,
}

/// To [`RUN`]: a signal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SendSignal {
    pub(crate) id: SignalId,
    pub(crate) payload: Payload,
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sent {
    Accepted,
    Duplicate,
    Finished,
    Unknown,
    Full,
}

/// To [`RUN`]: a worker that was granted it begins its turn.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StartTurn {
    pub(crate) fence: u64,
    pub(crate) epoch: u64,
    pub(crate) worker: WorkerId,
    pub(crate) ttl: u64,
}

/// What a turn begins with. `None` in its place: it may not begin.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) delivery: u32,
    /// What waits, or `None` if it has to be asked for because it is much.
    pub(crate) signals: Option<Vec<Letter>>,
}

/// A signal that waits, with its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    pub(crate) position: u64,
    pub(crate) id: SignalId,
    pub(crate) payload: Payload,
}

/// To [`RUN`]: which letters to bring.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct After {
    pub(crate) position: u64,
    pub(crate) limit: usize,
}

/// To [`RUN`]: the turn goes on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Renew {
    pub(crate) fence: u64,
    pub(crate) ttl: u64,
}

/// How long a granted run waits for its worker to begin. It is alive and waits, or it is gone: nobody needs longer.
pub(crate) const TO_BEGIN: Duration = Duration::from_secs(5);

/// To [`RUN`], from a timer: is the lease over, or was it never begun?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Check {
    pub(crate) fence: u64,
    pub(crate) epoch: u64,
}

/// To [`RUN`]: how a turn ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SettleTurn {
    pub(crate) fence: u64,
    pub(crate) seen: u64,
    pub(crate) end: End,
}

/// How a turn ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum End {
    Park {
        consumed: Vec<SignalId>,
        #[serde(with = "maybe_millis")]
        wake_at: Option<Timestamp>,
    },
    Again {
        consumed: Vec<SignalId>,
        after: u64,
    },
    Done {
        consumed: Vec<SignalId>,
    },
    Failed,
    Released,
}

impl From<&Next> for End {
    fn from(next: &Next) -> Self {
        let consumed = next.consumed.clone();
        match next.then {
            Then::Park { wake_at } => Self::Park { consumed, wake_at },
            Then::Again { after } => Self::Again {
                consumed,
                after: whole_millis(after),
            },
            Then::Done => Self::Done { consumed },
        }
    }
}

/// From [`RUN`]: how it stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Described {
    pub(crate) queue: QueueName,
    pub(crate) state: Stands,
    pub(crate) deliveries: u32,
    pub(crate) signals: u32,
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stands {
    Due {
        #[serde(with = "millis")]
        due: Timestamp,
    },
    Leased {
        worker: WorkerId,
        fence: u64,
        #[serde(with = "millis")]
        expires: Timestamp,
    },
    Parked {
        #[serde(with = "maybe_millis")]
        wake_at: Option<Timestamp>,
    },
    Finished,
}

/// To [`LINE`], from a run: a lease has ended, and perhaps the run is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    #[serde(with = "millis")]
    pub(crate) at: Timestamp,
    pub(crate) ended: Option<u64>,
    pub(crate) due: Option<DueRun>,
    /// This run waits for nobody any more.
    pub(crate) forgotten: Option<DueRun>,
}

/// A run that waits for a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DueRun {
    pub(crate) run: RunId,
    pub(crate) epoch: u64,
    #[serde(with = "millis")]
    pub(crate) due: Timestamp,
    pub(crate) queue: QueueName,
    pub(crate) session: Option<SessionId>,
}

/// To [`LINE`]: a worker has room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Take {
    pub(crate) worker: WorkerId,
    pub(crate) scope: Takes,
    pub(crate) room: usize,
}

/// Which runs a worker takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Takes {
    All,
    Queues(BTreeSet<QueueName>),
    Run { run: RunId, near: Option<Near> },
}

/// Where in the line a run that is due should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Near {
    pub(crate) queue: QueueName,
    #[serde(with = "millis")]
    pub(crate) due: Timestamp,
}

impl From<&Scope> for Takes {
    fn from(scope: &Scope) -> Self {
        match scope {
            Scope::All => Self::All,
            Scope::Queues(queues) => Self::Queues(queues.clone()),
            Scope::Run(run) => Self::Run {
                run: run.clone(),
                near: None,
            },
        }
    }
}

/// To [`LINE`], from its own handler: the take waits, and is answered through the awakeable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wait {
    #[serde(with = "millis")]
    pub(crate) at: Timestamp,
    pub(crate) take: Take,
    pub(crate) awakeable: String,
}

/// The answer to a [`Take`]: this run may be begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) run: RunId,
    pub(crate) fence: u64,
    pub(crate) epoch: u64,
}

/// To [`LINE`]: what a worker waits for is no longer wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Withdraw {
    pub(crate) worker: WorkerId,
}

/// To [`LINE`]: a limit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SetLimit {
    pub(crate) queue: QueueName,
    pub(crate) limit: Option<NonZeroU32>,
}

/// The limits of queues.
pub(crate) type Limits = BTreeMap<QueueName, NonZeroU32>;

/// A duration in milliseconds, rounded up: nothing may come early.
pub(crate) fn whole_millis(duration: Duration) -> u64 {
    let whole = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    whole.saturating_add(u64::from(
        !duration.subsec_nanos().is_multiple_of(1_000_000),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_a_millisecond_counts_as_one() {
        for (nanos, whole) in [(0, 0), (1, 1), (1_000_000, 1), (1_000_001, 2)] {
            assert_eq!(whole_millis(Duration::from_nanos(nanos)), whole);
        }
        assert_eq!(whole_millis(Duration::MAX), u64::MAX);
    }

    #[test]
    fn every_time_and_every_byte_comes_back() {
        let submit = SubmitRun {
            queue: QueueName::new("q").unwrap(),
            session: None,
            not_before: Some(Timestamp::from_millis(i64::MAX)),
        };
        let text = serde_json::to_string(&submit).unwrap();
        let back: SubmitRun = serde_json::from_str(&text).unwrap();
        assert_eq!(back.not_before, submit.not_before);
        let payload = Payload(bytes::Bytes::from(vec![0, 255, 10]));
        let text = serde_json::to_string(&payload).unwrap();
        assert_eq!(serde_json::from_str::<Payload>(&text).unwrap(), payload);
    }
}
