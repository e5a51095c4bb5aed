//! Listing heads.

use seaworthy_ports::state_store::{
    Head, HeadQuery, Kind, Order, Page, PageToken, Seq, StateStoreError,
};
use seaworthy_ports::{LogId, LogKind, LogName};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::error::{self, ADAPTER, Failure, undecodable};
use crate::labels;
use crate::read::unsigned;
use crate::store::Shared;

/// The longest page of a listing; a longer one that is asked for comes in parts.
pub(crate) const MAX_PAGE: u32 = 1_000;

const OLDEST: &str = "
SELECT id, seq, sealed, labels, name FROM logs WHERE kind = $1 AND NOT deleted AND id > $2 ORDER BY id LIMIT $3";

const NEWEST: &str = "
SELECT id, seq, sealed, labels, name FROM logs WHERE kind = $1 AND NOT deleted AND id < $2 ORDER BY id DESC LIMIT $3";

/// The first label leads through its index in the order of creation; the others are looked up for each.
const LABELLED_OLDEST: &str = "
SELECT l.id, l.seq, l.sealed, l.labels, l.name FROM labels a JOIN logs l ON l.id = a.log
WHERE a.kind = $1 AND a.name = $4 AND a.value = $5 AND a.log > $2 AND NOT l.deleted
    AND NOT EXISTS (SELECT 1 FROM unnest($6, $7) AS w (name, value) WHERE NOT EXISTS (
        SELECT 1 FROM labels b WHERE b.log = a.log AND b.name = w.name AND b.value = w.value))
ORDER BY a.log LIMIT $3";

const LABELLED_NEWEST: &str = "
SELECT l.id, l.seq, l.sealed, l.labels, l.name FROM labels a JOIN logs l ON l.id = a.log
WHERE a.kind = $1 AND a.name = $4 AND a.value = $5 AND a.log < $2 AND NOT l.deleted
    AND NOT EXISTS (SELECT 1 FROM unnest($6, $7) AS w (name, value) WHERE NOT EXISTS (
        SELECT 1 FROM labels b WHERE b.log = a.log AND b.name = w.name AND b.value = w.value))
ORDER BY a.log DESC LIMIT $3";

impl Shared {
    pub(crate) async fn list(&self, query: HeadQuery) -> Result<Page<Head>, StateStoreError> {
        let HeadQuery {
            kind,
            labels,
            order,
            limit,
            page,
        } = query;
        let limit = limit.get().min(MAX_PAGE);
        let from = match (&page, order) {
            (Some(token), _) => parse_token(token, order)?,
            (None, Order::OldestFirst) => 0,
            (None, Order::NewestFirst) => i64::MAX,
        };
        let statement = match (order, labels.is_empty()) {
            (Order::OldestFirst, true) => OLDEST,
            (Order::NewestFirst, true) => NEWEST,
            (Order::OldestFirst, false) => LABELLED_OLDEST,
            (Order::NewestFirst, false) => LABELLED_NEWEST,
        };
        let mut statement = sqlx::query(statement)
            .bind(kind.as_str().to_owned())
            .bind(from)
            .bind(i64::from(limit) + 1);
        let mut wanted = labels.iter();
        if let Some((name, value)) = wanted.next() {
            let (names, values): (Vec<String>, Vec<String>) = wanted
                .map(|(name, value)| (labels::part(name), labels::part(value)))
                .unzip();
            statement = statement
                .bind(labels::part(name))
                .bind(labels::part(value))
                .bind(names)
                .bind(values);
        }
        let failed = |failure: Failure| error::state_store("list", failure);
        let mut rows = self.database.read(statement).await.map_err(failed)?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let mut items = Vec::with_capacity(rows.len());
        let mut last = None;
        for row in &rows {
            let (id, head) = listed(&kind, row).map_err(|error| failed(error.into()))?;
            last = Some(id);
            items.push(head);
        }
        Ok(Page {
            items,
            next: last.filter(|_| more).map(|id| token(id, order)),
        })
    }
}

fn letter(order: Order) -> char {
    match order {
        Order::OldestFirst => 'o',
        Order::NewestFirst => 'n',
    }
}

fn token(id: i64, order: Order) -> PageToken {
    PageToken(format!("{}{id}", letter(order)))
}

fn parse_token(token: &PageToken, order: Order) -> Result<i64, StateStoreError> {
    token
        .0
        .strip_prefix(letter(order))
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| foreign_token("list"))
}

pub(crate) fn foreign_token(operation: &'static str) -> StateStoreError {
    let why = "the page token is not of this listing";
    StateStoreError::new(Kind::Rejected, ADAPTER, operation, why)
}

fn listed(kind: &LogKind, row: &PgRow) -> Result<(i64, Head), sqlx::Error> {
    let name =
        LogName::new(row.try_get::<&str, _>(4)?).map_err(|_invalid| undecodable("a log's name"))?;
    let head = Head {
        log: LogId::new(kind.clone(), name),
        seq: Seq(unsigned(row, 1)?),
        sealed: row.try_get(2)?,
        labels: labels::from_text(row.try_get(3)?).ok_or_else(|| undecodable("a head's labels"))?,
    };
    Ok((row.try_get(0)?, head))
}
