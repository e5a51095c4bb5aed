//! Faults in front of ports: every call has a number, and a plan says what happens at which.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use seaworthy_ports::blob_store::{self, BlobCapabilities, BlobError, BlobStore};
use seaworthy_ports::checkpoint_store::{
    self, Checkpoint, CheckpointCapabilities, CheckpointEntry, CheckpointError, CheckpointKind,
    CheckpointQuery, CheckpointStore, DeleteCheckpoints,
};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::model_provider::{
    self, Embeddings, ModelCapabilities, ModelError, ModelEvent, ModelProvider, ModelRequest,
    Rerank,
};
use seaworthy_ports::sandbox::{
    self, Enforcement, Exec, ExecOutput, FileContent, Listing, Metadata, Sandbox, SandboxError,
    SandboxProcess, SandboxSession, SandboxSpec,
};
use seaworthy_ports::state_store::{
    self, Append, Appended, Document, DocumentEntry, DocumentKey, DocumentQuery, ExpectedVersion,
    Head, HeadQuery, Page, PageToken, PutDocument, Record, Seq, StateStore, StateStoreCapabilities,
    StateStoreError, StateStoreWatch, Version,
};
use seaworthy_ports::{
    AdapterInfo, BoxStream, Digest, ErrorKind, Latch, LatchSetter, LogId, PortError, RunId,
    Timestamp,
};

use crate::{ADAPTER, locked};

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
}

#[derive(Debug)]
struct Inner {
    plan: BTreeMap<usize, Fault>,
    named: Option<(&'static str, Fault)>,
    calls: Mutex<Vec<&'static str>>,
    dead: (LatchSetter, Latch),
    paused: (LatchSetter, Latch),
    resumed: (LatchSetter, Latch),
}

/// The faults of one process. Its ports share it, so that calls are numbered across all of them, from 0; after a crash no
/// port of the process answers any more, its clock included.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Inner>);

impl Faults {
    /// The process meets these faults.
    #[must_use]
    pub fn at(plan: impl IntoIterator<Item = (usize, Fault)>) -> Self {
        Self::planned(plan.into_iter().collect(), None)
    }

    /// The process meets this fault at every call of this name.
    #[must_use]
    pub fn every(name: &'static str, fault: Fault) -> Self {
        Self::planned(BTreeMap::new(), Some((name, fault)))
    }

    fn planned(plan: BTreeMap<usize, Fault>, named: Option<(&'static str, Fault)>) -> Self {
        Self(Arc::new(Inner {
            plan,
            named,
            calls: Mutex::default(),
            dead: Latch::new(),
            paused: Latch::new(),
            resumed: Latch::new(),
        }))
    }

    /// The process meets none.
    #[must_use]
    pub fn none() -> Self {
        Self::at([])
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

    async fn around<T, E>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, E>> + Send,
        fail: impl FnOnce() -> E + Send,
        unknown: impl FnOnce() -> E + Send,
    ) -> Result<T, E> {
        let dead = &self.0.dead.1;
        if dead.is_set() {
            return pending().await;
        }
        let number = {
            let mut calls = locked(&self.0.calls);
            calls.push(name);
            calls.len() - 1
        };
        let named = self.0.named.filter(|(which, _fault)| *which == name);
        let fault = self
            .0
            .plan
            .get(&number)
            .copied()
            .or(named.map(|(_which, fault)| fault));
        match fault {
            Some(Fault::CrashBefore) => self.die().await,
            Some(Fault::CrashAfter) => {
                let _lost = call.await;
                self.die().await
            }
            Some(Fault::FailBefore) => Err(fail()),
            Some(Fault::FailAfter) => {
                let _lost = call.await;
                Err(unknown())
            }
            Some(Fault::Pause) => {
                self.0.paused.0.set();
                self.0.resumed.1.wait().await;
                call.await
            }
            None => call.await,
        }
    }

    /// [`around`](Self::around) for ports whose error is a [`PortError`].
    async fn port<T, K: ErrorKind>(
        &self,
        name: &'static str,
        kind: K,
        call: impl Future<Output = Result<T, PortError<K>>> + Send,
    ) -> Result<T, PortError<K>> {
        let error = move || PortError::new(kind, ADAPTER, name, "a fault was put here");
        self.around(name, call, error, move || error().with_unknown_effect())
            .await
    }
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

wrapper!(
    /// A state store behind faults.
    FaultyLogs, StateStore
);
wrapper!(
    /// A blob store behind faults.
    FaultyBlobs, BlobStore
);
wrapper!(
    /// A checkpoint store behind faults.
    FaultyCheckpoints, CheckpointStore
);
wrapper!(
    /// A model provider behind faults.
    FaultyModel, ModelProvider
);
wrapper!(
    /// A sandbox behind faults, sessions included.
    FaultySandbox, Sandbox
);
wrapper!(
    /// A clock whose sleepers stop with their process.
    FaultyClock, Clock
);

const STORE: state_store::Kind = state_store::Kind::Unavailable;
const BLOB: blob_store::Kind = blob_store::Kind::Unavailable;
const CHECKPOINT: checkpoint_store::Kind = checkpoint_store::Kind::Unavailable;
const SANDBOX: sandbox::Kind = sandbox::Kind::Unavailable;

#[async_trait]
impl StateStore for FaultyLogs {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> StateStoreCapabilities {
        self.inner.capabilities()
    }

    async fn append(&self, append: Append) -> Result<Appended, StateStoreError> {
        self.faults
            .port("append", STORE, self.inner.append(append))
            .await
    }

    fn read(&self, log: &LogId, after: Seq) -> BoxStream<'static, Result<Record, StateStoreError>> {
        let (faults, records) = (self.faults.clone(), self.inner.read(log, after));
        let first = async move { faults.port("read", STORE, async { Ok(records) }).await };
        first
            .into_stream()
            .flat_map(|opened| match opened {
                Ok(records) => records,
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    async fn head(&self, log: &LogId) -> Result<Option<Head>, StateStoreError> {
        self.faults.port("head", STORE, self.inner.head(log)).await
    }

    async fn list(&self, query: HeadQuery) -> Result<Page<Head>, StateStoreError> {
        self.faults
            .port("list", STORE, self.inner.list(query))
            .await
    }

    async fn delete(&self, log: &LogId) -> Result<(), StateStoreError> {
        self.faults
            .port("delete", STORE, self.inner.delete(log))
            .await
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, StateStoreError> {
        self.faults.port("get", STORE, self.inner.get(key)).await
    }

    async fn put(&self, put: PutDocument) -> Result<Version, StateStoreError> {
        self.faults.port("put", STORE, self.inner.put(put)).await
    }

    async fn remove(
        &self,
        key: &DocumentKey,
        expected: ExpectedVersion,
    ) -> Result<(), StateStoreError> {
        self.faults
            .port("remove", STORE, self.inner.remove(key, expected))
            .await
    }

    async fn list_documents(
        &self,
        query: DocumentQuery,
    ) -> Result<Page<DocumentEntry>, StateStoreError> {
        self.faults
            .port("list_documents", STORE, self.inner.list_documents(query))
            .await
    }

    fn as_watch(&self) -> Option<&dyn StateStoreWatch> {
        self.inner.as_watch()
    }
}

#[async_trait]
impl BlobStore for FaultyBlobs {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> BlobCapabilities {
        self.inner.capabilities()
    }

    async fn put(
        &self,
        content: BoxStream<'static, Result<Bytes, BlobError>>,
    ) -> Result<Digest, BlobError> {
        self.faults
            .port("blob put", BLOB, self.inner.put(content))
            .await
    }

    async fn get(
        &self,
        digest: &Digest,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        self.faults
            .port("blob get", BLOB, self.inner.get(digest))
            .await
    }

    async fn head(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        self.faults
            .port("blob head", BLOB, self.inner.head(digest))
            .await
    }

    async fn delete(&self, digest: &Digest) -> Result<(), BlobError> {
        self.faults
            .port("blob delete", BLOB, self.inner.delete(digest))
            .await
    }

    async fn list(
        &self,
        limit: std::num::NonZeroU32,
        page: Option<PageToken>,
    ) -> Result<Page<Digest>, BlobError> {
        self.faults
            .port("blob list", BLOB, self.inner.list(limit, page))
            .await
    }
}

#[async_trait]
impl CheckpointStore for FaultyCheckpoints {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> CheckpointCapabilities {
        self.inner.capabilities()
    }

    async fn write(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        self.faults
            .port("checkpoint write", CHECKPOINT, self.inner.write(checkpoint))
            .await
    }

    async fn latest(
        &self,
        run: &RunId,
        kind: CheckpointKind,
        at_or_before: Seq,
    ) -> Result<Option<Checkpoint>, CheckpointError> {
        self.faults
            .port(
                "checkpoint latest",
                CHECKPOINT,
                self.inner.latest(run, kind, at_or_before),
            )
            .await
    }

    async fn list(&self, query: CheckpointQuery) -> Result<Page<CheckpointEntry>, CheckpointError> {
        self.faults
            .port("checkpoint list", CHECKPOINT, self.inner.list(query))
            .await
    }

    async fn delete(&self, which: DeleteCheckpoints) -> Result<u64, CheckpointError> {
        self.faults
            .port("checkpoint delete", CHECKPOINT, self.inner.delete(which))
            .await
    }
}

#[async_trait]
impl ModelProvider for FaultyModel {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        self.inner.capabilities(model)
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let (faults, events) = (self.faults.clone(), self.inner.stream(request));
        let fail = || {
            PortError::new(
                model_provider::Kind::Network,
                ADAPTER,
                "stream",
                "a fault was put here",
            )
        };
        let first = async move {
            let whole = async { Ok(events.collect::<Vec<_>>().await) };
            faults
                .around(
                    "model stream",
                    whole,
                    || fail().into(),
                    || fail().with_unknown_effect().into(),
                )
                .await
        };
        first
            .into_stream()
            .flat_map(|whole: Result<_, ModelError>| match whole {
                Ok(events) => stream::iter(events).boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        self.inner.embeddings()
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        self.inner.rerank()
    }
}

#[async_trait]
impl Sandbox for FaultySandbox {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> Enforcement {
        self.inner.capabilities()
    }

    async fn open(&self, spec: SandboxSpec) -> Result<Arc<dyn SandboxSession>, SandboxError> {
        let inner = self
            .faults
            .port("sandbox open", SANDBOX, self.inner.open(spec))
            .await?;
        Ok(Arc::new(FaultySession {
            inner,
            faults: self.faults.clone(),
        }))
    }
}

#[derive(Debug)]
struct FaultySession {
    inner: Arc<dyn SandboxSession>,
    faults: Faults,
}

#[async_trait]
impl SandboxSession for FaultySession {
    async fn exec(&self, exec: Exec) -> Result<ExecOutput, SandboxError> {
        self.faults
            .port("sandbox exec", SANDBOX, self.inner.exec(exec))
            .await
    }

    async fn spawn(&self, exec: Exec) -> Result<Box<dyn SandboxProcess>, SandboxError> {
        self.faults
            .port("sandbox spawn", SANDBOX, self.inner.spawn(exec))
            .await
    }

    async fn read(&self, path: &str, offset: u64, limit: u64) -> Result<FileContent, SandboxError> {
        self.faults
            .port(
                "sandbox read",
                SANDBOX,
                self.inner.read(path, offset, limit),
            )
            .await
    }

    async fn write(&self, path: &str, content: Bytes) -> Result<(), SandboxError> {
        self.faults
            .port("sandbox write", SANDBOX, self.inner.write(path, content))
            .await
    }

    async fn list(&self, path: &str, limit: usize) -> Result<Listing, SandboxError> {
        self.faults
            .port("sandbox list", SANDBOX, self.inner.list(path, limit))
            .await
    }

    async fn stat(&self, path: &str) -> Result<Option<Metadata>, SandboxError> {
        self.faults
            .port("sandbox stat", SANDBOX, self.inner.stat(path))
            .await
    }

    async fn remove(&self, path: &str) -> Result<(), SandboxError> {
        self.faults
            .port("sandbox remove", SANDBOX, self.inner.remove(path))
            .await
    }

    async fn close(&self, last: bool) -> Result<(), SandboxError> {
        self.faults
            .port("sandbox close", SANDBOX, self.inner.close(last))
            .await
    }
}

#[async_trait]
impl Clock for FaultyClock {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    /// Not counted as a call: sleeping has no effect.
    async fn sleep_until(&self, until: Timestamp) {
        if self.faults.dead().is_set() {
            return pending().await;
        }
        if self.faults.paused().is_set() {
            self.faults.0.resumed.1.wait().await;
        }
        self.inner.sleep_until(until).await;
        if self.faults.dead().is_set() {
            pending().await
        }
    }
}
