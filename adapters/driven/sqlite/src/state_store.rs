//! Logs and documents.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_ports::state_store::{
    Append, Appended, Document, DocumentEntry, DocumentKey, DocumentQuery, ExpectedVersion, Head,
    HeadQuery, Kind, Labels, MAX_LABEL_BYTES, MAX_LABELS, Order, Page, PageToken, PutDocument,
    Record, Seq, StateStore, StateStoreCapabilities, StateStoreError, StateStoreWatch, Version,
};
use seaworthy_ports::{AdapterInfo, BoxStream, DocumentPath, Durability, LogId, LogName, WriterId};
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::append::parse_labels;
use crate::error::{self, ADAPTER, undecodable};
use crate::read::read;
use crate::store::Shared;
use crate::writer::Work;

/// The most bytes of bodies in one append, and of one document.
const MAX_APPEND_BYTES: usize = 8 * 1024 * 1024;
/// The longest page of a listing; a longer one that is asked for comes in parts.
const MAX_PAGE: u32 = 1000;

const LIST_OLDEST: &str = "
SELECT id, seq, sealed, labels, name FROM logs WHERE kind = ?1 AND deleted = 0 AND id > ?2 ORDER BY id LIMIT ?3";

const LIST_NEWEST: &str = "
SELECT id, seq, sealed, labels, name FROM logs WHERE kind = ?1 AND deleted = 0 AND id < ?2 ORDER BY id DESC LIMIT ?3";

/// The first label leads through its index in the order of creation; the others are looked up for each.
const LIST_LABELLED_OLDEST: &str = "
SELECT l.id, l.seq, l.sealed, l.labels, l.name FROM labels a CROSS JOIN logs l ON l.id = a.log
WHERE a.kind = ?1 AND a.name = ?4 AND a.value = ?5 AND a.log > ?2 AND l.deleted = 0
    AND NOT EXISTS (SELECT 1 FROM json_each(?6) w WHERE NOT EXISTS (SELECT 1 FROM labels b
        WHERE b.kind = ?1 AND b.name = unhex(w.value ->> 0) AND b.value = unhex(w.value ->> 1) AND b.log = a.log))
ORDER BY a.log LIMIT ?3";

const LIST_LABELLED_NEWEST: &str = "
SELECT l.id, l.seq, l.sealed, l.labels, l.name FROM labels a CROSS JOIN logs l ON l.id = a.log
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
        let mut statement = sqlx::query(statement)
            .bind(kind.as_str().to_owned())
            .bind(from)
            .bind(i64::from(limit) + 1);
        let mut wanted = labels.iter();
        if let Some((name, value)) = wanted.next() {
            let others: Vec<[String; 2]> = wanted
                .map(|(name, value)| [hex::encode(name), hex::encode(value)])
                .collect();
            statement = statement
                .bind(name.as_bytes().to_vec())
                .bind(value.as_bytes().to_vec())
                .bind(json!(others).to_string());
        }
        let mut rows = statement
            .fetch_all(&self.0.readers)
            .await
            .map_err(|error| error::state_store("list", error))?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let mut items = Vec::with_capacity(rows.len());
        let mut last = None;
        for row in &rows {
            let (id, head) =
                listed(&kind, row).map_err(|error| error::state_store("list", error))?;
            last = Some(id);
            items.push(head);
        }
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
        let failed = |error| error::state_store("get", error);
        let row = sqlx::query(
            "SELECT version, writer, value FROM documents WHERE kind = ?1 AND name = ?2 AND path = ?3",
        )
        .bind(key.scope.kind.as_str().to_owned())
        .bind(key.scope.name.as_str().to_owned())
        .bind(key.path.as_str().to_owned())
        .fetch_optional(&self.0.readers)
        .await
        .map_err(failed)?;
        row.map(|row| {
            Ok(Document {
                version: version(&row, 0)?,
                writer: writer_id(&row, 1)?,
                value: row.try_get::<Vec<u8>, _>(2)?.into(),
            })
        })
        .transpose()
        .map_err(failed)
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
        let rows = sqlx::query(
            "SELECT path, version, writer, length(value) FROM documents
            WHERE kind = ?1 AND name = ?2 AND path >= ?3 AND path > ?4 ORDER BY path LIMIT ?5",
        )
        .bind(query.scope.kind.as_str().to_owned())
        .bind(query.scope.name.as_str().to_owned())
        .bind(query.prefix.clone())
        .bind(after.unwrap_or_default())
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.0.readers)
        .await
        .map_err(|error| error::state_store(OPERATION, error))?;
        // Sorted by bytes: all paths with the prefix come first.
        let mut items = rows
            .iter()
            .map(document_entry)
            .take_while(|entry| match entry {
                Ok(entry) => entry.path.as_str().starts_with(&query.prefix),
                Err(_) => true,
            })
            .collect::<Result<Vec<DocumentEntry>, sqlx::Error>>()
            .map_err(|error| error::state_store(OPERATION, error))?;
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

fn listed(kind: &seaworthy_ports::LogKind, row: &SqliteRow) -> Result<(i64, Head), sqlx::Error> {
    let name = LogName::new(row.try_get::<String, _>(4)?)
        .map_err(|_invalid| undecodable("a log's name"))?;
    let head = Head {
        log: LogId::new(kind.clone(), name),
        seq: Seq(unsigned(row, 1)?),
        sealed: row.try_get(2)?,
        labels: labels(row, 3)?,
    };
    Ok((row.try_get(0)?, head))
}

fn document_entry(row: &SqliteRow) -> Result<DocumentEntry, sqlx::Error> {
    Ok(DocumentEntry {
        path: DocumentPath::new(row.try_get::<String, _>(0)?)
            .map_err(|_invalid| undecodable("a document's path"))?,
        version: version(row, 1)?,
        writer: writer_id(row, 2)?,
        size: unsigned(row, 3)?,
    })
}

pub(crate) fn unsigned(row: &SqliteRow, column: usize) -> Result<u64, sqlx::Error> {
    u64::try_from(row.try_get::<i64, _>(column)?)
        .map_err(|_negative| undecodable("a number that cannot be negative"))
}

fn version(row: &SqliteRow, column: usize) -> Result<Version, sqlx::Error> {
    unsigned(row, column).map(Version)
}

fn writer_id(row: &SqliteRow, column: usize) -> Result<WriterId, sqlx::Error> {
    WriterId::new(row.try_get::<String, _>(column)?)
        .map_err(|_invalid| undecodable("a writer's id"))
}

pub(crate) fn labels(row: &SqliteRow, column: usize) -> Result<Labels, sqlx::Error> {
    parse_labels(&row.try_get::<String, _>(column)?).ok_or_else(|| undecodable("a head's labels"))
}

struct Delete {
    log: LogId,
}

#[async_trait]
impl Work for Delete {
    type Output = ();

    fn changes_heads(&self) -> bool {
        true
    }

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let kind = self.log.kind.as_str().to_owned();
        let name = self.log.name.as_str().to_owned();
        let before = sqlx::query("SELECT id, labels FROM logs WHERE kind = ?1 AND name = ?2")
            .bind(kind.clone())
            .bind(name.clone())
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(before) = before {
            let row: i64 = before.try_get(0)?;
            sqlx::query("DELETE FROM appends WHERE log = ?1")
                .bind(row)
                .execute(&mut *connection)
                .await?;
            match labels(&before, 1) {
                Ok(labels) => {
                    for (name, value) in labels {
                        sqlx::query(
                            "DELETE FROM labels WHERE kind = ?1 AND name = ?2 AND value = ?3 AND log = ?4",
                        )
                        .bind(kind.clone())
                        .bind(name.into_bytes())
                        .bind(value.into_bytes())
                        .bind(row)
                        .execute(&mut *connection)
                        .await?;
                    }
                }
                // A damaged head can be deleted too; its labels are found the long way.
                Err(_) => {
                    sqlx::query("DELETE FROM labels WHERE kind = ?1 AND log = ?2")
                        .bind(kind.clone())
                        .bind(row)
                        .execute(&mut *connection)
                        .await?;
                }
            }
        }
        sqlx::query(
            "INSERT INTO logs (kind, name, seq, sealed, deleted, labels) VALUES (?1, ?2, 0, 0, 1, '{}')
            ON CONFLICT (kind, name) DO UPDATE SET
                seq = 0, sealed = 0, deleted = 1, labels = '{}', append_id = NULL",
        )
        .bind(kind.clone())
        .bind(name.clone())
        .execute(&mut *connection)
        .await?;
        sqlx::query("DELETE FROM documents WHERE kind = ?1 AND name = ?2")
            .bind(kind)
            .bind(name)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// A document's version in the transaction, and whether its scope was deleted.
async fn current_version(
    key: &DocumentKey,
    connection: &mut SqliteConnection,
) -> Result<(Option<u64>, bool), sqlx::Error> {
    let row = sqlx::query(
        "SELECT (SELECT version FROM documents WHERE kind = ?1 AND name = ?2 AND path = ?3),
            EXISTS (SELECT 1 FROM logs WHERE kind = ?1 AND name = ?2 AND deleted = 1)",
    )
    .bind(key.scope.kind.as_str().to_owned())
    .bind(key.scope.name.as_str().to_owned())
    .bind(key.path.as_str().to_owned())
    .fetch_one(connection)
    .await?;
    let version = match row.try_get::<Option<i64>, _>(0)? {
        Some(version) => {
            Some(u64::try_from(version).map_err(|_negative| undecodable("a document's version"))?)
        }
        None => None,
    };
    Ok((version, row.try_get(1)?))
}

fn is_expected(expected: ExpectedVersion, current: Option<u64>) -> bool {
    match expected {
        ExpectedVersion::Any => true,
        ExpectedVersion::Absent => current.is_none(),
        ExpectedVersion::Version(expected) => current == Some(expected.0),
    }
}

struct Put(PutDocument);

#[async_trait]
impl Work for Put {
    type Output = Result<Version, StateStoreError>;

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Self::Output, sqlx::Error> {
        let put = &self.0;
        let (current, deleted) = current_version(&put.key, connection).await?;
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
        sqlx::query(
            "INSERT INTO documents (kind, name, path, version, writer, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
            ON CONFLICT (kind, name, path) DO UPDATE SET
                version = excluded.version, writer = excluded.writer, value = excluded.value",
        )
        .bind(put.key.scope.kind.as_str().to_owned())
        .bind(put.key.scope.name.as_str().to_owned())
        .bind(put.key.path.as_str().to_owned())
        .bind(i64::try_from(version).map_err(|_huge| undecodable("a document's version"))?)
        .bind(put.writer.as_str().to_owned())
        .bind(put.value.to_vec())
        .execute(connection)
        .await?;
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

#[async_trait]
impl Work for Remove {
    type Output = Result<(), StateStoreError>;

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Self::Output, sqlx::Error> {
        let (current, _) = current_version(&self.key, connection).await?;
        if !is_expected(self.expected, current) {
            return Ok(Err(version_conflict("remove")));
        }
        sqlx::query("DELETE FROM documents WHERE kind = ?1 AND name = ?2 AND path = ?3")
            .bind(self.key.scope.kind.as_str().to_owned())
            .bind(self.key.scope.name.as_str().to_owned())
            .bind(self.key.path.as_str().to_owned())
            .execute(connection)
            .await?;
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
