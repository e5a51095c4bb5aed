//! The suite of [`BlobStore`].

use std::ffi::OsString;
use std::future::Future;
use std::process::Command;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future, stream};
use seaworthy_ports::blob_store::{BlobError, BlobStore, Kind};
use seaworthy_ports::{BoxStream, Digest, Durability};

use crate::Adapter;
use crate::chance::{Chance, seed};
use crate::outcome::{
    Halt, Outcome, at_once, broken, declared, holds, limit, ok, refused, reopened, same,
};
use crate::process::{self, Crew, Journal};

/// Makes a store for a scenario, and does to it what no caller can. It owns what must be cleaned up.
#[async_trait]
pub trait Harness: Sized + Send + Sync + 'static {
    /// An empty store.
    async fn start() -> Self;

    /// The store.
    fn store(&self) -> Arc<dyn BlobStore>;

    /// Drops all that the process knows without closing anything in order, and opens the same store again. `None`:
    /// nothing would survive.
    async fn reopen(&self) -> Option<Arc<dyn BlobStore>> {
        None
    }

    /// A process that calls [`work`] on the same store. `None`: other processes cannot reach it.
    fn another_process(&self) -> Option<Command> {
        None
    }

    /// Changes a byte of the stored blob, leaving its size. `false`: it cannot be reached.
    async fn corrupt(&self, digest: &Digest) -> bool {
        let _unreachable = digest;
        false
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
macro_rules! __blob_store_scenarios {
    ($then:ident $($arguments:tt)*) => {
        $crate::$then! { $($arguments)* [
            "BL-1" a_blob_comes_back_under_the_digest_of_its_bytes
            "BL-1" a_damaged_blob_is_corrupt_and_never_ends_well
            "BL-2" repeated_and_concurrent_puts_leave_one_object
            "BL-2" a_dropped_put_leaves_nothing_visible
            "BL-2" a_put_whose_source_fails_fails_with_its_error_and_leaves_nothing
            "BL-2" a_stored_blob_survives_reopening
            "BL-2" a_killed_put_leaves_nothing_visible
            "BL-2" a_killed_process_leaves_whole_blobs_and_all_it_was_acknowledged
            "BL-3" a_hundred_mebibytes_pass_as_a_stream
            "BL-4" an_absent_blob_is_not_found
            "BL-4" a_deleted_blob_is_gone_and_may_come_back
            "BL-4" digests_are_listed_in_their_order_in_pages
        ] }
    };
}

crate::__blob_store_scenarios! { __runner blob_store }

/// Makes one test of each scenario of the `BlobStore` suite.
#[macro_export]
macro_rules! blob_store_contract {
    (harness: $harness:ty $(, not_checkable: $excluded:tt)? $(,)?) => {
        $crate::__blob_store_scenarios! { __tests ($) blob_store, $harness, $($excluded)? }
    };
}

type Parts = BoxStream<'static, Result<Bytes, BlobError>>;

fn parts(bytes: &Bytes, size: usize) -> Parts {
    let mut rest = bytes.clone();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        parts.push(Ok(rest.split_to(size.min(rest.len()))));
    }
    stream::iter(parts).boxed()
}

fn pattern(size: usize) -> Bytes {
    (0..size).map(|index| (index % 251) as u8).collect()
}

async fn put(store: &dyn BlobStore, bytes: &Bytes, size: usize) -> Result<Digest, Halt> {
    ok(
        format!("put {} bytes in parts of {size}", bytes.len()),
        store.put(parts(bytes, size)).await,
    )
}

async fn get(store: &dyn BlobStore, digest: &Digest) -> Result<Vec<u8>, Halt> {
    let parts = ok("asked for a blob", store.get(digest).await)?;
    let bytes = parts.try_fold(Vec::new(), |mut all, part| {
        all.extend_from_slice(&part);
        future::ok(all)
    });
    ok("read a blob", bytes.await)
}

async fn all(store: &dyn BlobStore) -> Result<Vec<Digest>, Halt> {
    Ok(ok("listed", store.list(limit(1_000), None).await)?.items)
}

/// BL-1.
pub async fn a_blob_comes_back_under_the_digest_of_its_bytes<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    for size in [0, 1, 2, 65_535, 65_536, 65_537, 262_144, 1_000_003] {
        let bytes = pattern(size);
        for part in [1_000, 1 << 20] {
            let digest = put(&*store, &bytes, part).await?;
            same(format!("put {size} bytes"), digest, Digest::of(&bytes))?;
            same(
                "asked for its size",
                ok("asked for its size", store.head(&digest).await)?,
                Some(size as u64),
            )?;
            let read = get(&*store, &digest).await?;
            holds(
                read == bytes,
                "read it",
                format!("the same {size} bytes"),
                read.len(),
            )?;
        }
    }
    let mixed = [
        Bytes::new(),
        Bytes::from_static(b"a"),
        Bytes::new(),
        Bytes::from_static(b"b"),
        Bytes::new(),
    ];
    let digest = ok(
        "put with empty parts",
        store.put(stream::iter(mixed.map(Ok)).boxed()).await,
    )?;
    same("put with empty parts", digest, Digest::of(b"ab"))
}

/// BL-1.
pub async fn a_damaged_blob_is_corrupt_and_never_ends_well<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    for size in [1, 1_000_003] {
        let digest = put(&*store, &pattern(size), 1 << 16).await?;
        let other = put(&*store, &Bytes::from_static(b"another"), 1 << 16).await?;
        if !harness.corrupt(&digest).await {
            return Err(Halt::NotCheckable("what is stored cannot be damaged"));
        }
        let read = match store.get(&digest).await {
            Ok(parts) => parts.try_for_each(|_part| future::ok(())).await,
            Err(error) => Err(error),
        };
        refused("read a damaged blob to its end", read, Kind::Corrupt)?;
        same(
            "read the blob beside it",
            get(&*store, &other).await?,
            b"another".to_vec(),
        )?;
    }
    Ok(())
}

/// BL-2.
pub async fn repeated_and_concurrent_puts_leave_one_object<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let bytes = pattern(300_000);
    let puts = (0..16).map(|number| {
        let (store, bytes) = (Arc::clone(&store), bytes.clone());
        async move { put(&*store, &bytes, 1_000 + number).await }
    });
    for digest in at_once(puts).await? {
        same("put the same bytes at once", digest?, Digest::of(&bytes))?;
    }
    put(&*store, &bytes, 1 << 20).await?;
    same("listed", all(&*store).await?, vec![Digest::of(&bytes)])?;
    let read = get(&*store, &Digest::of(&bytes)).await?;
    holds(read == bytes, "read it", "the same bytes", read.len())
}

/// BL-2.
pub async fn a_dropped_put_leaves_nothing_visible<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let bytes = pattern(500_000);
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    // Brings all of the bytes, then nothing more, and no end.
    let endless = parts(&bytes, 100_000).chain(stream::poll_fn(move |_context| {
        let _dropped = asked.send(());
        Poll::Pending
    }));
    let dropped = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            store
                .put(endless.boxed())
                .await
                .map_err(|error| error.kind())
        })
    };
    crate::outcome::within("waited until all parts were taken", was_asked.recv()).await?;
    dropped.abort();
    let _aborted = dropped.await;
    let size = ok("asked for its size", store.head(&Digest::of(&bytes)).await)?;
    same("asked for what a dropped put brought", size, None)?;
    same("listed", all(&*store).await?, vec![])
}

/// BL-2.
pub async fn a_put_whose_source_fails_fails_with_its_error_and_leaves_nothing<H: Harness>(
    harness: H,
) -> Outcome {
    let store = harness.store();
    let bytes = pattern(200_000);
    for kind in [Kind::Unavailable, Kind::Rejected, Kind::Corrupt] {
        let failure = BlobError::new(kind, "contract", "source", "the source failed");
        let content = parts(&bytes, 50_000)
            .chain(stream::iter([Err(failure)]))
            .boxed();
        refused(
            "put from a source that fails",
            store.put(content).await,
            kind,
        )?;
    }
    same("listed", all(&*store).await?, vec![])
}

/// BL-2.
pub async fn a_stored_blob_survives_reopening<H: Harness>(harness: H) -> Outcome {
    let durability = harness.store().capabilities().durability;
    let outcome = survives_reopening(harness, durability).await;
    declared("durability", durability != Durability::Volatile, outcome)
}

async fn survives_reopening<H: Harness>(harness: H, durability: Durability) -> Outcome {
    let store = harness.store();
    let bytes = pattern(100_000);
    let digest = put(&*store, &bytes, 1 << 16).await?;
    drop(store);
    let store = reopened(harness.reopen().await, durability)?;
    let read = get(&*store, &digest).await?;
    holds(
        read == bytes,
        "read it after reopening",
        "the same bytes",
        read.len(),
    )
}

/// BL-3.
pub async fn a_hundred_mebibytes_pass_as_a_stream<H: Harness>(harness: H) -> Outcome {
    const PARTS: usize = 100;
    let store = harness.store();
    let mebibyte = pattern(1 << 20);
    let part = mebibyte.clone();
    let content = stream::iter(0..PARTS)
        .map(move |_number| Ok(part.clone()))
        .boxed();
    let digest = ok("put 100 MiB", store.put(content).await)?;
    let size = ok("asked for its size", store.head(&digest).await)?;
    same("asked for its size", size, Some((PARTS << 20) as u64))?;
    let mut parts = ok("asked for it", store.get(&digest).await)?;
    let mut at = 0;
    while let Some(mut part) = ok("read it", parts.try_next().await)? {
        // A part as large as the blob would mean that it had been in memory whole.
        holds(
            part.len() <= 16 << 20,
            "read a part",
            "at most 16 MiB at once",
            part.len(),
        )?;
        while !part.is_empty() {
            let from = at % mebibyte.len();
            let piece = part.split_to(part.len().min(mebibyte.len() - from));
            let expected = mebibyte.get(from..from + piece.len());
            holds(
                expected == Some(&piece[..]),
                "compared a part",
                "the bytes that were put",
                at,
            )?;
            at += piece.len();
        }
    }
    same("counted what came", at, PARTS << 20)
}

/// BL-4.
pub async fn an_absent_blob_is_not_found<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let absent = Digest::of(b"absent");
    let got = store.get(&absent).await.map(|_parts| "parts");
    refused("asked for an absent blob", got, Kind::NotFound)?;
    same(
        "asked for its size",
        ok("asked for its size", store.head(&absent).await)?,
        None,
    )?;
    ok("deleted it", store.delete(&absent).await)?;
    same("listed", all(&*store).await?, vec![])
}

/// BL-4.
pub async fn a_deleted_blob_is_gone_and_may_come_back<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let (gone, kept) = (Bytes::from_static(b"gone"), Bytes::from_static(b"kept"));
    put(&*store, &kept, 9).await?;
    for _time in 0..2 {
        let digest = put(&*store, &gone, 9).await?;
        for _again in 0..2 {
            ok("deleted it", store.delete(&digest).await)?;
        }
        refused(
            "asked for it",
            store.get(&digest).await.map(|_parts| "parts"),
            Kind::NotFound,
        )?;
        same(
            "asked for its size",
            ok("asked for its size", store.head(&digest).await)?,
            None,
        )?;
        same("listed", all(&*store).await?, vec![Digest::of(&kept)])?;
    }
    Ok(())
}

/// BL-4.
pub async fn digests_are_listed_in_their_order_in_pages<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let mut expected = Vec::new();
    for number in 0..40 {
        expected.push(put(&*store, &Bytes::from(format!("blob {number}")), 100).await?);
    }
    expected.sort();
    for most in [1, 7, 40, 41] {
        let (mut seen, mut page) = (Vec::new(), None);
        for _page in 0..=40 {
            let found = ok("listed", store.list(limit(most), page).await)?;
            holds(
                found.items.len() <= most as usize,
                "listed",
                format!("at most {most}"),
                found.items.len(),
            )?;
            seen.extend(found.items);
            page = found.next;
            if page.is_none() {
                break;
            }
        }
        same(format!("listed in pages of {most}"), seen, expected.clone())?;
    }
    Ok(())
}

/// Does in this process what a scenario asks for, until it is killed: puts a blob and stays in the middle of it, or puts
/// blob after blob and tells of each. Does nothing where no scenario asks. `open` opens the store in the place that the
/// harness named.
pub fn work<F: Future<Output = Arc<dyn BlobStore>>>(open: impl FnOnce(OsString) -> F) -> Outcome {
    process::work(|job| async move {
        let store = open(job.place).await;
        let hangs = job.words.first().is_some_and(|word| word == "hang");
        let work = async {
            if hangs {
                hang_in_a_put(&*store, &job.journal).await
            } else {
                put_for_ever(&*store, &job.journal).await
            }
        };
        let (work, orphan) = (std::pin::pin!(work), std::pin::pin!(process::let_go()));
        match future::select(work, orphan).await {
            future::Either::Left((worked, _)) => worked,
            future::Either::Right(_) => Ok(()),
        }
    })
}

/// What a process puts, part by part.
const HALF: usize = 16;

fn part_of_half(number: usize) -> Bytes {
    Bytes::from(vec![u8::try_from(number % 256).unwrap_or(0); 100_000])
}

async fn hang_in_a_put(store: &dyn BlobStore, journal: &Journal) -> Outcome {
    let told = journal.clone();
    let half = stream::iter(0..HALF).map(|number| Ok(part_of_half(number)));
    // It is asked for one part more: then it has dealt with all before.
    let hang = stream::poll_fn(move |_context| {
        let _the_scenario_would_wait_in_vain = told.write("half");
        Poll::Pending
    });
    let put = store.put(half.chain(hang).boxed()).await;
    Err(broken("put a blob without an end", "no end", put))
}

async fn put_for_ever(store: &dyn BlobStore, journal: &Journal) -> Outcome {
    for number in journal.lines()?.len().. {
        let bytes = blob_of_a_process(number);
        let digest = put(store, &bytes, 10_000).await?;
        same("put a blob", digest, Digest::of(&bytes))?;
        journal.write(&format!("put {number}"))?;
    }
    Ok(())
}

fn blob_of_a_process(number: usize) -> Bytes {
    Bytes::from(format!("blob {number} ").repeat(1 + number * 37 % 5_000))
}

/// BL-2.
pub async fn a_killed_put_leaves_nothing_visible<H: Harness>(harness: H) -> Outcome {
    let crew = Crew::new()?;
    let mut process = crew.start(harness.another_process(), "hang")?;
    process
        .until("a process is in the middle of a put", |lines| {
            !lines.is_empty()
        })
        .await?;
    let during = harness.store();
    same("listed during another's put", all(&*during).await?, vec![])?;
    process.kill()?;
    let store = match harness.reopen().await {
        Some(store) => store,
        None => harness.store(),
    };
    same("listed after a killed put", all(&*store).await?, vec![])?;
    let half: Vec<u8> = (0..HALF).flat_map(part_of_half).collect();
    let size = ok(
        "asked for what was put by half",
        store.head(&Digest::of(&half)).await,
    )?;
    same("asked for what was put by half", size, None)?;
    let half = Bytes::from(half);
    let digest = put(&*store, &half, 100_000).await?;
    let read = get(&*store, &digest).await?;
    holds(
        read == half,
        "put after a killed put and read",
        format!("the same {} bytes", half.len()),
        read.len(),
    )
}

/// BL-2.
pub async fn a_killed_process_leaves_whole_blobs_and_all_it_was_acknowledged<H: Harness>(
    harness: H,
) -> Outcome {
    let durability = harness.store().capabilities().durability;
    let outcome = kill_putters(&harness).await;
    declared("durability", durability != Durability::Volatile, outcome)
}

async fn kill_putters<H: Harness>(harness: &H) -> Outcome {
    let crew = Crew::new()?;
    let mut chance = Chance::new(seed());
    for _round in 0..4 {
        let before = crew.journal.lines()?.len();
        let many = before + 5 + usize::try_from(chance.below(20)).unwrap_or(0);
        let mut process = crew.start(harness.another_process(), "put")?;
        process
            .until("a process has put for a while", |lines| lines.len() >= many)
            .await?;
        process.kill()?;
        let store = match harness.reopen().await {
            Some(store) => store,
            None => harness.store(),
        };
        let told = crew.journal.lines()?.len();
        let listed = all(&*store).await?;
        for number in 0..told {
            let digest = Digest::of(&blob_of_a_process(number));
            holds(
                listed.contains(&digest),
                format!("killed a process and looked for blob {number}"),
                "every blob that was acknowledged",
                listed.len(),
            )?;
        }
        for digest in &listed {
            // Reading verifies: what is there by half is corrupt.
            let read = get(&*store, digest).await?;
            same("read what a killed process put", Digest::of(&read), *digest)?;
        }
    }
    Ok(())
}
