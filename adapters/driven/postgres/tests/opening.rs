//! Migrating and connecting.

#![expect(clippy::expect_used, reason = "helpers of tests fail tests")]

mod support;

use std::sync::Arc;

use seaworthy_ports::state_store::Kind;
use seaworthy_postgres::{Postgres, PostgresConfig};
use support::time::RealClock;
use support::{Schema, append, bodies, config, count, sql, words};

async fn refusal(config: PostgresConfig) -> Kind {
    let opened = Postgres::connect(config, Arc::new(RealClock)).await;
    opened.expect_err("it must not open").kind()
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn a_schema_that_is_missing_is_refused_and_not_created() {
    let schema = Schema::new();
    assert_eq!(refusal(schema.config()).await, Kind::Rejected);
    let mut raw = schema.raw().await;
    let there =
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM pg_namespace WHERE nspname = $1")
            .bind(&schema.name)
            .fetch_one(&mut raw);
    assert_eq!(there.await.expect("a number"), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn many_may_migrate_and_connect_at_once() {
    let schema = Schema::new();
    let mut tasks = Vec::new();
    for number in 0..6 {
        let config = schema.config();
        tasks.push(tokio::spawn(async move {
            Postgres::migrate(&config).await.expect("migrated");
            let postgres = Postgres::connect(config, Arc::new(RealClock))
                .await
                .expect("connected");
            let append = append(&format!("log{number}"), 0, &[b"x"]);
            postgres
                .state_store()
                .append(append)
                .await
                .expect("appended");
            postgres.close().await;
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let mut raw = schema.raw().await;
    assert_eq!(count(&mut raw, "SELECT count(*) FROM logs").await, 6);
    let question = "SELECT count(*) FROM seaworthy_migrations";
    let newest = i64::from(Postgres::newest_schema());
    assert_eq!(count(&mut raw, question).await, newest);
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn migrating_twice_changes_nothing_and_an_empty_schema_may_be_given() {
    let schema = Schema::new();
    let mut raw = schema.raw().await;
    sql(&mut raw, format!("CREATE SCHEMA \"{}\"", schema.name)).await;
    let config = schema.config();
    Postgres::migrate(&config).await.expect("migrated");
    sql(&mut raw, "INSERT INTO queue_limits VALUES ('q', 1)").await;
    Postgres::migrate(&config).await.expect("repeated");
    assert_eq!(
        count(&mut raw, "SELECT count(*) FROM queue_limits").await,
        1
    );
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn a_schema_that_was_made_otherwise_or_later_is_refused_and_left_alone() {
    let schema = Schema::migrated().await;
    let mut raw = schema.raw().await;
    for damage in [
        "UPDATE seaworthy_migrations SET digest = 'x'",
        "INSERT INTO seaworthy_migrations (version, digest) VALUES (999, '')",
        "UPDATE seaworthy_migrations SET version = version + 10",
    ] {
        sql(
            &mut raw,
            "CREATE TABLE kept AS SELECT * FROM seaworthy_migrations",
        )
        .await;
        sql(&mut raw, damage).await;
        let question = "SELECT count(*) FROM seaworthy_migrations";
        let before = count(&mut raw, question).await;
        assert_eq!(refusal(schema.config()).await, Kind::Rejected, "{damage}");
        let migrated = Postgres::migrate(&schema.config()).await;
        assert_eq!(migrated.expect_err(damage).kind(), Kind::Rejected);
        assert_eq!(count(&mut raw, question).await, before);
        sql(
            &mut raw,
            "TRUNCATE seaworthy_migrations;
            INSERT INTO seaworthy_migrations SELECT * FROM kept;
            DROP TABLE kept",
        )
        .await;
    }
    let opened = Postgres::connect(schema.config(), Arc::new(RealClock)).await;
    opened.expect("mended").close().await;
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn a_schema_of_something_else_is_refused_and_left_alone() {
    let schema = Schema::new();
    let mut raw = schema.raw().await;
    let theirs = format!(
        "CREATE SCHEMA \"{}\"; CREATE TABLE theirs (x integer)",
        schema.name
    );
    sql(&mut raw, theirs).await;
    let migrated = Postgres::migrate(&schema.config()).await;
    assert_eq!(migrated.expect_err("theirs").kind(), Kind::Rejected);
    assert_eq!(refusal(schema.config()).await, Kind::Rejected);
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn tenants_of_one_database_do_not_see_each_other() {
    let (one, other) = (Schema::migrated().await, Schema::migrated().await);
    let mut stores = Vec::new();
    for (schema, body) in [(&one, b"one"), (&other, b"two")] {
        let postgres = Postgres::connect(schema.config(), Arc::new(RealClock))
            .await
            .expect("connected");
        let store = postgres.state_store();
        store
            .append(append("a", 0, &[body]))
            .await
            .expect("appended");
        stores.push(store);
    }
    for (store, body) in stores.iter().zip(["one", "two"]) {
        assert_eq!(bodies(&**store, "a").await.expect("read"), [body]);
    }
}

#[tokio::test]
async fn no_error_repeats_the_password_of_its_url() {
    let urls = [
        "postgres://user:canary@127.0.0.1:1/database",
        "postgres://user:canary@host.invalid:5432/database",
        "postgres://user:canary@127.0.0.1:1/database?sslmode=canary",
        "postgres://user:canary@127.0.0.1:port/database",
        "postgres://127.0.0.1:1/database?password=canary",
        "postgres://user:canary/@host/database",
        "canary",
        "mysql://user:canary@127.0.0.1/database",
        "postgres://user:canary@127.0.0.1:1/database?sslrootcert=/canary&sslmode=verify-full",
    ];
    for url in urls {
        for schema in ["seaworthy", "no such schema"] {
            let config = config(url, schema);
            let errors = [
                Postgres::migrate(&config).await.expect_err(url),
                Postgres::connect(config, Arc::new(RealClock))
                    .await
                    .expect_err(url),
            ];
            for error in errors {
                let words = words(&error);
                assert!(!words.contains("canary"), "{words}");
                assert!(
                    matches!(error.kind(), Kind::Unavailable | Kind::Rejected),
                    "{words}"
                );
            }
        }
    }
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn nothing_shows_the_password_once_it_is_open() {
    let schema = Schema::migrated().await;
    // A server for tests lets everybody in.
    let (user, rest) = schema.url.rsplit_once('@').expect("a URL with a user");
    let url = format!("{user}:canary@{rest}");
    let opened = Postgres::connect(config(&url, &schema.name), Arc::new(RealClock)).await;
    let postgres = opened.expect("connected");
    let shown = format!(
        "{postgres:?} {:?} {:?} {:?}",
        postgres.state_store(),
        postgres.durable_runtime(),
        postgres.checkpoint_store()
    );
    assert!(!shown.contains("canary"), "{shown}");
}

#[cfg(has_postgres_programs)]
mod on_a_server_of_its_own {
    use super::*;
    use crate::support::server::Server;
    use crate::support::with_option;
    use seaworthy_ports::Durability;

    #[tokio::test]
    async fn what_a_commit_is_worth_is_read_back() {
        let mut server = Server::start(&["fsync=off"]).await;
        let opened = async |url: &str| {
            let config = PostgresConfig::new(url);
            Postgres::migrate(&config).await.expect("migrated");
            let opened = Postgres::connect(config, Arc::new(RealClock)).await;
            let postgres = opened.expect("connected");
            let declared = [
                postgres.state_store().capabilities().durability,
                postgres.durable_runtime().capabilities().durability,
                postgres.checkpoint_store().capabilities().durability,
            ];
            postgres.close().await;
            declared
        };
        let url = server.url();
        assert_eq!(opened(&url).await, [Durability::ProcessCrash; 3]);
        server.crash();
        server.up(&[]).await;
        assert_eq!(opened(&url).await, [Durability::OsCrash; 3]);
        let careless = with_option(&url, "synchronous_commit", "off");
        assert_eq!(opened(&careless).await, [Durability::ProcessCrash; 3]);
        let standing = with_option(&url, "default_transaction_read_only", "on");
        let standby = Postgres::connect(PostgresConfig::new(standing), Arc::new(RealClock)).await;
        assert_eq!(standby.expect_err("read-only").kind(), Kind::Unavailable);
    }
}
