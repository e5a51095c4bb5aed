//! The contract suites of state store and checkpoint store.

#![expect(clippy::expect_used, reason = "what cannot be built is a failed test")]

mod support;

use std::ffi::OsString;
use std::process::Command;
use std::sync::{Arc, Mutex};

use seaworthy_contract::state_store::Harness;
use seaworthy_contract::{Outcome, checkpoint_store as ck, process, state_store as ss};
use seaworthy_ports::checkpoint_store::CheckpointStore;
use seaworthy_ports::state_store::StateStore;
use seaworthy_ports::{LogId, async_trait};
use seaworthy_postgres::{Postgres, PostgresConfig};
use support::proxy::{Next, Proxy, proxied};
use support::time::RealClock;
use support::{Schema, config, server, sql, with_option};

/// `TINY`: every append is a batch of its own, one at a time.
struct OnPostgres<const TINY: bool> {
    opened: Mutex<Vec<Postgres>>,
    store: Arc<dyn StateStore>,
    proxy: Proxy,
    schema: Schema,
}

fn place(schema: OsString) -> PostgresConfig {
    config(&server(), schema.to_str().expect("a schema's name"))
}

async fn open(config: PostgresConfig) -> Postgres {
    Postgres::connect(config, Arc::new(RealClock))
        .await
        .expect("a migrated schema")
}

impl<const TINY: bool> OnPostgres<TINY> {
    fn sized(config: PostgresConfig) -> PostgresConfig {
        if TINY {
            config
                .with_max_batch(1)
                .with_append_lanes(1)
                .with_connections(4)
        } else {
            config
        }
    }
}

#[async_trait]
impl<const TINY: bool> Harness for OnPostgres<TINY> {
    async fn start() -> Self {
        let schema = Schema::migrated().await;
        let (proxy, proxied) = proxied(&schema).await;
        let postgres = open(Self::sized(proxied)).await;
        let store = postgres.state_store();
        Self {
            schema,
            proxy,
            opened: Mutex::new(vec![postgres]),
            store,
        }
    }

    fn store(&self) -> Arc<dyn StateStore> {
        Arc::clone(&self.store)
    }

    async fn reopen(&self) -> Option<Arc<dyn StateStore>> {
        self.opened.lock().expect("no panic").clear();
        self.second_handle().await
    }

    async fn second_handle(&self) -> Option<Arc<dyn StateStore>> {
        let postgres = open(Self::sized(self.schema.config())).await;
        let store = postgres.state_store();
        self.opened.lock().expect("no panic").push(postgres);
        Some(store)
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_process_that_writes_logs", &self.schema.name)
    }

    fn makers(&self) -> Option<Command> {
        let place = format!("{}_made", self.schema.name);
        process::this_test("a_process_that_makes_a_store", place)
    }

    /// The server says that its disk is full, as far as this handle is concerned.
    async fn without_room(&self) -> Option<Arc<dyn StateStore>> {
        let mut raw = self.schema.raw().await;
        sql(
            &mut raw,
            "CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF current_setting('seaworthy.room', true) = 'none' AND octet_length(NEW.bodies) > 1000000 THEN
                    RAISE 'could not extend file' USING ERRCODE = 'disk_full';
                END IF;
                RETURN NEW;
            END $$;
            CREATE OR REPLACE TRIGGER no_room BEFORE INSERT ON appends FOR EACH ROW EXECUTE FUNCTION no_room()",
        )
        .await;
        let url = with_option(&self.schema.url, "seaworthy.room", "none");
        let postgres = open(Self::sized(config(&url, &self.schema.name))).await;
        let store = postgres.state_store();
        self.opened.lock().expect("no panic").push(postgres);
        Some(store)
    }

    async fn open_as_if_newer(&self) -> Option<ss::Opened> {
        let mut raw = self.schema.raw().await;
        sql(
            &mut raw,
            "INSERT INTO seaworthy_migrations (version, digest) VALUES (999, '')",
        )
        .await;
        let opened = Postgres::connect(self.schema.config(), Arc::new(RealClock)).await;
        Some(opened.map(|postgres| postgres.state_store()))
    }

    async fn corrupt(&self, log: &LogId) -> bool {
        let mut raw = self.schema.raw().await;
        let damaged = sqlx::query(
            "DELETE FROM appends a USING logs l
            WHERE l.kind = $1 AND l.name = $2 AND a.log = l.id AND a.last = l.seq",
        )
        .bind(log.kind.as_str())
        .bind(log.name.as_str())
        .execute(&mut raw)
        .await
        .expect("a deletion");
        damaged.rows_affected() == 1
    }

    async fn lose_next_reply(&self) -> bool {
        self.proxy.next(Next::HasNoReply);
        true
    }
}

seaworthy_contract::state_store_contract! {
    harness: OnPostgres<false>,
    each: [#[cfg_attr(not(has_postgres), ignore = "needs PostgreSQL: cargo xtask test starts one")]],
    not_checkable: {
        watching_is_there_where_it_is_declared_and_returns_in_time: "it does not declare watch",
        a_torn_write_costs_nothing_that_was_acknowledged: "the files are the server's, which mends torn writes itself",
        a_store_that_lost_its_end_says_so_and_is_never_shorter: "the files are the server's, not the adapter's",
    }
}

seaworthy_contract::state_store_contract! {
    harness: OnPostgres<true>,
    each: [#[cfg_attr(not(has_postgres), ignore = "needs PostgreSQL: cargo xtask test starts one")]],
    profile: one_thread,
    not_checkable: {
        watching_is_there_where_it_is_declared_and_returns_in_time: "it does not declare watch",
        a_torn_write_costs_nothing_that_was_acknowledged: "the files are the server's, which mends torn writes itself",
        a_store_that_lost_its_end_says_so_and_is_never_shorter: "the files are the server's, not the adapter's",
    }
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_that_writes_logs() -> Outcome {
    ss::work(async |schema| open(place(schema)).await.state_store())
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_that_makes_a_store() -> Outcome {
    ss::work(async |schema| {
        let config = place(schema);
        Postgres::migrate(&config).await.expect("a fresh schema");
        open(config).await.state_store()
    })
}

struct Checkpoints {
    opened: Postgres,
    schema: Schema,
}

#[async_trait]
impl ck::Harness for Checkpoints {
    async fn start() -> Self {
        let schema = Schema::migrated().await;
        let opened = open(schema.config()).await;
        Self { schema, opened }
    }

    fn store(&self) -> Arc<dyn CheckpointStore> {
        self.opened.checkpoint_store()
    }

    async fn reopen(&self) -> Option<Arc<dyn CheckpointStore>> {
        Some(open(self.schema.config()).await.checkpoint_store())
    }

    fn another_process(&self) -> Option<Command> {
        process::this_test("a_process_that_writes_checkpoints", &self.schema.name)
    }
}

seaworthy_contract::checkpoint_store_contract! {
    harness: Checkpoints,
    each: [#[cfg_attr(not(has_postgres), ignore = "needs PostgreSQL: cargo xtask test starts one")]],
}

#[test]
#[ignore = "scenarios start it in a process of its own"]
fn a_process_that_writes_checkpoints() -> Outcome {
    ck::work(async |schema| open(place(schema)).await.checkpoint_store())
}
