//! What a scenario of many steps leans on besides its own clause: each tried alone, one call after the other.
//!
//! Such a scenario fails when another clause is broken too. It finds out then whether that is so, and names that clause
//! instead of its own.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use seaworthy_ports::state_store::{Append, Expected, Kind, Record, Seq, StateStore};

use super::appends::{forgets_ids, races_at_one_head};
use super::{append, by_another, log_of, texts, written};
use crate::outcome::{Halt, Outcome, broken, ok, refused, same};

/// A clause that holds, or nothing can be said about the others.
#[derive(Clone, Copy, Debug)]
pub(super) enum LeansOn {
    /// SS-2.
    Heads,
    /// SS-3.
    Winners,
    /// SS-4.
    Ids,
    /// SS-5.
    Seals,
    /// SS-6.
    Reads,
    /// SS-10.
    Tombstones,
}

impl LeansOn {
    const fn reason(self) -> &'static str {
        match self {
            Self::Heads => {
                "mend SS-2 first: an append at another head is not refused as it must be"
            }
            Self::Winners => "mend SS-3 first: several appends at one head succeed",
            Self::Ids => "mend SS-4 first: the newest append is not recognised",
            Self::Seals => "mend SS-5 first: a sealed log takes an append",
            Self::Reads => "mend SS-6 first: a log does not read as it was written",
            Self::Tombstones => "mend SS-10 first: a deleted log takes an append",
        }
    }

    async fn holds(self, store: &Arc<dyn StateStore>) -> Outcome {
        match self {
            Self::Heads => heads(&**store).await,
            Self::Winners => races_at_one_head(store, "probe.race").await,
            Self::Ids if forgets_ids(&**store).await? => {
                Err(broken("repeated an append", "its outcome", "none"))
            }
            Self::Ids => Ok(()),
            Self::Seals => seals(&**store).await,
            Self::Reads => reads(&**store).await,
            Self::Tombstones => tombstones(&**store).await,
        }
    }
}

/// The outcome, unless it is a failure that another clause explains.
pub(super) async fn leaning(
    outcome: Outcome,
    store: &Arc<dyn StateStore>,
    on: &[LeansOn],
) -> Outcome {
    if matches!(outcome, Err(Halt::Broken { .. })) {
        for clause in on {
            if clause.holds(store).await.is_err() {
                return Err(Halt::NotCheckable(clause.reason()));
            }
        }
    }
    outcome
}

async fn heads(store: &dyn StateStore) -> Outcome {
    let log = log_of("probe", "heads")?;
    written(store, append(&log, 0, &["first"])?).await?;
    for expected in [Expected::Absent, Expected::Head(Seq(7))] {
        let other = Append {
            expected,
            ..by_another(&append(&log, 1, &["other"])?, "other")?
        };
        let conflict = Kind::Conflict { head: Some(Seq(1)) };
        refused(
            "appended at another head",
            store.append(other).await,
            conflict,
        )?;
    }
    let read = texts(store, &log).await?;
    same("read what conflicts left", read, vec!["first".to_owned()])
}

async fn seals(store: &dyn StateStore) -> Outcome {
    let log = log_of("probe", "seals")?;
    let last = Append {
        seal: true,
        ..append(&log, 0, &["last"])?
    };
    written(store, last).await?;
    // At another head too: a seal says more than a conflict.
    for at in [1, 2] {
        let more = store.append(append(&log, at, &["more"])?).await;
        refused("appended to a sealed log", more, Kind::Sealed)?;
    }
    Ok(())
}

async fn reads(store: &dyn StateStore) -> Outcome {
    let log = log_of("probe", "reads")?;
    for at in 0..3 {
        written(store, append(&log, at, &[&at.to_string()])?).await?;
    }
    let read: Vec<Record> = ok("read all", store.read(&log, Seq::ZERO).try_collect().await)?;
    let bodies: Vec<&[u8]> = read.iter().map(|record| &*record.body).collect();
    same("read all", bodies, vec![b"0", b"1", b"2"])
}

async fn tombstones(store: &dyn StateStore) -> Outcome {
    let log = log_of("probe", "tombstones")?;
    written(store, append(&log, 0, &["first"])?).await?;
    ok("deleted a log", store.delete(&log).await)?;
    for at in [0, 1] {
        let late = by_another(&append(&log, at, &["late"])?, "late")?;
        refused(
            "appended to a deleted log",
            store.append(late).await,
            Kind::Gone,
        )?;
    }
    Ok(())
}
