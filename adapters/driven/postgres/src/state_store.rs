//! Logs and documents.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_ports::state_store::{
    Append, Appended, Document, DocumentEntry, DocumentKey, DocumentQuery, ExpectedVersion, Head,
    HeadQuery, Page, PutDocument, Record, Seq, StateStore, StateStoreCapabilities, StateStoreError,
    StateStoreWatch, Version,
};
use seaworthy_ports::{AdapterInfo, BoxStream, LogId};

use crate::append::{MAX_APPEND_BYTES, check};
use crate::error;
use crate::read::read;
use crate::store::Shared;

pub(crate) struct PostgresStateStore(pub(crate) Arc<Shared>);

impl fmt::Debug for PostgresStateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresStateStore").field(&self.0).finish()
    }
}

#[async_trait]
impl StateStore for PostgresStateStore {
    fn info(&self) -> AdapterInfo {
        crate::INFO
    }

    fn capabilities(&self) -> StateStoreCapabilities {
        StateStoreCapabilities {
            durability: self.0.durability,
            eventual_list: false,
            watch: false,
            max_append_bytes: MAX_APPEND_BYTES,
        }
    }

    async fn append(&self, append: Append) -> Result<Appended, StateStoreError> {
        check(&append)?;
        let reply = self.0.writer.append(append).await;
        reply.map_err(|failure| error::state_store("append", failure))?
    }

    fn read(&self, log: &LogId, after: Seq) -> BoxStream<'static, Result<Record, StateStoreError>> {
        read(Arc::clone(&self.0), log.clone(), after)
    }

    async fn head(&self, log: &LogId) -> Result<Option<Head>, StateStoreError> {
        self.0.head(log).await
    }

    async fn list(&self, query: HeadQuery) -> Result<Page<Head>, StateStoreError> {
        self.0.list(query).await
    }

    async fn delete(&self, log: &LogId) -> Result<(), StateStoreError> {
        let statement = sqlx::query("SELECT delete_log($1, $2)")
            .bind(log.kind.as_str().to_owned())
            .bind(log.name.as_str().to_owned());
        let deleted = self.0.database.write(statement).await;
        deleted
            .map(drop)
            .map_err(|failure| error::state_store("delete", failure))
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, StateStoreError> {
        self.0.document(key).await
    }

    async fn put(&self, put: PutDocument) -> Result<Version, StateStoreError> {
        self.0.put(put).await
    }

    async fn remove(
        &self,
        key: &DocumentKey,
        expected: ExpectedVersion,
    ) -> Result<(), StateStoreError> {
        self.0.remove(key, expected).await
    }

    async fn list_documents(
        &self,
        query: DocumentQuery,
    ) -> Result<Page<DocumentEntry>, StateStoreError> {
        self.0.documents(query).await
    }

    fn as_watch(&self) -> Option<&dyn StateStoreWatch> {
        None
    }
}
