//! Connections that break, servers that go away, locks that somebody else holds.

#![expect(clippy::expect_used, reason = "helpers of tests fail tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use seaworthy_ports::durable_runtime::{Kind as RuntimeKind, Submit, Submitted};
use seaworthy_ports::state_store::{Append, Appended, Expected, Kind, Seq, StateStore};
use seaworthy_ports::{Effect, QueueName, Retry, RunId};
use seaworthy_postgres::{Postgres, PostgresConfig};
use sqlx::PgConnection;
use support::proxy::{Next, proxied};
use support::time::RealClock;
use support::{Schema, append, bodies, config, raw, sql};

/// Nothing a test waits for takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

async fn open(config: PostgresConfig) -> Postgres {
    Postgres::connect(config, Arc::new(RealClock))
        .await
        .expect("a migrated schema")
}

fn told(
    appended: Result<Appended, seaworthy_ports::state_store::StateStoreError>,
) -> Result<u64, Kind> {
    appended
        .map(|appended| appended.head.0)
        .map_err(|error| error.kind())
}

/// Repeats an append until it is told what became of it.
async fn settled(store: &dyn StateStore, append: Append) -> Result<u64, Kind> {
    let repeating = async {
        loop {
            match told(store.append(append.clone()).await) {
                Err(Kind::Unavailable) => tokio::time::sleep(Duration::from_millis(10)).await,
                told => return told,
            }
        }
    };
    tokio::time::timeout(PATIENCE, repeating)
        .await
        .expect("an answer")
}

/// How many wait for what this connection's transaction has written or locked.
async fn waiters(connection: &mut PgConnection) -> i64 {
    const WAITERS: &str = "SELECT count(*) FROM pg_locks \
        WHERE NOT granted AND transactionid = pg_current_xact_id()::xid";
    sqlx::query_scalar(WAITERS)
        .fetch_one(connection)
        .await
        .expect("a count")
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn an_append_whose_connection_is_cut_may_have_happened_and_is_resolved_by_repeating_it() {
    let schema = Schema::migrated().await;
    let (proxy, config) = proxied(&schema).await;
    let store = open(config).await.state_store();
    let mut head = 0;
    for next in [
        Next::IsLost,
        Next::HasNoReply,
        Next::IsLost,
        Next::HasNoReply,
    ] {
        let before = append("a", head, &[b"before"]);
        head = settled(&*store, before).await.expect("appended");
        proxy.next(next);
        let lost = append("a", head, &[b"lost"]);
        let error = store.append(lost.clone()).await.expect_err("no reply");
        assert_eq!(
            (error.kind(), error.effect(), error.retry()),
            (Kind::Unavailable, Effect::Unknown, Retry::Backoff)
        );
        head = settled(&*store, lost).await.expect("resolved");
    }
    assert_eq!(proxy.lost(), 4);
    assert_eq!(head, 8);
    assert_eq!(bodies(&*store, "a").await.expect("read").len(), 8);
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn a_call_that_cannot_be_sent_has_no_effect() {
    let schema = Schema::migrated().await;
    let (proxy, config) = proxied(&schema).await;
    let store = open(config.with_acquire_timeout(Duration::from_millis(500)))
        .await
        .state_store();
    drop(proxy);
    let error = store
        .append(append("a", 0, &[b"x"]))
        .await
        .expect_err("nobody there");
    assert_eq!(
        (error.kind(), error.effect()),
        (Kind::Unavailable, Effect::None)
    );
    let read = bodies(&*store, "a").await.expect_err("nobody there");
    assert_eq!(
        (read.kind(), read.effect()),
        (Kind::Unavailable, Effect::None)
    );
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn connections_that_were_cut_while_idle_are_noticed() {
    let schema = Schema::migrated().await;
    let (proxy, config) = proxied(&schema).await;
    let postgres = open(config).await;
    let store = postgres.state_store();
    store
        .append(append("a", 0, &[b"x"]))
        .await
        .expect("appended");
    assert_eq!(bodies(&*store, "a").await.expect("read").len(), 1);
    proxy.cut();
    let next = settled(&*store, append("a", 1, &[b"y"])).await;
    assert_eq!(next, Ok(2));
    let reading = async { while bodies(&*store, "a").await.is_err() {} };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("an answer");
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn what_is_known_of_logs_is_forgotten_with_a_new_connection() {
    let schema = Schema::migrated().await;
    let store = open(schema.config().with_append_lanes(2))
        .await
        .state_store();
    // One after the other, so the second lane is not needed, and has no connection.
    for name in ["a", "b", "c", "d"] {
        let first = append(name, 0, &[name.as_bytes()]);
        assert_eq!(told(store.append(first).await), Ok(1));
    }
    // As behind a failover to a server where they were created in another order.
    let mut raw = schema.raw().await;
    for (from, to) in [
        ("a", "x"),
        ("b", "a"),
        ("x", "b"),
        ("c", "x"),
        ("d", "c"),
        ("x", "d"),
    ] {
        let renamed = format!("UPDATE logs SET name = '{to}' WHERE name = '{from}'");
        sql(&mut raw, &renamed).await;
    }
    // Keeps the first lane busy.
    sql(
        &mut raw,
        "BEGIN;
        INSERT INTO logs (id, kind, name, seq, sealed, deleted, labels)
        VALUES (nextval('log_ids'), 'run', 'contested', 1, false, false, '{}')",
    )
    .await;
    let busy = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append(append("contested", 0, &[b"x"])).await }
    });
    let blocked = async { while waiters(&mut raw).await == 0 {} };
    tokio::time::timeout(PATIENCE, blocked)
        .await
        .expect("it waits for the other's log");
    for name in ["a", "c"] {
        let next = store.append(append(name, 1, &[b"next"])).await;
        assert_eq!(told(next), Ok(2), "{name}");
    }
    sql(&mut raw, "ROLLBACK").await;
    assert_eq!(told(busy.await.expect("no panic")), Ok(1));
    for (name, was) in [("a", "b"), ("c", "d")] {
        let read = bodies(&*store, name).await.expect("read");
        assert_eq!(read, [was, "next"].map(Bytes::from), "{name}");
    }
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn a_submission_without_reply_may_have_happened_and_is_resolved_by_repeating_it() {
    let schema = Schema::migrated().await;
    let (proxy, config) = proxied(&schema).await;
    let runtime = open(config).await.durable_runtime();
    let submit = |name: &str| Submit {
        run: RunId::new(name).expect("a run id"),
        session: None,
        queue: QueueName::new("default").expect("a queue"),
        not_before: None,
    };
    runtime.submit(submit("first")).await.expect("submitted");
    // Other workers may still be told of the first one: that is another statement.
    proxy.next_that_says("second", Next::HasNoReply);
    let error = runtime
        .submit(submit("second"))
        .await
        .expect_err("no reply");
    assert_eq!(
        (error.kind(), error.effect()),
        (RuntimeKind::Unavailable, Effect::Unknown)
    );
    let again = runtime.submit(submit("second")).await.expect("an answer");
    assert_eq!(again, Submitted::Existing);
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn a_head_that_somebody_else_holds_delays_its_own_log_alone() {
    let schema = Schema::migrated().await;
    // One lane: a batch that waited would delay everybody.
    let config = schema.config().with_append_lanes(1);
    let store = open(config).await.state_store();
    for name in ["held", "free"] {
        store
            .append(append(name, 0, &[b"0"]))
            .await
            .expect("appended");
    }
    let mut other = schema.raw().await;
    sql(
        &mut other,
        "BEGIN; SELECT 1 FROM logs WHERE name = 'held' FOR UPDATE",
    )
    .await;
    let held = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.append(append("held", 1, &[b"1"])).await }
    });
    let free = async {
        for head in 1..40 {
            let appended = store.append(append("free", head, &[b"x"])).await;
            assert_eq!(told(appended), Ok(head + 1));
        }
    };
    // A batch that waited would be given up after a while and go on without the one that is held.
    let waits = async { while waiters(&mut other).await == 0 {} };
    tokio::select! {
        () = free => {}
        () = waits => panic!("a batch waits for a head that somebody else holds"),
    }
    assert!(!held.is_finished());
    sql(&mut other, "COMMIT").await;
    assert_eq!(told(held.await.expect("no panic")), Ok(2));
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn a_head_that_is_held_for_too_long_is_given_up_without_effect() {
    let schema = Schema::migrated().await;
    let config = schema
        .config()
        .with_statement_timeout(Duration::from_millis(300));
    let store = open(config).await.state_store();
    store
        .append(append("held", 0, &[b"0"]))
        .await
        .expect("appended");
    let mut other = schema.raw().await;
    sql(
        &mut other,
        "BEGIN; SELECT 1 FROM logs WHERE name = 'held' FOR UPDATE",
    )
    .await;
    let error = store
        .append(append("held", 1, &[b"1"]))
        .await
        .expect_err("held");
    assert_eq!(
        (error.kind(), error.effect()),
        (Kind::Unavailable, Effect::None)
    );
    sql(&mut other, "COMMIT").await;
    assert_eq!(settled(&*store, append("held", 1, &[b"1"])).await, Ok(2));
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn a_log_that_somebody_else_is_creating_delays_no_other_for_long() {
    let schema = Schema::migrated().await;
    let config = schema
        .config()
        .with_statement_timeout(Duration::from_secs(1));
    let store = open(config).await.state_store();
    let mut other = schema.raw().await;
    sql(
        &mut other,
        "BEGIN;
        INSERT INTO logs (id, kind, name, seq, sealed, deleted, labels)
        VALUES (nextval('log_ids'), 'run', 'contested', 1, false, false, '{}')",
    )
    .await;
    let appends = (0..8).map(|number| match number {
        0 => store.append(append("contested", 0, &[b"x"])),
        _ => store.append(append(&format!("log{number}"), 0, &[b"x"])),
    });
    let mut seen: Vec<_> = join_all(appends).await.into_iter().map(told).collect();
    let others = seen.split_off(1);
    assert_eq!(others, vec![Ok(1); 7]);
    assert_eq!(seen, [Err(Kind::Unavailable)]);
    sql(&mut other, "ROLLBACK").await;
    assert_eq!(
        settled(&*store, append("contested", 0, &[b"x"])).await,
        Ok(1)
    );
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn each_member_of_a_batch_has_an_outcome_of_its_own() {
    let schema = Schema::migrated().await;
    let store = open(schema.config().with_append_lanes(1))
        .await
        .state_store();
    for name in ["grows", "conflicts", "repeats", "differs", "deleted"] {
        store
            .append(append(name, 0, &[b"a", b"b"]))
            .await
            .expect("appended");
    }
    let seal = Append {
        seal: true,
        ..append("sealed", 0, &[b"a"])
    };
    store.append(seal.clone()).await.expect("appended");
    store
        .delete(&support::log("deleted"))
        .await
        .expect("deleted");
    let conflict = |head| Err(Kind::Conflict { head });
    let absent = Append {
        expected: Expected::Head(Seq(3)),
        ..append("absent", 0, &[b"a"])
    };
    let cases: Vec<(Append, Result<u64, Kind>)> = vec![
        (append("grows", 2, &[b"c", b"d", b"e"]), Ok(5)),
        (append("conflicts", 1, &[b"c"]), conflict(Some(Seq(2)))),
        (append("repeats", 0, &[b"a", b"b"]), Ok(2)),
        (append("differs", 0, &[b"a", b"x"]), Err(Kind::Rejected)),
        (append("deleted", 0, &[b"a"]), Err(Kind::Gone)),
        (append("sealed", 1, &[b"b"]), Err(Kind::Sealed)),
        (absent, conflict(None)),
        (append("fresh", 0, &[b"a"]), Ok(1)),
    ];
    // A first one travels while the others gather: they become one batch.
    let first = store.append(append("first", 0, &[&[7; 1 << 20]]));
    let others = cases.iter().map(|(append, _)| store.append(append.clone()));
    let (first, seen) = tokio::join!(first, join_all(others));
    assert_eq!(told(first), Ok(1));
    for ((append, expected), seen) in cases.into_iter().zip(seen) {
        assert_eq!(told(seen), expected, "{}", append.log);
    }
    assert_eq!(told(store.append(seal).await), Ok(1));
    let grown = bodies(&*store, "grows").await.expect("read");
    assert_eq!(grown, ["a", "b", "c", "d", "e"].map(Bytes::from));
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn a_member_that_the_server_refuses_fails_alone() {
    let schema = Schema::migrated().await;
    let mut raw = schema.raw().await;
    sql(
        &mut raw,
        "ALTER TABLE appends ADD CHECK (bodies <> 'poison'::bytea)",
    )
    .await;
    let store = open(schema.config().with_append_lanes(1))
        .await
        .state_store();
    let first = store.append(append("first", 0, &[&[7; 1 << 20]]));
    let others = (0..20).map(|number| {
        let body: &[u8] = if number == 7 { b"poison" } else { b"x" };
        store.append(append(&format!("log{number}"), 0, &[body]))
    });
    let (first, seen) = tokio::join!(first, join_all(others));
    assert_eq!(told(first), Ok(1));
    for (number, seen) in seen.into_iter().enumerate() {
        let expected = if number == 7 {
            Err(Kind::Corrupt)
        } else {
            Ok(1)
        };
        assert_eq!(told(seen), expected, "{number}");
    }
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn a_pool_that_is_used_up_is_waited_for_and_given_up_in_time() {
    let schema = Schema::migrated().await;
    let config = schema
        .config()
        .with_connections(4)
        .with_acquire_timeout(Duration::from_millis(300));
    let store = open(config).await.state_store();
    store
        .append(append("a", 0, &[b"x"]))
        .await
        .expect("appended");
    let mut other = schema.raw().await;
    sql(
        &mut other,
        "BEGIN; LOCK TABLE documents IN ACCESS EXCLUSIVE MODE",
    )
    .await;
    let key = seaworthy_ports::state_store::DocumentKey {
        scope: support::log("a"),
        path: seaworthy_ports::DocumentPath::new("p").expect("a path"),
    };
    let seen = join_all((0..16).map(|_number| store.get(&key))).await;
    for seen in seen {
        let error = seen.expect_err("locked, or without a connection");
        assert_eq!(
            (error.kind(), error.effect()),
            (Kind::Unavailable, Effect::None)
        );
    }
    sql(&mut other, "COMMIT").await;
    let freed = async { while store.get(&key).await.is_err() {} };
    tokio::time::timeout(PATIENCE, freed)
        .await
        .expect("a connection");
}

#[tokio::test]
#[cfg_attr(
    not(has_postgres),
    ignore = "needs PostgreSQL: cargo xtask test starts one"
)]
async fn a_closed_store_says_so_and_leaves_no_connection() {
    let schema = Schema::migrated().await;
    let url = support::with_option(&schema.url, "seaworthy.test", &schema.name);
    let config = config(
        &format!("{url}&application_name={}", schema.name),
        &schema.name,
    );
    let postgres = open(config).await;
    let store = postgres.state_store();
    store
        .append(append("a", 0, &[b"x"]))
        .await
        .expect("appended");
    postgres.close().await;
    let error = store
        .append(append("a", 1, &[b"y"]))
        .await
        .expect_err("closed");
    assert_eq!(
        (error.kind(), error.effect()),
        (Kind::Unavailable, Effect::None)
    );
    assert_eq!(
        bodies(&*store, "a").await.expect_err("closed").kind(),
        Kind::Unavailable
    );
    let mut raw = raw(&schema.url, &schema.name).await;
    let left = async {
        loop {
            let left: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1",
            )
            .bind(&schema.name)
            .fetch_one(&mut raw)
            .await
            .expect("a number");
            if left == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, left)
        .await
        .expect("no connection");
}

#[cfg(has_postgres_programs)]
mod on_a_server_of_its_own {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use super::*;
    use crate::support::server::Server;
    use seaworthy_ports::durable_runtime::{
        Advance, Next as Goes, ScheduleState, Scope, Then, Turn, Worker,
    };
    use seaworthy_ports::{Latch, WorkerId, async_trait};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_crashes_and_comes_back_loses_and_repeats_no_append() {
        const LOGS: u64 = 8;
        const APPENDS: u64 = 60;
        let mut server = Server::start(&[]).await;
        let config = PostgresConfig::new(server.url());
        Postgres::migrate(&config).await.expect("migrated");
        let store = open(config).await.state_store();
        let writers = (0..LOGS).map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for head in 0..APPENDS {
                    let body = head.to_string();
                    let append = append(&format!("log{number}"), head, &[body.as_bytes()]);
                    assert_eq!(settled(&*store, append).await, Ok(head + 1));
                }
            })
        });
        let writers: Vec<_> = writers.collect();
        for _time in 0..2 {
            let grown = async {
                while bodies(&*store, "log0")
                    .await
                    .is_ok_and(|bodies| bodies.len() < 10)
                {}
            };
            tokio::time::timeout(PATIENCE, grown)
                .await
                .expect("some appends");
            server.crash();
            server.up(&[]).await;
        }
        for writer in writers {
            tokio::time::timeout(PATIENCE, writer)
                .await
                .expect("an end")
                .expect("no panic");
        }
        for number in 0..LOGS {
            let expected: Vec<Bytes> = (0..APPENDS).map(|head| head.to_string().into()).collect();
            let name = format!("log{number}");
            // A connection that was used a moment before the crash is found broken by whoever reads on it next.
            let read = async {
                loop {
                    match bodies(&*store, &name).await {
                        Err(error) if error.kind() == Kind::Unavailable => {}
                        read => return read.expect("read"),
                    }
                }
            };
            let read = tokio::time::timeout(PATIENCE, read).await;
            assert_eq!(read.expect("an answer"), expected);
        }
    }

    /// Is done with every run, and remembers which.
    #[derive(Default)]
    struct Done(Mutex<BTreeSet<String>>);

    #[async_trait]
    impl Advance for Done {
        async fn advance(&self, turn: Turn) -> Goes {
            self.0
                .lock()
                .expect("no panic")
                .insert(turn.run.to_string());
            Goes {
                consumed: Vec::new(),
                then: Then::Done,
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_worker_survives_the_crash_of_its_server() {
        let mut server = Server::start(&[]).await;
        let config = PostgresConfig::new(server.url());
        Postgres::migrate(&config).await.expect("migrated");
        let postgres = open(config).await;
        let runtime = postgres.durable_runtime();
        let done = Arc::<Done>::default();
        let (stop, stopped) = Latch::new();
        let worker = Worker {
            id: WorkerId::new("w").expect("a worker id"),
            scope: Scope::All,
            concurrency: 4,
            lease: Duration::from_secs(2),
            poll: Duration::from_millis(500),
            drain: Duration::from_secs(5),
        };
        let serving = tokio::spawn({
            let (runtime, done) = (Arc::clone(&runtime), Arc::clone(&done));
            async move { runtime.serve(worker, done, stopped).await }
        });
        for round in 0..2 {
            for number in 0..20 {
                let submit = Submit {
                    run: RunId::new(format!("r{round}.{number}")).expect("a run id"),
                    session: None,
                    queue: QueueName::new("default").expect("a queue"),
                    not_before: None,
                };
                let submitting = async {
                    while runtime.submit(submit.clone()).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                };
                tokio::time::timeout(PATIENCE, submitting)
                    .await
                    .expect("submitted");
                if number == 10 && round == 0 {
                    server.crash();
                    server.up(&[]).await;
                }
            }
        }
        let all_done = async {
            for round in 0..2 {
                for number in 0..20 {
                    let run = RunId::new(format!("r{round}.{number}")).expect("a run id");
                    loop {
                        let schedule = runtime.describe(&run).await;
                        if schedule.is_ok_and(|schedule| {
                            schedule
                                .is_some_and(|schedule| schedule.state == ScheduleState::Finished)
                        }) {
                            break;
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, all_done)
            .await
            .expect("every run is served");
        stop.set();
        serving.await.expect("no panic").expect("served");
        assert_eq!(done.0.lock().expect("no panic").len(), 40);
    }
}
