//! State stores with a bug.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use seaworthy_contract::state_store::{Harness, Opened};
use seaworthy_memory::MemoryStateStore;
use seaworthy_ports::state_store::{
    Append, Appended, Document, DocumentEntry, DocumentKey, DocumentQuery, Expected,
    ExpectedVersion, Head, HeadQuery, Kind, Labels, Page, PageToken, PutDocument, Record, Seq,
    StateStore, StateStoreCapabilities, StateStoreError, StateStoreWatch, Version,
};
use seaworthy_ports::{
    AdapterInfo, AppendId, BoxStream, Durability, LogId, LogName, WriterId, async_trait,
};

pub(crate) const NONE: u8 = 0;
pub(crate) const TORN_APPEND: u8 = 1;
pub(crate) const WRITES_BEFORE_CHECK: u8 = 2;
pub(crate) const STALE_CONFLICT: u8 = 3;
pub(crate) const UNLOCKED_CHECK: u8 = 4;
pub(crate) const FORGETS_IDS: u8 = 5;
pub(crate) const FORGETS_CONTENT: u8 = 6;
pub(crate) const LOST_SEAL: u8 = 7;
pub(crate) const BODIES_AS_TEXT: u8 = 8;
pub(crate) const READS_FROM: u8 = 9;
pub(crate) const LABELS_ADD_UP: u8 = 10;
pub(crate) const PAGES_BY_OFFSET: u8 = 11;
pub(crate) const ONE_LABEL: u8 = 12;
pub(crate) const FAILS_TOGETHER: u8 = 13;
pub(crate) const NO_TOMBSTONE: u8 = 14;
pub(crate) const KEEPS_DOCUMENTS: u8 = 15;
pub(crate) const NO_LIMIT: u8 = 16;
pub(crate) const LOST_WRITER: u8 = 17;
pub(crate) const ANY_VERSION: u8 = 18;
pub(crate) const STALE_HANDLE: u8 = 19;
pub(crate) const SECRET_WATCH: u8 = 20;
pub(crate) const TORN_BY_DEATH: u8 = 21;
pub(crate) const STALLS_ALL: u8 = 22;
pub(crate) const HEAD_OF_BEFORE: u8 = 23;
pub(crate) const CONFLICT_OF_BEFORE: u8 = 24;
pub(crate) const READ_OF_BEFORE: u8 = 25;
pub(crate) const ID_IN_A_SECOND_STEP: u8 = 26;
pub(crate) const PART_WITHOUT_ROOM: u8 = 27;
pub(crate) const LOSES_THE_NEWEST: u8 = 28;
pub(crate) const ENDS_EARLIER: u8 = 29;
pub(crate) const NO_VERSION: u8 = 30;
pub(crate) const DAMAGE_IS_SHORTER: u8 = 31;
pub(crate) const DAMAGE_SPREADS: u8 = 32;
pub(crate) const LOST_REPLY_IS_A_FAILURE: u8 = 33;
pub(crate) const LOST_REPLY_IS_FORGOTTEN: u8 = 34;

const SEAL: &str = "sealed";

/// What has no room where there is none.
const NO_ROOM_FOR: usize = 1 << 20;

pub(crate) struct Broken(Arc<Store>);

impl Broken {
    /// What another store holds after the end of this one, without the newest so many records of each log.
    async fn survivors(&self, lost: usize) -> Arc<dyn StateStore> {
        let heir = MemoryStateStore::default();
        let query = HeadQuery {
            kind: "run".parse().unwrap(),
            labels: Labels::new(),
            order: seaworthy_ports::state_store::Order::OldestFirst,
            limit: std::num::NonZeroU32::MAX,
            page: None,
        };
        for head in self.0.list(query).await.unwrap().items {
            let records: Vec<Record> = self
                .0
                .read(&head.log, Seq::ZERO)
                .try_collect()
                .await
                .unwrap();
            let kept = records.len() - lost;
            let append = Append {
                id: AppendId::new("all").unwrap(),
                log: head.log,
                expected: Expected::Absent,
                bodies: records
                    .into_iter()
                    .take(kept)
                    .map(|record| record.body)
                    .collect(),
                labels: head.labels,
                seal: head.sealed,
            };
            heir.append(append).await.unwrap();
        }
        Arc::new(heir)
    }
}

#[async_trait]
impl Harness for Broken {
    async fn start() -> Self {
        Self(Arc::default())
    }

    fn store(&self) -> Arc<dyn StateStore> {
        Arc::<Store>::clone(&self.0)
    }

    async fn second_handle(&self) -> Option<Arc<dyn StateStore>> {
        Some(Arc::new(Store {
            is_second: true,
            ..Store::over(self.0.bug, Arc::clone(&self.0.inner))
        }))
    }

    async fn corrupt(&self, log: &LogId) -> bool {
        *self.0.damaged.lock().unwrap() = Some(log.clone());
        true
    }

    async fn lose_next_reply(&self) -> bool {
        let loses = matches!(
            self.0.bug,
            LOST_REPLY_IS_A_FAILURE | LOST_REPLY_IS_FORGOTTEN
        );
        self.0.loses_next_reply.store(loses, Ordering::SeqCst);
        loses
    }

    async fn without_room(&self) -> Option<Arc<dyn StateStore>> {
        matches!(self.0.bug, NONE | PART_WITHOUT_ROOM).then(|| {
            Arc::new(Store {
                has_no_room: true,
                ..Store::over(self.0.bug, Arc::clone(&self.0.inner))
            }) as Arc<dyn StateStore>
        })
    }

    async fn open_as_if_newer(&self) -> Option<Opened> {
        Some(match self.0.bug {
            NO_VERSION => Ok(self.store()),
            _ => Err(error(Kind::Rejected, "it is newer")),
        })
    }

    async fn reopen_after_a_torn_write(&self) -> Option<Opened> {
        Some(Ok(self
            .survivors(usize::from(self.0.bug == LOSES_THE_NEWEST))
            .await))
    }

    async fn reopen_after_losing_the_end(&self) -> Option<Opened> {
        Some(match self.0.bug {
            ENDS_EARLIER => Ok(self.survivors(1).await),
            _ => Err(error(Kind::Corrupt, "its end is missing")),
        })
    }
}

fn error(kind: Kind, why: &'static str) -> StateStoreError {
    StateStoreError::new(kind, "broken", "append", why)
}

#[derive(Debug)]
pub(super) struct Store {
    bug: u8,
    inner: Arc<dyn StateStore>,
    is_second: bool,
    has_no_room: bool,
    damaged: Mutex<Option<LogId>>,
    loses_next_reply: AtomicBool,
    number: AtomicUsize,
    in_flight: AtomicUsize,
    failed: Mutex<Option<LogId>>,
    generations: Mutex<BTreeMap<LogId, usize>>,
    cached: Mutex<BTreeMap<LogId, Option<Head>>>,
    /// Appends to one log, or to all, wait here for each other.
    gate: tokio::sync::Mutex<()>,
    gates: Mutex<BTreeMap<LogId, Arc<tokio::sync::Mutex<()>>>>,
    /// The newest append of each log and its outcome.
    newest: Mutex<BTreeMap<LogId, (Append, Appended)>>,
    /// What was read last of each log.
    records: Arc<Mutex<BTreeMap<LogId, Vec<Record>>>>,
}

impl Default for Store {
    fn default() -> Self {
        Self::over(super::chosen(), Arc::new(MemoryStateStore::default()))
    }
}

impl Store {
    pub(super) fn over(bug: u8, inner: Arc<dyn StateStore>) -> Self {
        Self {
            bug,
            inner,
            is_second: false,
            has_no_room: false,
            gate: tokio::sync::Mutex::default(),
            gates: Mutex::default(),
            newest: Mutex::default(),
            records: Arc::default(),
            damaged: Mutex::default(),
            loses_next_reply: AtomicBool::default(),
            number: AtomicUsize::default(),
            in_flight: AtomicUsize::default(),
            failed: Mutex::default(),
            generations: Mutex::default(),
            cached: Mutex::default(),
        }
    }

    /// The log's name in the store beneath.
    fn real(&self, log: &LogId) -> LogId {
        match self.generations.lock().unwrap().get(log) {
            Some(generation) => LogId::new(
                log.kind.clone(),
                LogName::new(format!("{}.again{generation}", log.name)).unwrap(),
            ),
            None => log.clone(),
        }
    }

    fn scope(&self, key: &DocumentKey) -> DocumentKey {
        DocumentKey {
            scope: self.documents(&key.scope),
            path: key.path.clone(),
        }
    }

    fn documents(&self, scope: &LogId) -> LogId {
        if self.bug != KEEPS_DOCUMENTS {
            return scope.clone();
        }
        LogId::new(
            scope.kind.clone(),
            LogName::new(format!("documents-{}", scope.name)).unwrap(),
        )
    }

    fn expected(&self, expected: ExpectedVersion) -> ExpectedVersion {
        if self.bug == ANY_VERSION {
            ExpectedVersion::Any
        } else {
            expected
        }
    }

    async fn force(&self, append: Append) -> Result<Appended, StateStoreError> {
        for _try in 0..100 {
            let head = self.inner.head(&append.log).await?;
            let expected = head.map_or(Expected::Absent, |head| Expected::Head(head.seq));
            match self
                .inner
                .append(Append {
                    expected,
                    ..append.clone()
                })
                .await
            {
                Err(error) if matches!(error.kind(), Kind::Conflict { .. }) => {}
                other => return other,
            }
        }
        panic!("a hundred races lost");
    }
}

fn failed(kind: Kind, why: &'static str) -> StateStoreError {
    StateStoreError::new(kind, "broken", "call", why)
}

#[async_trait]
impl StateStore for Store {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> StateStoreCapabilities {
        let mut capabilities = self.inner.capabilities();
        if self.bug == NO_LIMIT {
            capabilities.max_append_bytes = 1 << 20;
        }
        capabilities.watch = self.bug != SECRET_WATCH;
        if self.bug == super::MODEST {
            capabilities.durability = Durability::Volatile;
        }
        capabilities
    }

    async fn append(&self, append: Append) -> Result<Appended, StateStoreError> {
        let mut append = Append {
            log: self.real(&append.log),
            ..append
        };
        if self.loses_next_reply.swap(false, Ordering::SeqCst) {
            if self.bug == LOST_REPLY_IS_FORGOTTEN {
                append.id = AppendId::new(format!("{}.sent", append.id)).unwrap();
            }
            self.inner.append(append).await?;
            let lost = failed(Kind::Unavailable, "the reply was lost");
            return Err(if self.bug == LOST_REPLY_IS_A_FAILURE {
                lost
            } else {
                lost.with_unknown_effect()
            });
        }
        match self.bug {
            TORN_APPEND if append.bodies.len() > 2 && append.seal => {
                append.bodies.truncate(2);
                self.inner.append(append).await.map(|appended| Appended {
                    head: appended.head.next(),
                })
            }
            TORN_BY_DEATH if append.bodies.len() == 2 => {
                let rest = append.bodies.split_off(1);
                let first = Append {
                    id: AppendId::new(format!("{}.first", append.id)).unwrap(),
                    ..append.clone()
                };
                let head = self.inner.append(first).await?.head;
                let (expected, bodies) = (Expected::Head(head), rest);
                self.inner
                    .append(Append {
                        expected,
                        bodies,
                        ..append
                    })
                    .await
            }
            WRITES_BEFORE_CHECK => match self.inner.append(append.clone()).await {
                Err(error)
                    if matches!(error.kind(), Kind::Conflict { head: Some(_) }) && append.seal =>
                {
                    append.bodies.truncate(1);
                    append.seal = false;
                    self.force(append).await?;
                    Err(error)
                }
                other => other,
            },
            STALE_CONFLICT => self
                .inner
                .append(append)
                .await
                .map_err(|error| match error.kind() {
                    Kind::Conflict {
                        head: Some(Seq(head)),
                    } => {
                        let kind = Kind::Conflict {
                            head: Some(Seq(head - 1)),
                        };
                        StateStoreError::new(kind, "broken", "append", "a stale head")
                    }
                    _ => error,
                }),
            UNLOCKED_CHECK => {
                let head = self.inner.head(&append.log).await?;
                let before = head.as_ref().map(|head| head.seq);
                let is_expected = match append.expected {
                    Expected::Absent => before.is_none(),
                    Expected::Head(seq) => before == Some(seq),
                };
                if !is_expected || append.id.as_str().ends_with(".1") {
                    return self.inner.append(append).await;
                }
                let id = append.id.clone();
                tokio::time::sleep(Duration::from_millis(2)).await;
                match self.inner.append(append.clone()).await {
                    Err(error) if matches!(error.kind(), Kind::Conflict { .. }) => {
                        self.force(Append { id, ..append }).await
                    }
                    other => other,
                }
            }
            FORGETS_IDS => {
                let number = self.number.fetch_add(1, Ordering::SeqCst);
                let handle = u8::from(self.is_second);
                append.id = AppendId::new(format!("{}.{handle}.{number}", append.id)).unwrap();
                self.inner.append(append).await
            }
            FORGETS_CONTENT => match self.inner.append(append.clone()).await {
                Err(error)
                    if error.kind() == Kind::Rejected
                        && !append.bodies.is_empty()
                        && append.labels.len() < 2 =>
                {
                    match self.inner.head(&append.log).await? {
                        Some(head) => Ok(Appended { head: head.seq }),
                        None => Err(error),
                    }
                }
                other => other,
            },
            LOST_SEAL => {
                // Told to whoever asks, enforced by nobody.
                if append.seal {
                    append.labels.insert(SEAL.to_owned(), String::new());
                }
                append.seal = false;
                self.inner.append(append).await
            }
            BODIES_AS_TEXT => {
                let text = |body: &Bytes| Bytes::from(String::from_utf8_lossy(body).into_owned());
                append.bodies = append.bodies.iter().map(text).collect();
                self.inner.append(append).await
            }
            LABELS_ADD_UP => {
                if let Some(head) = self.inner.head(&append.log).await? {
                    let mut labels: Labels = head.labels;
                    if !labels.contains_key("n") && !labels.contains_key("status") {
                        labels.extend(append.labels);
                        append.labels = labels;
                    }
                }
                self.inner.append(append).await
            }
            FAILS_TOGETHER => {
                let alone = self.in_flight.fetch_add(1, Ordering::SeqCst) == 0;
                tokio::task::yield_now().await;
                let neighbour = self
                    .failed
                    .lock()
                    .unwrap()
                    .take_if(|log| *log != append.log);
                let appended = if neighbour.is_some() {
                    Err(StateStoreError::new(
                        Kind::Unavailable,
                        "broken",
                        "append",
                        "the group failed",
                    ))
                } else {
                    self.inner.append(append.clone()).await
                };
                if appended.is_err() && !alone && neighbour.is_none() {
                    *self.failed.lock().unwrap() = Some(append.log);
                }
                if self.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
                    *self.failed.lock().unwrap() = None;
                }
                appended
            }
            STALLS_ALL => {
                let _alone = self.gate.lock().await;
                tokio::task::yield_now().await;
                self.inner.append(append).await
            }
            HEAD_OF_BEFORE | READ_OF_BEFORE => {
                self.in_flight.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                let appended = self.inner.append(append).await;
                self.in_flight.fetch_sub(1, Ordering::SeqCst);
                appended
            }
            CONFLICT_OF_BEFORE => {
                let expected = append.expected;
                let others = self.in_flight.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                let appended = self.inner.append(append).await;
                self.in_flight.fetch_sub(1, Ordering::SeqCst);
                appended.map_err(|conflict| match conflict.kind() {
                    Kind::Conflict {
                        head: Some(Seq(head)),
                    } if others > 0 && head > 4 => {
                        let head = Seq(head - 4);
                        let is_expected = expected == Expected::Head(head);
                        let head = if is_expected { Seq(head.0 + 1) } else { head };
                        error(Kind::Conflict { head: Some(head) }, "a head of the past")
                    }
                    _ => conflict,
                })
            }
            ID_IN_A_SECOND_STEP => {
                let gate = Arc::clone(
                    self.gates
                        .lock()
                        .unwrap()
                        .entry(append.log.clone())
                        .or_default(),
                );
                let _alone = gate.lock().await;
                let is_there = self.inner.head(&append.log).await?.is_some();
                let newest = self.newest.lock().unwrap().get(&append.log).cloned();
                if let Some((newest, outcome)) =
                    newest.filter(|(newest, _)| newest.id == append.id && is_there)
                {
                    return if newest == append {
                        Ok(outcome)
                    } else {
                        Err(error(Kind::Rejected, "other content"))
                    };
                }
                let number = self.number.fetch_add(1, Ordering::SeqCst);
                let unique = Append {
                    id: AppendId::new(format!("{}.{number}", append.id)).unwrap(),
                    ..append.clone()
                };
                let outcome = self.inner.append(unique).await?;
                tokio::task::yield_now().await;
                self.newest
                    .lock()
                    .unwrap()
                    .insert(append.log.clone(), (append, outcome));
                Ok(outcome)
            }
            NONE | PART_WITHOUT_ROOM
                if self.has_no_room
                    && append.bodies.iter().any(|body| body.len() > NO_ROOM_FOR) =>
            {
                if self.bug == PART_WITHOUT_ROOM {
                    append.bodies.retain(|body| body.len() <= NO_ROOM_FOR);
                    append.seal = false;
                    if !append.bodies.is_empty() {
                        self.inner.append(append).await?;
                    }
                }
                Err(error(Kind::Unavailable, "there is no room"))
            }
            _ => self.inner.append(append).await,
        }
    }

    fn read(&self, log: &LogId, after: Seq) -> BoxStream<'static, Result<Record, StateStoreError>> {
        let log = self.real(log);
        let damaged = self.damaged.lock().unwrap().clone();
        if let Some(damaged) = damaged
            && (damaged == log || self.bug == DAMAGE_SPREADS)
        {
            let corrupt = || failed(Kind::Corrupt, "a record cannot be decoded");
            return if self.bug == DAMAGE_IS_SHORTER {
                stream::empty().boxed()
            } else {
                stream::iter([Err(corrupt())]).boxed()
            };
        }
        match self.bug {
            READ_OF_BEFORE => {
                let before = (self.in_flight.load(Ordering::SeqCst) > 0
                    && log.name.as_str().starts_with("history"))
                .then(|| self.records.lock().unwrap().get(&log).cloned())
                .flatten();
                if let Some(before) = before {
                    return stream::iter(before.into_iter().map(Ok)).boxed();
                }
                let (inner, records) = (Arc::clone(&self.inner), Arc::clone(&self.records));
                stream::once(async move {
                    let found: Vec<Record> = inner.read(&log, after).try_collect().await?;
                    records.lock().unwrap().insert(log, found.clone());
                    Ok(stream::iter(found.into_iter().map(Ok)))
                })
                .try_flatten()
                .boxed()
            }
            READS_FROM => self.inner.read(&log, Seq(after.0.saturating_sub(1))),
            _ => self.inner.read(&log, after),
        }
    }

    async fn head(&self, log: &LogId) -> Result<Option<Head>, StateStoreError> {
        if self.bug == STALE_HANDLE && self.is_second {
            if let Some(cached) = self.cached.lock().unwrap().get(log) {
                return Ok(cached.clone());
            }
            let head = self.inner.head(log).await?;
            self.cached
                .lock()
                .unwrap()
                .insert(log.clone(), head.clone());
            return Ok(head);
        }
        if self.bug == HEAD_OF_BEFORE
            && self.is_second
            && self.in_flight.load(Ordering::SeqCst) > 0
            && let Some(cached) = self.cached.lock().unwrap().get(log)
        {
            return Ok(cached.clone());
        }
        let mut head = self.inner.head(&self.real(log)).await?;
        if self.bug == HEAD_OF_BEFORE {
            self.cached
                .lock()
                .unwrap()
                .insert(log.clone(), head.clone());
        }
        if let Some(head) = &mut head {
            head.log = log.clone();
            head.sealed |= head.labels.remove(SEAL).is_some();
        }
        Ok(head)
    }

    async fn list(&self, query: HeadQuery) -> Result<Page<Head>, StateStoreError> {
        match self.bug {
            PAGES_BY_OFFSET => {
                let offset: usize = query
                    .page
                    .as_ref()
                    .map_or(0, |token| token.0.parse().unwrap());
                let limit = query.limit.get() as usize;
                let everything = HeadQuery {
                    page: None,
                    limit: std::num::NonZeroU32::MAX,
                    ..query
                };
                let all = self.inner.list(everything).await?.items;
                let more = all.len() > offset + limit;
                let items = all.into_iter().skip(offset).take(limit).collect();
                Ok(Page {
                    items,
                    next: more.then(|| PageToken((offset + limit).to_string())),
                })
            }
            ONE_LABEL => {
                let labels = query.labels.into_iter().rev().take(1).collect();
                self.inner.list(HeadQuery { labels, ..query }).await
            }
            _ => self.inner.list(query).await,
        }
    }

    async fn delete(&self, log: &LogId) -> Result<(), StateStoreError> {
        self.inner.delete(&self.real(log)).await?;
        if self.bug == NO_TOMBSTONE && log.name.as_str() != "gone" {
            *self
                .generations
                .lock()
                .unwrap()
                .entry(log.clone())
                .or_default() += 1;
        }
        Ok(())
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, StateStoreError> {
        self.inner.get(&self.scope(key)).await
    }

    async fn put(&self, put: PutDocument) -> Result<Version, StateStoreError> {
        let writer = if self.bug == LOST_WRITER {
            WriterId::new("somebody").unwrap()
        } else {
            put.writer
        };
        let (key, expected) = (self.scope(&put.key), self.expected(put.expected));
        self.inner
            .put(PutDocument {
                key,
                expected,
                writer,
                ..put
            })
            .await
    }

    async fn remove(
        &self,
        key: &DocumentKey,
        expected: ExpectedVersion,
    ) -> Result<(), StateStoreError> {
        self.inner
            .remove(&self.scope(key), self.expected(expected))
            .await
    }

    async fn list_documents(
        &self,
        query: DocumentQuery,
    ) -> Result<Page<DocumentEntry>, StateStoreError> {
        self.inner
            .list_documents(DocumentQuery {
                scope: self.documents(&query.scope),
                ..query
            })
            .await
    }

    fn as_watch(&self) -> Option<&dyn StateStoreWatch> {
        self.inner.as_watch()
    }
}
