//! Workers with one name, and workers that are killed.

use seaworthy_ports::Latch;
use seaworthy_ports::durable_runtime::{Kind, ScheduleState, Scope, Then};
use seaworthy_sqlite::{Sqlite, SqliteConfig};
use std::io::BufReader;
use std::io::{BufRead as _, Write as _};
use std::sync::Arc;

use crate::stage::{SECOND, by_hand, state};
use crate::support::{
    Database, RealClock, Serving, child, child_database, does, next, run_id, submit, until, within,
    worker,
};

#[tokio::test]
async fn two_live_workers_cannot_have_one_name() {
    let database = Database::new().await;
    let runtime = database.open().await.durable_runtime();
    let other = database.open().await.durable_runtime();
    runtime.submit(submit("r")).await.expect("submitted");
    let (advance, mut turns) = by_hand();
    let serving = Serving::start(&runtime, worker("w", Scope::All), advance);
    let (_turn, answer) = within(turns.recv()).await.expect("a turn");
    let advance = does(|_turn| async { next(Then::Done) });
    let refused = other
        .serve(worker("w", Scope::All), advance, Latch::never())
        .await;
    assert_eq!(
        refused.expect_err("the name is taken").kind(),
        Kind::Rejected
    );
    answer.send(next(Then::Done)).expect("answered");
    assert_eq!(serving.stop().await.turns, 1);
}

#[tokio::test]
#[ignore = "is started by the tests that kill it"]
async fn child_takes_the_run_and_hangs() {
    let sqlite = Sqlite::connect(SqliteConfig::new(child_database()), Arc::new(RealClock))
        .await
        .expect("connected");
    let advance = does(|turn| async move {
        writeln!(std::io::stdout(), "\ntook {}", turn.delivery).expect("told");
        std::future::pending().await
    });
    let mut patient = worker("child", Scope::All);
    patient.lease = 3_600 * SECOND;
    let runtime = sqlite.durable_runtime();
    runtime
        .serve(patient, advance, Latch::never())
        .await
        .expect("served");
}

#[tokio::test]
async fn the_runs_of_a_killed_worker_are_taken_over_at_once() {
    let database = Database::new().await;
    let runtime = database.open().await.durable_runtime();
    runtime.submit(submit("r")).await.expect("submitted");
    let mut child = child("workers::child_takes_the_run_and_hangs", &database.path());
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line == "took 1")));
    // While it lives, nobody takes the run, however often it looks.
    let (advance, mut turns) = by_hand();
    let waiting = Serving::start(&runtime, worker("w", Scope::Run(run_id("r"))), advance);
    until(|| async {
        database
            .path()
            .with_file_name("state.db-workers/w.lock")
            .exists()
    })
    .await;
    assert!(matches!(
        state(&runtime, "r").await,
        ScheduleState::Leased { .. }
    ));
    child.kill().expect("killed");
    child.wait().expect("dead");
    let (turn, answer) = within(turns.recv()).await.expect("a turn, an hour early");
    assert_eq!(turn.delivery, 2);
    answer.send(next(Then::Done)).expect("answered");
    assert_eq!(waiting.end().await.turns, 1);
    let left = std::fs::read_dir(database.path().with_file_name("state.db-workers"));
    assert_eq!(left.expect("the folder").count(), 0);
}
