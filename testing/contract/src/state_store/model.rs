//! Random operations on a store and on a model of it that is too simple to be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use seaworthy_ports::state_store::{
    Append, Appended, Document, DocumentEntry, DocumentQuery, Expected, ExpectedVersion, Head,
    HeadQuery, Kind, Labels, Order, PutDocument, Record, Seq, StateStore, Version,
};
use seaworthy_ports::{AppendId, DocumentPath, LogId, WriterId};

use super::documents::{document, key};
use super::{Harness, head, labels, log_of, records};
use crate::chance::{Chance, seed};
use crate::outcome::{Halt, Outcome, at_once, broken, id, limit, ok, same};

/// Each has logs of its own: what one does must not show to another.
const CLIENTS: u64 = 8;
const PHASES: u64 = 4;
const OPERATIONS: u64 = 10_000;
const PATHS: [&str; 6] = ["a", "a/b", "a0", "b", "b/%", "\u{e9}"];
const NAMES: u64 = 5;

/// SS-1, SS-2, SS-4 to SS-8, SS-10 and SS-13. Ten thousand random operations of eight clients at once, with the store
/// opened again between phases where that is possible. The environment variable `SEAWORTHY_CONTRACT_SEED` makes another
/// ten thousand.
pub async fn random_operations_agree_with_a_model<H: Harness>(harness: H) -> Outcome {
    let seed = seed();
    let mut store = harness.store();
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|number| Client::new(seed, number))
        .collect();
    for phase in 0..PHASES {
        if phase > 0
            && let Some(reopened) = harness.reopen().await
        {
            store = reopened;
        }
        let work = clients.drain(..).map(|client| {
            let store = Arc::clone(&store);
            async move { client.work(&*store, OPERATIONS / CLIENTS / PHASES).await }
        });
        let mut ended = at_once(work)
            .await?
            .into_iter()
            .collect::<Result<Vec<Client>, Halt>>()?;
        clients.append(&mut ended);
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Log {
    bodies: Vec<Bytes>,
    labels: Labels,
    sealed: bool,
    newest: Option<Append>,
}

/// What a store should hold of one client.
#[derive(Debug)]
struct Client {
    number: u64,
    seed: u64,
    done: u64,
    chance: Chance,
    /// Logs in the order of their creation.
    created: Vec<LogId>,
    logs: BTreeMap<LogId, Log>,
    gone: BTreeSet<LogId>,
    documents: BTreeMap<LogId, BTreeMap<&'static str, Document>>,
}

impl Client {
    fn new(seed: u64, number: u64) -> Self {
        Self {
            number,
            seed,
            done: 0,
            chance: Chance::new(seed ^ (number << 32)),
            created: Vec::new(),
            logs: BTreeMap::new(),
            gone: BTreeSet::new(),
            documents: BTreeMap::new(),
        }
    }

    async fn work(mut self, store: &dyn StateStore, operations: u64) -> Result<Self, Halt> {
        let worked = self.operate(store, operations).await;
        match worked {
            Ok(()) => Ok(self),
            Err(Halt::Broken {
                did,
                expected,
                seen,
            }) => Err(Halt::Broken {
                did: format!(
                    "with the seed {}, client {}, operation {}: {did}",
                    self.seed, self.number, self.done
                ),
                expected,
                seen,
            }),
            Err(other) => Err(other),
        }
    }

    async fn operate(&mut self, store: &dyn StateStore, operations: u64) -> Outcome {
        for _operation in 0..operations {
            self.done += 1;
            let log = self.a_log()?;
            match self.chance.below(100) {
                0..35 => self.append(store, &log).await?,
                35..43 => self.append_at_another_head(store, &log).await?,
                43..48 => self.repeat(store, &log).await?,
                48..51 => self.reuse_an_id(store, &log).await?,
                51..58 => self.read(store, &log).await?,
                58..63 => self.look_at_the_head(store, &log).await?,
                63..68 => self.list(store).await?,
                68..70 => self.delete(store, &log).await?,
                70..84 => self.put(store, &log).await?,
                84..89 => self.get(store, &log).await?,
                89..95 => self.remove(store, &log).await?,
                _ => self.list_documents(store, &log).await?,
            }
        }
        self.compare_everything(store).await
    }

    /// One of a few logs; when some have come to an end, others take their place.
    fn a_log(&mut self) -> Result<LogId, Halt> {
        let sealed = self.logs.values().filter(|log| log.sealed).count();
        // Half of them, so that ended logs are met again.
        let first = (self.gone.len() + sealed) as u64 / 2;
        let (kind, name) = (self.chance.below(2), first + self.chance.below(NAMES));
        self.log(kind, name)
    }

    fn log(&self, kind: u64, name: u64) -> Result<LogId, Halt> {
        log_of(
            &format!("client{}{kind}", self.number),
            &format!("log{name}"),
        )
    }

    fn bodies(&mut self) -> Vec<Bytes> {
        (0..=self.chance.below(3))
            .map(|_body| {
                let size = self.chance.below(300);
                (0..size).map(|_byte| self.chance.bits() as u8).collect()
            })
            .collect()
    }

    fn labels(&mut self) -> Labels {
        let mut all = Labels::new();
        for name in ["status", "agent"] {
            if let Some(value) = self.chance.one(&["", "x", "y"])
                && self.chance.below(3) > 0
            {
                all.extend(labels([(name, value)]));
            }
        }
        all
    }

    fn head_of(&self, log: &LogId) -> Option<Seq> {
        self.logs.get(log).map(|log| Seq(log.bodies.len() as u64))
    }

    /// An append that fits, with an id that was never used.
    fn an_append(&mut self, log: &LogId) -> Result<Append, Halt> {
        Ok(Append {
            log: log.clone(),
            id: id(AppendId::new(format!("{}.{}", self.number, self.done)))?,
            expected: self.head_of(log).map_or(Expected::Absent, Expected::Head),
            bodies: self.bodies(),
            labels: self.labels(),
            seal: self.chance.below(40) == 0,
        })
    }

    async fn append(&mut self, store: &dyn StateStore, log: &LogId) -> Outcome {
        let append = self.an_append(log)?;
        let did = format!("appended {} bodies to {log}", append.bodies.len());
        let appended = store.append(append.clone()).await;
        let appended = appended.map_err(|error| error.kind());
        if self.gone.contains(log) {
            return same(did, appended, Err(Kind::Gone));
        }
        if self.logs.get(log).is_some_and(|log| log.sealed) {
            return same(did, appended, Err(Kind::Sealed));
        }
        if !self.logs.contains_key(log) {
            self.created.push(log.clone());
        }
        let known = self.logs.entry(log.clone()).or_default();
        known.bodies.extend(append.bodies.iter().cloned());
        known.labels = append.labels.clone();
        known.sealed = append.seal;
        known.newest = Some(append);
        let head = Seq(known.bodies.len() as u64);
        same(did, appended, Ok(Appended { head }))
    }

    async fn append_at_another_head(&mut self, store: &dyn StateStore, log: &LogId) -> Outcome {
        let head = self.head_of(log);
        let wrong = match (head, self.chance.below(3)) {
            (Some(_), 0) => Expected::Absent,
            (head, _) => {
                let past = head.map_or(0, |head| head.0) + 1;
                let other = self.chance.below(past + 2);
                match head {
                    Some(head) if head.0 == other => Expected::Head(Seq(other + 1)),
                    _ => Expected::Head(Seq(other)),
                }
            }
        };
        let append = Append {
            expected: wrong,
            ..self.an_append(log)?
        };
        let kind = if self.gone.contains(log) {
            Kind::Gone
        } else if self.logs.get(log).is_some_and(|log| log.sealed) {
            Kind::Sealed
        } else {
            Kind::Conflict { head }
        };
        let seen = store.append(append).await.map_err(|error| error.kind());
        same(
            format!("appended to {log}, expecting {wrong:?}"),
            seen,
            Err(kind),
        )
    }

    async fn repeat(&mut self, store: &dyn StateStore, log: &LogId) -> Outcome {
        let Some(newest) = self.logs.get(log).and_then(|log| log.newest.clone()) else {
            return self.read(store, log).await;
        };
        let seen = store.append(newest).await.map_err(|error| error.kind());
        let head = self.head_of(log).unwrap_or_default();
        same(
            format!("repeated the newest append to {log}"),
            seen,
            Ok(Appended { head }),
        )
    }

    async fn reuse_an_id(&mut self, store: &dyn StateStore, log: &LogId) -> Outcome {
        let newest = self
            .logs
            .get(log)
            .filter(|log| !log.sealed)
            .and_then(|log| log.newest.clone());
        let Some(newest) = newest else {
            return self.look_at_the_head(store, log).await;
        };
        let mut other = newest.clone();
        other.bodies.push(Bytes::from_static(b"other content"));
        let seen = store.append(other).await.map_err(|error| error.kind());
        same(
            format!("appended other content to {log} with the newest id"),
            seen,
            Err(Kind::Rejected),
        )
    }

    async fn read(&mut self, store: &dyn StateStore, log: &LogId) -> Outcome {
        let bodies = self.logs.get(log).map_or(&[][..], |log| &log.bodies);
        let after = self.chance.below(bodies.len() as u64 + 2);
        let seen: Vec<Record> = ok(
            format!("read {log}"),
            store.read(log, Seq(after)).try_collect().await,
        )?;
        let expected: Vec<Record> = (1..)
            .zip(bodies)
            .filter(|(seq, _body)| *seq > after)
            .map(|(seq, body)| Record {
                seq: Seq(seq),
                body: body.clone(),
            })
            .collect();
        same(format!("read {log} after {after}"), seen, expected)
    }

    fn expected_head(&self, log: &LogId) -> Option<Head> {
        self.logs.get(log).map(|known| Head {
            log: log.clone(),
            seq: Seq(known.bodies.len() as u64),
            sealed: known.sealed,
            labels: known.labels.clone(),
        })
    }

    async fn look_at_the_head(&self, store: &dyn StateStore, log: &LogId) -> Outcome {
        same(
            format!("asked for the head of {log}"),
            head(store, log).await?,
            self.expected_head(log),
        )
    }

    async fn list(&mut self, store: &dyn StateStore) -> Outcome {
        if store.capabilities().eventual_list {
            return Ok(());
        }
        let wanted = self.labels();
        let order = self
            .chance
            .one(&[Order::OldestFirst, Order::NewestFirst])
            .unwrap_or(Order::OldestFirst);
        let kind = self.chance.below(2);
        let kind = self.log(kind, 0)?.kind;
        let most = 1 + self.chance.below(7) as u32;
        let mut expected: Vec<Head> = self
            .created
            .iter()
            .filter(|log| log.kind == kind)
            .filter_map(|log| self.expected_head(log))
            .filter(|head| {
                wanted
                    .iter()
                    .all(|(name, value)| head.labels.get(name) == Some(value))
            })
            .collect();
        if order == Order::NewestFirst {
            expected.reverse();
        }
        let did = format!("listed {kind} with {wanted:?}, {order:?}, {most} a page");
        let (mut seen, mut page) = (Vec::new(), None);
        for _page in 0..=expected.len() {
            let query = HeadQuery {
                kind: kind.clone(),
                labels: wanted.clone(),
                order,
                limit: limit(most),
                page,
            };
            let found = ok(did.clone(), store.list(query).await)?;
            seen.extend(found.items);
            page = found.next;
            if page.is_none() {
                return same(did, seen, expected);
            }
        }
        Err(broken(did, "an end of its pages", seen.len()))
    }

    async fn delete(&mut self, store: &dyn StateStore, log: &LogId) -> Outcome {
        ok(format!("deleted {log}"), store.delete(log).await)?;
        self.logs.remove(log);
        self.created.retain(|created| created != log);
        self.documents.remove(log);
        self.gone.insert(log.clone());
        Ok(())
    }

    fn a_path(&mut self) -> &'static str {
        self.chance.one(&PATHS).unwrap_or("a")
    }

    fn version_of(&self, scope: &LogId, path: &str) -> Option<Version> {
        let document = self.documents.get(scope)?.get(path)?;
        Some(document.version)
    }

    /// What a write expects, and whether that is so.
    fn expectation(&mut self, scope: &LogId, path: &str) -> (ExpectedVersion, bool) {
        let version = self.version_of(scope, path);
        match self.chance.below(4) {
            0 => (ExpectedVersion::Any, true),
            1 => (ExpectedVersion::Absent, version.is_none()),
            2 => {
                let other = Version(self.chance.below(4));
                (ExpectedVersion::Version(other), version == Some(other))
            }
            _ => match version {
                Some(version) => (ExpectedVersion::Version(version), true),
                None => (ExpectedVersion::Absent, true),
            },
        }
    }

    async fn put(&mut self, store: &dyn StateStore, scope: &LogId) -> Outcome {
        let path = self.a_path();
        let (expected, is_so) = self.expectation(scope, path);
        let writer = id(WriterId::new(format!("writer{}", self.chance.below(3))))?;
        let value = self.bodies().concat().into();
        let put = PutDocument {
            key: key(scope, path)?,
            expected,
            writer,
            value,
        };
        let did = format!("put {path} of {scope}, expecting {expected:?}");
        let seen = store.put(put.clone()).await.map_err(|error| error.kind());
        if self.gone.contains(scope) {
            return same(did, seen, Err(Kind::Gone));
        }
        if !is_so {
            return same(did, seen, Err(Kind::Conflict { head: None }));
        }
        let version = Version(self.version_of(scope, path).map_or(1, |known| known.0 + 1));
        let PutDocument { writer, value, .. } = put;
        let document = Document {
            version,
            writer,
            value,
        };
        let documents = self.documents.entry(scope.clone()).or_default();
        documents.insert(path, document);
        same(did, seen, Ok(version))
    }

    async fn get(&mut self, store: &dyn StateStore, scope: &LogId) -> Outcome {
        let path = self.a_path();
        let known = self.documents.get(scope).and_then(|all| all.get(path));
        same(
            format!("asked for {path} of {scope}"),
            document(store, &key(scope, path)?).await?,
            known.cloned(),
        )
    }

    async fn remove(&mut self, store: &dyn StateStore, scope: &LogId) -> Outcome {
        let path = self.a_path();
        let (expected, is_so) = self.expectation(scope, path);
        let seen = store.remove(&key(scope, path)?, expected).await;
        let did = format!("removed {path} of {scope}, expecting {expected:?}");
        let seen = seen.map_err(|error| error.kind());
        if !is_so {
            return same(did, seen, Err(Kind::Conflict { head: None }));
        }
        if let Some(documents) = self.documents.get_mut(scope) {
            documents.remove(path);
        }
        same(did, seen, Ok(()))
    }

    async fn list_documents(&mut self, store: &dyn StateStore, scope: &LogId) -> Outcome {
        let prefix = self.chance.one(&["", "a", "a/", "b", "z"]).unwrap_or("");
        let most = 1 + self.chance.below(4) as u32;
        let mut expected = Vec::new();
        for (path, document) in self.documents.get(scope).into_iter().flatten() {
            if path.starts_with(prefix) {
                expected.push(DocumentEntry {
                    path: id(DocumentPath::new(*path))?,
                    version: document.version,
                    writer: document.writer.clone(),
                    size: document.value.len() as u64,
                });
            }
        }
        let did = format!("listed documents of {scope} with {prefix:?}, {most} a page");
        let (mut seen, mut page) = (Vec::new(), None);
        for _page in 0..=PATHS.len() {
            let query = DocumentQuery {
                scope: scope.clone(),
                prefix: prefix.into(),
                limit: limit(most),
                page,
            };
            let found = ok(did.clone(), store.list_documents(query).await)?;
            seen.extend(found.items);
            page = found.next;
            if page.is_none() {
                return same(did, seen, expected);
            }
        }
        Err(broken(did, "an end of its pages", seen.len()))
    }

    async fn compare_everything(&mut self, store: &dyn StateStore) -> Outcome {
        for (log, known) in &self.logs {
            self.look_at_the_head(store, log).await?;
            let found = records(store, log, 0).await?;
            let bodies: Vec<Bytes> = found.into_iter().map(|record| record.body).collect();
            same(format!("read {log} in the end"), &bodies, &known.bodies)?;
        }
        for log in self.gone.clone() {
            self.look_at_the_head(store, &log).await?;
            self.read(store, &log).await?;
        }
        for (scope, documents) in &self.documents {
            for path in PATHS {
                same(
                    format!("asked for {path} of {scope} in the end"),
                    document(store, &key(scope, path)?).await?,
                    documents.get(path).cloned(),
                )?;
            }
        }
        Ok(())
    }
}
