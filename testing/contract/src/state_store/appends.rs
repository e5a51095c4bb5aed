//! SS-1 to SS-5, SS-8 and SS-11: writing.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use seaworthy_ports::state_store::{
    Append, Appended, Expected, Head, Kind, Record, Seq, StateStore,
};
use seaworthy_ports::{LogId, LogName};

use super::{Harness, append, by_another, head, labels, log, log_of, records, texts, written};
use crate::outcome::{
    Halt, Outcome, at_once, broken, holds, ok, refused, same, time_given, unless,
};

/// SS-1.
pub async fn an_append_writes_its_bodies_labels_and_seal<H: Harness>(harness: H) -> Outcome {
    let (store, one, log) = (harness.store(), log("one")?, log("a")?);
    let labels = labels([("status", "done"), ("agent", "x")]);
    let sealing = |append| Append {
        labels: labels.clone(),
        seal: true,
        ..append
    };
    // What one body brings along, three must bring along too. What that is, SS-5 and SS-7 say.
    written(&*store, sealing(append(&one, 0, &["a"])?)).await?;
    let beside = head(&*store, &one)
        .await?
        .map(|head| (head.sealed, head.labels));
    let whole = sealing(append(&log, 0, &["a", "b", "c"])?);
    let appended = written(&*store, whole).await?;
    same("appended three bodies", appended, Appended { head: Seq(3) })?;
    same(
        "read them",
        texts(&*store, &log).await?,
        vec!["a".into(), "b".into(), "c".into()],
    )?;
    let expected = beside.map(|(sealed, labels)| Head {
        log: log.clone(),
        seq: Seq(3),
        sealed,
        labels,
    });
    same(
        "compared its head with that of a log of one body",
        head(&*store, &log).await?,
        expected,
    )
}

/// SS-1.
pub async fn sequences_are_contiguous_from_one<H: Harness>(harness: H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    for (at, bodies) in [(0, &["1"][..]), (1, &["2", "3", "4"]), (4, &["5", "6"])] {
        let appended = written(&*store, append(&log, at, bodies)?).await?;
        same(
            "appended",
            appended,
            Appended {
                head: Seq(at + bodies.len() as u64),
            },
        )?;
    }
    same(
        "read all",
        records(&*store, &log, 0).await?,
        (1..=6)
            .map(|seq| Record {
                seq: Seq(seq),
                body: Bytes::from(seq.to_string()),
            })
            .collect(),
    )
}

/// SS-1.
pub async fn an_append_of_no_bodies_is_rejected<H: Harness>(harness: H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    refused(
        "created a log with no bodies",
        store.append(append(&log, 0, &[])?).await,
        Kind::Rejected,
    )?;
    same("asked for its head", head(&*store, &log).await?, None)?;
    written(&*store, append(&log, 0, &["a"])?).await?;
    refused(
        "appended no bodies",
        store.append(append(&log, 1, &[])?).await,
        Kind::Rejected,
    )
}

/// SS-2.
pub async fn an_append_with_a_head_to_an_absent_log_conflicts<H: Harness>(harness: H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    for expected in [0, 1, 7] {
        let append = Append {
            expected: Expected::Head(Seq(expected)),
            ..append(&log, 0, &["a"])?
        };
        let did = format!("appended to an absent log expecting {expected}");
        refused(
            did,
            store.append(append).await,
            Kind::Conflict { head: None },
        )?;
    }
    same("asked for its head", head(&*store, &log).await?, None)
}

/// SS-2.
pub async fn an_append_to_a_present_log_that_expects_none_conflicts<H: Harness>(
    harness: H,
) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    written(&*store, append(&log, 0, &["a", "b"])?).await?;
    let late = by_another(&append(&log, 0, &["late"])?, "late")?;
    let conflict = Kind::Conflict { head: Some(Seq(2)) };
    refused(
        "created a log that is there",
        store.append(late).await,
        conflict,
    )?;
    same(
        "read it",
        texts(&*store, &log).await?,
        vec!["a".into(), "b".into()],
    )
}

/// SS-2.
pub async fn an_append_that_expects_another_head_conflicts_and_writes_nothing<H: Harness>(
    harness: H,
) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    let first = Append {
        labels: labels([("by", "first")]),
        ..append(&log, 0, &["a", "b"])?
    };
    written(&*store, first).await?;
    let before = head(&*store, &log).await?;
    for expected in [0, 1, 3, 1_000_000] {
        let other = Append {
            expected: Expected::Head(Seq(expected)),
            labels: labels([("by", "other")]),
            seal: true,
            ..by_another(&append(&log, 2, &["x", "y"])?, expected)?
        };
        let conflict = Kind::Conflict { head: Some(Seq(2)) };
        refused(
            format!("appended at {expected}, the head being 2"),
            store.append(other).await,
            conflict,
        )?;
        same(
            "read what the refused append left",
            texts(&*store, &log).await?,
            vec!["a".into(), "b".into()],
        )?;
        same(
            "looked at the head it left",
            head(&*store, &log).await?,
            before.clone(),
        )?;
    }
    Ok(())
}

const NO_HEAD_CHECK: &str = "mend SS-2 first: an append at another head is taken";
const NO_WINNER: &str = "mend SS-3 first: several appends at one head succeed";
/// More than this is not allocated to find out that it is refused.
const LARGEST: usize = 256 << 20;

/// Whether an append that expects another head, as this one does, writes something without any race.
async fn is_blind(store: &dyn StateStore, expected: Expected) -> Result<bool, Halt> {
    let log = log("a.without.a.race")?;
    written(store, append(&log, 0, &["first"])?).await?;
    let other = by_another(&append(&log, 1, &["other"])?, "other")?;
    let appended = store.append(Append { expected, ..other }).await;
    Ok(appended.is_ok() || records(store, &log, 0).await?.len() > 1)
}

/// Thirty-two writers append to `log` after `at`, of which one wins and the others lose to it.
async fn race(store: &Arc<dyn StateStore>, log: &LogId, at: u64, bodies: &[&str]) -> Outcome {
    let before = records(&**store, log, 0).await?.len();
    let mut calls = Vec::new();
    for writer in 0..32 {
        let append = by_another(&append(log, at, bodies)?, writer)?;
        let store = Arc::clone(store);
        calls.push(async move { store.append(append).await.map_err(|error| error.kind()) });
    }
    let outcomes = at_once(calls).await?;
    let winners = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let losers = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(Kind::Conflict { .. })))
        .count();
    same(
        "counted winners and losers of 32 appends at one head",
        (winners, losers),
        (1, 31),
    )?;
    same(
        "counted the records after the race",
        records(&**store, log, 0).await?.len(),
        before + bodies.len(),
    )
}

/// SS-3.
pub async fn of_thirty_two_appends_at_one_head_exactly_one_succeeds<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    unless(
        races_at_one_head(&store, "a").await,
        is_blind(&*store, Expected::Head(Seq(9))),
        NO_HEAD_CHECK,
    )
    .await
}

pub(super) async fn races_at_one_head(store: &Arc<dyn StateStore>, name: &str) -> Outcome {
    let log = log(name)?;
    written(&**store, append(&log, 0, &["first"])?).await?;
    for round in 1..=8 {
        race(store, &log, round, &["one of 32"]).await?;
    }
    Ok(())
}

/// SS-3.
pub async fn of_thirty_two_appends_that_create_a_log_exactly_one_succeeds<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let creating = async {
        for round in 0..4 {
            race(&store, &log(&format!("a{round}"))?, 0, &["one", "two"]).await?;
        }
        Ok(())
    };
    unless(
        creating.await,
        is_blind(&*store, Expected::Absent),
        NO_HEAD_CHECK,
    )
    .await
}

/// SS-4.
pub async fn repeating_the_newest_append_returns_the_first_outcome<H: Harness>(
    harness: H,
) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    let first = Append {
        labels: labels([("n", "1")]),
        ..append(&log, 0, &["a", "b"])?
    };
    let second = Append {
        labels: labels([("n", "2")]),
        ..append(&log, 2, &["c"])?
    };
    for newest in [first, second] {
        let first = ok(
            "appended the first time",
            store.append(newest.clone()).await,
        )?;
        let before = head(&*store, &log).await?;
        for time in ["second", "third"] {
            let appended = ok(
                format!("appended the {time} time"),
                store.append(newest.clone()).await,
            )?;
            same(format!("appended the {time} time"), appended, first)?;
            same(
                "asked for the head",
                head(&*store, &log).await?,
                before.clone(),
            )?;
        }
    }
    same(
        "read all",
        texts(&*store, &log).await?,
        ["a", "b", "c"].map(String::from).to_vec(),
    )
}

/// SS-4.
pub async fn an_id_with_other_content_is_rejected<H: Harness>(harness: H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    let first = append(&log, 0, &["a", "b"])?;
    let appended = written(&*store, first.clone()).await?;
    let bodies = |bodies: &[&str]| append(&log, 0, bodies);
    let others = [
        ("other bodies", bodies(&["a", "c"])?),
        ("fewer bodies", bodies(&["a"])?),
        ("more bodies", bodies(&["a", "b", ""])?),
        ("bodies cut elsewhere", bodies(&["ab", ""])?),
        (
            "other labels",
            Append {
                labels: labels([("n", "1")]),
                ..first.clone()
            },
        ),
        (
            "a seal",
            Append {
                seal: true,
                ..first.clone()
            },
        ),
    ];
    for (what, other) in others {
        refused(
            format!("repeated the id with {what}"),
            store.append(other).await,
            Kind::Rejected,
        )?;
    }
    same(
        "read all",
        texts(&*store, &log).await?,
        vec!["a".into(), "b".into()],
    )?;
    let again = ok("repeated the append itself", store.append(first).await)?;
    same("repeated the append itself", again, appended)
}

/// SS-4.
pub async fn thirty_two_copies_of_one_append_write_once<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let has_many_winners = async {
        Ok(races_at_one_head(&store, "a.race").await.is_err() && !forgets_ids(&*store).await?)
    };
    unless(copies_write_once(&store).await, has_many_winners, NO_WINNER).await
}

/// Whether the newest append is not recognised, without any race.
pub(super) async fn forgets_ids(store: &dyn StateStore) -> Result<bool, Halt> {
    let log = log_of("probe", "an.append.twice")?;
    written(store, append(&log, 0, &["once"])?).await?;
    Ok(store.append(append(&log, 0, &["once"])?).await.is_err())
}

async fn copies_write_once(store: &Arc<dyn StateStore>) -> Outcome {
    let log = log("a")?;
    written(&**store, append(&log, 0, &["first"])?).await?;
    let once = append(&log, 1, &["once"])?;
    let copies = (0..32).map(|_copy| {
        let (store, append) = (Arc::clone(store), once.clone());
        async move { store.append(append).await.map_err(|error| error.kind()) }
    });
    let outcomes = at_once(copies).await?;
    let expected = vec![Ok(Appended { head: Seq(2) }); 32];
    same("sent the same append 32 times at once", outcomes, expected)?;
    same(
        "read all",
        texts(&**store, &log).await?,
        vec!["first".into(), "once".into()],
    )
}

/// SS-4.
pub async fn an_append_repeated_after_reopening_returns_the_first_outcome<H: Harness>(
    harness: H,
) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    let newest = append(&log, 1, &["b", "c"])?;
    written(&*store, append(&log, 0, &["a"])?).await?;
    written(&*store, newest.clone()).await?;
    drop(store);
    let store = harness
        .reopen()
        .await
        .ok_or(Halt::NotCheckable("the store cannot be reopened"))?;
    if head(&*store, &log).await?.is_none() {
        return Err(Halt::NotCheckable(
            "mend SS-9 first: nothing is left after reopening",
        ));
    }
    let appended = ok(
        "repeated it after reopening",
        store.append(newest.clone()).await,
    )?;
    same(
        "repeated it after reopening",
        appended,
        Appended { head: Seq(3) },
    )?;
    let other = Append {
        bodies: vec![Bytes::from_static(b"other")],
        ..newest
    };
    refused(
        "reused its id after reopening",
        store.append(other).await,
        Kind::Rejected,
    )?;
    same(
        "read all",
        texts(&*store, &log).await?,
        ["a", "b", "c"].map(String::from).to_vec(),
    )
}

/// SS-5.
pub async fn a_sealed_log_refuses_every_append<H: Harness>(harness: H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    written(&*store, append(&log, 0, &["a"])?).await?;
    written(
        &*store,
        Append {
            seal: true,
            ..append(&log, 1, &["b"])?
        },
    )
    .await?;
    for expected in [
        Expected::Head(Seq(2)),
        Expected::Head(Seq(1)),
        Expected::Absent,
    ] {
        for seal in [false, true] {
            let late = by_another(&append(&log, 2, &["late"])?, "late")?;
            let late = Append {
                expected,
                seal,
                ..late
            };
            let did = format!("appended to a sealed log expecting {expected:?}");
            refused(did, store.append(late).await, Kind::Sealed)?;
        }
    }
    same(
        "read all",
        texts(&*store, &log).await?,
        vec!["a".into(), "b".into()],
    )?;
    let sealed = head(&*store, &log)
        .await?
        .map(|head| (head.seq, head.sealed));
    same("asked for the head", sealed, Some((Seq(2), true)))
}

/// SS-4.
pub async fn repeating_the_append_that_sealed_returns_its_outcome<H: Harness>(
    harness: H,
) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    let sealing = Append {
        seal: true,
        ..append(&log, 0, &["a", "b"])?
    };
    let first = ok("sealed the first time", store.append(sealing.clone()).await)?;
    let second = ok("sealed the second time", store.append(sealing).await)?;
    same("sealed the second time", second, first)?;
    same(
        "read all",
        texts(&*store, &log).await?,
        vec!["a".into(), "b".into()],
    )
}

/// SS-8. A thousand appends to each, or as many as there is time for.
pub async fn thirty_two_logs_grow_at_once_and_each_is_whole<H: Harness>(harness: H) -> Outcome {
    const LEAST: u64 = 40;
    const MOST: u64 = 1_000;
    let (store, began) = (harness.store(), Instant::now());
    let mut writers = Vec::new();
    for number in 0..32 {
        let (store, log) = (Arc::clone(&store), log(&format!("log{number}"))?);
        writers.push(async move {
            let mut appends = 0;
            while appends < LEAST || (appends < MOST && began.elapsed() < 2 * time_given()) {
                let one = append(&log, appends, &[&appends.to_string()])?;
                let appended = written(&*store, one).await?;
                appends += 1;
                same("appended to one of 32 logs", appended.head, Seq(appends))?;
            }
            same(
                "read one of 32 logs",
                texts(&*store, &log).await?,
                (0..appends).map(|at| at.to_string()).collect(),
            )
        });
    }
    at_once(writers).await?.into_iter().collect()
}

/// SS-8.
pub async fn appends_that_fail_do_not_fail_those_beside_them<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let too_large = store.capabilities().max_append_bytes.saturating_add(1);
    let too_large = Bytes::from(vec![b'x'; too_large.min(LARGEST)]);
    let sealed = log("sealed")?;
    written(
        &*store,
        Append {
            seal: true,
            ..append(&sealed, 0, &["end"])?
        },
    )
    .await?;
    let gone = log("gone")?;
    // Whether an absent log may be deleted is for SS-10 to say.
    let _deleted = store.delete(&gone).await;
    for round in 0..4 {
        let mut calls = Vec::new();
        for number in 0..16 {
            let good = append(&log(&format!("good{round}.{number}"))?, 0, &["good"])?;
            let bad = log(&format!("bad{round}.{number}"))?;
            let bad = match number % 5 {
                0 => append(&bad, 9, &["bad"])?,
                1 => append(&bad, 0, &[])?,
                2 => Append {
                    bodies: vec![too_large.clone()],
                    ..append(&bad, 0, &[])?
                },
                3 => by_another(&append(&sealed, 1, &["bad"])?, number)?,
                _ => by_another(&append(&gone, 0, &["bad"])?, number)?,
            };
            for (append, is_good) in [(bad, false), (good, true)] {
                let store = Arc::clone(&store);
                calls.push(async move {
                    let seen = store.append(append).await.map_err(|error| error.kind());
                    // How the bad ones fail is for other scenarios to say.
                    holds(
                        seen.is_ok() || !is_good,
                        "appended, half of the appends beside it being bad",
                        "success",
                        seen,
                    )
                });
            }
        }
        at_once(calls).await?.into_iter().collect::<Outcome>()?;
    }
    Ok(())
}

/// SS-8.
pub async fn names_that_differ_in_case_alone_are_different_logs<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let long = "n".repeat(200);
    for name in ["a", "A", "a.", "a-", "a_", "a:b", "a.b", "00", "0", &long] {
        let log = log(name)?;
        written(&*store, append(&log, 0, &[name])?).await?;
    }
    for name in ["a", "A", "a.", "a-", "a_", "a:b", "a.b", "00", "0", &long] {
        let log = log(name)?;
        same(
            format!("read the log {name}"),
            texts(&*store, &log).await?,
            vec![name.to_owned()],
        )?;
    }
    Ok(())
}

/// SS-8. Whatever a name may be made of, it names one log of its kind and is told as it was given.
pub async fn odd_names_are_refused_or_come_back_as_they_are<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let (longest, long) = ("n".repeat(200), "n".repeat(10_000));
    let odd = [
        "..",
        "...",
        "a/b",
        "../a",
        "a\0b",
        "a b",
        "%2e%2e",
        "a%00",
        "CON",
        "-rf",
        "_",
        ":",
        "..a",
        "a..",
        "0x0",
        "'; --",
        "\u{6f22}\u{5b57}",
        "\u{1F6A2}",
        "e\u{301}",
        &longest,
        &long,
        "",
    ];
    let mut taken = Vec::new();
    for name in odd {
        // A name that is refused can reach no store.
        let Ok(name) = LogName::new(name) else {
            continue;
        };
        let log = LogId::new(log_of("run", "a")?.kind, name);
        written(&*store, append(&log, 0, &[log.name.as_str()])?).await?;
        taken.push(log);
    }
    for log in &taken {
        let name = log.name.as_str();
        same(
            format!("read the log {name}"),
            texts(&*store, log).await?,
            vec![name.to_owned()],
        )?;
        let found = head(&*store, log).await?.map(|head| head.log);
        same(
            format!("asked for the head of the log {name}"),
            found.as_ref(),
            Some(log),
        )?;
    }
    Ok(())
}

/// SS-11.
pub async fn an_append_of_exactly_the_limit_is_taken_and_a_larger_one_is_not<H: Harness>(
    harness: H,
) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    let most = store.capabilities().max_append_bytes;
    holds(most > 0, "asked for the limit", "more than nothing", most)?;
    if most > LARGEST {
        return Err(Halt::NotCheckable(
            "the declared limit is beyond 256 MiB, which no test writes",
        ));
    }
    let halves = |size: usize| {
        vec![
            Bytes::from(vec![b'a'; size / 2]),
            Bytes::from(vec![b'b'; size - size / 2]),
        ]
    };
    let over = Append {
        bodies: halves(most.saturating_add(1)),
        ..append(&log, 0, &[])?
    };
    refused(
        "created a log with one byte too many",
        store.append(over).await,
        Kind::TooLarge,
    )?;
    same("asked for its head", head(&*store, &log).await?, None)?;
    let exact = Append {
        bodies: halves(most),
        ..append(&log, 0, &[])?
    };
    written(&*store, exact.clone()).await?;
    let over = Append {
        bodies: halves(most.saturating_add(1)),
        ..append(&log, 2, &[])?
    };
    refused(
        "appended one byte too many",
        store.append(over).await,
        Kind::TooLarge,
    )?;
    written(&*store, append(&log, 2, &["after"])?).await?;
    let found: Vec<Bytes> = records(&*store, &log, 0)
        .await?
        .into_iter()
        .map(|record| record.body)
        .collect();
    let mut expected = exact.bodies;
    expected.push(Bytes::from_static(b"after"));
    if found == expected {
        return Ok(());
    }
    let sizes: Vec<usize> = found.iter().map(Bytes::len).collect();
    Err(broken(
        "read it back",
        "both halves and what was appended after",
        sizes,
    ))
}
