//! SS-9 and SS-14 to SS-16: what others see, and what survives.

use std::time::Duration;

use seaworthy_ports::state_store::{Append, Appended, ExpectedVersion, Seq};
use seaworthy_ports::{Durability, Effect};

use super::documents::{document, key, put};
use super::{Harness, append, head, labels, log, texts, written};
use crate::outcome::{Halt, Outcome, declared, ok, reopened, same, within};

/// SS-9.
pub async fn an_acknowledged_append_survives_reopening<H: Harness>(harness: H) -> Outcome {
    let durability = harness.store().capabilities().durability;
    let outcome = survives_reopening(harness, durability).await;
    declared("durability", durability != Durability::Volatile, outcome)
}

async fn survives_reopening<H: Harness>(harness: H, durability: Durability) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    let newest = Append {
        labels: labels([("l", "v")]),
        seal: true,
        ..append(&log, 1, &["b"])?
    };
    written(&*store, append(&log, 0, &["a"])?).await?;
    written(&*store, newest).await?;
    put(
        &*store,
        &key(&log, "path")?,
        ExpectedVersion::Absent,
        "value",
    )
    .await?;
    let before = head(&*store, &log).await?;
    let kept = document(&*store, &key(&log, "path")?).await?;
    drop(store);
    let store = reopened(harness.reopen().await, durability)?;
    same(
        "read after reopening",
        texts(&*store, &log).await?,
        vec!["a".into(), "b".into()],
    )?;
    same(
        "asked for the head after reopening",
        head(&*store, &log).await?,
        before,
    )?;
    same(
        "asked for the document after reopening",
        document(&*store, &key(&log, "path")?).await?,
        kept,
    )
}

/// SS-14.
pub async fn each_handle_sees_what_the_other_was_acknowledged<H: Harness>(harness: H) -> Outcome {
    let (one, log) = (harness.store(), log("a")?);
    let two = harness
        .second_handle()
        .await
        .ok_or(Halt::NotCheckable("there is one handle only"))?;
    let key = key(&log, "path")?;
    for at in 0..20 {
        let (writer, reader) = if at % 2 == 0 {
            (&one, &two)
        } else {
            (&two, &one)
        };
        written(&**writer, append(&log, at, &[&at.to_string()])?).await?;
        let version = put(&**writer, &key, ExpectedVersion::Any, &at.to_string()).await?;
        same(
            "read by the other handle",
            texts(&**reader, &log).await?.len() as u64,
            at + 1,
        )?;
        let seen = head(&**reader, &log).await?.map(|head| head.seq);
        same(
            "asked for the head by the other handle",
            seen,
            Some(Seq(at + 1)),
        )?;
        let seen = document(&**reader, &key)
            .await?
            .map(|document| document.version);
        same(
            "asked for the document by the other handle",
            seen,
            Some(version),
        )?;
    }
    Ok(())
}

/// SS-15.
pub async fn watching_is_there_where_it_is_declared_and_returns_in_time<H: Harness>(
    harness: H,
) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    let declared = store.capabilities().watch;
    same(
        "compared the capability with the sub-port",
        store.as_watch().is_some(),
        declared,
    )?;
    let Some(watch) = store.as_watch() else {
        return Err(Halt::NotDeclared {
            capability: "watch",
            reason: "it is not there",
        });
    };
    written(&*store, append(&log, 0, &["a"])?).await?;
    for newer_than in [Seq::ZERO, Seq(1), Seq(9)] {
        within(
            "watched for ten milliseconds",
            watch.watch(&log, newer_than, Duration::from_millis(10)),
        )
        .await?;
    }
    Ok(())
}

/// SS-16.
pub async fn a_lost_reply_is_resolved_by_repeating_the_append<H: Harness>(harness: H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    written(&*store, append(&log, 0, &["a"])?).await?;
    if !harness.lose_next_reply().await {
        return Err(Halt::NotCheckable("there is no reply to lose"));
    }
    let lost = append(&log, 1, &["b"])?;
    let effect = store
        .append(lost.clone())
        .await
        .map_err(|error| error.effect());
    same("lost the reply of an append", effect, Err(Effect::Unknown))?;
    let appended = ok("repeated it", store.append(lost).await)?;
    same("repeated it", appended, Appended { head: Seq(2) })?;
    same(
        "read all",
        texts(&*store, &log).await?,
        vec!["a".into(), "b".into()],
    )
}
