//! A store between a scenario and the store: it does what networks do.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::join;
use seaworthy_ports::state_store::{
    Append, Appended, Document, DocumentEntry, DocumentKey, DocumentQuery, ExpectedVersion, Head,
    HeadQuery, Kind, Page, PutDocument, Record, Seq, StateStore, StateStoreCapabilities,
    StateStoreError, StateStoreWatch, Version,
};
use seaworthy_ports::{AdapterInfo, BoxStream, LogId};

use crate::chance::Chance;
use crate::outcome::polled;

/// What becomes of one append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It reaches the store and comes back.
    None,
    /// It never reaches the store.
    FailsBefore,
    /// It takes effect, and nobody is told.
    LosesReply,
    /// It is given up after it was looked at so many times: it took effect, will, or never does.
    GivenUp(u32),
    /// It reaches the store late.
    Delayed,
    /// It reaches the store twice at once.
    Duplicated,
}

/// Chooses the fault of each append.
#[derive(Debug)]
enum Choice {
    ByChance(Chance),
    Once(Fault),
}

/// Puts faults before the appends of a store. Everything else passes.
#[derive(Debug)]
pub(super) struct Faulty {
    inner: Arc<dyn StateStore>,
    choice: Mutex<Choice>,
}

impl Faulty {
    /// The next append has this fault, and no other has any.
    pub(super) fn once(inner: Arc<dyn StateStore>, fault: Fault) -> Self {
        Self {
            inner,
            choice: Mutex::new(Choice::Once(fault)),
        }
    }

    /// Every other append has some fault.
    pub(super) fn by_chance(inner: Arc<dyn StateStore>, seed: u64) -> Self {
        Self {
            inner,
            choice: Mutex::new(Choice::ByChance(Chance::new(seed))),
        }
    }

    fn choose(&self) -> Fault {
        let mut choice = self.choice.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *choice {
            Choice::Once(fault) => std::mem::replace(fault, Fault::None),
            Choice::ByChance(chance) => match chance.below(10) {
                0 => Fault::FailsBefore,
                1 => Fault::LosesReply,
                2 => Fault::GivenUp(1 + u32::try_from(chance.below(3)).unwrap_or(0)),
                3 => Fault::Delayed,
                4 => Fault::Duplicated,
                _ => Fault::None,
            },
        }
    }
}

fn failed() -> StateStoreError {
    StateStoreError::new(
        Kind::Unavailable,
        "fault",
        "append",
        "the scenario cut the connection",
    )
}

#[async_trait]
impl StateStore for Faulty {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> StateStoreCapabilities {
        self.inner.capabilities()
    }

    async fn append(&self, append: Append) -> Result<Appended, StateStoreError> {
        match self.choose() {
            Fault::None => self.inner.append(append).await,
            Fault::FailsBefore => Err(failed()),
            Fault::LosesReply => match self.inner.append(append).await {
                Ok(_nobody_is_told) => Err(failed().with_unknown_effect()),
                Err(_nobody_is_told) => Err(failed().with_unknown_effect()),
            },
            Fault::GivenUp(after) => match polled(self.inner.append(append), after).await {
                Ok(ended) => ended,
                Err(_given_up) => Err(failed().with_unknown_effect()),
            },
            Fault::Delayed => {
                for _moment in 0..20 {
                    tokio::task::yield_now().await;
                }
                self.inner.append(append).await
            }
            Fault::Duplicated => {
                let twice = (self.inner.append(append.clone()), self.inner.append(append));
                let (first, second) = join(twice.0, twice.1).await;
                // Whichever came second: of two conflicts and of two successes one is as good as the other.
                first.or(second)
            }
        }
    }

    fn read(&self, log: &LogId, after: Seq) -> BoxStream<'static, Result<Record, StateStoreError>> {
        self.inner.read(log, after)
    }

    async fn head(&self, log: &LogId) -> Result<Option<Head>, StateStoreError> {
        self.inner.head(log).await
    }

    async fn list(&self, query: HeadQuery) -> Result<Page<Head>, StateStoreError> {
        self.inner.list(query).await
    }

    async fn delete(&self, log: &LogId) -> Result<(), StateStoreError> {
        self.inner.delete(log).await
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, StateStoreError> {
        self.inner.get(key).await
    }

    async fn put(&self, put: PutDocument) -> Result<Version, StateStoreError> {
        self.inner.put(put).await
    }

    async fn remove(
        &self,
        key: &DocumentKey,
        expected: ExpectedVersion,
    ) -> Result<(), StateStoreError> {
        self.inner.remove(key, expected).await
    }

    async fn list_documents(
        &self,
        query: DocumentQuery,
    ) -> Result<Page<DocumentEntry>, StateStoreError> {
        self.inner.list_documents(query).await
    }

    fn as_watch(&self) -> Option<&dyn StateStoreWatch> {
        self.inner.as_watch()
    }
}
