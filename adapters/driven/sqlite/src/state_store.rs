//! Logs and documents.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params, params_from_iter};
use seaworthy_ports::state_store::{
    Append, Appended, Document, DocumentEntry, DocumentKey, DocumentQuery, ExpectedVersion, Head,
    HeadQuery, Kind, Labels, MAX_LABEL_BYTES, MAX_LABELS, Order, Page, PageToken, PutDocument,
    Record, Seq, StateStore, StateStoreCapabilities, StateStoreError, StateStoreWatch, Version,
};
use seaworthy_ports::{
    AdapterInfo, BoxStream, DocumentPath, Durability, LogId, LogKind, LogName, WriterId,
};
use serde_json::json;

use crate::append::{REMOVE_LABEL, parse_labels};
use crate::error::{self, ADAPTER, undecodable};
use crate::read::read;
use crate::sql;
use crate::store::Shared;
use crate::writer::Work;

/// The most bytes of bodies in one append, and of one document.
const MAX_APPEND_BYTES: usize = 8 * 1024 * 1024;
/// The longest page of a listing; a longer one that is asked for comes in parts.
const MAX_PAGE: u32 = 1000;

const LIST_OLDEST: &str = "
SELECT l.id, h.seq, h.sealed, l.labels, l.name FROM logs l LEFT JOIN heads h ON h.log = l.id
WHERE l.kind = ?1 AND l.deleted = 0 AND l.id > ?2 ORDER BY l.id LIMIT ?3";

const LIST_NEWEST: &str = "
SELECT l.id, h.seq, h.sealed, l.labels, l.name FROM logs l LEFT JOIN heads h ON h.log = l.id
WHERE l.kind = ?1 AND l.deleted = 0 AND l.id < ?2 ORDER BY l.id DESC LIMIT ?3";

/// The first label leads through its index in the order of creation; the others are looked up for each.
const LIST_LABELLED_OLDEST: &str = "
SELECT l.id, h.seq, h.sealed, l.labels, l.name
FROM labels a CROSS JOIN logs l ON l.id = a.log LEFT JOIN heads h ON h.log = l.id
WHERE a.kind = ?1 AND a.name = ?4 AND a.value = ?5 AND a.log > ?2 AND l.deleted = 0
    AND NOT EXISTS (SELECT 1 FROM json_each(?6) w WHERE NOT EXISTS (SELECT 1 FROM labels b
        WHERE b.kind = ?1 AND b.name = unhex(w.value ->> 0) AND b.value = unhex(w.value ->> 1) AND b.log = a.log))
ORDER BY a.log LIMIT ?3";

const LIST_LABELLED_NEWEST: &str = "
SELECT l.id, h.seq, h.sealed, l.labels, l.name
FROM labels a CROSS JOIN logs l ON l.id = a.log LEFT JOIN heads h ON h.log = l.id
WHERE a.kind = ?1 AND a.name = ?4 AND a.value = ?5 AND a.log < ?2 AND l.deleted = 0
    AND NOT EXISTS (SELECT 1 FROM json_each(?6) w WHERE NOT EXISTS (SELECT 1 FROM labels b
        WHERE b.kind = ?1 AND b.name = unhex(w.value ->> 0) AND b.value = unhex(w.value ->> 1) AND b.log = a.log))
ORDER BY a.log DESC LIMIT ?3";

pub(crate) struct SqliteStateStore(pub(crate) Arc<Shared>);

impl fmt::Debug for SqliteStateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteStateStore").field(&self.0).finish()
    }
}

#[async_trait]
impl StateStore for SqliteStateStore {
    fn info(&self) -> AdapterInfo {
        crate::INFO
    }

    fn capabilities(&self) -> StateStoreCapabilities {
        StateStoreCapabilities {
            durability: Durability::OsCrash,
            eventual_list: false,
            watch: false,
            max_append_bytes: MAX_APPEND_BYTES,
        }
    }

    async fn append(&self, append: Append) -> Result<Appended, StateStoreError> {
        check(&append)?;
        self.0
            .writer
            .append(append)
            .await
            .map_err(|failure| error::state_store("append", failure))?
    }

    fn read(&self, log: &LogId, after: Seq) -> BoxStream<'static, Result<Record, StateStoreError>> {
        read(Arc::clone(&self.0), log.clone(), after)
    }

    async fn head(&self, log: &LogId) -> Result<Option<Head>, StateStoreError> {
        let found = self
            .0
            .head(log)
            .await
            .map_err(|error| error::state_store("head", error))?;
        match found {
            Some(found) => Ok(Some(found.head(log, "head")?)),
            None => Ok(None),
        }
    }

    async fn list(&self, query: HeadQuery) -> Result<Page<Head>, StateStoreError> {
        let HeadQuery {
            kind,
            labels,
            order,
            limit,
            page,
        } = query;
        let limit = limit.get().min(MAX_PAGE);
        let from = match (&page, order) {
            (Some(token), _) => parse_list_token(token, order)?,
            (None, Order::OldestFirst) => 0,
            (None, Order::NewestFirst) => i64::MAX,
        };
        let statement = match (order, labels.is_empty()) {
            (Order::OldestFirst, true) => LIST_OLDEST,
            (Order::NewestFirst, true) => LIST_NEWEST,
            (Order::OldestFirst, false) => LIST_LABELLED_OLDEST,
            (Order::NewestFirst, false) => LIST_LABELLED_NEWEST,
        };
        let mut parameters = vec![
            Value::from(kind.as_str().to_owned()),
            Value::from(from),
            Value::from(i64::from(limit) + 1),
        ];
        let mut wanted = labels.iter();
        if let Some((name, value)) = wanted.next() {
            let others: Vec<[String; 2]> = wanted
                .map(|(name, value)| [hex::encode(name), hex::encode(value)])
                .collect();
            parameters.extend([
                Value::from(name.as_bytes().to_vec()),
                Value::from(value.as_bytes().to_vec()),
                Value::from(json!(others).to_string()),
            ]);
        }
        let mut rows = self
            .0
            .readers
            .read(move |connection| {
                let parameters = params_from_iter(parameters);
                sql::all(connection, statement, parameters, |row| listed(&kind, row))
            })
            .await
            .map_err(|failure| error::state_store("list", failure))?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let last = rows.last().map(|(id, _head)| *id);
        let items = rows.into_iter().map(|(_id, head)| head).collect();
        Ok(Page {
            items,
            next: last.filter(|_| more).map(|id| list_token(id, order)),
        })
    }

    async fn delete(&self, log: &LogId) -> Result<(), StateStoreError> {
        self.0
            .writer
            .write(Delete { log: log.clone() })
            .await
            .map_err(|failure| error::state_store("delete", failure))
    }

    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, StateStoreError> {
        let key = key.clone();
        self.0
            .readers
            .read(move |connection| {
                sql::one_if_any(
                    connection,
                    "SELECT version, writer, value FROM documents WHERE kind = ?1 AND name = ?2 AND path = ?3",
                    place(&key),
                    |row| {
                        Ok(Document {
                            version: version(row, 0)?,
                            writer: writer_id(row, 1)?,
                            value: row.get::<_, Vec<u8>>(2)?.into(),
                        })
                    },
                )
            })
            .await
            .map_err(|failure| error::state_store("get", failure))
    }

    async fn put(&self, put: PutDocument) -> Result<Version, StateStoreError> {
        if put.value.len() > MAX_APPEND_BYTES {
            return Err(refusal(Kind::TooLarge, "put", "the document is too large"));
        }
        self.0
            .writer
            .write(Put(put))
            .await
            .map_err(|failure| error::state_store("put", failure))?
    }

    async fn remove(
        &self,
        key: &DocumentKey,
        expected: ExpectedVersion,
    ) -> Result<(), StateStoreError> {
        let remove = Remove {
            key: key.clone(),
            expected,
        };
        self.0
            .writer
            .write(remove)
            .await
            .map_err(|failure| error::state_store("remove", failure))?
    }

    async fn list_documents(
        &self,
        query: DocumentQuery,
    ) -> Result<Page<DocumentEntry>, StateStoreError> {
        const OPERATION: &str = "list_documents";
        let limit = query.limit.get().min(MAX_PAGE);
        let after = query
            .page
            .map(|token| parse_path_token(&token))
            .transpose()?;
        let mut items = self
            .0
            .readers
            .read(move |connection| {
                let parameters = params![
                    query.scope.kind.as_str(),
                    query.scope.name.as_str(),
                    query.prefix,
                    after.unwrap_or_default(),
                    i64::from(limit) + 1
                ];
                let mut statement = connection.prepare_cached(
                    "SELECT path, version, writer, length(value) FROM documents
                    WHERE kind = ?1 AND name = ?2 AND path >= ?3 AND path > ?4 ORDER BY path LIMIT ?5",
                )?;
                // Sorted by bytes: all paths with the prefix come first.
                statement
                    .query_map(parameters, document_entry)?
                    .take_while(|entry| match entry {
                        Ok(entry) => entry.path.as_str().starts_with(&query.prefix),
                        Err(_) => true,
                    })
                    .collect::<rusqlite::Result<Vec<DocumentEntry>>>()
            })
            .await
            .map_err(|failure| error::state_store(OPERATION, failure))?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items
            .last()
            .filter(|_| more)
            .map(|entry| PageToken(format!("p{}", entry.path)));
        Ok(Page { items, next })
    }

    fn as_watch(&self) -> Option<&dyn StateStoreWatch> {
        None
    }
}

fn check(append: &Append) -> Result<(), StateStoreError> {
    if append.bodies.is_empty() {
        return Err(refusal(
            Kind::Rejected,
            "append",
            "there is nothing to append",
        ));
    }
    let bytes = append
        .bodies
        .iter()
        .fold(0_usize, |sum, body| sum.saturating_add(body.len()));
    if bytes > MAX_APPEND_BYTES {
        return Err(refusal(
            Kind::TooLarge,
            "append",
            "the bodies are too large",
        ));
    }
    let too_long = |text: &String| text.len() > MAX_LABEL_BYTES;
    if append.labels.len() > MAX_LABELS
        || append
            .labels
            .iter()
            .any(|(name, value)| too_long(name) || too_long(value))
    {
        return Err(refusal(
            Kind::Rejected,
            "append",
            "too many or too long labels",
        ));
    }
    Ok(())
}

fn refusal(kind: Kind, operation: &'static str, why: &'static str) -> StateStoreError {
    StateStoreError::new(kind, ADAPTER, operation, why)
}

pub(crate) fn contradiction(operation: &'static str) -> StateStoreError {
    refusal(
        Kind::Corrupt,
        operation,
        "the log's head contradicts its records",
    )
}

fn list_token(id: i64, order: Order) -> PageToken {
    PageToken(match order {
        Order::OldestFirst => format!("o{id}"),
        Order::NewestFirst => format!("n{id}"),
    })
}

fn parse_list_token(token: &PageToken, order: Order) -> Result<i64, StateStoreError> {
    let letter = match order {
        Order::OldestFirst => 'o',
        Order::NewestFirst => 'n',
    };
    token
        .0
        .strip_prefix(letter)
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| {
            refusal(
                Kind::Rejected,
                "list",
                "the page token is not of this listing",
            )
        })
}

fn parse_path_token(token: &PageToken) -> Result<String, StateStoreError> {
    token.0.strip_prefix('p').map(str::to_owned).ok_or_else(|| {
        refusal(
            Kind::Rejected,
            "list_documents",
            "the page token is not of this listing",
        )
    })
}

fn listed(kind: &LogKind, row: &Row<'_>) -> rusqlite::Result<(i64, Head)> {
    let name =
        LogName::new(row.get::<_, String>(4)?).map_err(|_invalid| undecodable("a log's name"))?;
    let head = Head {
        log: LogId::new(kind.clone(), name),
        seq: Seq(unsigned(row, 1)?),
        sealed: row.get(2)?,
        labels: labels(row, 3)?,
    };
    Ok((row.get(0)?, head))
}

fn document_entry(row: &Row<'_>) -> rusqlite::Result<DocumentEntry> {
    Ok(DocumentEntry {
        path: DocumentPath::new(row.get::<_, String>(0)?)
            .map_err(|_invalid| undecodable("a document's path"))?,
        version: version(row, 1)?,
        writer: writer_id(row, 2)?,
        size: unsigned(row, 3)?,
    })
}

pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?)
        .map_err(|_negative| undecodable("a number that cannot be negative"))
}

fn version(row: &Row<'_>, column: usize) -> rusqlite::Result<Version> {
    unsigned(row, column).map(Version)
}

fn writer_id(row: &Row<'_>, column: usize) -> rusqlite::Result<WriterId> {
    WriterId::new(row.get::<_, String>(column)?).map_err(|_invalid| undecodable("a writer's id"))
}

pub(crate) fn labels(row: &Row<'_>, column: usize) -> rusqlite::Result<Labels> {
    parse_labels(&row.get::<_, String>(column)?).ok_or_else(|| undecodable("a head's labels"))
}

struct Delete {
    log: LogId,
}

impl Work for Delete {
    type Output = ();

    fn changes_heads(&self) -> bool {
        true
    }

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let kind = self.log.kind.as_str();
        let log = [kind, self.log.name.as_str()];
        let before = sql::one_if_any(
            connection,
            "SELECT id, labels FROM logs WHERE kind = ?1 AND name = ?2",
            log,
            |row| Ok((row.get::<_, i64>(0)?, labels(row, 1).ok())),
        )?;
        if let Some((row, labels)) = before {
            delete_appends(row, connection)?;
            sql::execute(connection, "DELETE FROM marks WHERE log = ?1", [row])?;
            sql::execute(connection, "DELETE FROM heads WHERE log = ?1", [row])?;
            match labels {
                Some(labels) => {
                    for (name, value) in labels {
                        let label = params![kind, name.as_bytes(), value.as_bytes(), row];
                        sql::execute(connection, REMOVE_LABEL, label)?;
                    }
                }
                // A damaged head can be deleted too; its labels are found the long way.
                None => {
                    let all = "DELETE FROM labels WHERE kind = ?1 AND log = ?2";
                    sql::execute(connection, all, params![kind, row])?;
                }
            }
        }
        sql::execute(
            connection,
            "INSERT INTO logs (kind, name, deleted, labels) VALUES (?1, ?2, 1, '{}')
            ON CONFLICT (kind, name) DO UPDATE SET deleted = 1, labels = '{}'",
            log,
        )?;
        let documents = "DELETE FROM documents WHERE kind = ?1 AND name = ?2";
        sql::execute(connection, documents, log).map(drop)
    }
}

/// Deletes what a log holds, from its newest append to its first. Where the way is broken, all appends are looked through.
fn delete_appends(log: i64, connection: &Connection) -> rusqlite::Result<()> {
    let newest = "SELECT newest FROM heads WHERE log = ?1";
    let mut next = sql::one_if_any(connection, newest, [log], |row| row.get(0))?;
    let mut delete = connection
        .prepare_cached("DELETE FROM appends WHERE id = ?1 AND log = ?2 RETURNING previous")?;
    while let Some(row) = next {
        let mut deleted = delete.query([row, log])?;
        let Some(found) = deleted.next()? else {
            drop(deleted);
            sql::execute(connection, "DELETE FROM appends WHERE log = ?1", [log])?;
            return Ok(());
        };
        next = found.get::<_, Option<i64>>(0)?;
        // To its end, or nothing is deleted.
        while deleted.next()?.is_some() {}
    }
    Ok(())
}

/// Where a document is: kind, name and path.
fn place(key: &DocumentKey) -> [&str; 3] {
    [
        key.scope.kind.as_str(),
        key.scope.name.as_str(),
        key.path.as_str(),
    ]
}

/// A document's version in the transaction, and whether its scope was deleted.
fn current_version(
    key: &DocumentKey,
    connection: &Connection,
) -> rusqlite::Result<(Option<u64>, bool)> {
    sql::one(
        connection,
        "SELECT (SELECT version FROM documents WHERE kind = ?1 AND name = ?2 AND path = ?3),
            EXISTS (SELECT 1 FROM logs WHERE kind = ?1 AND name = ?2 AND deleted = 1)",
        place(key),
        |row| {
            let version = row.get::<_, Option<i64>>(0)?.map(u64::try_from);
            let version = version.transpose();
            let version = version.map_err(|_negative| undecodable("a document's version"))?;
            Ok((version, row.get(1)?))
        },
    )
}

fn is_expected(expected: ExpectedVersion, current: Option<u64>) -> bool {
    match expected {
        ExpectedVersion::Any => true,
        ExpectedVersion::Absent => current.is_none(),
        ExpectedVersion::Version(expected) => current == Some(expected.0),
    }
}

struct Put(PutDocument);

impl Work for Put {
    type Output = Result<Version, StateStoreError>;

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<Self::Output> {
        let put = &self.0;
        let (current, deleted) = current_version(&put.key, connection)?;
        if deleted {
            return Ok(Err(refusal(
                Kind::Gone,
                "put",
                "the scope's log was deleted",
            )));
        }
        if !is_expected(put.expected, current) {
            return Ok(Err(version_conflict("put")));
        }
        let version = current.unwrap_or(0) + 1;
        let stored = i64::try_from(version).map_err(|_huge| undecodable("a document's version"))?;
        let [kind, name, path] = place(&put.key);
        sql::execute(
            connection,
            "INSERT INTO documents (kind, name, path, version, writer, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
            ON CONFLICT (kind, name, path) DO UPDATE SET
                version = excluded.version, writer = excluded.writer, value = excluded.value",
            params![kind, name, path, stored, put.writer.as_str(), &*put.value],
        )?;
        Ok(Ok(Version(version)))
    }

    fn bytes(&self) -> usize {
        self.0.value.len()
    }
}

struct Remove {
    key: DocumentKey,
    expected: ExpectedVersion,
}

impl Work for Remove {
    type Output = Result<(), StateStoreError>;

    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<Self::Output> {
        let (current, _) = current_version(&self.key, connection)?;
        if !is_expected(self.expected, current) {
            return Ok(Err(version_conflict("remove")));
        }
        let remove = "DELETE FROM documents WHERE kind = ?1 AND name = ?2 AND path = ?3";
        sql::execute(connection, remove, place(&self.key))?;
        Ok(Ok(()))
    }
}

fn version_conflict(operation: &'static str) -> StateStoreError {
    refusal(
        Kind::Conflict { head: None },
        operation,
        "the document's version is not the expected one",
    )
}
