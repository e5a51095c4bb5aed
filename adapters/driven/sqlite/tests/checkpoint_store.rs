//! Checkpoints.

#![expect(clippy::expect_used, reason = "helpers of tests fail tests")]

mod support;

use std::num::NonZeroU32;

use bytes::Bytes;
use seaworthy_ports::SessionId;
use seaworthy_ports::checkpoint_store::{
    Checkpoint, CheckpointKind, CheckpointQuery, DeleteCheckpoints, Kind,
};
use seaworthy_ports::state_store::Seq;
use support::{Database, run_id, sql};

fn checkpoint(run: &str, kind: CheckpointKind, seq: u64) -> Checkpoint {
    Checkpoint {
        run: run_id(run),
        session: Some(SessionId::new("s").expect("a session")),
        kind,
        seq: Seq(seq),
        content: Bytes::from(format!("{run}{seq}")),
    }
}

#[tokio::test]
async fn an_identical_rewrite_is_fine_and_any_other_conflicts() {
    let database = Database::new().await;
    let store = database.open().await.checkpoint_store();
    let first = checkpoint("r", CheckpointKind::Fold, 3);
    store.write(first.clone()).await.expect("written");
    store.write(first.clone()).await.expect("written again");
    let mut other = first.clone();
    other.content = Bytes::from_static(b"other");
    assert_eq!(
        store.write(other).await.expect_err("other content").kind(),
        Kind::Conflict
    );
    let mut other = first.clone();
    other.session = None;
    assert_eq!(
        store.write(other).await.expect_err("other session").kind(),
        Kind::Conflict
    );
    let found = store
        .latest(&first.run, CheckpointKind::Fold, Seq(u64::MAX))
        .await;
    assert_eq!(found.expect("a look"), Some(first));
}

#[tokio::test]
async fn the_newest_of_a_kind_is_found_and_pages_ascend_over_all_kinds() {
    let database = Database::new().await;
    let sqlite = database.open().await;
    let store = sqlite.checkpoint_store();
    for seq in [9, 2, 5] {
        for kind in [CheckpointKind::Summary, CheckpointKind::Fold] {
            store
                .write(checkpoint("r", kind, seq))
                .await
                .expect("written");
        }
    }
    store
        .write(checkpoint("q", CheckpointKind::Fold, 6))
        .await
        .expect("written");
    let run = run_id("r");
    let latest = |seq| store.latest(&run, CheckpointKind::Fold, Seq(seq));
    let found = latest(8).await.expect("a look").expect("one");
    assert_eq!(found.seq, Seq(5));
    assert_eq!(latest(1).await.expect("a look"), None);
    let mut query = CheckpointQuery {
        run: run_id("r"),
        kind: None,
        limit: NonZeroU32::new(4).expect("not zero"),
        page: None,
    };
    let mut found = Vec::new();
    loop {
        let page = store.list(query.clone()).await.expect("a page");
        found.extend(page.items.iter().map(|entry| (entry.seq.0, entry.size)));
        query.page = page.next;
        if query.page.is_none() {
            break;
        }
    }
    assert_eq!(found, [(2, 2), (2, 2), (5, 2), (5, 2), (9, 2), (9, 2)]);
    let deleted = store
        .delete(DeleteCheckpoints {
            run: run_id("r"),
            kind: Some(CheckpointKind::Summary),
            before: Some(Seq(9)),
        })
        .await;
    assert_eq!(deleted.expect("deleted"), 2);
    let deleted = store
        .delete(DeleteCheckpoints {
            run: run_id("r"),
            kind: None,
            before: None,
        })
        .await;
    assert_eq!(deleted.expect("deleted"), 4);
    let other = store
        .latest(&run_id("q"), CheckpointKind::Fold, Seq(6))
        .await;
    assert!(other.expect("a look").is_some());
}

#[tokio::test]
async fn a_checkpoint_beyond_the_limit_is_too_large_and_the_limit_itself_is_not() {
    let database = Database::new().await;
    let store = database.open().await.checkpoint_store();
    let limit = store.capabilities().max_bytes;
    let mut large = checkpoint("r", CheckpointKind::Fold, 1);
    large.content = Bytes::from(vec![0; limit + 1]);
    let kind = store
        .write(large.clone())
        .await
        .expect_err("too large")
        .kind();
    assert_eq!(kind, Kind::TooLarge);
    large.content.truncate(limit);
    store.write(large.clone()).await.expect("written");
    let found = store.latest(&large.run, CheckpointKind::Fold, Seq(1)).await;
    assert_eq!(found.expect("a look"), Some(large));
}

#[tokio::test]
async fn a_damaged_checkpoint_is_corrupt() {
    let database = Database::new().await;
    let store = database.open().await.checkpoint_store();
    let checkpoint = checkpoint("r", CheckpointKind::Fold, 1);
    store.write(checkpoint.clone()).await.expect("written");
    sql(&database.raw(), "UPDATE checkpoints SET content = x'00'");
    let found = store
        .latest(&checkpoint.run, CheckpointKind::Fold, Seq(1))
        .await;
    assert_eq!(found.expect_err("damaged").kind(), Kind::Corrupt);
}
