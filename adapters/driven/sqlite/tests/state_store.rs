//! What the contract suite cannot see of the state store: grouping, damage, full disks, killed processes.

#![expect(clippy::expect_used, reason = "helpers of tests fail tests")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use seaworthy_ports::Effect;
use seaworthy_ports::state_store::{
    Append, Appended, DocumentKey, DocumentQuery, Expected, ExpectedVersion, HeadQuery, Kind,
    Labels, Order, PutDocument, Seq, StateStore, Version,
};
use seaworthy_ports::{DocumentPath, LogKind, WriterId};
use seaworthy_sqlite::{Sqlite, SqliteConfig};
use support::{Database, RealClock, append, bodies, child, child_database, count, log, sql};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn query(labels: Labels, order: Order, limit: u32) -> HeadQuery {
    HeadQuery {
        kind: LogKind::new("run").expect("a kind"),
        labels,
        order,
        limit: NonZeroU32::new(limit).expect("not zero"),
        page: None,
    }
}

async fn names(store: &dyn StateStore, mut query: HeadQuery) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let page = store.list(query.clone()).await.expect("a page");
        assert!(page.items.len() <= query.limit.get() as usize);
        names.extend(page.items.iter().map(|head| head.log.name.to_string()));
        query.page = page.next;
        if query.page.is_none() {
            return names;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_appends_do_not_disturb_the_others_of_their_group() {
    let database = Database::new().await;
    let store = database.open().await.state_store();
    store
        .append(append("taken", 0, &[b"first"]))
        .await
        .expect("appended");
    // While another process writes, appends pile up and then share a transaction.
    let other = database.raw();
    sql(&other, "BEGIN IMMEDIATE");
    let mut waiting = Vec::new();
    for number in 0..100 {
        let mut good = append(&format!("good{number}"), 0, &[b"a", b"", &[0, 255]]);
        good.labels = labels(&[("status", "queued")]);
        let mut late = append("taken", 0, &[b"second"]);
        late.id = good.id.clone();
        for append in [good, late] {
            let store = Arc::clone(&store);
            waiting.push(tokio::spawn(async move { store.append(append).await }));
        }
    }
    tokio::task::yield_now().await;
    sql(&other, "ROLLBACK");
    for (number, outcome) in join_all(waiting).await.into_iter().enumerate() {
        let outcome = outcome.expect("no panic");
        if number % 2 == 0 {
            assert_eq!(outcome.expect("appended"), Appended { head: Seq(3) });
        } else {
            let error = outcome.expect_err("it must conflict");
            let head = Some(Seq(1));
            assert_eq!(error.kind(), Kind::Conflict { head });
            assert_eq!(error.effect(), Effect::None);
        }
    }
    assert_eq!(bodies(&*store, "taken").await.expect("read"), ["first"]);
    for number in 0..100 {
        let found = bodies(&*store, &format!("good{number}")).await;
        let expected: [&[u8]; 3] = [b"a", b"", &[0, 255]];
        assert_eq!(found.expect("read"), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_to_one_log_in_one_group_follow_each_other_or_conflict() {
    let database = Database::new().await;
    let store = database.open().await.state_store();
    let raw = database.raw();
    sql(&raw, "BEGIN IMMEDIATE");
    let same_head = (0..32).map(|number| {
        let mut append = append("log", 0, &[b"x"]);
        append.id = format!("id{number}").parse().expect("an id");
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.append(append).await })
    });
    let same_head: Vec<_> = same_head.collect();
    tokio::task::yield_now().await;
    sql(&raw, "ROLLBACK");
    let outcomes = join_all(same_head).await;
    let won = outcomes
        .iter()
        .filter(|outcome| outcome.as_ref().expect("no panic").is_ok());
    assert_eq!(won.count(), 1);
    assert_eq!(bodies(&*store, "log").await.expect("read").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_append_too_many_for_the_disk_fails_alone_and_the_store_stays_usable() {
    one_append_too_many_after(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_append_too_many_for_the_disk_fails_alone_also_among_logs_that_are_known() {
    one_append_too_many_after(1).await;
}

/// To logs that have so many records.
async fn one_append_too_many_after(head: u64) {
    let database = Database::new().await;
    let config = database.config.clone().with_max_size(3 * 1024 * 1024);
    let sqlite = Sqlite::connect(config, Arc::new(RealClock))
        .await
        .expect("connected");
    let store = sqlite.state_store();
    for number in 0..20 {
        for head in 0..head {
            let first = append(&format!("log{number}"), head, &[b"small"]);
            store.append(first).await.expect("appended");
        }
    }
    let other = database.raw();
    sql(&other, "BEGIN IMMEDIATE");
    let mut waiting = Vec::new();
    let large = vec![7; 5 * 1024 * 1024];
    for number in 0..20 {
        let body: &[u8] = if number == 10 { &large } else { b"small" };
        let append = append(&format!("log{number}"), head, &[body]);
        let store = Arc::clone(&store);
        waiting.push(tokio::spawn(async move { store.append(append).await }));
    }
    tokio::task::yield_now().await;
    sql(&other, "ROLLBACK");
    for (number, outcome) in join_all(waiting).await.into_iter().enumerate() {
        let outcome = outcome.expect("no panic");
        if number == 10 {
            let error = outcome.expect_err("there is no room");
            assert_eq!(error.kind(), Kind::Unavailable);
            assert_eq!(error.effect(), Effect::None);
        } else {
            assert_eq!(outcome.expect("appended").head, Seq(head + 1));
        }
    }
    let found = store.head(&log("log10")).await.expect("a look");
    assert_eq!(found.map_or(0, |found| found.seq.0), head);
    let more_room = database.open().await.state_store();
    let retried = more_room.append(append("log10", head, &[&large])).await;
    assert_eq!(retried.expect("there is room now").head, Seq(head + 1));
}

#[tokio::test]
async fn repeating_the_newest_append_gives_its_first_outcome_also_after_reopening() {
    let database = Database::new().await;
    let sqlite = database.open().await;
    let mut sealing = append("log", 0, &[b"a", b"b"]);
    sealing.seal = true;
    sealing.labels = labels(&[("k", "v")]);
    let first = sqlite.state_store().append(sealing.clone()).await;
    sqlite.close().await;
    let store = database.open().await.state_store();
    let again = store.append(sealing.clone()).await;
    assert_eq!(first.expect("appended"), again.expect("repeated"));
    let mut others = Vec::new();
    for change in 0..4 {
        let mut other = sealing.clone();
        match change {
            0 => other.bodies = vec![Bytes::from_static(b"ab"), Bytes::new()],
            1 => other.labels = labels(&[("kv", "")]),
            2 => other.seal = false,
            _ => other.expected = Expected::Head(Seq(2)),
        }
        others.push(store.append(other).await.expect_err("other content").kind());
    }
    assert_eq!(others, [Kind::Rejected; 4]);
    let later = append("log", 2, &[b"c"]);
    let kind = store.append(later).await.expect_err("sealed").kind();
    assert_eq!(kind, Kind::Sealed);
    assert_eq!(bodies(&*store, "log").await.expect("read"), ["a", "b"]);
}

#[tokio::test]
async fn repeating_an_append_with_the_end_of_its_bodies_is_no_repetition() {
    let database = Database::new().await;
    let store = database.open().await.state_store();
    let whole = append("log", 0, &[b"a", b"b"]);
    store.append(whole.clone()).await.expect("appended");
    let end = Append {
        expected: Expected::Head(Seq(1)),
        bodies: whole.bodies[1..].to_vec(),
        ..whole
    };
    let refused = store.append(end).await.expect_err("another content");
    assert_eq!(refused.kind(), Kind::Rejected);
}

#[tokio::test]
async fn an_append_and_its_repetition_may_be_under_way_at_once() {
    let database = Database::new().await;
    let store = database.open().await.state_store();
    for head in 0..20 {
        let one = append("log", head, &[b"a"]);
        let (first, again) = tokio::join!(store.append(one.clone()), store.append(one));
        assert_eq!(first.expect("appended"), again.expect("repeated"));
    }
    assert_eq!(bodies(&*store, "log").await.expect("read").len(), 20);
}

#[tokio::test]
async fn a_head_that_is_known_is_forgotten_when_another_handle_changes_it() {
    let database = Database::new().await;
    let (one, other) = (database.open().await, database.open().await);
    let (one, other) = (one.state_store(), other.state_store());
    for head in 0..6 {
        let writer = if head % 2 == 0 { &one } else { &other };
        writer
            .append(append("log", head, &[b"a"]))
            .await
            .expect("appended in turns");
    }
    let late = one.append(append("log", 4, &[b"late"])).await;
    let conflict = Kind::Conflict { head: Some(Seq(6)) };
    assert_eq!(late.expect_err("late").kind(), conflict);
    other.delete(&log("log")).await.expect("deleted");
    for head in [0, 6] {
        let late = one.append(append("log", head, &[b"late"])).await;
        assert_eq!(late.expect_err("gone").kind(), Kind::Gone);
    }
}

#[tokio::test]
async fn a_head_that_is_known_is_forgotten_when_this_handle_deletes_its_log() {
    let database = Database::new().await;
    let store = database.open().await.state_store();
    store
        .append(append("log", 0, &[b"a"]))
        .await
        .expect("appended");
    store.delete(&log("log")).await.expect("deleted");
    let late = store.append(append("log", 1, &[b"late"])).await;
    assert_eq!(late.expect_err("gone").kind(), Kind::Gone);
}

#[tokio::test]
async fn a_closed_store_refuses_without_effect() {
    let database = Database::new().await;
    let sqlite = database.open().await;
    let store = sqlite.state_store();
    sqlite.close().await;
    let error = store.append(append("log", 0, &[b"a"])).await;
    let error = error.expect_err("closed");
    assert_eq!(
        (error.kind(), error.effect()),
        (Kind::Unavailable, Effect::None)
    );
    assert!(store.head(&log("log")).await.is_err());
}

#[tokio::test]
async fn a_damaged_log_is_corrupt_and_the_others_are_not() {
    const DAMAGE: [&str; 9] = [
        "DELETE FROM appends WHERE last = 1 AND log = (SELECT id FROM logs WHERE name = 'bad')",
        "UPDATE appends SET lengths = NULL WHERE last = 3 AND log = (SELECT id FROM logs WHERE name = 'bad')",
        "UPDATE appends SET lengths = x'01000000' WHERE last = 3 AND log = (SELECT id FROM logs WHERE name = 'bad')",
        "UPDATE appends SET bodies = x'' WHERE last = 3 AND log = (SELECT id FROM logs WHERE name = 'bad')",
        "DELETE FROM appends WHERE last = 3 AND log = (SELECT id FROM logs WHERE name = 'bad')",
        "DELETE FROM appends WHERE log = (SELECT id FROM logs WHERE name = 'bad')",
        "UPDATE heads SET seq = 2 WHERE log = (SELECT id FROM logs WHERE name = 'bad')",
        "UPDATE heads SET seq = -1 WHERE log = (SELECT id FROM logs WHERE name = 'bad')",
        "UPDATE logs SET labels = 'nonsense' WHERE name = 'bad'",
    ];
    for (number, damage) in DAMAGE.into_iter().enumerate() {
        let database = Database::new().await;
        let store = database.open().await.state_store();
        for name in ["before", "bad", "good"] {
            store
                .append(append(name, 0, &[b"1"]))
                .await
                .expect("appended");
            store
                .append(append(name, 1, &[b"2", b"3"]))
                .await
                .expect("appended");
        }
        assert!(sql(&database.raw(), damage) > 0, "{damage}");
        let read = bodies(&*store, "bad").await;
        assert_eq!(read.expect_err(damage).kind(), Kind::Corrupt);
        // What is wrong before or within the newest append shows when it is read.
        if number > 3 {
            let head = store.head(&log("bad")).await;
            assert_eq!(head.expect_err(damage).kind(), Kind::Corrupt);
            let (next, good) = tokio::join!(
                store.append(append("bad", 3, &[b"4"])),
                store.append(append("good", 3, &[b"4"])),
            );
            assert_eq!(next.expect_err(damage).kind(), Kind::Corrupt);
            assert_eq!(good.expect("appended").head, Seq(4));
        }
        assert_eq!(bodies(&*store, "before").await.expect("read").len(), 3);
        store
            .delete(&log("bad"))
            .await
            .expect("damage can be deleted");
        assert_eq!(
            bodies(&*store, "bad").await.expect("nothing is left").len(),
            0
        );
    }
}

#[tokio::test]
async fn a_log_of_many_and_large_records_is_read_in_pages_without_gaps() {
    let database = Database::new().await;
    let store = database.open().await.state_store();
    let large = vec![1; 3 * 1024 * 1024];
    let small: Vec<Vec<u8>> = (0..600_u32).map(|n| n.to_be_bytes().to_vec()).collect();
    let mut all: Vec<&[u8]> = small.iter().map(Vec::as_slice).collect();
    all.insert(100, &large);
    all.insert(101, &large);
    store
        .append(append("log", 0, &all))
        .await
        .expect("appended");
    assert_eq!(bodies(&*store, "log").await.expect("read"), all);
}

#[tokio::test]
async fn reading_from_beyond_the_head_ends_at_once() {
    use futures_util::TryStreamExt as _;
    let database = Database::new().await;
    let store = database.open().await.state_store();
    store
        .append(append("log", 0, &[b"1"]))
        .await
        .expect("appended");
    for after in [1, 2, u64::from(u32::MAX), u64::MAX] {
        let rest: Vec<_> = store
            .read(&log("log"), Seq(after))
            .try_collect()
            .await
            .expect("read");
        assert_eq!(rest, []);
    }
    let wrong = append("log", u64::MAX, &[b"2"]);
    let kind = store.append(wrong).await.expect_err("not the head").kind();
    assert_eq!(kind, Kind::Conflict { head: Some(Seq(1)) });
}

#[tokio::test]
async fn logs_are_found_by_any_labels_in_both_orders_and_only_by_the_newest() {
    let database = Database::new().await;
    let store = database.open().await.state_store();
    let odd = "a\u{0}b\"\\%_'é";
    for number in 0..25 {
        let mut append = append(&format!("log{number:02}"), 0, &[b"x"]);
        let parity = if number % 2 == 0 { "even" } else { "odd" };
        append.labels = labels(&[("parity", parity), ("status", "queued"), (odd, odd)]);
        store.append(append).await.expect("appended");
    }
    let mut later = append("log04", 1, &[b"y"]);
    later.labels = labels(&[("parity", "even"), ("status", "done")]);
    store.append(later).await.expect("appended");
    store.delete(&log("log06")).await.expect("deleted");

    let queued_even = labels(&[("parity", "even"), ("status", "queued"), (odd, odd)]);
    let expected: Vec<String> = (0..25)
        .step_by(2)
        .filter(|number| ![4, 6].contains(number))
        .map(|number| format!("log{number:02}"))
        .collect();
    let mut found = names(&*store, query(queued_even.clone(), Order::OldestFirst, 3)).await;
    assert_eq!(found, expected);
    found = names(&*store, query(queued_even, Order::NewestFirst, 4)).await;
    found.reverse();
    assert_eq!(found, expected);
    let raw = database.raw();
    let rows = count(&raw, "SELECT count(*) FROM labels");
    assert_eq!(rows, 3 * 23 + 2, "no label is left of another head");
    let done = query(labels(&[("status", "done")]), Order::OldestFirst, 9);
    assert_eq!(names(&*store, done).await, ["log04"]);
    let all = query(Labels::new(), Order::NewestFirst, 10);
    assert_eq!(names(&*store, all).await.len(), 24);
    let head = store
        .head(&log("log00"))
        .await
        .expect("a look")
        .expect("a log");
    assert_eq!(head.labels.get(odd).map(String::as_str), Some(odd));
}

#[tokio::test]
async fn a_page_token_of_another_listing_is_rejected() {
    let database = Database::new().await;
    let store = database.open().await.state_store();
    for name in ["a", "b"] {
        store
            .append(append(name, 0, &[b"x"]))
            .await
            .expect("appended");
    }
    let oldest = store
        .list(query(Labels::new(), Order::OldestFirst, 1))
        .await
        .expect("a page");
    let mut newest = query(Labels::new(), Order::NewestFirst, 1);
    newest.page = oldest.next;
    let kind = store
        .list(newest)
        .await
        .expect_err("of the other order")
        .kind();
    assert_eq!(kind, Kind::Rejected);
}

fn key(scope: &str, path: &str) -> DocumentKey {
    DocumentKey {
        scope: log(scope),
        path: DocumentPath::new(path).expect("a path"),
    }
}

fn put(key: DocumentKey, expected: ExpectedVersion) -> PutDocument {
    PutDocument {
        key,
        expected,
        writer: WriterId::new("me").expect("a writer"),
        value: Bytes::from_static(b"value"),
    }
}

#[tokio::test]
async fn documents_are_listed_by_prefix_in_the_order_of_their_bytes() {
    let database = Database::new().await;
    let store = database.open().await.state_store();
    for path in ["b/ü", "b/z", "b", "a", "b/a", "b/\u{10ffff}x", "c"] {
        store
            .put(put(key("s", path), ExpectedVersion::Absent))
            .await
            .expect("put");
    }
    store
        .put(put(key("other", "b/x"), ExpectedVersion::Any))
        .await
        .expect("put");
    let mut query = DocumentQuery {
        scope: log("s"),
        prefix: "b/".to_owned(),
        limit: NonZeroU32::new(3).expect("not zero"),
        page: None,
    };
    let mut found = Vec::new();
    loop {
        let page = store.list_documents(query.clone()).await.expect("a page");
        found.extend(page.items.iter().map(|entry| entry.path.to_string()));
        query.page = page.next;
        if query.page.is_none() {
            break;
        }
    }
    assert_eq!(found, ["b/a", "b/z", "b/ü", "b/\u{10ffff}x"]);
}

#[tokio::test]
async fn a_deleted_log_takes_its_documents_along_and_takes_no_new_ones() {
    let database = Database::new().await;
    let store = database.open().await.state_store();
    let document = key("s", "d");
    for version in 1..=3 {
        let put = put(document.clone(), ExpectedVersion::Any);
        assert_eq!(store.put(put).await.expect("put"), Version(version));
    }
    store.delete(&log("s")).await.expect("deleted");
    assert_eq!(store.get(&document).await.expect("a look"), None);
    let late = store.put(put(document, ExpectedVersion::Any)).await;
    assert_eq!(late.expect_err("deleted").kind(), Kind::Gone);
    let raw = database.raw();
    assert_eq!(count(&raw, "SELECT count(*) FROM documents"), 0);
}

#[tokio::test]
#[ignore = "is started by a_killed_writer_loses_nothing_it_was_told_is_there"]
async fn child_appends_and_tells() {
    let config = SqliteConfig::new(child_database());
    let sqlite = Sqlite::connect(config, Arc::new(RealClock))
        .await
        .expect("connected");
    let store = sqlite.state_store();
    let writers = (0..8).map(|log| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let name = format!("log{log}");
            let mut head = match store.head(&support::log(&name)).await.expect("a look") {
                Some(head) => head.seq.0,
                None => 0,
            };
            loop {
                let (first, second) = ((head + 1).to_be_bytes(), (head + 2).to_be_bytes());
                let append = append(&name, head, &[&first, &second]);
                head = store.append(append).await.expect("appended").head.0;
                let mut out = std::io::stdout().lock();
                writeln!(out, "ack {name} {head}").expect("told");
            }
        })
    });
    join_all(writers).await;
}

#[tokio::test]
async fn a_killed_writer_loses_nothing_it_was_told_is_there() {
    let database = Database::new().await;
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..5 {
        let mut child = child("child_appends_and_tells", &database.path());
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut take = |line: String| {
            let mut words = line
                .split_whitespace()
                .skip_while(|word| *word != "ack")
                .skip(1);
            if let (Some(name), Some(head)) = (words.next(), words.next()) {
                // The last line may be cut.
                if let Ok(head) = head.parse::<u64>()
                    && line.ends_with(&format!(" {head}"))
                {
                    let known = told.entry(name.to_owned()).or_default();
                    *known = (*known).max(head);
                }
            }
        };
        for line in lines.by_ref().take(100 + round * 37) {
            take(line.expect("a line"));
        }
        child.kill().expect("killed");
        child.wait().expect("dead");
        lines.for_each(|line| take(line.unwrap_or_default()));

        let store = database.open().await.state_store();
        assert_eq!(told.len(), 8);
        for (name, head) in &told {
            let found = bodies(&*store, name).await.expect("read");
            // Two at a time: nothing is there by half.
            assert_eq!(found.len() % 2, 0);
            assert!(
                found.len() as u64 >= *head,
                "{name}: {} < {head}",
                found.len()
            );
            for (number, body) in (1_u64..).zip(&found) {
                assert_eq!(**body, number.to_be_bytes());
            }
        }
    }
}
