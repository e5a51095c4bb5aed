//! A naive store, as somebody would begin to write one: hash maps under a mutex. Its bugs are bits, so that it can have
//! any of them together.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use seaworthy_ports::state_store::{
    Append, Appended, Document, DocumentEntry, DocumentKey, DocumentQuery, Expected,
    ExpectedVersion, Head, HeadQuery, Kind, Labels, MAX_LABEL_BYTES, MAX_LABELS, Order, Page,
    PageToken, PutDocument, Record, Seq, StateStore, StateStoreCapabilities, StateStoreError,
    StateStoreWatch, Version,
};
use seaworthy_ports::{AdapterInfo, Durability, LogId, LogName, WriterId, async_trait};

/// The bugs, each a bit with the clause it breaks.
macro_rules! bugs {
    ($($name:ident => $clause:literal)*) => {
        #[derive(Clone, Copy)]
        #[expect(non_camel_case_types, reason = "only their numbers are used")]
        enum Number { $($name),* }

        $(pub(crate) const $name: u64 = 1 << Number::$name as u64;)*

        /// Every bug with its name and its clause.
        pub(crate) const BUGS: &[(u64, &str, &str)] = &[$(($name, stringify!($name), $clause)),*];
    };
}

bugs! {
    EMPTY_IS_TAKEN => "SS-1"
    THIRD_BODY_IS_LOST => "SS-1"
    SEQUENCES_FROM_ZERO => "SS-1"
    NO_HEAD_CHECK => "SS-2"
    CONFLICT_WITH_EXPECTED_HEAD => "SS-2"
    CREATES_WHAT_IS_THERE => "SS-2"
    WRITES_BEFORE_CHECK => "SS-2"
    UNLOCKED_CHECK => "SS-3"
    FORGETS_IDS => "SS-4"
    ID_WITHOUT_CONTENT => "SS-4"
    SEAL_IS_IGNORED => "SS-5"
    SEAL_IS_NOT_ENFORCED => "SS-5"
    SEAL_IS_CHECKED_LAST => "SS-5"
    READS_FROM => "SS-6"
    READS_ALL => "SS-6"
    READS_BACKWARDS => "SS-6"
    READS_A_THOUSAND => "SS-6"
    BODIES_AS_TEXT => "SS-6"
    LABELS_ARE_MERGED => "SS-7"
    LABELS_ARE_LOST => "SS-7"
    FIRST_LABELS_STAY => "SS-7"
    ANY_LABEL_WILL_DO => "SS-7"
    LIST_BY_NAME => "SS-7"
    PAGES_REPEAT => "SS-7"
    NO_LABEL_LIMIT => "SS-7"
    CASE_IS_FOLDED => "SS-8"
    A_FAILURE_POISONS_THE_NEXT => "SS-8"
    CLAIMS_TO_SURVIVE => "SS-9"
    NO_TOMBSTONE => "SS-10"
    KEEPS_DOCUMENTS => "SS-10"
    DELETES_ONCE => "SS-10"
    LISTS_WHAT_IS_DELETED => "SS-10"
    NO_LIMIT => "SS-11"
    LIMIT_OFF_BY_ONE => "SS-11"
    LIMIT_OF_EACH_BODY => "SS-11"
    DAMAGE_IS_EMPTY => "SS-12"
    NO_VERSIONS => "SS-13"
    LOST_WRITER => "SS-13"
    VERSION_STAYS_ONE => "SS-13"
    REMOVES_ANY_VERSION => "SS-13"
    DOCUMENTS_UNSORTED => "SS-13"
    HANDLES_APART => "SS-14"
    WATCH_IS_NOT_THERE => "SS-15"
    LOST_REPLY_HAS_NO_EFFECT => "SS-16"
}

const MOST: usize = 1 << 18;

#[derive(Debug, Default)]
struct Log {
    created: u64,
    bodies: Vec<Bytes>,
    labels: Labels,
    sealed: bool,
    newest: Option<Append>,
    damaged: bool,
}

#[derive(Debug, Default)]
struct State {
    created: u64,
    logs: HashMap<LogId, Log>,
    gone: HashSet<LogId>,
    deleted: Vec<Head>,
    documents: HashMap<DocumentKey, Document>,
    loses_next_reply: bool,
    poisoned_by: Option<LogId>,
}

#[derive(Debug)]
pub(crate) struct Naive {
    bugs: u64,
    state: Mutex<State>,
}

fn failed<T>(kind: Kind) -> Result<T, StateStoreError> {
    Err(StateStoreError::new(kind, "naive", "call", "it failed"))
}

impl Naive {
    pub(crate) fn new(bugs: u64) -> Self {
        Self {
            bugs,
            state: Mutex::default(),
        }
    }

    fn has(&self, bug: u64) -> bool {
        self.bugs & bug != 0
    }

    pub(crate) fn damage(&self, log: &LogId) -> bool {
        let mut state = self.state.lock().unwrap();
        state
            .logs
            .get_mut(log)
            .map(|log| log.damaged = true)
            .is_some()
    }

    pub(crate) fn lose_next_reply(&self) {
        self.state.lock().unwrap().loses_next_reply = true;
    }

    fn name(&self, log: &LogId) -> LogId {
        if !self.has(CASE_IS_FOLDED) {
            return log.clone();
        }
        let name = LogName::new(log.name.as_str().to_lowercase()).unwrap();
        LogId::new(log.kind.clone(), name)
    }

    fn is_too_large(&self, append: &Append) -> bool {
        let sizes = append.bodies.iter().map(Bytes::len);
        let size = if self.has(LIMIT_OF_EACH_BODY) {
            sizes.max().unwrap_or(0)
        } else {
            sizes.sum()
        };
        let most = if self.has(LIMIT_OFF_BY_ONE) {
            MOST - 1
        } else {
            MOST
        };
        size > most && !self.has(NO_LIMIT)
    }

    /// What stands against an append; `Ok(Some)`: it was done before.
    fn check(&self, state: &State, append: &Append) -> Result<Option<Appended>, StateStoreError> {
        if state.gone.contains(&append.log) {
            return failed(Kind::Gone);
        }
        if append.bodies.is_empty() && !self.has(EMPTY_IS_TAKEN) {
            return failed(Kind::Rejected);
        }
        if self.is_too_large(append) {
            return failed(Kind::TooLarge);
        }
        let is_long = |text: &String| text.len() > MAX_LABEL_BYTES;
        let too_long = append
            .labels
            .iter()
            .any(|(name, value)| is_long(name) || is_long(value));
        if (append.labels.len() > MAX_LABELS || too_long) && !self.has(NO_LABEL_LIMIT) {
            return failed(Kind::Rejected);
        }
        let log = state.logs.get(&append.log);
        let head = log.map(|log| Seq(log.bodies.len() as u64));
        let newest = log.and_then(|log| log.newest.as_ref());
        if let (Some(newest), Some(head)) = (newest, head)
            && newest.id == append.id
            && !self.has(FORGETS_IDS)
        {
            return if newest == append || self.has(ID_WITHOUT_CONTENT) {
                Ok(Some(Appended { head }))
            } else {
                failed(Kind::Rejected)
            };
        }
        let is_sealed = log.is_some_and(|log| log.sealed) && !self.has(SEAL_IS_NOT_ENFORCED);
        if is_sealed && !self.has(SEAL_IS_CHECKED_LAST) {
            return failed(Kind::Sealed);
        }
        let (is_so, expected) = match append.expected {
            Expected::Absent => (head.is_none() || self.has(CREATES_WHAT_IS_THERE), None),
            Expected::Head(seq) => (head == Some(seq), Some(seq)),
        };
        if !is_so && !self.has(NO_HEAD_CHECK) {
            let head = if self.has(CONFLICT_WITH_EXPECTED_HEAD) {
                expected
            } else {
                head
            };
            return failed(Kind::Conflict { head });
        }
        if is_sealed {
            return failed(Kind::Sealed);
        }
        Ok(None)
    }

    fn write(&self, state: &mut State, append: Append) -> Appended {
        state.created += 1;
        let created = state.created;
        let log = state.logs.entry(append.log.clone()).or_insert_with(|| Log {
            created,
            labels: append.labels.clone(),
            ..Log::default()
        });
        let claimed = Seq((log.bodies.len() + append.bodies.len()) as u64);
        for (number, body) in append.bodies.iter().enumerate() {
            if number == 2 && self.has(THIRD_BODY_IS_LOST) {
                continue;
            }
            log.bodies.push(if self.has(BODIES_AS_TEXT) {
                String::from_utf8_lossy(body).into_owned().into()
            } else {
                body.clone()
            });
        }
        if self.has(LABELS_ARE_LOST) {
            log.labels.clear();
        } else if self.has(LABELS_ARE_MERGED) {
            log.labels.extend(append.labels.clone());
        } else if !self.has(FIRST_LABELS_STAY) {
            log.labels = append.labels.clone();
        }
        log.sealed |= append.seal && !self.has(SEAL_IS_IGNORED);
        log.newest = Some(append);
        Appended { head: claimed }
    }

    fn reply(&self, state: &mut State, appended: Appended) -> Result<Appended, StateStoreError> {
        if !std::mem::take(&mut state.loses_next_reply) {
            return Ok(appended);
        }
        let lost = failed(Kind::Unavailable);
        if self.has(LOST_REPLY_HAS_NO_EFFECT) {
            lost
        } else {
            lost.map_err(StateStoreError::with_unknown_effect)
        }
    }
}

fn head_of(id: &LogId, log: &Log) -> Head {
    Head {
        log: id.clone(),
        seq: Seq(log.bodies.len() as u64),
        sealed: log.sealed,
        labels: log.labels.clone(),
    }
}

#[async_trait]
impl StateStore for Naive {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "naive",
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn capabilities(&self) -> StateStoreCapabilities {
        StateStoreCapabilities {
            durability: if self.has(CLAIMS_TO_SURVIVE) {
                Durability::ProcessCrash
            } else {
                Durability::Volatile
            },
            eventual_list: false,
            watch: self.has(WATCH_IS_NOT_THERE),
            max_append_bytes: MOST,
        }
    }

    async fn append(&self, append: Append) -> Result<Appended, StateStoreError> {
        let append = Append {
            log: self.name(&append.log),
            ..append
        };
        {
            let mut state = self.state.lock().unwrap();
            if self.has(A_FAILURE_POISONS_THE_NEXT)
                && state
                    .poisoned_by
                    .take_if(|log| *log != append.log)
                    .is_some()
            {
                return failed(Kind::Unavailable);
            }
            match self.check(&state, &append) {
                Ok(None) => {}
                Ok(Some(appended)) => return Ok(appended),
                Err(error) => {
                    let is_conflict = matches!(error.kind(), Kind::Conflict { head: Some(_) });
                    if is_conflict && self.has(WRITES_BEFORE_CHECK) {
                        let first = append.bodies.iter().take(1).cloned();
                        let log = state.logs.get_mut(&append.log).unwrap();
                        log.bodies.extend(first);
                    }
                    // A queue of its own would be needed.
                    state.poisoned_by = matches!(error.kind(), Kind::Conflict { head: None })
                        .then(|| append.log.clone());
                    return Err(error);
                }
            }
            if !self.has(UNLOCKED_CHECK) {
                let appended = self.write(&mut state, append);
                return self.reply(&mut state, appended);
            }
        }
        tokio::task::yield_now().await;
        let mut state = self.state.lock().unwrap();
        let appended = self.write(&mut state, append);
        self.reply(&mut state, appended)
    }

    fn read(&self, log: &LogId, after: Seq) -> BoxStream<'static, Result<Record, StateStoreError>> {
        let state = self.state.lock().unwrap();
        let Some(log) = state.logs.get(&self.name(log)) else {
            return stream::empty().boxed();
        };
        if log.damaged {
            return if self.has(DAMAGE_IS_EMPTY) {
                stream::empty().boxed()
            } else {
                stream::iter([failed(Kind::Corrupt)]).boxed()
            };
        }
        let first = u64::from(!self.has(SEQUENCES_FROM_ZERO));
        let mut records: Vec<Record> = (1..)
            .zip(&log.bodies)
            .filter(|(seq, _body)| {
                *seq > after.0 || self.has(READS_ALL) || *seq == after.0 && self.has(READS_FROM)
            })
            .map(|(seq, body)| Record {
                seq: Seq(seq - 1 + first),
                body: body.clone(),
            })
            .collect();
        if self.has(READS_A_THOUSAND) {
            records.truncate(1_000);
        }
        if self.has(READS_BACKWARDS) {
            records.reverse();
        }
        stream::iter(records.into_iter().map(Ok)).boxed()
    }

    async fn head(&self, log: &LogId) -> Result<Option<Head>, StateStoreError> {
        let state = self.state.lock().unwrap();
        Ok(state
            .logs
            .get(&self.name(log))
            .map(|found| head_of(log, found)))
    }

    async fn list(&self, query: HeadQuery) -> Result<Page<Head>, StateStoreError> {
        let state = self.state.lock().unwrap();
        let is_wanted = |head: &Head| {
            let mut wanted = query.labels.iter();
            let fits = |(name, value): (&String, &String)| head.labels.get(name) == Some(value);
            head.log.kind == query.kind
                && if self.has(ANY_LABEL_WILL_DO) {
                    query.labels.is_empty() || wanted.any(fits)
                } else {
                    wanted.all(fits)
                }
        };
        let mut found: Vec<(u64, Head)> = state
            .logs
            .iter()
            .map(|(id, log)| (log.created, head_of(id, log)))
            .chain(state.deleted.iter().map(|head| (0, head.clone())))
            .filter(|(_created, head)| is_wanted(head))
            .collect();
        if self.has(LIST_BY_NAME) {
            found.sort_by_key(|(created, head)| (head.log.name.to_string(), *created));
        } else {
            found.sort_by_key(|(created, head)| (*created, head.log.name.to_string()));
        }
        if query.order == Order::NewestFirst {
            found.reverse();
        }
        let after = query.page.map(|token| token.0);
        let place = |(created, head): &(u64, Head)| format!("{created} {}", head.log.name);
        let start = after.map_or(0, |after| {
            let last = found.iter().position(|entry| place(entry) == after);
            last.map_or(0, |last| last + usize::from(!self.has(PAGES_REPEAT)))
        });
        let limit = query.limit.get() as usize;
        let next = found
            .get(start + limit - 1)
            .filter(|_last| found.len() > start + limit)
            .map(|last| PageToken(place(last)));
        let items = found.into_iter().skip(start).take(limit);
        Ok(Page {
            items: items.map(|(_created, head)| head).collect(),
            next,
        })
    }

    async fn delete(&self, log: &LogId) -> Result<(), StateStoreError> {
        let mut state = self.state.lock().unwrap();
        let log = self.name(log);
        let found = state.logs.remove(&log);
        if found.is_none() && self.has(DELETES_ONCE) {
            return failed(Kind::Rejected);
        }
        if let (Some(found), true) = (found, self.has(LISTS_WHAT_IS_DELETED)) {
            state.deleted.push(head_of(&log, &found));
        }
        if !self.has(KEEPS_DOCUMENTS) {
            state.documents.retain(|key, _document| key.scope != log);
        }
        if !self.has(NO_TOMBSTONE) {
            state.gone.insert(log);
        }
        Ok(())
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, StateStoreError> {
        Ok(self.state.lock().unwrap().documents.get(key).cloned())
    }

    async fn put(&self, put: PutDocument) -> Result<Version, StateStoreError> {
        let mut state = self.state.lock().unwrap();
        if state.gone.contains(&put.key.scope) {
            return failed(Kind::Gone);
        }
        let found = state.documents.get(&put.key).map(|found| found.version);
        if !is_expected(found, put.expected) && !self.has(NO_VERSIONS) {
            return failed(Kind::Conflict { head: None });
        }
        let version = match found {
            Some(Version(found)) if !self.has(VERSION_STAYS_ONE) => Version(found + 1),
            _ => Version(1),
        };
        let writer = if self.has(LOST_WRITER) {
            WriterId::new("somebody").unwrap()
        } else {
            put.writer
        };
        let value = put.value;
        let document = Document {
            version,
            writer,
            value,
        };
        state.documents.insert(put.key, document);
        Ok(version)
    }

    async fn remove(
        &self,
        key: &DocumentKey,
        expected: ExpectedVersion,
    ) -> Result<(), StateStoreError> {
        let mut state = self.state.lock().unwrap();
        let found = state.documents.get(key).map(|found| found.version);
        if !is_expected(found, expected) && !self.has(REMOVES_ANY_VERSION) {
            return failed(Kind::Conflict { head: None });
        }
        state.documents.remove(key);
        Ok(())
    }

    async fn list_documents(
        &self,
        query: DocumentQuery,
    ) -> Result<Page<DocumentEntry>, StateStoreError> {
        let state = self.state.lock().unwrap();
        let mut found: Vec<DocumentEntry> = state
            .documents
            .iter()
            .filter(|(key, _document)| key.scope == query.scope)
            .filter(|(key, _document)| key.path.as_str().starts_with(&query.prefix))
            .map(|(key, document)| DocumentEntry {
                path: key.path.clone(),
                version: document.version,
                writer: document.writer.clone(),
                size: document.value.len() as u64,
            })
            .collect();
        if self.has(DOCUMENTS_UNSORTED) {
            // As a hash map would have them, but always the same.
            found.sort_by_key(|entry| (entry.path.as_str().len(), entry.path.clone()));
        } else {
            found.sort_by_key(|entry| entry.path.clone());
        }
        let start = query.page.map_or(0, |token| {
            let last = found
                .iter()
                .position(|entry| entry.path.as_str() == token.0);
            last.map_or(0, |last| last + 1)
        });
        let limit = query.limit.get() as usize;
        let next = found
            .get(start + limit - 1)
            .filter(|_last| found.len() > start + limit)
            .map(|last| PageToken(last.path.to_string()));
        let items = found.into_iter().skip(start).take(limit).collect();
        Ok(Page { items, next })
    }

    fn as_watch(&self) -> Option<&dyn StateStoreWatch> {
        None
    }
}

fn is_expected(found: Option<Version>, expected: ExpectedVersion) -> bool {
    match expected {
        ExpectedVersion::Any => true,
        ExpectedVersion::Absent => found.is_none(),
        ExpectedVersion::Version(version) => found == Some(version),
    }
}
