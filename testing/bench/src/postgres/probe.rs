//! What PostgreSQL itself reaches: one prepared statement for many appends, written by hand, on as many connections as
//! are best.

use std::time::{Duration, Instant};

use sqlx::{Executor as _, PgConnection};
use tokio::task::JoinSet;

use super::server::{Schema, with_bare_schema};
use crate::Failure;
use crate::raw::whole;
use crate::report::median;

/// A table of heads and one of records, which is the least that appends need.
const TABLES: &str = "
CREATE TABLE heads (id bigint PRIMARY KEY, seq bigint NOT NULL) WITH (fillfactor = 70);
CREATE TABLE records (log bigint, seq bigint, body bytea NOT NULL, PRIMARY KEY (log, seq));
ALTER TABLE records ALTER body SET STORAGE EXTERNAL";

/// A way to append to many logs in one statement. Both take the logs, their heads and the bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// Records are inserted for the heads that were as expected.
    Checked,
    /// Heads are moved and records inserted, whatever there was.
    Unchecked,
}

impl Way {
    const fn statement(self) -> &'static str {
        match self {
            Self::Checked => {
                "WITH moved AS (
                    UPDATE heads h SET seq = m.seq + 1 FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS m (id, seq, body)
                    WHERE h.id = m.id AND h.seq = m.seq RETURNING h.id, h.seq, m.body)
                INSERT INTO records (log, seq, body) SELECT id, seq, body FROM moved"
            }
            Self::Unchecked => {
                "WITH moved AS (
                    UPDATE heads h SET seq = m.seq + 1 FROM unnest($1::bigint[], $2::bigint[]) AS m (id, seq) WHERE h.id = m.id)
                INSERT INTO records (log, seq, body)
                SELECT m.id, m.seq + 1, m.body FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS m (id, seq, body)"
            }
        }
    }
}

/// How appends are sent by hand: on so many connections, with so many in a statement, so many bytes each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) way: Way,
    pub(crate) connections: usize,
    pub(crate) group: usize,
    pub(crate) bytes: f64,
}

/// The logs of one connection.
struct Lane {
    connection: PgConnection,
    way: Way,
    ids: Vec<i64>,
    body: Vec<u8>,
    seq: i64,
}

impl Lane {
    async fn open(schema: &Schema, shape: Shape, number: usize) -> Result<Self, Failure> {
        let mut connection = schema.raw().await?;
        // Planned once, and through the index, as it is best for few rows.
        let settings =
            "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off;
            SET enable_mergejoin = off; SET enable_bitmapscan = off; SET jit = off";
        connection.execute(sqlx::raw_sql(settings)).await?;
        let first = i64::try_from(number * shape.group)?;
        let ids = (first..).take(shape.group).collect();
        Ok(Self {
            connection,
            way: shape.way,
            ids,
            body: vec![b'x'; whole(shape.bytes).max(1)],
            seq: 0,
        })
    }

    /// One append to each of its logs.
    async fn append(&mut self) -> Result<(), Failure> {
        let heads = vec![self.seq; self.ids.len()];
        let bodies = vec![self.body.as_slice(); self.ids.len()];
        let done = sqlx::query(self.way.statement())
            .bind(self.ids.as_slice())
            .bind(heads)
            .bind(bodies)
            .execute(&mut self.connection)
            .await?;
        if done.rows_affected() != u64::try_from(self.ids.len())? {
            return Err("not every append by hand was made".into());
        }
        self.seq += 1;
        Ok(())
    }
}

async fn tables(schema: &Schema, logs: usize) -> Result<(), Failure> {
    let mut connection = schema.raw().await?;
    connection.execute(sqlx::raw_sql(TABLES)).await?;
    sqlx::query("INSERT INTO heads (id, seq) SELECT id, 0 FROM generate_series(0, $1) AS id")
        .bind(i64::try_from(logs)?)
        .execute(&mut connection)
        .await?;
    Ok(())
}

/// Appends a second, when `appends` of them are made in that shape.
pub(crate) async fn appends(url: &str, shape: Shape, appends: usize) -> Result<f64, Failure> {
    with_bare_schema(url, async |schema: &Schema| {
        tables(schema, shape.connections * shape.group).await?;
        let mut lanes = Vec::new();
        for number in 0..shape.connections {
            let mut lane = Lane::open(schema, shape, number).await?;
            // Prepares the statement.
            lane.append().await?;
            lanes.push(lane);
        }
        let each = appends.div_ceil(shape.connections * shape.group);
        let mut appending = JoinSet::new();
        let began = Instant::now();
        for mut lane in lanes {
            appending.spawn(async move {
                for _ in 0..each {
                    lane.append().await?;
                }
                Ok::<_, Failure>(())
            });
        }
        while let Some(ended) = appending.join_next().await {
            ended??;
        }
        let done = each * shape.connections * shape.group;
        Ok(done as f64 / began.elapsed().as_secs_f64())
    })
    .await
}

/// The median time of a statement with one append.
pub(crate) async fn single(url: &str, bytes: usize, appends: usize) -> Result<Duration, Failure> {
    let shape = Shape {
        way: Way::Checked,
        connections: 1,
        group: 1,
        bytes: bytes as f64,
    };
    with_bare_schema(url, async |schema: &Schema| {
        tables(schema, 1).await?;
        let mut lane = Lane::open(schema, shape, 0).await?;
        // As a run is: on another thread of the runtime.
        let times = tokio::spawn(async move {
            lane.append().await?;
            let mut times = Vec::with_capacity(appends);
            for _ in 0..appends {
                let began = Instant::now();
                lane.append().await?;
                times.push(began.elapsed().as_secs_f64());
            }
            Ok::<_, Failure>(times)
        })
        .await??;
        let time = median(times).ok_or("nothing was appended")?;
        Ok(Duration::from_secs_f64(time))
    })
    .await
}
