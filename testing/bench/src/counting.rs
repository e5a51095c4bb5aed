//! A state store that writes down every append that took effect.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use seaworthy::ports::state_store::{
    Append, Appended, Document, DocumentEntry, DocumentKey, DocumentQuery, ExpectedVersion, Head,
    HeadQuery, Page, PutDocument, Record, Seq, StateStore, StateStoreCapabilities, StateStoreError,
    StateStoreWatch, Version,
};
use seaworthy::ports::{AdapterInfo, LogId};
use tokio::sync::Notify;

use crate::meter::cpu;

/// An append that took effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The log's head behind it.
    pub(crate) head: u64,
    pub(crate) bodies: usize,
    pub(crate) bytes: usize,
    /// When it was acknowledged.
    pub(crate) at: Instant,
    /// How long this process had computed by then, on all cores, if that is measured.
    pub(crate) cpu: Duration,
}

/// Passes everything on to another store and writes appends down.
#[derive(Debug)]
pub(crate) struct Counting {
    inner: Arc<dyn StateStore>,
    written: Mutex<Written>,
    /// Asking for it takes long enough to show.
    measures_cpu: AtomicBool,
    sealed: Notify,
    grown: Notify,
}

#[derive(Debug, Default)]
struct Written {
    appends: Vec<Seen>,
    /// How many of them seal their log; counted here because it is asked for after each of them.
    seals: usize,
}

impl Counting {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn new(inner: Arc<dyn StateStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            written: Mutex::default(),
            measures_cpu: AtomicBool::new(false),
            sealed: Notify::new(),
            grown: Notify::new(),
        })
    }

    /// Measures computing time with every append from now on.
    pub(crate) fn measure_cpu(&self) {
        self.measures_cpu.store(true, Ordering::Relaxed);
    }

    /// The appends since this was last called.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.written()).appends
    }

    /// Returns once there are `count` appends since the last `take`.
    pub(crate) async fn appended(&self, count: usize) {
        loop {
            let changed = self.grown.notified();
            if self.written().appends.len() >= count {
                return;
            }
            changed.await;
        }
    }

    /// Returns once `count` logs were sealed since the last `take`.
    pub(crate) async fn sealed(&self, count: usize) {
        loop {
            let changed = self.sealed.notified();
            if self.written().seals >= count {
                return;
            }
            changed.await;
        }
    }
}

#[async_trait]
impl StateStore for Counting {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> StateStoreCapabilities {
        self.inner.capabilities()
    }

    async fn append(&self, append: Append) -> Result<Appended, StateStoreError> {
        let bodies = append.bodies.len();
        let bytes = append.bodies.iter().map(|body| body.len()).sum();
        let seals = append.seal;
        let appended = self.inner.append(append).await?;
        let seen = Seen {
            head: appended.head.0,
            bodies,
            bytes,
            at: Instant::now(),
            cpu: if self.measures_cpu.load(Ordering::Relaxed) {
                cpu()
            } else {
                Duration::ZERO
            },
        };
        {
            let mut written = self.written();
            written.appends.push(seen);
            written.seals += usize::from(seals);
        }
        self.grown.notify_one();
        if seals {
            self.sealed.notify_one();
        }
        Ok(appended)
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
