//! [`MemoryStateStore`].

mod documents;
mod logs;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use seaworthy_ports::state_store::{
    Append, Appended, Document, DocumentEntry, DocumentKey, DocumentQuery, ExpectedVersion, Head,
    HeadQuery, Kind, MAX_LABEL_BYTES, MAX_LABELS, Page, PutDocument, Record, Seq, StateStore,
    StateStoreCapabilities, StateStoreError, StateStoreWatch, Version,
};
use seaworthy_ports::{AdapterInfo, Durability, LogId};
use tokio::sync::watch;

use self::documents::Documents;
use self::logs::Logs;
use crate::error::state_store as error;
use crate::lock;

/// The most bytes of one append, and of one document.
const MAX_WRITE_BYTES: usize = 8 * 1024 * 1024;

/// Logs and documents in memory.
///
/// Clones share their contents. Everything is done under one lock that is never held across an await, so calls neither
/// fail for want of the store nor wait for anything but each other.
#[derive(Clone, Debug)]
pub struct MemoryStateStore {
    state: Arc<Mutex<State>>,
    /// Changes with every append; the hint that `watch` waits for.
    grown: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    logs: Logs,
    documents: Documents,
}

/// Contents are not shown: they are prompts and answers.
impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("logs", &self.logs.len())
            .field("documents", &self.documents.len())
            .finish()
    }
}

impl Default for MemoryStateStore {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            grown: watch::Sender::new(()),
        }
    }
}

fn check_append(append: &Append) -> Result<(), StateStoreError> {
    let refuse = |kind, why| Err(error(kind, "append", why));
    if append.bodies.is_empty() {
        return refuse(Kind::Rejected, "an append needs at least one body");
    }
    if append.labels.len() > MAX_LABELS
        || append
            .labels
            .iter()
            .any(|(name, value)| name.len() > MAX_LABEL_BYTES || value.len() > MAX_LABEL_BYTES)
    {
        return refuse(
            Kind::Rejected,
            "there are too many labels, or one is too long",
        );
    }
    if append.bodies.iter().map(Bytes::len).sum::<usize>() > MAX_WRITE_BYTES {
        return refuse(Kind::TooLarge, "the bodies are larger than 8 MiB together");
    }
    Ok(())
}

#[async_trait]
impl StateStore for MemoryStateStore {
    fn info(&self) -> AdapterInfo {
        crate::INFO
    }

    fn capabilities(&self) -> StateStoreCapabilities {
        StateStoreCapabilities {
            durability: Durability::Volatile,
            eventual_list: false,
            watch: true,
            max_append_bytes: MAX_WRITE_BYTES,
        }
    }

    async fn append(&self, append: Append) -> Result<Appended, StateStoreError> {
        check_append(&append)?;
        let appended = lock(&self.state).logs.append(append)?;
        self.grown.send_replace(());
        Ok(appended)
    }

    fn read(&self, log: &LogId, after: Seq) -> BoxStream<'static, Result<Record, StateStoreError>> {
        // Bodies are reference counted: this copies pointers, not contents.
        let records = lock(&self.state).logs.records_after(log, after);
        stream::iter(records.into_iter().map(Ok)).boxed()
    }

    async fn head(&self, log: &LogId) -> Result<Option<Head>, StateStoreError> {
        Ok(lock(&self.state).logs.head(log))
    }

    async fn list(&self, query: HeadQuery) -> Result<Page<Head>, StateStoreError> {
        lock(&self.state).logs.list(&query)
    }

    async fn delete(&self, log: &LogId) -> Result<(), StateStoreError> {
        let mut state = lock(&self.state);
        state.logs.delete(log);
        state.documents.delete_scope(log);
        drop(state);
        self.grown.send_replace(());
        Ok(())
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, StateStoreError> {
        Ok(lock(&self.state).documents.get(key))
    }

    async fn put(&self, put: PutDocument) -> Result<Version, StateStoreError> {
        if put.value.len() > MAX_WRITE_BYTES {
            return Err(error(
                Kind::TooLarge,
                "put",
                "the value is larger than 8 MiB",
            ));
        }
        let mut state = lock(&self.state);
        if state.logs.is_deleted(&put.key.scope) {
            return Err(error(Kind::Gone, "put", "the document's scope was deleted"));
        }
        state.documents.put(put)
    }

    async fn remove(
        &self,
        key: &DocumentKey,
        expected: ExpectedVersion,
    ) -> Result<(), StateStoreError> {
        lock(&self.state).documents.remove(key, expected)
    }

    async fn list_documents(
        &self,
        query: DocumentQuery,
    ) -> Result<Page<DocumentEntry>, StateStoreError> {
        Ok(lock(&self.state).documents.list(&query))
    }

    fn as_watch(&self) -> Option<&dyn StateStoreWatch> {
        Some(self)
    }
}

#[async_trait]
impl StateStoreWatch for MemoryStateStore {
    async fn watch(&self, log: &LogId, newer_than: Seq, max: Duration) {
        let mut grown = self.grown.subscribe();
        let newer = async {
            // Subscribed before looking, so growth between the look and the wait is not missed.
            while lock(&self.state)
                .logs
                .head(log)
                .is_none_or(|head| head.seq <= newer_than)
            {
                if grown.changed().await.is_err() {
                    return;
                }
            }
        };
        let _in_time = tokio::time::timeout(max, newer).await;
    }
}
