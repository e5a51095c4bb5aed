//! Versioned documents.

use seaworthy_ports::state_store::{
    Document, DocumentEntry, DocumentKey, DocumentQuery, ExpectedVersion, Kind, Page, PageToken,
    PutDocument, StateStoreError, Version,
};
use seaworthy_ports::{DocumentPath, WriterId};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::append::MAX_APPEND_BYTES;
use crate::error::{self, ADAPTER, Failure, undecodable};
use crate::listing::{MAX_PAGE, foreign_token};
use crate::read::unsigned;
use crate::store::Shared;

const GET: &str =
    "SELECT version, writer, value FROM documents WHERE kind = $1 AND name = $2 AND path = $3";

const LIST: &str = "
SELECT path, version, writer, octet_length(value)::bigint FROM documents
WHERE kind = $1 AND name = $2 AND path >= $3 AND path > $4 ORDER BY path LIMIT $5";

impl Shared {
    pub(crate) async fn document(
        &self,
        key: &DocumentKey,
    ) -> Result<Option<Document>, StateStoreError> {
        let statement = sqlx::query(GET)
            .bind(key.scope.kind.as_str().to_owned())
            .bind(key.scope.name.as_str().to_owned())
            .bind(key.path.as_str().to_owned());
        let failed = |failure: Failure| error::state_store("get", failure);
        let rows = self.database.read(statement).await.map_err(failed)?;
        let document = rows.first().map(document).transpose();
        document.map_err(|error| failed(error.into()))
    }

    pub(crate) async fn put(&self, put: PutDocument) -> Result<Version, StateStoreError> {
        if put.value.len() > MAX_APPEND_BYTES {
            return Err(refusal(Kind::TooLarge, "put", "the document is too large"));
        }
        let statement = sqlx::query("SELECT put_document($1, $2, $3, $4, $5, $6)")
            .bind(put.key.scope.kind.as_str().to_owned())
            .bind(put.key.scope.name.as_str().to_owned())
            .bind(put.key.path.as_str().to_owned())
            .bind(expected(put.expected))
            .bind(put.writer.as_str().to_owned())
            .bind(put.value.to_vec());
        let failed = |failure: Failure| error::state_store("put", failure);
        let row = self.database.write_one(statement).await.map_err(failed)?;
        match row.try_get::<i64, _>(0) {
            Ok(-1) => Err(version_conflict("put")),
            Ok(-2) => Err(refusal(Kind::Gone, "put", "the scope's log was deleted")),
            Ok(version) => Ok(Version(version.unsigned_abs())),
            Err(error) => Err(failed(Failure::of_write(error))),
        }
    }

    pub(crate) async fn remove(
        &self,
        key: &DocumentKey,
        expected_version: ExpectedVersion,
    ) -> Result<(), StateStoreError> {
        let statement = sqlx::query("SELECT remove_document($1, $2, $3, $4)")
            .bind(key.scope.kind.as_str().to_owned())
            .bind(key.scope.name.as_str().to_owned())
            .bind(key.path.as_str().to_owned())
            .bind(expected(expected_version));
        let failed = |failure: Failure| error::state_store("remove", failure);
        let row = self.database.write_one(statement).await.map_err(failed)?;
        match row.try_get(0) {
            Ok(true) => Ok(()),
            Ok(false) => Err(version_conflict("remove")),
            Err(error) => Err(failed(Failure::of_write(error))),
        }
    }

    pub(crate) async fn documents(
        &self,
        query: DocumentQuery,
    ) -> Result<Page<DocumentEntry>, StateStoreError> {
        const OPERATION: &str = "list_documents";
        let limit = query.limit.get().min(MAX_PAGE);
        let after = match &query.page {
            Some(PageToken(token)) => token
                .strip_prefix('p')
                .filter(|path| DocumentPath::new(path).is_ok())
                .ok_or_else(|| foreign_token(OPERATION))?,
            None => "",
        };
        // No path has one in it, and no text of the database.
        if query.prefix.contains('\0') {
            let (items, next) = (Vec::new(), None);
            return Ok(Page { items, next });
        }
        let statement = sqlx::query(LIST)
            .bind(query.scope.kind.as_str().to_owned())
            .bind(query.scope.name.as_str().to_owned())
            .bind(query.prefix.clone())
            .bind(after.to_owned())
            .bind(i64::from(limit) + 1);
        let failed = |failure: Failure| error::state_store(OPERATION, failure);
        let rows = self.database.read(statement).await.map_err(failed)?;
        // Sorted by bytes: all paths with the prefix come first.
        let mut items = rows
            .iter()
            .map(entry)
            .take_while(|entry| match entry {
                Ok(entry) => entry.path.as_str().starts_with(&query.prefix),
                Err(_) => true,
            })
            .collect::<Result<Vec<DocumentEntry>, sqlx::Error>>()
            .map_err(|error| failed(error.into()))?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items
            .last()
            .filter(|_| more)
            .map(|entry| PageToken(format!("p{}", entry.path)));
        Ok(Page { items, next })
    }
}

fn refusal(kind: Kind, operation: &'static str, why: &'static str) -> StateStoreError {
    StateStoreError::new(kind, ADAPTER, operation, why)
}

fn version_conflict(operation: &'static str) -> StateStoreError {
    refusal(
        Kind::Conflict { head: None },
        operation,
        "the document's version is not the expected one",
    )
}

/// -1 whatever there is, 0 nothing, else that version: as the database's functions take it. No document has version 0, or
/// one that is larger than the database's numbers.
fn expected(expected: ExpectedVersion) -> i64 {
    match expected {
        ExpectedVersion::Any => -1,
        ExpectedVersion::Absent => 0,
        ExpectedVersion::Version(Version(0)) => i64::MAX,
        ExpectedVersion::Version(Version(version)) => i64::try_from(version).unwrap_or(i64::MAX),
    }
}

fn document(row: &PgRow) -> Result<Document, sqlx::Error> {
    Ok(Document {
        version: Version(unsigned(row, 0)?),
        writer: writer(row, 1)?,
        value: row.try_get::<Vec<u8>, _>(2)?.into(),
    })
}

fn entry(row: &PgRow) -> Result<DocumentEntry, sqlx::Error> {
    Ok(DocumentEntry {
        path: DocumentPath::new(row.try_get::<&str, _>(0)?)
            .map_err(|_invalid| undecodable("a document's path"))?,
        version: Version(unsigned(row, 1)?),
        writer: writer(row, 2)?,
        size: unsigned(row, 3)?,
    })
}

fn writer(row: &PgRow, column: usize) -> Result<WriterId, sqlx::Error> {
    WriterId::new(row.try_get::<&str, _>(column)?).map_err(|_invalid| undecodable("a writer's id"))
}
