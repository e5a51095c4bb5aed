//! What a scenario comes to.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use seaworthy_ports::{Durability, ErrorKind, InvalidId, PortError};
use tokio::sync::Barrier;
use tokio::task::{JoinSet, yield_now};

/// In milliseconds.
static PATIENCE: AtomicU64 = AtomicU64::new(30_000);

/// Nothing that a scenario waits for takes this long, unless it never comes.
pub(crate) fn patience() -> Duration {
    Duration::from_millis(PATIENCE.load(Ordering::Relaxed))
}

/// Makes every scenario of this process give up sooner, where many are known to wait for what never comes.
pub(crate) fn set_patience(patience: Duration) {
    let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    PATIENCE.store(millis, Ordering::Relaxed);
}

/// The environment variable that says, in seconds, how long a scenario goes on that finds more the longer it lasts.
const SECONDS: &str = "SEAWORTHY_CONTRACT_SECONDS";

/// How long a scenario goes on that finds more the longer it lasts: two seconds, or what the environment says.
pub(crate) fn time_given() -> Duration {
    let asked = std::env::var(SECONDS)
        .ok()
        .and_then(|seconds| seconds.parse().ok());
    asked.map_or_else(|| patience() / 15, Duration::from_secs)
}

/// How much of what was seen is shown.
const LONGEST: usize = 600;

/// How a scenario ends: it holds, or it halts.
pub type Outcome = Result<(), Halt>;

/// Why a scenario did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The adapter did something else than the clause says.
    Broken {
        /// What the scenario did.
        did: String,
        /// What the clause promises.
        expected: String,
        /// What came instead.
        seen: String,
    },
    /// The clause belongs to a capability that the adapter does not declare, and was not seen to hold.
    NotDeclared {
        /// What is not declared.
        capability: &'static str,
        /// What shows that it does not hold.
        reason: &'static str,
    },
    /// The harness cannot do what the scenario needs.
    NotCheckable(&'static str),
}

/// A clause that an adapter breaks.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// The clause, such as `SS-3`.
    pub clause: &'static str,
    /// The scenario's sentence.
    pub scenario: &'static str,
    /// What the scenario did.
    pub did: String,
    /// What the clause promises.
    pub expected: String,
    /// What came instead.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} is broken: {}",
            self.clause,
            self.scenario.replace('_', " ")
        )?;
        writeln!(f, "  did:      {}", self.did)?;
        writeln!(f, "  expected: {}", self.expected)?;
        write!(f, "  seen:     {}", self.seen)
    }
}

pub(crate) fn broken(
    did: impl Into<String>,
    expected: impl Into<String>,
    seen: impl fmt::Debug,
) -> Halt {
    let mut seen = format!("{seen:?}");
    if seen.len() > LONGEST {
        let end = (0..=LONGEST)
            .rev()
            .find(|end| seen.is_char_boundary(*end))
            .unwrap_or(0);
        seen.truncate(end);
        seen.push('…');
    }
    Halt::Broken {
        did: did.into(),
        expected: expected.into(),
        seen,
    }
}

/// What was seen must be what was expected.
pub(crate) fn same<T: PartialEq + fmt::Debug>(
    did: impl Into<String>,
    seen: T,
    expected: T,
) -> Outcome {
    if seen == expected {
        return Ok(());
    }
    let mut words = format!("{expected:?}");
    if words.len() > LONGEST {
        words = words.chars().take(LONGEST).chain(['…']).collect();
    }
    Err(broken(did, words, seen))
}

/// It must hold.
pub(crate) fn holds(
    condition: bool,
    did: impl Into<String>,
    expected: impl Into<String>,
    seen: impl fmt::Debug,
) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(broken(did, expected, seen))
    }
}

/// The call must succeed.
pub(crate) fn ok<T, K: ErrorKind>(
    did: impl Into<String>,
    result: Result<T, PortError<K>>,
) -> Result<T, Halt> {
    result.map_err(|error| broken(did, "success", error.to_string()))
}

/// The call must fail for this reason.
pub(crate) fn refused<T: fmt::Debug, K: ErrorKind>(
    did: impl Into<String>,
    result: Result<T, PortError<K>>,
    kind: K,
) -> Outcome {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        other => {
            let seen = other.map_err(|error| error.kind());
            Err(broken(did, format!("the error {kind:?}"), seen))
        }
    }
}

/// Judges what an adapter may declare, both ways: what it declares must hold, and what holds must be declared. Where it
/// declares nothing, a harness that cannot do what the scenario needs says that it does not hold.
pub(crate) fn declared(capability: &'static str, is_declared: bool, outcome: Outcome) -> Outcome {
    match outcome {
        _ if is_declared => outcome,
        Err(Halt::NotDeclared { .. }) => outcome,
        Err(Halt::NotCheckable(reason)) => Err(Halt::NotDeclared { capability, reason }),
        Err(Halt::Broken { .. }) => Err(Halt::NotDeclared {
            capability,
            reason: "it does not hold",
        }),
        Ok(()) => Err(broken(
            "compared what it declares with what holds",
            format!("{capability} declared, for it holds"),
            "it is not declared",
        )),
    }
}

/// What was opened again, where something is declared to survive.
pub(crate) fn reopened<T>(store: Option<T>, durability: Durability) -> Result<T, Halt> {
    match store {
        Some(store) => Ok(store),
        None if durability == Durability::Volatile => Err(Halt::NotDeclared {
            capability: "durability",
            reason: "it cannot be reopened",
        }),
        None => Err(broken(
            "asked to reopen it",
            format!("what {durability:?} promises"),
            "it cannot be reopened",
        )),
    }
}

/// An id that the scenario made up.
pub(crate) fn id<T>(parsed: Result<T, InvalidId>) -> Result<T, Halt> {
    parsed.map_err(|error| broken("made up an id", "a valid id", error))
}

pub(crate) fn limit(count: u32) -> std::num::NonZeroU32 {
    std::num::NonZeroU32::new(count).unwrap_or(std::num::NonZeroU32::MIN)
}

/// Runs all of them at once, each in a task of its own, and returns what they returned, in the order of their ends.
pub(crate) async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    futures: impl IntoIterator<Item = F>,
) -> Result<Vec<T>, Halt> {
    let futures: Vec<F> = futures.into_iter().collect();
    // Or the first has ended before the last is there.
    let start = Arc::new(Barrier::new(futures.len()));
    let mut tasks: JoinSet<T> = futures
        .into_iter()
        .map(|future| {
            let start = Arc::clone(&start);
            async move {
                start.wait().await;
                // Whoever came last would always be the first to go on.
                yield_now().await;
                future.await
            }
        })
        .collect();
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(joined) = tasks.join_next().await {
        results
            .push(joined.map_err(|error| broken("made calls at once", "no call to panic", error))?);
    }
    Ok(results)
}

/// Looks at a call so many times, with a moment for others in between: what came of it, or the call as it stands.
pub(crate) async fn polled<F: Future>(call: F, times: u32) -> Result<F::Output, Pin<Box<F>>> {
    let mut call = Box::pin(call);
    for time in 0..times {
        if time > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if let Poll::Ready(output) = futures_util::poll!(&mut call) {
            return Ok(output);
        }
    }
    Err(call)
}

/// A failure that the breach of another clause explains is that clause's alone.
pub(crate) async fn unless(
    outcome: Outcome,
    is_broken: impl Future<Output = Result<bool, Halt>>,
    reason: &'static str,
) -> Outcome {
    match outcome {
        Err(Halt::Broken { .. }) if is_broken.await? => Err(Halt::NotCheckable(reason)),
        other => other,
    }
}

/// It must come to an end.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Halt> {
    tokio::time::timeout(patience(), future)
        .await
        .map_err(|_late| broken(what, "an end", "none in good time"))
}
