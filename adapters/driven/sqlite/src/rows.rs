//! What a group of appends writes, in as few statements as it takes.

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use seaworthy_ports::LogId;
use seaworthy_ports::state_store::Labels;
use serde_json::{Value, json};
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Row as _, Sqlite, SqliteConnection};

use crate::bodies::pack;
use crate::heads::Head;

/// The most rows of one statement: as many as a group has unless told otherwise.
const MAX_ROWS: usize = 512;
/// Statements of more rows have a multiple of so many, those of fewer a power of two, so that few have to be prepared;
/// rows too many are null and ignored.
const STEP: usize = 32;

/// `OR FAIL`: what fails is rolled back with its transaction anyway, and without it SQLite would copy every page that a
/// statement of several rows changes.
const APPENDS: Statement = Statement {
    head: "INSERT OR FAIL INTO appends (log, last, lengths, bodies) SELECT * FROM (VALUES ",
    row: "(?, ?, ?, ?)",
    columns: 4,
    tail: ") WHERE column1 IS NOT NULL;",
};

const HEADS: Statement = Statement {
    head: "UPDATE OR FAIL logs SET seq = v.column2, sealed = v.column3, append_id = v.column4 FROM (VALUES ",
    row: "(?, ?, ?, ?)",
    columns: 4,
    tail: ") v WHERE logs.id = v.column1;",
};

/// The same, where nobody else has written since the heads were read.
const APPENDS_IF_CURRENT: Statement = Statement {
    tail: ") WHERE column1 IS NOT NULL AND (SELECT data_version FROM pragma_data_version) = ?;",
    ..APPENDS
};

const HEADS_IF_CURRENT: Statement = Statement {
    tail: ") v WHERE logs.id = v.column1 AND (SELECT data_version FROM pragma_data_version) = ?;",
    ..HEADS
};

/// Whether what stands before it was written: not where somebody else has written since, and then none of it was.
/// Anything in between is an error, which keeps the commit behind it from being reached: no number has that absolute.
const PROVE: &str = "
SELECT CASE WHEN (SELECT data_version FROM pragma_data_version) <> ? THEN 0 WHEN changes() = ? THEN 1
    ELSE abs(-9223372036854775807 - 1) END;";

// Values of these travel as one JSON array for each statement. SQLite decodes `\u0000` in JSON text as its end, so nothing
// that may hold it travels that way: labels go as hexadecimal digits, or as JSON within JSON.

/// New heads; labels of heads; labels that change; labels that are new.
const LISTS: &str = "
INSERT INTO logs (id, kind, name, seq, sealed, deleted, labels, append_id)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, 0, value ->> 5, value ->> 6
FROM json_each(?);

UPDATE logs SET labels = j.value ->> 1 FROM json_each(?) j WHERE logs.id = j.value ->> 0;

UPDATE labels SET value = unhex(j.value ->> 3)
FROM json_each(?) j
WHERE labels.kind = j.value ->> 0 AND labels.name = unhex(j.value ->> 1) AND labels.value = unhex(j.value ->> 2)
    AND labels.log = j.value ->> 4;

INSERT INTO labels (kind, name, value, log)
SELECT value ->> 0, unhex(value ->> 1), unhex(value ->> 2), value ->> 3 FROM json_each(?);";

/// One at a time: SQLite would look through all labels of the kind for a list, and labels are rarely taken away.
const REMOVE_LABEL: &str =
    "DELETE FROM labels WHERE kind = ?1 AND name = ?2 AND value = ?3 AND log = ?4";

/// What the group found of a log that it changes.
#[derive(Debug)]
pub(crate) enum Before {
    /// There was none.
    Absent,
    /// There was one, with these labels if the group changed them.
    Present(Option<Labels>),
}

/// At which point a transaction in one round trip failed.
pub(crate) enum AtOnce {
    /// Before its commit was tried: it had no effect, and may still be open.
    Before(sqlx::Error),
    /// In its commit, or behind it.
    Commit(sqlx::Error),
}

struct RemovedLabel {
    kind: String,
    name: String,
    value: String,
    log: i64,
}

struct AppendRow {
    log: i64,
    last: i64,
    lengths: Option<Vec<u8>>,
    bodies: Vec<u8>,
}

struct HeadRow {
    row: i64,
    seq: i64,
    sealed: bool,
    newest: Option<String>,
}

/// Gathers what is to be written.
#[derive(Default)]
pub(crate) struct Rows {
    appends: Vec<AppendRow>,
    heads: Vec<HeadRow>,
    create: Vec<Value>,
    head_labels: Vec<Value>,
    change_labels: Vec<Value>,
    add_labels: Vec<Value>,
    remove_labels: Vec<RemovedLabel>,
}

impl Rows {
    /// An append to the log in `row` that ends at `last`.
    pub(crate) fn add_append(&mut self, row: i64, last: u64, bodies: &[Bytes]) {
        let (lengths, bodies) = pack(bodies);
        self.appends.push(AppendRow {
            log: row,
            last: stored(last),
            lengths,
            bodies,
        });
    }

    /// The head of `log` as the group leaves it.
    pub(crate) fn add_head(&mut self, log: &LogId, before: &Before, head: &Head) {
        let none = Labels::new();
        match before {
            Before::Absent => {
                self.create.push(json!([
                    head.row,
                    log.kind.as_str(),
                    log.name.as_str(),
                    head.seq,
                    u8::from(head.sealed),
                    json!(head.labels).to_string(),
                    head.newest,
                ]));
                self.add_label_changes(log, &none, head);
            }
            Before::Present(old) => {
                self.heads.push(HeadRow {
                    row: head.row,
                    seq: stored(head.seq),
                    sealed: head.sealed,
                    newest: head.newest.clone(),
                });
                if let Some(old) = old {
                    let labels = json!(head.labels).to_string();
                    self.head_labels.push(json!([head.row, labels]));
                    self.add_label_changes(log, old, head);
                }
            }
        }
    }

    fn add_label_changes(&mut self, log: &LogId, old: &Labels, head: &Head) {
        let kind = log.kind.as_str();
        for (name, value) in &head.labels {
            let (hex_name, hex_value) = (hex::encode(name), hex::encode(value));
            match old.get(name) {
                Some(same) if same == value => {}
                Some(other) => {
                    let other = hex::encode(other);
                    self.change_labels
                        .push(json!([kind, hex_name, other, hex_value, head.row]));
                }
                None => self
                    .add_labels
                    .push(json!([kind, hex_name, hex_value, head.row])),
            }
        }
        for (name, value) in old {
            if !head.labels.contains_key(name) {
                self.remove_labels.push(RemovedLabel {
                    kind: kind.to_owned(),
                    name: name.clone(),
                    value: value.clone(),
                    log: head.row,
                });
            }
        }
    }

    /// Writes the appends gathered so far, so that they can be read.
    pub(crate) async fn write_appends(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        let appends = std::mem::take(&mut self.appends);
        APPENDS.execute(appends, connection, bind_append).await
    }

    /// Commits a transaction of nothing but appends and heads in one round trip to SQLite's thread, unless another
    /// connection has written since `data_version`. Returns whether it did; if not, nothing has happened.
    pub(crate) async fn commit_at_once(
        self,
        data_version: i64,
        connection: &mut SqliteConnection,
    ) -> Result<bool, AtOnce> {
        let heads = self.heads.len();
        if self.appends.len() > MAX_ROWS || heads == 0 {
            return Ok(false);
        }
        let text = format!(
            "BEGIN IMMEDIATE; {} {} {PROVE} COMMIT;",
            APPENDS_IF_CURRENT.text(self.appends.len()),
            HEADS_IF_CURRENT.text(heads),
        );
        let query = sqlx::query(AssertSqlSafe(text));
        let query = APPENDS_IF_CURRENT
            .bind(query, self.appends, bind_append)
            .bind(data_version);
        let query = HEADS_IF_CURRENT
            .bind(query, self.heads, bind_head)
            .bind(data_version);
        let query = query
            .bind(data_version)
            .bind(i64::try_from(heads).unwrap_or(i64::MAX));
        // The proof is the only row, and comes before the commit is tried.
        let mut rows = query.fetch(connection);
        let proof = rows.try_next().await.map_err(AtOnce::Before)?;
        let is_current = proof
            .ok_or(sqlx::Error::RowNotFound)
            .and_then(|proof| proof.try_get::<bool, _>(0))
            .map_err(AtOnce::Commit)?;
        while rows.try_next().await.map_err(AtOnce::Commit)?.is_some() {}
        Ok(is_current)
    }

    pub(crate) async fn write(
        mut self,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        if self.appends.len() <= MAX_ROWS && self.heads.len() <= MAX_ROWS {
            // In one go: each round trip to SQLite's thread costs more than most statements.
            let (appends, heads) = (std::mem::take(&mut self.appends), self.heads);
            let text = APPENDS.text(appends.len()) + &HEADS.text(heads.len());
            if !text.is_empty() {
                let query = sqlx::query(AssertSqlSafe(text));
                let query = HEADS.bind(APPENDS.bind(query, appends, bind_append), heads, bind_head);
                query.execute(&mut *connection).await?;
            }
        } else {
            self.write_appends(connection).await?;
            HEADS.execute(self.heads, connection, bind_head).await?;
        }
        let lists = [
            self.create,
            self.head_labels,
            self.change_labels,
            self.add_labels,
        ];
        if lists.iter().any(|list| !list.is_empty()) {
            // One text, and one round trip: a statement for an empty list costs less than one of its own for the others.
            let mut query = sqlx::query(LISTS);
            for list in lists {
                query = query.bind(Value::from(list).to_string());
            }
            query.execute(&mut *connection).await?;
        }
        for label in self.remove_labels {
            sqlx::query(REMOVE_LABEL)
                .bind(label.kind)
                .bind(label.name.into_bytes())
                .bind(label.value.into_bytes())
                .bind(label.log)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

/// A statement for any number of rows.
struct Statement {
    head: &'static str,
    row: &'static str,
    columns: usize,
    tail: &'static str,
}

impl Statement {
    async fn execute<T>(
        &self,
        rows: Vec<T>,
        connection: &mut SqliteConnection,
        bind: impl for<'q> Fn(Bound<'q>, T) -> Bound<'q>,
    ) -> Result<(), sqlx::Error> {
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let now: Vec<T> = rows.by_ref().take(MAX_ROWS).collect();
            let query = sqlx::query(AssertSqlSafe(self.text(now.len())));
            self.bind(query, now, &bind)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }

    /// The statement for so many rows; nothing for none. Only placeholders are put together here.
    fn text(&self, rows: usize) -> String {
        if rows == 0 {
            return String::new();
        }
        let rows = padded(rows);
        let length = self.head.len() + rows * (self.row.len() + 1) + self.tail.len();
        let mut text = String::with_capacity(length);
        text.push_str(self.head);
        for number in 0..rows {
            if number > 0 {
                text.push(',');
            }
            text.push_str(self.row);
        }
        text.push_str(self.tail);
        text
    }

    fn bind<'q, T>(
        &self,
        mut query: Bound<'q>,
        rows: Vec<T>,
        bind: impl Fn(Bound<'q>, T) -> Bound<'q>,
    ) -> Bound<'q> {
        let nulls = match rows.len() {
            0 => 0,
            some => padded(some) - some,
        };
        for row in rows {
            query = bind(query, row);
        }
        for _null in 0..nulls * self.columns {
            query = query.bind(None::<i64>);
        }
        query
    }
}

fn bind_append(query: Bound<'_>, append: AppendRow) -> Bound<'_> {
    query
        .bind(append.log)
        .bind(append.last)
        .bind(append.lengths)
        .bind(append.bodies)
}

fn bind_head(query: Bound<'_>, head: HeadRow) -> Bound<'_> {
    query
        .bind(head.row)
        .bind(head.seq)
        .bind(head.sealed)
        .bind(head.newest)
}

fn padded(rows: usize) -> usize {
    if rows < STEP {
        rows.next_power_of_two()
    } else {
        rows.next_multiple_of(STEP)
    }
}

type Bound<'q> = Query<'q, Sqlite, SqliteArguments>;

/// Sequences of a log fit: they are at most [`crate::append::MAX_SEQ`].
fn stored(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}
