//! SS-9, SS-14 and SS-15: what others see, and what survives.

use std::time::Duration;

use seaworthy_ports::Durability;
use seaworthy_ports::state_store::{Append, ExpectedVersion, Kind, Labels, Seq};

use super::documents::{document, key, put};
use super::leaning::{LeansOn, leaning};
use super::{Harness, append, by_another, head, labels, log, texts, written};
use crate::outcome::{Halt, Outcome, declared, ok, refused, reopened, same, within};

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
        put(&**writer, &key, ExpectedVersion::Any, &at.to_string()).await?;
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
            .map(|document| document.value);
        same(
            "asked for the document by the other handle",
            seen,
            Some(at.to_string().into()),
        )?;
    }
    Ok(())
}

/// SS-14. What a handle knows of a log from its own appends is no longer true.
pub async fn each_handle_appends_by_what_the_other_did<H: Harness>(harness: H) -> Outcome {
    let outcome = appends_by_what_the_other_did(&harness).await;
    let on = [LeansOn::Heads, LeansOn::Seals, LeansOn::Tombstones];
    leaning(outcome, &harness.store(), &on).await
}

async fn appends_by_what_the_other_did<H: Harness>(harness: &H) -> Outcome {
    let one = harness.store();
    let two = harness
        .second_handle()
        .await
        .ok_or(Halt::NotCheckable("there is one handle only"))?;
    for late_labels in [Labels::new(), labels([("late", "yes")])] {
        let grown = Kind::Conflict { head: Some(Seq(3)) };
        for (what, kind) in [
            ("grown", grown),
            ("sealed", Kind::Sealed),
            ("deleted", Kind::Gone),
        ] {
            let log = log(&format!("{what}{}", late_labels.len()))?;
            for at in 0..2 {
                written(&*one, append(&log, at, &[&at.to_string()])?).await?;
            }
            if kind == Kind::Gone {
                ok("deleted the log", two.delete(&log).await)?;
            } else {
                let seal = kind == Kind::Sealed;
                let third = Append {
                    seal,
                    ..append(&log, 2, &["2"])?
                };
                written(&*two, third).await?;
            }
            let before = texts(&*two, &log).await?;
            let late = Append {
                labels: late_labels.clone(),
                ..by_another(&append(&log, 2, &["late", "later"])?, "late")?
            };
            refused(
                format!("appended to a log that the other handle had {what}"),
                one.append(late).await,
                kind,
            )?;
            same(
                "read what the refused append left",
                texts(&*two, &log).await?,
                before,
            )?;
        }
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
