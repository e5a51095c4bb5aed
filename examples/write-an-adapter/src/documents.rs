//! Documents: a file for each, named by the digest of its path, because a path may be longer than a file name and differ
//! from another in its case alone. All of it blocks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use seaworthy_ports::state_store::{
    Document, DocumentEntry, DocumentQuery, ExpectedVersion, Kind, Page, PageToken, PutDocument,
    StateStoreError, Version,
};
use seaworthy_ports::{Digest, DocumentPath, WriterId};
use serde::{Deserialize, Serialize};

use crate::head::{self, State};
use crate::{disk, error};

/// The first line of a document's file; the value follows.
#[derive(Debug, Serialize, Deserialize)]
struct Title {
    path: DocumentPath,
    version: u64,
    writer: WriterId,
}

fn file_of(folder: &Path, path: &DocumentPath) -> PathBuf {
    let name = Digest::of(path.as_str().as_bytes()).to_hex();
    folder.join("documents").join(name)
}

fn read(operation: &'static str, file: &Path) -> Result<Option<(Title, Bytes)>, StateStoreError> {
    let failed = |source| error::io(operation, file, source);
    let Some(content) = disk::read(file).map_err(failed)? else {
        return Ok(None);
    };
    let content = Bytes::from(content);
    let end = content.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))?;
    let title =
        serde_json::from_slice(&content.slice(..end)).map_err(|source| failed(source.into()))?;
    Ok(Some((title, content.slice(end + 1..))))
}

fn is_deleted(operation: &'static str, folder: &Path) -> Result<bool, StateStoreError> {
    Ok(matches!(
        head::read(operation, folder)?,
        Some(State::Deleted(_))
    ))
}

pub(crate) fn get(folder: &Path, path: &DocumentPath) -> Result<Option<Document>, StateStoreError> {
    if is_deleted("get", folder)? {
        return Ok(None);
    }
    let found = read("get", &file_of(folder, path))?;
    Ok(found.map(|(title, value)| Document {
        version: Version(title.version),
        writer: title.writer,
        value,
    }))
}

fn check(
    operation: &'static str,
    file: &Path,
    expected: ExpectedVersion,
) -> Result<Option<u64>, StateStoreError> {
    let found = read(operation, file)?.map(|(title, _value)| title.version);
    let is_so = match expected {
        ExpectedVersion::Any => true,
        ExpectedVersion::Absent => found.is_none(),
        ExpectedVersion::Version(Version(version)) => found == Some(version),
    };
    if is_so {
        Ok(found)
    } else {
        let conflict = Kind::Conflict { head: None };
        Err(error::refused(
            conflict,
            operation,
            "the document has another version",
        ))
    }
}

/// Writes a document, under the lock of its log.
pub(crate) fn put(folder: &Path, put: PutDocument) -> Result<Version, StateStoreError> {
    if is_deleted("put", folder)? {
        return Err(error::refused(
            Kind::Gone,
            "put",
            "the document's log was deleted",
        ));
    }
    let file = file_of(folder, &put.key.path);
    let version = check("put", &file, put.expected)?.map_or(1, |version| version.saturating_add(1));
    let title = Title {
        path: put.key.path,
        version,
        writer: put.writer,
    };
    let written = serde_json::to_vec(&title)
        .map_err(io::Error::from)
        .and_then(|mut content| {
            content.push(b'\n');
            content.extend_from_slice(&put.value);
            disk::make_folder(&folder.join("documents"))?;
            disk::replace(&file, &content)
        });
    written.map_err(|source| error::io("put", &file, source).with_unknown_effect())?;
    Ok(Version(version))
}

/// Removes a document, under the lock of its log.
pub(crate) fn remove(
    folder: &Path,
    path: &DocumentPath,
    expected: ExpectedVersion,
) -> Result<(), StateStoreError> {
    if is_deleted("remove", folder)? {
        // What a deletion that died half way left is no document.
        return match expected {
            ExpectedVersion::Version(_) => {
                let conflict = Kind::Conflict { head: None };
                Err(error::refused(
                    conflict,
                    "remove",
                    "the document's log was deleted",
                ))
            }
            ExpectedVersion::Any | ExpectedVersion::Absent => Ok(()),
        };
    }
    let file = file_of(folder, path);
    if check("remove", &file, expected)?.is_none() {
        return Ok(());
    }
    disk::remove(&file).map_err(|source| error::io("remove", &file, source).with_unknown_effect())
}

/// A page; its token is the last path of the page before.
pub(crate) fn list(
    folder: &Path,
    query: &DocumentQuery,
) -> Result<Page<DocumentEntry>, StateStoreError> {
    let mut items = Vec::new();
    let documents = folder.join("documents");
    let failed = |source| error::io("list_documents", &documents, source);
    let files = match fs::read_dir(&documents) {
        _ if is_deleted("list_documents", folder)? => None,
        Err(source) if source.kind() == io::ErrorKind::NotFound => None,
        files => Some(files.map_err(failed)?),
    };
    let after = query.page.as_ref().map(|PageToken(path)| path.as_str());
    for file in files.into_iter().flatten() {
        let file = file.map_err(failed)?.path();
        // One that is being written has no name yet; one that was just removed is not there.
        let is_new = file.extension().is_some();
        let Some((title, value)) = (if is_new {
            None
        } else {
            read("list_documents", &file)?
        }) else {
            continue;
        };
        let path = title.path.as_str();
        if path.starts_with(&query.prefix) && after.is_none_or(|after| path > after) {
            items.push(DocumentEntry {
                path: title.path,
                version: Version(title.version),
                writer: title.writer,
                size: value.len() as u64,
            });
        }
    }
    items.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    let limit = usize::try_from(query.limit.get()).unwrap_or(usize::MAX);
    let is_more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_last| is_more);
    let next = last.map(|last| PageToken(last.path.to_string()));
    Ok(Page { items, next })
}
