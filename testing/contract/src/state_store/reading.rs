//! SS-6 and SS-12: reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use seaworthy_ports::state_store::{Append, Kind, Record, Seq, StateStoreError};

use super::{Harness, append, head, log, records, stream, texts, written};
use crate::outcome::{Halt, Outcome, at_once, holds, refused, same};

/// SS-6.
pub async fn an_absent_log_reads_as_empty<H: Harness>(harness: H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    for after in [0, 1, u64::MAX] {
        same(
            "read an absent log",
            records(&*store, &log, after).await?,
            vec![],
        )?;
    }
    same("asked for its head", head(&*store, &log).await?, None)
}

/// SS-6.
pub async fn bodies_come_back_bit_for_bit<H: Harness>(harness: H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    let large = 1_048_576.min(store.capabilities().max_append_bytes / 2);
    let bodies = vec![
        Bytes::new(),
        Bytes::from_static(b"\0"),
        (0..=u8::MAX).collect(),
        Bytes::from_static(b"\xff\xfe\x80 no UTF-8 \xc3"),
        Bytes::from_static("'; -- \u{1F6A2}\r\n\"%s".as_bytes()),
        (0..large).map(|index| (index % 251) as u8).collect(),
        Bytes::new(),
    ];
    for (at, body) in (0..).zip(&bodies) {
        let bodies = vec![body.clone()];
        written(
            &*store,
            Append {
                bodies,
                ..append(&log, at, &[])?
            },
        )
        .await?;
    }
    let found: Vec<Bytes> = stream(&*store, &log, 0)
        .await?
        .into_iter()
        .map(|record| record.body)
        .collect();
    same("read bodies of every sort", found, bodies)
}

/// SS-6.
pub async fn reading_starts_strictly_after_the_given_sequence<H: Harness>(harness: H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    for (at, bodies) in [(0, ["1", "2"]), (2, ["3", "4"]), (4, ["5", "6"])] {
        written(&*store, append(&log, at, &bodies)?).await?;
    }
    for after in (0..=8).chain([u64::MAX]) {
        let expected: Vec<Bytes> = (after.saturating_add(1)..=6)
            .map(|seq| Bytes::from(seq.to_string()))
            .collect();
        let found = stream(&*store, &log, after).await?;
        same(
            format!("read after {after}"),
            found.into_iter().map(|record| record.body).collect(),
            expected,
        )?;
    }
    Ok(())
}

/// SS-6.
pub async fn a_long_log_is_read_without_gap_or_repeat<H: Harness>(harness: H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    let mut last = 0;
    for part in 0..10 {
        let bodies = (0..500)
            .map(|number| Bytes::from(format!("{part}{number:03}")))
            .collect();
        // The head is where the store says: whether it wrote everything is for SS-1 to say.
        written(
            &*store,
            Append {
                bodies,
                ..append(&log, last, &[])?
            },
        )
        .await?;
        last = head(&*store, &log).await?.map_or(0, |head| head.seq.0);
    }
    for after in [0, 1, 255, 256, 1_000, last - 1, last] {
        let found = stream(&*store, &log, after).await?;
        same(
            format!("counted the records after {after}"),
            found.len() as u64,
            last - after,
        )?;
        let bad = found
            .iter()
            .zip(found.iter().skip(1))
            .find(|(one, next)| one.body >= next.body);
        same(
            format!("looked for a record out of place after {after}"),
            bad,
            None,
        )?;
    }
    Ok(())
}

/// SS-6.
pub async fn a_read_during_appends_sees_all_that_was_acknowledged_before_it<H: Harness>(
    harness: H,
) -> Outcome {
    const APPENDS: u64 = 150;
    let (store, log) = (harness.store(), log("a")?);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer = {
        let (store, log, acknowledged) =
            (Arc::clone(&store), log.clone(), Arc::clone(&acknowledged));
        async move {
            for at in 0..APPENDS {
                let appended = written(&*store, append(&log, at * 2, &["one", "two"])?).await?;
                acknowledged.store(appended.head.0, Ordering::SeqCst);
            }
            Ok(())
        }
    };
    let reader = async move {
        let mut before = 0;
        while before < APPENDS * 2 {
            before = acknowledged.load(Ordering::SeqCst);
            let seen = records(&*store, &log, 0).await?.len() as u64;
            holds(
                seen >= before,
                "read while another appends",
                format!("at least {before} records"),
                seen,
            )?;
            holds(
                seen.is_multiple_of(2),
                "read while another appends",
                "whole appends",
                seen,
            )?;
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    let both: [std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>; 2] =
        [Box::pin(writer), Box::pin(reader)];
    at_once(both).await?.into_iter().collect()
}

/// SS-12.
pub async fn a_damaged_log_is_corrupt_and_others_stay_usable<H: Harness>(harness: H) -> Outcome {
    let (store, bad, good) = (harness.store(), log("bad")?, log("good")?);
    written(&*store, append(&bad, 0, &["a", "b"])?).await?;
    written(&*store, append(&good, 0, &["c"])?).await?;
    if !harness.corrupt(&bad).await {
        return Err(Halt::NotCheckable("what is stored cannot be damaged"));
    }
    let read: Result<Vec<Record>, StateStoreError> =
        store.read(&bad, Seq::ZERO).try_collect().await;
    refused("read a damaged log", read, Kind::Corrupt)?;
    same(
        "read the log beside it",
        texts(&*store, &good).await?,
        vec!["c".to_owned()],
    )?;
    written(&*store, append(&good, 1, &["d"])?).await?;
    Ok(())
}
