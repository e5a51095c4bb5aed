//! Logs and documents in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use seaworthy_ports::state_store::{
    Append, Appended, Document, DocumentEntry, DocumentKey, DocumentQuery, Expected, ExpectedVersion, Head,
    HeadQuery, Kind, Labels, MAX_LABEL_BYTES, MAX_LABELS, Order, Page, PutDocument, Record, Seq, StateStore,
    StateStoreCapabilities, StateStoreError, StateStoreWatch, Version,
};
use seaworthy_ports::{AdapterInfo, AppendId, BoxStream, Digest, DocumentPath, Durability, LogId};

use crate::{ADAPTER, info, locked, page};

const MAX_APPEND_BYTES: usize = 8 * 1024 * 1024;

/// A state store that lives as long as its value. Clones share their logs.
#[derive(Clone, Debug, Default)]
pub struct MemoryStateStore(Arc<Mutex<Logs>>);

#[derive(Debug, Default)]
struct Logs {
    logs: BTreeMap<LogId, Slot>,
    /// Logs in the order they were created.
    created: BTreeMap<u64, LogId>,
    documents: BTreeMap<LogId, BTreeMap<DocumentPath, Document>>,
}

#[derive(Debug)]
enum Slot {
    Live(Log),
    Deleted,
}

#[derive(Debug)]
struct Log {
    position: u64,
    /// Shared with readers: a read keeps what it saw, however the log grows.
    bodies: Arc<Vec<Bytes>>,
    labels: Labels,
    sealed: bool,
    newest: (AppendId, Digest),
}

fn error(operation: &'static str, kind: Kind, message: &str) -> StateStoreError {
    StateStoreError::new(kind, ADAPTER, operation, message)
}

/// What an append says, apart from where: repeating an id with anything else is refused.
fn content(append: &Append) -> Digest {
    let mut all = Vec::new();
    let mut add = |bytes: &[u8]| {
        all.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        all.extend_from_slice(bytes);
    };
    append.bodies.iter().for_each(|body| add(body));
    add(b"labels");
    for (name, value) in &append.labels {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    add(&[u8::from(append.seal)]);
    Digest::of(&all)
}

fn check(append: &Append) -> Result<(), StateStoreError> {
    let refuse = |kind, message| Err(error("append", kind, message));
    let long = |text: &String| text.len() > MAX_LABEL_BYTES;
    if append.bodies.is_empty() {
        return refuse(Kind::Rejected, "an append has at least one body");
    }
    if append.labels.len() > MAX_LABELS || append.labels.iter().any(|(name, value)| long(name) || long(value)) {
        return refuse(Kind::Rejected, "too many labels, or one is too long");
    }
    if append.bodies.iter().map(Bytes::len).sum::<usize>() > MAX_APPEND_BYTES {
        return refuse(Kind::TooLarge, "the bodies have more than 8 MiB");
    }
    Ok(())
}

impl Logs {
    fn append(&mut self, append: Append) -> Result<Appended, StateStoreError> {
        check(&append)?;
        let digest = content(&append);
        let conflict = |head| Err(error("append", Kind::Conflict { head }, "the head is not the expected one"));
        let log = match self.logs.get_mut(&append.log) {
            Some(Slot::Deleted) => return Err(error("append", Kind::Gone, "the log was deleted")),
            Some(Slot::Live(log)) => log,
            None if append.expected != Expected::Absent => return conflict(None),
            None => {
                let position = self.created.last_key_value().map_or(1, |(last, _log)| last.saturating_add(1));
                self.created.insert(position, append.log.clone());
                let head = Seq(append.bodies.len() as u64);
                let log = Log {
                    position,
                    bodies: Arc::new(append.bodies),
                    labels: append.labels,
                    sealed: append.seal,
                    newest: (append.id, digest),
                };
                self.logs.insert(append.log, Slot::Live(log));
                return Ok(Appended { head });
            }
        };
        let head = Seq(log.bodies.len() as u64);
        if log.newest.0 == append.id {
            return if log.newest.1 == digest {
                Ok(Appended { head })
            } else {
                Err(error("append", Kind::Rejected, "the append's id was used with other content"))
            };
        }
        if log.sealed {
            return Err(error("append", Kind::Sealed, "the log is closed"));
        }
        if append.expected != Expected::Head(head) {
            return conflict(Some(head));
        }
        Arc::make_mut(&mut log.bodies).extend(append.bodies);
        log.labels = append.labels;
        log.sealed = append.seal;
        log.newest = (append.id, digest);
        Ok(Appended { head: Seq(log.bodies.len() as u64) })
    }

    fn live(&self, log: &LogId) -> Option<&Log> {
        match self.logs.get(log) {
            Some(Slot::Live(log)) => Some(log),
            Some(Slot::Deleted) | None => None,
        }
    }

    fn head(&self, log: &LogId) -> Option<Head> {
        let found = self.live(log)?;
        Some(Head {
            log: log.clone(),
            seq: Seq(found.bodies.len() as u64),
            sealed: found.sealed,
            labels: found.labels.clone(),
        })
    }

    fn version(&self, key: &DocumentKey) -> Option<Version> {
        self.documents.get(&key.scope)?.get(&key.path).map(|document| document.version)
    }

    fn expect(&self, operation: &'static str, key: &DocumentKey, expected: ExpectedVersion) -> Result<(), StateStoreError> {
        let found = self.version(key);
        let fits = match expected {
            ExpectedVersion::Any => true,
            ExpectedVersion::Absent => found.is_none(),
            ExpectedVersion::Version(version) => found == Some(version),
        };
        if fits {
            Ok(())
        } else {
            Err(error(operation, Kind::Conflict { head: None }, "the document's version is not the expected one"))
        }
    }
}

#[async_trait]
impl StateStore for MemoryStateStore {
    fn info(&self) -> AdapterInfo {
        info()
    }

    fn capabilities(&self) -> StateStoreCapabilities {
        StateStoreCapabilities {
            durability: Durability::Volatile,
            eventual_list: false,
            watch: false,
            max_append_bytes: MAX_APPEND_BYTES,
        }
    }

    async fn append(&self, append: Append) -> Result<Appended, StateStoreError> {
        locked(&self.0).append(append)
    }

    fn read(&self, log: &LogId, after: Seq) -> BoxStream<'static, Result<Record, StateStoreError>> {
        let bodies = locked(&self.0).live(log).map(|log| Arc::clone(&log.bodies)).unwrap_or_default();
        let from = usize::try_from(after.0).unwrap_or(usize::MAX);
        let records = (from..bodies.len()).filter_map(move |index| {
            let body = bodies.get(index)?.clone();
            Some(Ok(Record { seq: Seq(index as u64).next(), body }))
        });
        stream::iter(records).boxed()
    }

    async fn head(&self, log: &LogId) -> Result<Option<Head>, StateStoreError> {
        Ok(locked(&self.0).head(log))
    }

    async fn list(&self, query: HeadQuery) -> Result<Page<Head>, StateStoreError> {
        let after = match &query.page {
            None => None,
            Some(token) => {
                let position = token.0.parse::<u64>();
                Some(position.map_err(|_error| error("list", Kind::Rejected, "this is no page token of this store"))?)
            }
        };
        let logs = locked(&self.0);
        let fits = |head: &Head| {
            head.log.kind == query.kind
                && query.labels.iter().all(|(name, value)| head.labels.get(name) == Some(value))
        };
        let heads = |(position, log): (&u64, &LogId)| Some((*position, logs.head(log)?));
        let token = |item: &(u64, Head)| item.0.to_string();
        let found = match query.order {
            Order::OldestFirst => {
                let from = after.map_or(0, |position| position.saturating_add(1));
                page(
                    logs.created.range(from..).filter_map(heads).filter(|(_position, head)| fits(head)),
                    query.limit,
                    token,
                )
            }
            Order::NewestFirst => page(
                logs.created
                    .range(..after.unwrap_or(u64::MAX))
                    .rev()
                    .filter_map(heads)
                    .filter(|(_position, head)| fits(head)),
                query.limit,
                token,
            ),
        };
        Ok(Page { items: found.items.into_iter().map(|(_position, head)| head).collect(), next: found.next })
    }

    async fn delete(&self, log: &LogId) -> Result<(), StateStoreError> {
        let mut logs = locked(&self.0);
        if let Some(position) = logs.live(log).map(|log| log.position) {
            logs.created.remove(&position);
        }
        logs.documents.remove(log);
        logs.logs.insert(log.clone(), Slot::Deleted);
        Ok(())
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, StateStoreError> {
        Ok(locked(&self.0).documents.get(&key.scope).and_then(|scope| scope.get(&key.path)).cloned())
    }

    async fn put(&self, put: PutDocument) -> Result<Version, StateStoreError> {
        if put.value.len() > MAX_APPEND_BYTES {
            return Err(error("put", Kind::TooLarge, "the value has more than 8 MiB"));
        }
        let mut logs = locked(&self.0);
        if matches!(logs.logs.get(&put.key.scope), Some(Slot::Deleted)) {
            return Err(error("put", Kind::Gone, "the scope was deleted"));
        }
        logs.expect("put", &put.key, put.expected)?;
        let version = Version(logs.version(&put.key).map_or(1, |version| version.0.saturating_add(1)));
        let document = Document { version, writer: put.writer, value: put.value };
        logs.documents.entry(put.key.scope).or_default().insert(put.key.path, document);
        Ok(version)
    }

    async fn remove(&self, key: &DocumentKey, expected: ExpectedVersion) -> Result<(), StateStoreError> {
        let mut logs = locked(&self.0);
        logs.expect("remove", key, expected)?;
        if let Some(scope) = logs.documents.get_mut(&key.scope) {
            scope.remove(&key.path);
        }
        Ok(())
    }

    async fn list_documents(&self, query: DocumentQuery) -> Result<Page<DocumentEntry>, StateStoreError> {
        let logs = locked(&self.0);
        let after = query.page.as_ref().map(|token| token.0.as_str());
        let entries = logs
            .documents
            .get(&query.scope)
            .into_iter()
            .flatten()
            .filter(|(path, _document)| path.as_str().starts_with(&query.prefix))
            .filter(|(path, _document)| after.is_none_or(|after| path.as_str() > after))
            .map(|(path, document)| DocumentEntry {
                path: path.clone(),
                version: document.version,
                writer: document.writer.clone(),
                size: document.value.len() as u64,
            });
        Ok(page(entries, query.limit, |entry| entry.path.to_string()))
    }

    fn as_watch(&self) -> Option<&dyn StateStoreWatch> {
        None
    }
}
