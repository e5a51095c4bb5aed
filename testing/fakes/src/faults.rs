//! Faults in front of ports: every call has a number and a name, and a plan says what happens at which.

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use seaworthy_ports::clock::Clock;
use seaworthy_ports::{ErrorKind, Latch, LatchSetter, PortError};

use crate::{ADAPTER, locked};

mod clock;
mod mcp;
mod model;
mod runtime;
mod sandbox;
mod stores;

pub use clock::FaultyClock;
pub use mcp::FaultyMcp;
pub use model::FaultyModel;
pub use runtime::FaultyRuntime;
pub use sandbox::FaultySandbox;
pub use stores::{FaultyBlobs, FaultyCheckpoints, FaultyLogs};

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies; the call does not happen.
    CrashBefore,
    /// The call happens; the process dies before the reply.
    CrashAfter,
    /// The call fails and does not happen.
    FailBefore,
    /// The call happens, and fails with unknown effect.
    FailAfter,
    /// The process is paused before the call, until [`Faults::resume`].
    Pause,
    /// The call happens after this time of the process's clock ([`Faults::on_clock`]).
    Delay(Duration),
    /// The call happens twice, as a message does that is sent again; the second answer is what the caller gets.
    Duplicate,
}

type Plan = dyn Fn(usize, &'static str) -> Option<Fault> + Send + Sync;

struct Inner {
    plan: Arc<Plan>,
    clock: Option<Arc<dyn Clock>>,
    gives_way: bool,
    calls: Mutex<Vec<&'static str>>,
    dead: (LatchSetter, Latch),
    paused: (LatchSetter, Latch),
    resumed: (LatchSetter, Latch),
}

/// The faults of one process. Its ports share it, so that calls are numbered across all of them, from 0; after a crash no
/// port of the process answers any more, its clock included.
///
/// ```
/// # use std::num::NonZeroU32;
/// # use std::sync::Arc;
/// # use futures_util::FutureExt as _;
/// use seaworthy_fakes::{FakeRuntime, Fault, Faults, FaultyRuntime};
/// use seaworthy_ports::durable_runtime::{DurableRuntime, Kind};
/// use seaworthy_ports::{Effect, RunId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let faults = Faults::at([(1, Fault::FailAfter)]);
/// let runtime = FaultyRuntime::new(Arc::new(FakeRuntime::default()), faults.clone());
/// let run = RunId::new("run")?;
/// # async {
/// assert!(runtime.describe(&run).await.is_ok());
/// let lost = runtime.forget(&run).await.unwrap_err();
/// assert_eq!((lost.kind(), lost.effect()), (Kind::Unavailable, Effect::Unknown));
/// # }.now_or_never().ok_or("it waits")?;
/// assert_eq!(faults.calls(), ["describe", "forget"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Faults(Arc<Inner>);

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults")
            .field("calls", &locked(&self.0.calls).len())
            .field("dead", &self.0.dead.1.is_set())
            .finish_non_exhaustive()
    }
}

impl Faults {
    /// The process meets what `plan` answers to each call's number and name.
    #[must_use]
    pub fn by(plan: impl Fn(usize, &'static str) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self::made(Arc::new(plan), None, false)
    }

    fn made(plan: Arc<Plan>, clock: Option<Arc<dyn Clock>>, gives_way: bool) -> Self {
        Self(Arc::new(Inner {
            plan,
            clock,
            gives_way,
            calls: Mutex::default(),
            dead: Latch::new(),
            paused: Latch::new(),
            resumed: Latch::new(),
        }))
    }

    /// The process meets these faults, by the number of the call.
    #[must_use]
    pub fn at(plan: impl IntoIterator<Item = (usize, Fault)>) -> Self {
        let plan: BTreeMap<usize, Fault> = plan.into_iter().collect();
        Self::by(move |number, _name| plan.get(&number).copied())
    }

    /// The process meets this fault at every call of this name.
    #[must_use]
    pub fn every(name: &'static str, fault: Fault) -> Self {
        Self::by(move |_number, called| (called == name).then_some(fault))
    }

    /// The process meets none.
    #[must_use]
    pub fn none() -> Self {
        Self::by(|_number, _name| None)
    }

    /// A process with the same plan, not begun, whose delays pass on `clock`. Without a clock a delay is only a turn of
    /// the executor.
    #[must_use]
    pub fn on_clock(&self, clock: Arc<dyn Clock>) -> Self {
        Self::made(Arc::clone(&self.0.plan), Some(clock), self.0.gives_way)
    }

    /// A process with the same plan, not begun, every call of which gives way to other tasks before and after it: an
    /// executor that chooses among tasks thereby chooses the order of calls.
    #[must_use]
    pub fn interleaved(&self) -> Self {
        Self::made(Arc::clone(&self.0.plan), self.0.clock.clone(), true)
    }

    /// The calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<&'static str> {
        locked(&self.0.calls).clone()
    }

    /// Set once the process has died.
    #[must_use]
    pub fn dead(&self) -> Latch {
        self.0.dead.1.clone()
    }

    /// Set once the process is paused.
    #[must_use]
    pub fn paused(&self) -> Latch {
        self.0.paused.1.clone()
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.0.resumed.0.set();
    }

    async fn die<T>(&self) -> T {
        self.0.dead.0.set();
        pending().await
    }

    /// Returns while the process is alive and runs; a dead one never gets further.
    async fn alive(&self) {
        if self.0.paused.1.is_set() {
            self.0.resumed.1.wait().await;
        }
        if self.0.dead.1.is_set() {
            pending::<()>().await;
        }
    }

    async fn give_way(&self) {
        if self.0.gives_way {
            turn().await;
        }
        self.alive().await;
    }

    async fn delay(&self, by: Duration) {
        match &self.0.clock {
            Some(clock) => clock.sleep_until(clock.now().plus(by)).await,
            None => turn().await,
        }
        self.alive().await;
    }

    async fn around<T, E, F>(
        &self,
        name: &'static str,
        call: impl Fn() -> F + Send,
        fail: impl FnOnce() -> E + Send,
        unknown: impl FnOnce() -> E + Send,
    ) -> Result<T, E>
    where
        T: Send,
        E: Send,
        F: Future<Output = Result<T, E>> + Send,
    {
        self.alive().await;
        let number = {
            let mut calls = locked(&self.0.calls);
            calls.push(name);
            calls.len() - 1
        };
        self.give_way().await;
        let answer = match (self.0.plan)(number, name) {
            Some(Fault::CrashBefore) => self.die().await,
            Some(Fault::CrashAfter) => {
                let _lost = call().await;
                self.die().await
            }
            Some(Fault::FailBefore) => Err(fail()),
            Some(Fault::FailAfter) => {
                let _lost = call().await;
                Err(unknown())
            }
            Some(Fault::Pause) => {
                self.0.paused.0.set();
                self.alive().await;
                call().await
            }
            Some(Fault::Delay(by)) => {
                self.delay(by).await;
                call().await
            }
            Some(Fault::Duplicate) => {
                let _first = call().await;
                call().await
            }
            None => call().await,
        };
        self.give_way().await;
        answer
    }

    /// [`around`](Self::around) for ports whose error is a [`PortError`].
    async fn port<T, K, F>(
        &self,
        name: &'static str,
        kind: K,
        call: impl Fn() -> F + Send,
    ) -> Result<T, PortError<K>>
    where
        T: Send,
        K: ErrorKind,
        F: Future<Output = Result<T, PortError<K>>> + Send,
    {
        let error = move || PortError::new(kind, ADAPTER, name, "a fault was put here");
        self.around(name, call, error, move || error().with_unknown_effect())
            .await
    }
}

/// Lets the executor's other tasks go first, once.
async fn turn() {
    let mut gone = false;
    std::future::poll_fn(|context| {
        if gone {
            return Poll::Ready(());
        }
        gone = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

macro_rules! wrapper {
    ($(#[$doc:meta])* $name:ident, $port:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            inner: Arc<dyn $port>,
            faults: Faults,
        }

        impl $name {
            /// `inner` behind `faults`.
            #[must_use]
            pub fn new(inner: Arc<dyn $port>, faults: Faults) -> Self {
                Self { inner, faults }
            }
        }
    };
}
use wrapper;
