//! The suite of [`CheckpointStore`].

use std::ffi::OsString;
use std::future::Future;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{Either, select, try_join_all};
use seaworthy_ports::checkpoint_store::{
    Checkpoint, CheckpointEntry, CheckpointKind, CheckpointQuery, CheckpointStore,
    DeleteCheckpoints, Kind,
};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{Durability, RunId, SessionId};

use crate::Adapter;
use crate::chance::{Chance, seed};
use crate::outcome::{
    Halt, Outcome, at_once, broken, declared, holds, id, limit, ok, refused, reopened, same,
};
use crate::process::{self, Crew, Journal};

const KINDS: [CheckpointKind; 4] = [
    CheckpointKind::Summary,
    CheckpointKind::Handoff,
    CheckpointKind::GoalState,
    CheckpointKind::Fold,
];

/// Makes a store for a scenario, and does to it what no caller can. It owns what must be cleaned up.
#[async_trait]
pub trait Harness: Sized + Send + Sync + 'static {
    /// An empty store.
    async fn start() -> Self;

    /// The store.
    fn store(&self) -> Arc<dyn CheckpointStore>;

    /// Drops all that the process knows without closing anything in order, and opens the same store again. `None`:
    /// nothing would survive.
    async fn reopen(&self) -> Option<Arc<dyn CheckpointStore>> {
        None
    }

    /// A process that calls [`work`] on the same store. `None`: other processes cannot reach it.
    fn another_process(&self) -> Option<Command> {
        None
    }
}

/// What the adapter says of itself.
pub fn about<H: Harness>(harness: &H) -> Adapter {
    let store = harness.store();
    Adapter::new(store.info()).declaring(store.capabilities())
}

/// The list of scenarios; everything else is made from it.
#[doc(hidden)]
#[macro_export]
macro_rules! __checkpoint_store_scenarios {
    ($then:ident $($arguments:tt)*) => {
        $crate::$then! { $($arguments)* [
            "CK-1" a_checkpoint_comes_back_bit_for_bit_with_its_session
            "CK-1" an_identical_rewrite_is_fine_and_other_content_conflicts
            "CK-1" of_thirty_two_contents_at_one_key_exactly_one_is_stored
            "CK-1" a_checkpoint_of_exactly_the_limit_is_taken_and_a_larger_one_is_not
            "CK-2" the_latest_is_the_newest_of_its_kind_at_or_before
            "CK-2" a_list_ascends_by_sequence_in_pages_with_measured_sizes
            "CK-2" concurrent_writes_are_all_listed
            "CK-3" deletion_takes_what_is_named_and_counts_it
            "CK-4" runs_are_apart
            "CK-4" a_written_checkpoint_survives_reopening
            "CK-4" a_killed_process_loses_no_checkpoint_it_was_acknowledged
        ] }
    };
}

crate::__checkpoint_store_scenarios! { __runner checkpoint_store }

/// Makes one test of each scenario of the `CheckpointStore` suite. With `each: [#[…]]` every test has these attributes.
#[macro_export]
macro_rules! checkpoint_store_contract {
    (harness: $harness:ty $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::checkpoint_store_contract! { harness: $harness, each: [] $(, not_checkable: $excluded)? }
    };
    (harness: $harness:ty, each: $each:tt $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::__checkpoint_store_scenarios! { __tests @on two_threads $each ($) checkpoint_store, $harness, $($excluded)? }
    };
}

fn run_id(name: &str) -> Result<RunId, Halt> {
    id(RunId::new(name))
}

fn checkpoint(run: &RunId, kind: CheckpointKind, seq: u64, content: &str) -> Checkpoint {
    let content = Bytes::copy_from_slice(content.as_bytes());
    Checkpoint {
        run: run.clone(),
        session: None,
        kind,
        seq: Seq(seq),
        content,
    }
}

async fn write(store: &dyn CheckpointStore, checkpoint: Checkpoint) -> Outcome {
    ok("wrote a checkpoint", store.write(checkpoint).await)
}

async fn latest(
    store: &dyn CheckpointStore,
    run: &RunId,
    kind: CheckpointKind,
    at: u64,
) -> Result<Option<Checkpoint>, Halt> {
    ok(
        "asked for the latest",
        store.latest(run, kind, Seq(at)).await,
    )
}

async fn all(
    store: &dyn CheckpointStore,
    run: &RunId,
    kind: Option<CheckpointKind>,
    most: u32,
) -> Result<Vec<CheckpointEntry>, Halt> {
    let (mut seen, mut page) = (Vec::new(), None);
    for _page in 0..1_000 {
        let query = CheckpointQuery {
            run: run.clone(),
            kind,
            limit: limit(most),
            page,
        };
        let found = ok("listed", store.list(query).await)?;
        holds(
            found.items.len() <= most as usize,
            "listed",
            format!("at most {most}"),
            found.items.len(),
        )?;
        seen.extend(found.items);
        page = found.next;
        if page.is_none() {
            return Ok(seen);
        }
    }
    Err(broken("turned a thousand pages", "an end", seen.len()))
}

/// CK-1.
pub async fn a_checkpoint_comes_back_bit_for_bit_with_its_session<H: Harness>(
    harness: H,
) -> Outcome {
    let (store, run) = (harness.store(), run_id("a")?);
    let contents = [
        Bytes::new(),
        (0..=u8::MAX).collect(),
        Bytes::from(vec![0xfe; 500_000]),
    ];
    for (seq, content) in (1..).zip(contents) {
        for (kind, session) in KINDS.into_iter().zip([None, Some("s"), Some("t"), None]) {
            let session = session.map(SessionId::new).transpose();
            let session = id(session)?;
            let checkpoint = Checkpoint {
                run: run.clone(),
                session,
                kind,
                seq: Seq(seq),
                content: content.clone(),
            };
            write(&*store, checkpoint.clone()).await?;
            same(
                "asked for it",
                latest(&*store, &run, kind, seq).await?,
                Some(checkpoint),
            )?;
        }
    }
    Ok(())
}

/// CK-1.
pub async fn an_identical_rewrite_is_fine_and_other_content_conflicts<H: Harness>(
    harness: H,
) -> Outcome {
    let (store, run) = (harness.store(), run_id("a")?);
    let first = checkpoint(&run, CheckpointKind::Fold, 5, "first");
    for _time in 0..3 {
        write(&*store, first.clone()).await?;
    }
    let other_content = checkpoint(&run, CheckpointKind::Fold, 5, "other");
    let other_session = Checkpoint {
        session: Some(id(SessionId::new("s"))?),
        ..first.clone()
    };
    for (what, other) in [("content", other_content), ("session", other_session)] {
        refused(
            format!("wrote another {what} at the same key"),
            store.write(other).await,
            Kind::Conflict,
        )?;
    }
    same(
        "asked for it",
        latest(&*store, &run, CheckpointKind::Fold, 9).await?,
        Some(first),
    )?;
    same("counted", all(&*store, &run, None, 9).await?.len(), 1)
}

/// CK-1.
pub async fn of_thirty_two_contents_at_one_key_exactly_one_is_stored<H: Harness>(
    harness: H,
) -> Outcome {
    let (store, run) = (harness.store(), run_id("a")?);
    let writes = (0..32).map(|number: u32| {
        let store = Arc::clone(&store);
        let checkpoint = checkpoint(&run, CheckpointKind::Fold, 1, &number.to_string());
        async move {
            (
                number,
                store.write(checkpoint).await.map_err(|error| error.kind()),
            )
        }
    });
    let outcomes = at_once(writes).await?;
    let won: Vec<u32> = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.is_ok())
        .map(|(number, _)| *number)
        .collect();
    let lost = outcomes
        .iter()
        .filter(|(_, outcome)| *outcome == Err(Kind::Conflict))
        .count();
    same("counted winners and losers", (won.len(), lost), (1, 31))?;
    let stored = latest(&*store, &run, CheckpointKind::Fold, 1)
        .await?
        .map(|checkpoint| checkpoint.content);
    same(
        "asked for it",
        stored,
        won.first().map(|number| Bytes::from(number.to_string())),
    )
}

/// CK-1.
pub async fn a_checkpoint_of_exactly_the_limit_is_taken_and_a_larger_one_is_not<H: Harness>(
    harness: H,
) -> Outcome {
    let (store, run) = (harness.store(), run_id("a")?);
    let most = store.capabilities().max_bytes;
    let sized = |size| Checkpoint {
        content: Bytes::from(vec![b'x'; size]),
        ..checkpoint(&run, CheckpointKind::Summary, 1, "")
    };
    refused(
        "wrote one byte too many",
        store.write(sized(most.saturating_add(1))).await,
        Kind::TooLarge,
    )?;
    same("listed", all(&*store, &run, None, 9).await?, vec![])?;
    write(&*store, sized(most)).await?;
    let sizes: Vec<u64> = all(&*store, &run, None, 9)
        .await?
        .iter()
        .map(|entry| entry.size)
        .collect();
    same("listed its size", sizes, vec![most as u64])
}

/// CK-2.
pub async fn the_latest_is_the_newest_of_its_kind_at_or_before<H: Harness>(harness: H) -> Outcome {
    use CheckpointKind::{Fold, Handoff, Summary};
    let (store, run) = (harness.store(), run_id("a")?);
    for (kind, seq) in [
        (Fold, 10),
        (Summary, 4),
        (Fold, 3),
        (Summary, 12),
        (Fold, 200),
    ] {
        write(&*store, checkpoint(&run, kind, seq, &seq.to_string())).await?;
    }
    let cases = [
        (Fold, 2, None),
        (Fold, 3, Some(3)),
        (Fold, 9, Some(3)),
        (Fold, 10, Some(10)),
        (Fold, 199, Some(10)),
        (Fold, 1_000, Some(200)),
        (Summary, 3, None),
        (Summary, 11, Some(4)),
        (Handoff, 1_000, None),
    ];
    for (kind, at, expected) in cases {
        let found = latest(&*store, &run, kind, at).await?;
        let expected = expected.map(|seq: u64| checkpoint(&run, kind, seq, &seq.to_string()));
        same(
            format!("asked for the latest {kind:?} at or before {at}"),
            found,
            expected,
        )?;
    }
    Ok(())
}

/// CK-2.
pub async fn a_list_ascends_by_sequence_in_pages_with_measured_sizes<H: Harness>(
    harness: H,
) -> Outcome {
    let (store, run) = (harness.store(), run_id("a")?);
    let seqs = [9, 100, 1, 20, 3, 2, 11, 10];
    for (number, seq) in seqs.into_iter().enumerate() {
        let kind = if number % 2 == 0 {
            CheckpointKind::Fold
        } else {
            CheckpointKind::Handoff
        };
        write(&*store, checkpoint(&run, kind, seq, &"x".repeat(number))).await?;
    }
    for kind in [
        None,
        Some(CheckpointKind::Fold),
        Some(CheckpointKind::Summary),
    ] {
        let mut expected: Vec<(u64, u64)> = (0..)
            .zip(seqs)
            .filter(|(number, _)| {
                kind.is_none() || (kind == Some(CheckpointKind::Fold) && number % 2 == 0)
            })
            .map(|(number, seq)| (seq, number))
            .collect();
        expected.sort_unstable();
        for most in [1, 3, 8, 50] {
            let found = all(&*store, &run, kind, most).await?;
            let found: Vec<(u64, u64)> = found
                .iter()
                .map(|entry| (entry.seq.0, entry.size))
                .collect();
            same(
                format!("listed {kind:?} in pages of {most}"),
                found,
                expected.clone(),
            )?;
        }
    }
    Ok(())
}

/// CK-2.
pub async fn concurrent_writes_are_all_listed<H: Harness>(harness: H) -> Outcome {
    let (store, run) = (harness.store(), run_id("a")?);
    let writes = (1..=64).map(|seq| {
        let store = Arc::clone(&store);
        let checkpoint = checkpoint(&run, CheckpointKind::Fold, seq, "x");
        async move {
            let run = checkpoint.run.clone();
            write(&*store, checkpoint).await?;
            let seen = latest(&*store, &run, CheckpointKind::Fold, seq)
                .await?
                .map(|found| found.seq);
            same("asked for what was just written", seen, Some(Seq(seq)))
        }
    });
    at_once(writes).await?.into_iter().collect::<Outcome>()?;
    let found: Vec<u64> = all(&*store, &run, None, 10)
        .await?
        .iter()
        .map(|entry| entry.seq.0)
        .collect();
    same("listed", found, (1..=64).collect())
}

/// CK-3.
pub async fn deletion_takes_what_is_named_and_counts_it<H: Harness>(harness: H) -> Outcome {
    use CheckpointKind::{Fold, Summary};
    let (store, run) = (harness.store(), run_id("a")?);
    for kind in [Fold, Summary] {
        for seq in 1..=5 {
            write(&*store, checkpoint(&run, kind, seq, "x")).await?;
        }
    }
    let steps = [
        (Some(Fold), Some(3), 2, vec![3, 4, 5], vec![1, 2, 3, 4, 5]),
        (Some(Fold), Some(3), 0, vec![3, 4, 5], vec![1, 2, 3, 4, 5]),
        (None, Some(4), 4, vec![4, 5], vec![4, 5]),
        (Some(Summary), None, 2, vec![4, 5], vec![]),
        (None, None, 2, vec![], vec![]),
        (None, None, 0, vec![], vec![]),
    ];
    for (kind, before, count, folds, summaries) in steps {
        let which = DeleteCheckpoints {
            run: run.clone(),
            kind,
            before: before.map(Seq),
        };
        let deleted = ok("deleted", store.delete(which.clone()).await)?;
        same(format!("deleted {which:?}"), deleted, count)?;
        for (kind, expected) in [(Fold, folds), (Summary, summaries)] {
            let left = all(&*store, &run, Some(kind), 9).await?;
            let left: Vec<u64> = left.iter().map(|entry| entry.seq.0).collect();
            same(format!("listed {kind:?} afterwards"), left, expected)?;
        }
    }
    let again = checkpoint(&run, Fold, 1, "other content");
    write(&*store, again.clone()).await?;
    same(
        "wrote at a key that was deleted",
        latest(&*store, &run, Fold, 1).await?,
        Some(again),
    )
}

/// CK-4.
pub async fn runs_are_apart<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let runs = [run_id("a")?, run_id("A")?, run_id("a.b")?];
    for run in &runs {
        write(
            &*store,
            checkpoint(run, CheckpointKind::Fold, 1, run.as_str()),
        )
        .await?;
    }
    for run in &runs {
        let found = latest(&*store, run, CheckpointKind::Fold, 9).await?;
        same(
            "asked for one of three runs",
            found,
            Some(checkpoint(run, CheckpointKind::Fold, 1, run.as_str())),
        )?;
    }
    let [first, others @ ..] = runs;
    let which = DeleteCheckpoints {
        run: first,
        kind: None,
        before: None,
    };
    same(
        "deleted those of one run",
        ok("deleted", store.delete(which).await)?,
        1,
    )?;
    for run in &others {
        same(
            "listed those of another",
            all(&*store, run, None, 9).await?.len(),
            1,
        )?;
    }
    Ok(())
}

/// CK-4.
pub async fn a_written_checkpoint_survives_reopening<H: Harness>(harness: H) -> Outcome {
    let durability = harness.store().capabilities().durability;
    let outcome = survives_reopening(harness, durability).await;
    declared("durability", durability != Durability::Volatile, outcome)
}

async fn survives_reopening<H: Harness>(harness: H, durability: Durability) -> Outcome {
    let (store, run) = (harness.store(), run_id("a")?);
    let session = Some(id(SessionId::new("s"))?);
    let kept = Checkpoint {
        session,
        ..checkpoint(&run, CheckpointKind::GoalState, 3, "kept")
    };
    write(&*store, kept.clone()).await?;
    drop(store);
    let store = reopened(harness.reopen().await, durability)?;
    same(
        "asked for it after reopening",
        latest(&*store, &run, CheckpointKind::GoalState, 3).await?,
        Some(kept),
    )
}

const WRITERS: usize = 4;

/// Does in this process what a scenario asks for: writes checkpoints and tells of each acknowledgement, until it is
/// killed. Does nothing where no scenario asks. `open` opens the store in the place that the harness named.
pub fn work<F: Future<Output = Arc<dyn CheckpointStore>>>(
    open: impl FnOnce(OsString) -> F,
) -> Outcome {
    process::work(|job| async move {
        let store = open(job.place).await;
        let writers = (0..WRITERS).map(|number| write_for_ever(&*store, number, &job.journal));
        let work = std::pin::pin!(try_join_all(writers));
        let orphan = std::pin::pin!(process::let_go());
        match select(work, orphan).await {
            Either::Left((worked, _)) => worked.map(|_never: Vec<()>| ()),
            Either::Right(_) => Ok(()),
        }
    })
}

async fn write_for_ever(store: &dyn CheckpointStore, number: usize, journal: &Journal) -> Outcome {
    let run = run_id(&format!("run{number}"))?;
    let newest = latest(store, &run, CheckpointKind::Fold, u64::MAX).await?;
    for seq in newest.map_or(1, |newest| newest.seq.0 + 1).. {
        write(store, of_a_process(&run, seq)).await?;
        journal.write(&format!("wrote {number} {seq}"))?;
    }
    Ok(())
}

/// Large enough to be written in several pieces.
fn of_a_process(run: &RunId, seq: u64) -> Checkpoint {
    checkpoint(
        run,
        CheckpointKind::Fold,
        seq,
        &format!("{run} {seq} ").repeat(2_000),
    )
}

/// CK-4.
pub async fn a_killed_process_loses_no_checkpoint_it_was_acknowledged<H: Harness>(
    harness: H,
) -> Outcome {
    let durability = harness.store().capabilities().durability;
    let outcome = kill_writers(&harness).await;
    declared("durability", durability != Durability::Volatile, outcome)
}

async fn kill_writers<H: Harness>(harness: &H) -> Outcome {
    let crew = Crew::new()?;
    let mut chance = Chance::new(seed());
    for _round in 0..3 {
        let before = crew.journal.lines()?.len();
        let many = before + 10 + usize::try_from(chance.below(40)).unwrap_or(0);
        let mut writer = crew.start(harness.another_process(), "write")?;
        writer
            .until("a process has written for a while", |lines| {
                lines.len() >= many
            })
            .await?;
        writer.kill()?;
        let store = match harness.reopen().await {
            Some(store) => store,
            None => harness.store(),
        };
        let told = crew.journal.lines()?;
        for number in 0..WRITERS {
            let run = run_id(&format!("run{number}"))?;
            let prefix = format!("wrote {number} ");
            let acknowledged = told.iter().filter(|line| line.starts_with(&prefix)).count();
            let found = all(&*store, &run, None, 100).await?;
            holds(
                found.len() >= acknowledged,
                "killed a process and listed what it wrote",
                format!("the {acknowledged} that were acknowledged, at least"),
                found.len(),
            )?;
            for entry in found {
                let whole = of_a_process(&run, entry.seq.0);
                let seen = latest(&*store, &run, CheckpointKind::Fold, entry.seq.0).await?;
                holds(
                    seen.as_ref() == Some(&whole),
                    "killed a process and read what it wrote",
                    format!(
                        "{} bytes of the checkpoint {}",
                        whole.content.len(),
                        entry.seq
                    ),
                    seen.map(|seen| (seen.seq, seen.content.len())),
                )?;
            }
        }
    }
    Ok(())
}
