//! The port: what needs no file is decided here, and the rest is handed to threads that may block.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use seaworthy_ports::state_store::{
    Append, Appended, Document, DocumentEntry, DocumentKey, DocumentQuery, ExpectedVersion, Head,
    HeadQuery, Kind, MAX_LABEL_BYTES, MAX_LABELS, Order, Page, PageToken, PutDocument, Record, Seq,
    StateStore, StateStoreCapabilities, StateStoreError, StateStoreWatch, Version,
};
use seaworthy_ports::{AdapterInfo, Digest, Durability, LogId};

use crate::error::{self, ADAPTER};
use crate::head::{self, Present, State};
use crate::{disk, documents, log};

/// The most bytes of one append, and of one document.
const MAX_WRITE_BYTES: usize = 8 * 1024 * 1024;
/// What the file `format` says. Another version would say something else, and this one would refuse it.
const FORMAT: &[u8] = b"plain-files 1\n";

/// A state store in a folder.
#[derive(Clone, Debug)]
pub struct PlainFiles {
    root: Arc<Path>,
}

impl PlainFiles {
    /// Opens the folder, and makes it if it is absent. Any number of processes may do so at once.
    ///
    /// # Errors
    ///
    /// A folder that cannot be written to, or that another version has written.
    pub async fn open(root: impl Into<PathBuf>) -> Result<Self, StateStoreError> {
        let root: Arc<Path> = root.into().into();
        let store = Self { root };
        let opened = store.clone();
        blocking("open", move || opened.prepare()).await?;
        Ok(store)
    }

    fn prepare(&self) -> Result<(), StateStoreError> {
        let failed = |source| error::io("open", &self.root, source);
        fs::create_dir_all(&self.root).map_err(failed)?;
        let _lock = disk::lock(&self.root.join("lock")).map_err(failed)?;
        disk::make_folder(&self.root.join("logs")).map_err(failed)?;
        let format = self.root.join("format");
        match disk::read(&format).map_err(failed)? {
            Some(found) if found == FORMAT => Ok(()),
            Some(_) => Err(error::refused(
                Kind::Rejected,
                "open",
                "another version wrote this folder",
            )),
            None => disk::replace(&format, FORMAT).map_err(failed),
        }
    }

    /// Where a log lies: its name may be longer than a file's, and differ from another in its case alone.
    fn folder(&self, log: &LogId) -> PathBuf {
        let name = Digest::of(log.to_string().as_bytes()).to_hex();
        self.root.join("logs").join(name)
    }

    /// Does `work` while nobody else writes to the log or its documents.
    fn alone<T>(
        &self,
        operation: &'static str,
        log: &LogId,
        work: impl FnOnce(&Path) -> Result<T, StateStoreError>,
    ) -> Result<T, StateStoreError> {
        let folder = self.folder(log);
        let _lock = disk::make_folder(&folder)
            .and_then(|()| disk::lock(&folder.join("lock")))
            .map_err(|source| error::io(operation, &folder, source))?;
        work(&folder)
    }

    /// A number that no log has, higher than all before. One that is not used leaves a gap, which is fine.
    fn next_created(&self) -> Result<u64, StateStoreError> {
        let path = self.root.join("created");
        let next = || {
            let _lock = disk::lock(&self.root.join("lock"))?;
            let newest: u64 = match disk::read(&path)? {
                Some(number) => serde_json::from_slice(&number)?,
                None => 0,
            };
            disk::replace(&path, (newest + 1).to_string().as_bytes())?;
            Ok(newest + 1)
        };
        next().map_err(|source: io::Error| error::io("append", &path, source))
    }

    /// Every log that is present.
    fn heads(&self) -> Result<Vec<Present>, StateStoreError> {
        let logs = self.root.join("logs");
        let failed = |source| error::io("list", &logs, source);
        let mut heads = Vec::new();
        for folder in fs::read_dir(&logs).map_err(failed)? {
            if let Some(State::Present(present)) =
                head::read("list", &folder.map_err(failed)?.path())?
            {
                heads.push(present);
            }
        }
        Ok(heads)
    }

    /// A page; its token is the number of the last log of the page before.
    fn page(&self, query: &HeadQuery) -> Result<Page<Head>, StateStoreError> {
        let after = query
            .page
            .as_ref()
            .map(|PageToken(number)| number.parse::<u64>());
        let after = after.transpose().map_err(|_error| {
            error::refused(
                Kind::Rejected,
                "list",
                "the page token is not one of this store",
            )
        })?;
        let mut found = self.heads()?;
        found.retain(|present| {
            let mut wanted = query.labels.iter();
            present.log.kind == query.kind
                && wanted.all(|(name, value)| present.labels.get(name) == Some(value))
                && after.is_none_or(|after| match query.order {
                    Order::OldestFirst => present.created > after,
                    Order::NewestFirst => present.created < after,
                })
        });
        found.sort_unstable_by_key(|present| present.created);
        if query.order == Order::NewestFirst {
            found.reverse();
        }
        let limit = usize::try_from(query.limit.get()).unwrap_or(usize::MAX);
        let is_more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_last| is_more);
        let next = last.map(|last| PageToken(last.created.to_string()));
        let items = found.iter().map(Present::to_head).collect();
        Ok(Page { items, next })
    }
}

/// Runs `work` on a thread that may block. Dropping the future does not stop it: it is done as a whole or not at all.
async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, StateStoreError> + Send + 'static,
) -> Result<T, StateStoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|source| {
        error::io(operation, Path::new("a thread"), source.into()).with_unknown_effect()
    })?
}

fn check(append: &Append) -> Result<(), StateStoreError> {
    let refuse = |kind, why| Err(error::refused(kind, "append", why));
    let is_long = |text: &String| text.len() > MAX_LABEL_BYTES;
    if append.bodies.is_empty() {
        return refuse(Kind::Rejected, "an append needs at least one body");
    }
    if append.labels.len() > MAX_LABELS
        || append
            .labels
            .iter()
            .any(|(name, value)| is_long(name) || is_long(value))
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
impl StateStore for PlainFiles {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: ADAPTER,
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn capabilities(&self) -> StateStoreCapabilities {
        StateStoreCapabilities {
            durability: Durability::OsCrash,
            eventual_list: false,
            watch: false,
            max_append_bytes: MAX_WRITE_BYTES,
        }
    }

    async fn append(&self, append: Append) -> Result<Appended, StateStoreError> {
        check(&append)?;
        let store = self.clone();
        blocking("append", move || {
            let id = append.log.clone();
            store.alone("append", &id, |folder| {
                log::append(folder, append, || store.next_created())
            })
        })
        .await
    }

    fn read(&self, log: &LogId, after: Seq) -> BoxStream<'static, Result<Record, StateStoreError>> {
        let folder = self.folder(log);
        let opened = blocking("read", move || log::open(&folder, after));
        let batches = stream::once(opened).map_ok(|reading| {
            stream::try_unfold(reading, |reading| async {
                let Some(mut reading) = reading else {
                    return Ok(None);
                };
                blocking("read", move || {
                    let batch = reading.batch()?;
                    let rest = (!batch.is_empty()).then_some(reading);
                    Ok(Some((stream::iter(batch.into_iter().map(Ok)), rest)))
                })
                .await
            })
            .try_flatten()
        });
        batches.try_flatten().boxed()
    }

    async fn head(&self, log: &LogId) -> Result<Option<Head>, StateStoreError> {
        let folder = self.folder(log);
        blocking("head", move || {
            Ok(match head::read("head", &folder)? {
                Some(State::Present(present)) => Some(present.to_head()),
                Some(State::Deleted(_)) | None => None,
            })
        })
        .await
    }

    async fn list(&self, query: HeadQuery) -> Result<Page<Head>, StateStoreError> {
        let store = self.clone();
        blocking("list", move || store.page(&query)).await
    }

    async fn delete(&self, log: &LogId) -> Result<(), StateStoreError> {
        let (store, log) = (self.clone(), log.clone());
        blocking("delete", move || {
            store.alone("delete", &log, |folder| log::delete(folder, log.clone()))
        })
        .await
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, StateStoreError> {
        let (folder, path) = (self.folder(&key.scope), key.path.clone());
        blocking("get", move || documents::get(&folder, &path)).await
    }

    async fn put(&self, put: PutDocument) -> Result<Version, StateStoreError> {
        if put.value.len() > MAX_WRITE_BYTES {
            let why = "the value is larger than 8 MiB";
            return Err(error::refused(Kind::TooLarge, "put", why));
        }
        let store = self.clone();
        blocking("put", move || {
            let scope = put.key.scope.clone();
            store.alone("put", &scope, |folder| documents::put(folder, put))
        })
        .await
    }

    async fn remove(
        &self,
        key: &DocumentKey,
        expected: ExpectedVersion,
    ) -> Result<(), StateStoreError> {
        let (store, key) = (self.clone(), key.clone());
        blocking("remove", move || {
            store.alone("remove", &key.scope, |folder| {
                documents::remove(folder, &key.path, expected)
            })
        })
        .await
    }

    async fn list_documents(
        &self,
        query: DocumentQuery,
    ) -> Result<Page<DocumentEntry>, StateStoreError> {
        let folder = self.folder(&query.scope);
        blocking("list_documents", move || documents::list(&folder, &query)).await
    }

    fn as_watch(&self) -> Option<&dyn StateStoreWatch> {
        None
    }
}
