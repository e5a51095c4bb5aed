//! SS-10: deletion.

use seaworthy_ports::state_store::{
    Append, DocumentQuery, Expected, ExpectedVersion, HeadQuery, Kind, Labels, Order, Seq,
};

use super::documents::{document, key, put, try_put};
use super::{Harness, append, by_another, head, labels, log, log_of, records, texts, written};
use crate::outcome::{Outcome, limit, ok, refused, same};

/// SS-10.
pub async fn deletion_removes_records_labels_and_documents<H: Harness>(harness: H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    written(
        &*store,
        Append {
            labels: labels([("l", "v")]),
            ..append(&log, 0, &["a", "b"])?
        },
    )
    .await?;
    for path in ["one", "folder/two"] {
        put(&*store, &key(&log, path)?, ExpectedVersion::Absent, "value").await?;
    }
    ok("deleted the log", store.delete(&log).await)?;
    same("read it", records(&*store, &log, 0).await?, vec![])?;
    same("asked for its head", head(&*store, &log).await?, None)?;
    for path in ["one", "folder/two"] {
        same(
            "asked for its document",
            document(&*store, &key(&log, path)?).await?,
            None,
        )?;
    }
    let query = DocumentQuery {
        scope: log.clone(),
        prefix: String::new(),
        limit: limit(9),
        page: None,
    };
    same(
        "listed its documents",
        ok("listed", store.list_documents(query).await)?.items,
        vec![],
    )?;
    if store.capabilities().eventual_list {
        return Ok(());
    }
    for labels in [Labels::new(), labels([("l", "v")])] {
        let query = HeadQuery {
            kind: log.kind.clone(),
            labels,
            order: Order::NewestFirst,
            limit: limit(9),
            page: None,
        };
        same(
            "listed the logs",
            ok("listed", store.list(query).await)?.items,
            vec![],
        )?;
    }
    Ok(())
}

/// SS-10.
pub async fn a_deleted_log_refuses_appends_and_documents_for_ever<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    for seal in [false, true] {
        let log = log(&format!("a{seal}"))?;
        let newest = Append {
            seal,
            ..append(&log, 0, &["a"])?
        };
        written(&*store, newest.clone()).await?;
        ok("deleted the log", store.delete(&log).await)?;
        refused(
            "repeated its newest append",
            store.append(newest).await,
            Kind::Gone,
        )?;
        for expected in [
            Expected::Absent,
            Expected::Head(Seq(1)),
            Expected::Head(Seq(9)),
        ] {
            let late = Append {
                expected,
                ..by_another(&append(&log, 1, &["late"])?, "late")?
            };
            refused(
                format!("appended late, expecting {expected:?}"),
                store.append(late).await,
                Kind::Gone,
            )?;
        }
        same("read it", records(&*store, &log, 0).await?, vec![])?;
        for expected in [ExpectedVersion::Any, ExpectedVersion::Absent] {
            refused(
                format!("put a document under it, expecting {expected:?}"),
                try_put(&*store, &key(&log, "late")?, expected, "late").await?,
                Kind::Gone,
            )?;
        }
    }
    Ok(())
}

/// SS-10.
pub async fn deleting_twice_and_deleting_what_is_absent_are_fine<H: Harness>(
    harness: H,
) -> Outcome {
    let (store, never, once) = (harness.store(), log("never")?, log("once")?);
    written(&*store, append(&once, 0, &["a"])?).await?;
    for log in [&never, &once] {
        for time in ["first", "second"] {
            ok(format!("deleted the {time} time"), store.delete(log).await)?;
        }
        refused(
            "created a deleted log",
            store.append(append(log, 0, &["late"])?).await,
            Kind::Gone,
        )?;
    }
    Ok(())
}

/// SS-10.
pub async fn deletion_touches_no_other_scope<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let (gone, others) = (log("a")?, [log("a.b")?, log("b")?, log_of("session", "a")?]);
    for log in [&gone].into_iter().chain(&others) {
        written(&*store, append(log, 0, &["kept"])?).await?;
        put(&*store, &key(log, "path")?, ExpectedVersion::Absent, "kept").await?;
    }
    ok("deleted one", store.delete(&gone).await)?;
    for log in &others {
        same(
            format!("read {log}"),
            texts(&*store, log).await?,
            vec!["kept".to_owned()],
        )?;
        let found = document(&*store, &key(log, "path")?).await?.is_some();
        same(format!("asked for the document of {log}"), found, true)?;
    }
    Ok(())
}
