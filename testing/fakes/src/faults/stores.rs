//! Stores behind faults.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use seaworthy_ports::blob_store::{self, BlobCapabilities, BlobError, BlobStore};
use seaworthy_ports::checkpoint_store::{
    self, Checkpoint, CheckpointCapabilities, CheckpointEntry, CheckpointError, CheckpointKind,
    CheckpointQuery, CheckpointStore, DeleteCheckpoints,
};
use seaworthy_ports::state_store::{
    self, Append, Appended, Document, DocumentEntry, DocumentKey, DocumentQuery, ExpectedVersion,
    Head, HeadQuery, Page, PageToken, PutDocument, Record, Seq, StateStore, StateStoreCapabilities,
    StateStoreError, StateStoreWatch, Version,
};
use seaworthy_ports::{AdapterInfo, BoxStream, Digest, LogId, RunId};

use super::{Faults, wrapper};

wrapper!(
    /// A state store behind faults. A stream of records is one call, as far as its opening.
    FaultyLogs, StateStore
);
wrapper!(
    /// A blob store behind faults. What is put is read to its end first.
    FaultyBlobs, BlobStore
);
wrapper!(
    /// A checkpoint store behind faults.
    FaultyCheckpoints, CheckpointStore
);

const STORE: state_store::Kind = state_store::Kind::Unavailable;
const BLOB: blob_store::Kind = blob_store::Kind::Unavailable;
const CHECKPOINT: checkpoint_store::Kind = checkpoint_store::Kind::Unavailable;

#[async_trait]
impl StateStore for FaultyLogs {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> StateStoreCapabilities {
        self.inner.capabilities()
    }

    async fn append(&self, append: Append) -> Result<Appended, StateStoreError> {
        let call = || self.inner.append(append.clone());
        self.faults.port("append", STORE, call).await
    }

    fn read(&self, log: &LogId, after: Seq) -> BoxStream<'static, Result<Record, StateStoreError>> {
        let (faults, inner, log) = (self.faults.clone(), Arc::clone(&self.inner), log.clone());
        let first = async move {
            let call = || {
                let records = inner.read(&log, after);
                async { Ok(records) }
            };
            faults.port("read", STORE, call).await
        };
        first
            .into_stream()
            .flat_map(|opened| match opened {
                Ok(records) => records,
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    async fn head(&self, log: &LogId) -> Result<Option<Head>, StateStoreError> {
        let call = || self.inner.head(log);
        self.faults.port("head", STORE, call).await
    }

    async fn list(&self, query: HeadQuery) -> Result<Page<Head>, StateStoreError> {
        let call = || self.inner.list(query.clone());
        self.faults.port("list", STORE, call).await
    }

    async fn delete(&self, log: &LogId) -> Result<(), StateStoreError> {
        let call = || self.inner.delete(log);
        self.faults.port("delete", STORE, call).await
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, StateStoreError> {
        let call = || self.inner.get(key);
        self.faults.port("get", STORE, call).await
    }

    async fn put(&self, put: PutDocument) -> Result<Version, StateStoreError> {
        let call = || self.inner.put(put.clone());
        self.faults.port("put", STORE, call).await
    }

    async fn remove(
        &self,
        key: &DocumentKey,
        expected: ExpectedVersion,
    ) -> Result<(), StateStoreError> {
        let call = || self.inner.remove(key, expected);
        self.faults.port("remove", STORE, call).await
    }

    async fn list_documents(
        &self,
        query: DocumentQuery,
    ) -> Result<Page<DocumentEntry>, StateStoreError> {
        let call = || self.inner.list_documents(query.clone());
        self.faults.port("list_documents", STORE, call).await
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
        let parts: Vec<Bytes> = match content.try_collect().await {
            Ok(parts) => parts,
            Err(broken) => return self.inner.put(stream::iter([Err(broken)]).boxed()).await,
        };
        let call = || {
            let parts = parts.clone().into_iter().map(Ok);
            self.inner.put(stream::iter(parts).boxed())
        };
        self.faults.port("blob put", BLOB, call).await
    }

    async fn get(
        &self,
        digest: &Digest,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let call = || self.inner.get(digest);
        self.faults.port("blob get", BLOB, call).await
    }

    async fn head(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        let call = || self.inner.head(digest);
        self.faults.port("blob head", BLOB, call).await
    }

    async fn delete(&self, digest: &Digest) -> Result<(), BlobError> {
        let call = || self.inner.delete(digest);
        self.faults.port("blob delete", BLOB, call).await
    }

    async fn list(
        &self,
        limit: NonZeroU32,
        page: Option<PageToken>,
    ) -> Result<Page<Digest>, BlobError> {
        let call = || self.inner.list(limit, page.clone());
        self.faults.port("blob list", BLOB, call).await
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
        let call = || self.inner.write(checkpoint.clone());
        self.faults.port("checkpoint write", CHECKPOINT, call).await
    }

    async fn latest(
        &self,
        run: &RunId,
        kind: CheckpointKind,
        at_or_before: Seq,
    ) -> Result<Option<Checkpoint>, CheckpointError> {
        let call = || self.inner.latest(run, kind, at_or_before);
        self.faults
            .port("checkpoint latest", CHECKPOINT, call)
            .await
    }

    async fn list(&self, query: CheckpointQuery) -> Result<Page<CheckpointEntry>, CheckpointError> {
        let call = || self.inner.list(query.clone());
        self.faults.port("checkpoint list", CHECKPOINT, call).await
    }

    async fn delete(&self, which: DeleteCheckpoints) -> Result<u64, CheckpointError> {
        let call = || self.inner.delete(which.clone());
        self.faults
            .port("checkpoint delete", CHECKPOINT, call)
            .await
    }
}
