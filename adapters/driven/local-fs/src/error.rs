//! The one place where I/O errors become port errors.

use std::io::{Error, ErrorKind};
use std::path::Path;

use seaworthy_ports::blob_store::{BlobError, Kind};

use crate::ADAPTER;

/// The error of `operation` on `path`.
pub(crate) fn blob(operation: &'static str, path: &Path, source: Error) -> BlobError {
    let (kind, why) = classify(source.kind());
    BlobError::new(
        kind,
        ADAPTER,
        operation,
        format!("{why}: {}", path.display()),
    )
    .with_source(source)
}

/// By kind, never by text.
fn classify(kind: ErrorKind) -> (Kind, &'static str) {
    match kind {
        ErrorKind::NotFound => (Kind::NotFound, "there is no such file"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => (
            Kind::Rejected,
            "writing here is not allowed; choose another directory or change its permissions",
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            (Kind::Unavailable, "the disk is full; make room")
        }
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            (Kind::Rejected, "a file is where a directory must be")
        }
        // Unforeseen: a file system that fails is tried again.
        _ => (Kind::Unavailable, "the file system failed"),
    }
}
