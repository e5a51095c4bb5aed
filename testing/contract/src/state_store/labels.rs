//! SS-7: labels and listings.

use std::collections::BTreeSet;
use std::sync::Arc;

use seaworthy_ports::state_store::{
    Append, Head, HeadQuery, Kind, Labels, MAX_LABEL_BYTES, MAX_LABELS, Order, Page, PageToken,
    StateStore,
};

use super::{Harness, append, head, labels, log, log_of, written};
use crate::outcome::{Halt, Outcome, at_once, holds, id, limit, ok, refused, same};

async fn page(
    store: &dyn StateStore,
    kind: &str,
    labels: Labels,
    order: Order,
    most: u32,
    page: Option<PageToken>,
) -> Result<Page<Head>, Halt> {
    let kind = id(seaworthy_ports::LogKind::new(kind))?;
    ok(
        "listed",
        store
            .list(HeadQuery {
                kind,
                labels,
                order,
                limit: limit(most),
                page,
            })
            .await,
    )
}

async fn names(
    store: &dyn StateStore,
    kind: &str,
    labels: Labels,
    order: Order,
) -> Result<Vec<String>, Halt> {
    let page = page(store, kind, labels, order, 100, None).await?;
    same("listed with room to spare", page.next, None)?;
    Ok(page
        .items
        .iter()
        .map(|head| head.log.name.to_string())
        .collect())
}

/// Where listings may lag, what they hold cannot be told at once.
fn needs_exact_lists(store: &dyn StateStore) -> Outcome {
    if store.capabilities().eventual_list {
        return Err(Halt::NotCheckable("listings may lag, as declared"));
    }
    Ok(())
}

/// SS-7.
pub async fn labels_are_replaced_with_each_append<H: Harness>(harness: H) -> Outcome {
    let (store, log) = (harness.store(), log("a")?);
    let all = [
        labels([("a", "1"), ("b", "1")]),
        labels([("b", "2"), ("c", "")]),
        Labels::new(),
    ];
    for (at, labels) in (0..).zip(all) {
        written(
            &*store,
            Append {
                labels: labels.clone(),
                ..append(&log, at, &["x"])?
            },
        )
        .await?;
        let found = head(&*store, &log).await?.map(|head| head.labels);
        same("asked for the labels", found, Some(labels))?;
    }
    Ok(())
}

/// SS-7.
pub async fn labels_and_head_are_seen_together<H: Harness>(harness: H) -> Outcome {
    const APPENDS: u64 = 100;
    let (store, log) = (harness.store(), log("a")?);
    let labelled = move |log: &_, at: u64| {
        let labels = labels([("seq", &(at + 1).to_string())]);
        Ok::<_, Halt>(Append {
            labels,
            ..append(log, at, &["x"])?
        })
    };
    written(&*store, labelled(&log, 0)?).await?;
    let writer = {
        let (store, log) = (Arc::clone(&store), log.clone());
        async move {
            for at in 1..APPENDS {
                written(&*store, labelled(&log, at)?).await?;
            }
            Ok(())
        }
    };
    let reader = async move {
        loop {
            let Some(found) = head(&*store, &log).await? else {
                return same("asked for the head", None, Some("a head"));
            };
            let seq = found.labels.get("seq").cloned().unwrap_or_default();
            same("compared label and head", seq, found.seq.to_string())?;
            if found.seq.0 == APPENDS {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    };
    let both: [std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>; 2] =
        [Box::pin(writer), Box::pin(reader)];
    at_once(both).await?.into_iter().collect()
}

/// SS-7.
pub async fn labels_have_a_limit_and_may_reach_it<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let most: Labels = (0..MAX_LABELS)
        .map(|n| {
            (
                format!("{n:0MAX_LABEL_BYTES$}"),
                "v".repeat(MAX_LABEL_BYTES),
            )
        })
        .collect();
    let log_most = log("most")?;
    written(
        &*store,
        Append {
            labels: most.clone(),
            ..append(&log_most, 0, &["x"])?
        },
    )
    .await?;
    same(
        "asked for the labels",
        head(&*store, &log_most).await?.map(|head| head.labels),
        Some(most.clone()),
    )?;
    let mut many = most;
    many.insert("one more".into(), String::new());
    let long_value = labels([("a", &"v".repeat(MAX_LABEL_BYTES + 1))]);
    let long_name = labels([(&"n".repeat(MAX_LABEL_BYTES + 1), "")]);
    for (what, labels) in [
        ("too many", many),
        ("too long a value", long_value),
        ("too long a name", long_name),
    ] {
        let log = log("over")?;
        let append = Append {
            labels,
            ..append(&log, 0, &["x"])?
        };
        refused(
            format!("appended with {what}"),
            store.append(append).await,
            Kind::Rejected,
        )?;
        same("asked for the head", head(&*store, &log).await?, None)?;
    }
    Ok(())
}

/// SS-7.
pub async fn a_list_filters_by_kind_and_every_label<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    needs_exact_lists(&*store)?;
    let all = [
        ("run", "a", labels([("status", "done"), ("agent", "x")])),
        ("run", "b", labels([("status", "done"), ("agent", "y")])),
        ("run", "c", labels([("status", "waiting"), ("agent", "x")])),
        ("run", "d", Labels::new()),
        ("session", "a", labels([("status", "done"), ("agent", "x")])),
    ];
    for (kind, name, labels) in all {
        written(
            &*store,
            Append {
                labels,
                ..append(&log_of(kind, name)?, 0, &["x"])?
            },
        )
        .await?;
    }
    // The labels of the newest append count, not those of an earlier one.
    let moved = log("c")?;
    written(
        &*store,
        Append {
            labels: labels([("status", "done")]),
            ..append(&moved, 1, &["x"])?
        },
    )
    .await?;
    let cases = [
        ("run", Labels::new(), &["a", "b", "c", "d"][..]),
        ("run", labels([("status", "done")]), &["a", "b", "c"]),
        ("run", labels([("status", "done"), ("agent", "x")]), &["a"]),
        ("run", labels([("status", "waiting")]), &[]),
        ("run", labels([("status", "don")]), &[]),
        ("run", labels([("agent", "")]), &[]),
        ("session", Labels::new(), &["a"]),
        ("other", Labels::new(), &[]),
    ];
    for (kind, labels, expected) in cases {
        let found = names(&*store, kind, labels.clone(), Order::OldestFirst).await?;
        same(
            format!("listed {kind} with {labels:?}"),
            found,
            expected.iter().map(ToString::to_string).collect(),
        )?;
    }
    Ok(())
}

/// SS-7.
pub async fn a_list_is_in_the_order_of_creation<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    needs_exact_lists(&*store)?;
    let created = ["m", "z", "a", "k"];
    for name in created {
        written(&*store, append(&log(name)?, 0, &["x"])?).await?;
    }
    written(
        &*store,
        append(&log("m")?, 1, &["growing changes no order"])?,
    )
    .await?;
    let oldest = names(&*store, "run", Labels::new(), Order::OldestFirst).await?;
    same(
        "listed the oldest first",
        oldest,
        created.map(String::from).to_vec(),
    )?;
    let newest = names(&*store, "run", Labels::new(), Order::NewestFirst).await?;
    same(
        "listed the newest first",
        newest,
        created.iter().rev().map(ToString::to_string).collect(),
    )
}

/// SS-7.
pub async fn pages_are_stable_while_logs_are_created<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    needs_exact_lists(&*store)?;
    let label = || labels([("wanted", "yes")]);
    for number in 0..10 {
        let log = log(&format!("old{number}"))?;
        written(
            &*store,
            Append {
                labels: label(),
                ..append(&log, 0, &["x"])?
            },
        )
        .await?;
        written(
            &*store,
            append(&log_of("run", &format!("unwanted{number}"))?, 0, &["x"])?,
        )
        .await?;
    }
    for (order, new) in [(Order::NewestFirst, "n"), (Order::OldestFirst, "o")] {
        let (mut seen, mut token, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = page(&*store, "run", label(), order, 3, token).await?;
            holds(
                page.items.len() <= 3,
                "asked for three",
                "at most three",
                page.items.len(),
            )?;
            seen.extend(page.items.into_iter().map(|head| head.log.name.to_string()));
            pages += 1;
            if page.next.is_none() || pages > 20 {
                break;
            }
            token = page.next;
            // A log between any two pages, deleted again every other time.
            let log = log(&format!("{new}{pages}"))?;
            written(
                &*store,
                Append {
                    labels: label(),
                    ..append(&log, 0, &["x"])?
                },
            )
            .await?;
            if pages % 2 == 0 {
                ok("deleted a log", store.delete(&log).await)?;
            }
        }
        let unique: BTreeSet<&String> = seen.iter().collect();
        same("looked for logs on two pages", seen.len(), unique.len())?;
        let mut old: Vec<String> = seen
            .iter()
            .filter(|name| name.starts_with("old"))
            .cloned()
            .collect();
        if order == Order::NewestFirst {
            old.reverse();
        }
        same(
            "looked for the logs that were there",
            old,
            (0..10).map(|number| format!("old{number}")).collect(),
        )?;
    }
    Ok(())
}
