//! Changes of limits: those that come at about the same time travel in one call.

use std::sync::{Mutex, MutexGuard, PoisonError};

use seaworthy_ports::Effect;
use seaworthy_ports::durable_runtime::{Kind, RuntimeError};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::error::refusal;
use crate::ingress::Ingress;
use crate::wire::{LINE, SetLimit, THE_LINE};

/// How many changes travel in one call.
const AT_ONCE: usize = 1_000;
const OPERATION: &str = "limit_queue";

/// The changes of one handle that are not in force yet.
#[derive(Debug, Default)]
pub(crate) struct LimitChanges {
    waiting: Mutex<Vec<Waiting>>,
    /// Held by whoever sends for all.
    sending: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Waiting {
    change: SetLimit,
    answer: oneshot::Sender<Result<bool, Failure>>,
}

/// Why a call failed, for everybody whose change was in it.
#[derive(Clone, Copy, Debug)]
struct Failure {
    kind: Kind,
    effect: Effect,
}

impl LimitChanges {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // No code panics while it holds the lock, and every step leaves the list whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change and says whether there was room for it.
    ///
    /// The first who gets to it sends what waits, the others find their answers. Who stops in the middle of sending leaves
    /// them without one: then they ask again, which is harmless.
    pub(crate) async fn make(
        &self,
        ingress: &Ingress,
        change: SetLimit,
    ) -> Result<bool, RuntimeError> {
        loop {
            let (answer, mut answered) = oneshot::channel();
            let change = change.clone();
            self.waiting().push(Waiting { change, answer });
            let _turn = self.sending.lock().await;
            loop {
                match answered.try_recv() {
                    Ok(Ok(had_room)) => return Ok(had_room),
                    Ok(Err(failure)) => return Err(failure.into()),
                    Err(TryRecvError::Closed) => break,
                    Err(TryRecvError::Empty) => self.send(ingress).await?,
                }
            }
        }
    }

    /// Sends what has waited longest, and tells who waits for it. An error is the sender's own, whose change was in it or
    /// is given up.
    async fn send(&self, ingress: &Ingress) -> Result<(), RuntimeError> {
        let batch: Vec<Waiting> = {
            let mut waiting = self.waiting();
            waiting.retain(|one| !one.answer.is_closed());
            let many = waiting.len().min(AT_ONCE);
            waiting.drain(..many).collect()
        };
        let (changes, answers): (Vec<SetLimit>, Vec<_>) = batch
            .into_iter()
            .map(|Waiting { change, answer }| (change, answer))
            .unzip();
        let line = (LINE, THE_LINE);
        let called = ingress.call::<Vec<bool>>(OPERATION, line, "limit", &changes);
        let called = called.await.and_then(|had_room| {
            let why = "the answer is not about the limits that were sent";
            let is_whole = had_room.len() == answers.len();
            is_whole
                .then_some(had_room)
                .ok_or_else(|| refusal(Kind::Corrupt, OPERATION, why))
        });
        match called {
            Ok(had_room) => {
                for (answer, had_room) in answers.into_iter().zip(had_room) {
                    // Who is gone needs none.
                    let _gone = answer.send(Ok(had_room));
                }
                Ok(())
            }
            Err(error) => {
                let failure = Failure {
                    kind: error.kind(),
                    effect: error.effect(),
                };
                for answer in answers {
                    let _gone = answer.send(Err(failure));
                }
                Err(error)
            }
        }
    }
}

impl From<Failure> for RuntimeError {
    fn from(failure: Failure) -> Self {
        let why = "the call in which the limit travelled with others has failed";
        let error = refusal(failure.kind, OPERATION, why);
        match failure.effect {
            Effect::None => error,
            Effect::Unknown => error.with_unknown_effect(),
        }
    }
}
