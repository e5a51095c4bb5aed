//! SS-13: documents.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use seaworthy_ports::state_store::{
    Document, DocumentEntry, DocumentKey, DocumentQuery, ExpectedVersion, Kind, PutDocument,
    StateStore, StateStoreError, Version,
};
use seaworthy_ports::{DocumentPath, LogId, WriterId};

use super::{Harness, head, log, log_of};
use crate::outcome::{Halt, Outcome, at_once, holds, id, limit, ok, refused, same};

const CONFLICT: Kind = Kind::Conflict { head: None };

pub(super) fn key(scope: &LogId, path: &str) -> Result<DocumentKey, Halt> {
    Ok(DocumentKey {
        scope: scope.clone(),
        path: id(DocumentPath::new(path))?,
    })
}

pub(super) async fn try_put(
    store: &dyn StateStore,
    key: &DocumentKey,
    expected: ExpectedVersion,
    value: &str,
) -> Result<Result<Version, StateStoreError>, Halt> {
    let value = Bytes::copy_from_slice(value.as_bytes());
    let put = PutDocument {
        key: key.clone(),
        expected,
        writer: id(WriterId::new("writer"))?,
        value,
    };
    Ok(store.put(put).await)
}

pub(super) async fn put(
    store: &dyn StateStore,
    key: &DocumentKey,
    expected: ExpectedVersion,
    value: &str,
) -> Result<Version, Halt> {
    ok(
        format!("put a document, expecting {expected:?}"),
        try_put(store, key, expected, value).await?,
    )
}

pub(super) async fn document(
    store: &dyn StateStore,
    key: &DocumentKey,
) -> Result<Option<Document>, Halt> {
    ok("asked for a document", store.get(key).await)
}

/// SS-13.
pub async fn a_document_is_written_over_what_is_expected_alone<H: Harness>(harness: H) -> Outcome {
    use ExpectedVersion::{Absent, Any};
    let store = harness.store();
    let key = key(&log("a")?, "path")?;
    let version = |version| ExpectedVersion::Version(Version(version));
    for expected in [version(0), version(1)] {
        refused(
            format!("put an absent document, expecting {expected:?}"),
            try_put(&*store, &key, expected, "x").await?,
            CONFLICT,
        )?;
        refused(
            "removed an absent document by version",
            store.remove(&key, expected).await,
            CONFLICT,
        )?;
    }
    same(
        "put, expecting none",
        put(&*store, &key, Absent, "one").await?,
        Version(1),
    )?;
    for expected in [Absent, version(0), version(2)] {
        let did = format!("put over version 1, expecting {expected:?}");
        refused(did, try_put(&*store, &key, expected, "x").await?, CONFLICT)?;
        refused(
            format!("removed version 1, expecting {expected:?}"),
            store.remove(&key, expected).await,
            CONFLICT,
        )?;
        let value = document(&*store, &key)
            .await?
            .map(|document| (document.version, document.value));
        same(
            "asked for it",
            value,
            Some((Version(1), Bytes::from_static(b"one"))),
        )?;
    }
    same(
        "put, expecting version 1",
        put(&*store, &key, version(1), "two").await?,
        Version(2),
    )?;
    same(
        "put, whatever is there",
        put(&*store, &key, Any, "three").await?,
        Version(3),
    )
}

/// SS-13.
pub async fn versions_rise_by_one_and_begin_again_after_removal<H: Harness>(harness: H) -> Outcome {
    use ExpectedVersion::{Absent, Any};
    let store = harness.store();
    let key = key(&log("a")?, "path")?;
    for expected in [Any, Absent] {
        ok(
            "removed an absent document",
            store.remove(&key, expected).await,
        )?;
    }
    for life in 0..2 {
        for version in 1..=3 {
            let seen = put(&*store, &key, Any, "value").await?;
            same(
                format!("put for the {version}. time in life {life}"),
                seen,
                Version(version),
            )?;
        }
        ok(
            "removed it",
            store
                .remove(&key, ExpectedVersion::Version(Version(3)))
                .await,
        )?;
        same("asked for it", document(&*store, &key).await?, None)?;
    }
    Ok(())
}

/// SS-13.
pub async fn a_document_comes_back_with_its_writer_bit_for_bit<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let key = key(&log("a")?, "path")?;
    let values = [
        Bytes::new(),
        (0..=u8::MAX).collect(),
        Bytes::from(vec![0xff; 300_000]),
    ];
    for (number, value) in (1..).zip(values) {
        let writer = id(WriterId::new(format!("writer{number}")))?;
        let put = PutDocument {
            key: key.clone(),
            expected: ExpectedVersion::Any,
            writer: writer.clone(),
            value: value.clone(),
        };
        ok("put it", store.put(put).await)?;
        let expected = Document {
            version: Version(number),
            writer,
            value,
        };
        same(
            "asked for it",
            document(&*store, &key).await?,
            Some(expected),
        )?;
    }
    Ok(())
}

/// SS-13.
pub async fn thirty_two_writers_count_by_compare_and_swap<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let key = key(&log("a")?, "count")?;
    put(&*store, &key, ExpectedVersion::Absent, "0").await?;
    let writers = (0..32).map(|_writer| {
        let (store, key) = (Arc::clone(&store), key.clone());
        async move {
            for _try in 0..1_000 {
                let Some(found) = document(&*store, &key).await? else {
                    return same("asked for the count", None, Some("a count"));
                };
                let count: u32 = String::from_utf8_lossy(&found.value).parse().unwrap_or(0);
                let expected = ExpectedVersion::Version(found.version);
                match try_put(&*store, &key, expected, &(count + 1).to_string()).await? {
                    Ok(_version) => return Ok(()),
                    Err(error) if error.kind() == CONFLICT => {}
                    Err(error) => return ok("put the next count", Err(error)),
                }
            }
            holds(
                false,
                "tried to count up",
                "success after a while",
                "a thousand conflicts",
            )
        }
    });
    at_once(writers).await?.into_iter().collect::<Outcome>()?;
    let found = document(&*store, &key)
        .await?
        .map(|found| (found.version, found.value));
    same(
        "asked for the count",
        found,
        Some((Version(33), Bytes::from_static(b"32"))),
    )
}

/// SS-13.
pub async fn documents_are_listed_by_path_in_pages<H: Harness>(harness: H) -> Outcome {
    let (store, scope) = (harness.store(), log("a")?);
    let paths = [
        "A",
        "B/c",
        "a",
        "a/b",
        "a/b/c",
        "a0",
        "b",
        "b/%",
        "b/_",
        "b/x",
        "\u{e9}",
        "\u{1F6A2}/x",
    ];
    for path in paths.iter().rev() {
        put(&*store, &key(&scope, path)?, ExpectedVersion::Absent, path).await?;
    }
    put(
        &*store,
        &key(&log("b")?, "elsewhere")?,
        ExpectedVersion::Absent,
        "x",
    )
    .await?;
    for (prefix, expected) in [
        ("", &paths[..]),
        ("a/", &["a/b", "a/b/c"]),
        ("a", &["a", "a/b", "a/b/c", "a0"]),
        ("b/%", &["b/%"]),
        ("b/_", &["b/_"]),
        ("z", &[]),
    ] {
        let (mut seen, mut page) = (Vec::new(), None);
        for _page in 0..20 {
            let query = DocumentQuery {
                scope: scope.clone(),
                prefix: prefix.into(),
                limit: limit(2),
                page,
            };
            let found = ok("listed", store.list_documents(query).await)?;
            holds(
                found.items.len() <= 2,
                "asked for two",
                "at most two",
                found.items.len(),
            )?;
            seen.extend(found.items);
            page = found.next;
            if page.is_none() {
                break;
            }
        }
        let mut all = Vec::new();
        for path in expected {
            all.push(DocumentEntry {
                path: id(DocumentPath::new(path))?,
                version: Version(1),
                writer: id(WriterId::new("writer"))?,
                size: path.len() as u64,
            });
        }
        same(format!("listed with the prefix {prefix:?}"), seen, all)?;
    }
    Ok(())
}

/// SS-13.
pub async fn documents_of_different_scopes_and_paths_are_apart<H: Harness>(harness: H) -> Outcome {
    let store = harness.store();
    let long = "p".repeat(512);
    let scopes = [log("a")?, log("A")?, log_of("session", "a")?];
    let paths = ["x", "X", "x/y", "x y", "x.y", "e\u{301}", "\u{e9}", &long];
    for scope in &scopes {
        for path in paths {
            put(
                &*store,
                &key(scope, path)?,
                ExpectedVersion::Absent,
                &format!("{scope} {path}"),
            )
            .await?;
        }
    }
    for scope in &scopes {
        for path in paths {
            let value = document(&*store, &key(scope, path)?)
                .await?
                .map(|document| document.value);
            same(
                format!("asked for {scope} {path}"),
                value,
                Some(Bytes::from(format!("{scope} {path}"))),
            )?;
        }
        same(
            "asked for the head of a log with documents alone",
            head(&*store, scope).await?,
            None,
        )?;
    }
    Ok(())
}

/// SS-13.
pub async fn odd_paths_are_refused_or_come_back_as_they_are<H: Harness>(harness: H) -> Outcome {
    let (store, scope) = (harness.store(), log("a")?);
    let (longest, long) = ("p".repeat(512), "p".repeat(10_000));
    let odd = [
        "..",
        "../a",
        "a/../b",
        "/a",
        "a//b",
        "a/",
        "a\0b",
        "a\nb",
        "C:",
        "c:\\a",
        "-",
        "~",
        "...",
        "a b",
        " a",
        "a ",
        "%",
        "_",
        "%2e%2e",
        "'; --",
        "CON",
        "\u{6f22}\u{5b57}/\u{1F6A2}",
        "\u{202e}a",
        &longest,
        &long,
        "",
    ];
    let mut taken = BTreeSet::new();
    for path in odd {
        // A path that is refused can reach no store.
        if let Ok(known) = DocumentPath::new(path) {
            let key = DocumentKey {
                scope: scope.clone(),
                path: known.clone(),
            };
            put(&*store, &key, ExpectedVersion::Absent, path).await?;
            taken.insert(known);
        }
    }
    for path in &taken {
        let key = DocumentKey {
            scope: scope.clone(),
            path: path.clone(),
        };
        let value = document(&*store, &key).await?.map(|found| found.value);
        same(
            format!("asked for the document {path}"),
            value,
            Some(Bytes::copy_from_slice(path.as_str().as_bytes())),
        )?;
    }
    let query = DocumentQuery {
        scope,
        prefix: String::new(),
        limit: limit(100),
        page: None,
    };
    let listed = ok("listed", store.list_documents(query).await)?;
    let listed: Vec<DocumentPath> = listed.items.into_iter().map(|entry| entry.path).collect();
    same("listed odd paths", listed, taken.into_iter().collect())
}
