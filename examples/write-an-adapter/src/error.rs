//! The one place where I/O errors become port errors.

use std::io;
use std::path::Path;

use seaworthy_ports::state_store::{Kind, StateStoreError};

pub(crate) const ADAPTER: &str = "plain-files";

/// An error of ours, in words of ours.
pub(crate) fn refused(kind: Kind, operation: &'static str, why: &'static str) -> StateStoreError {
    StateStoreError::new(kind, ADAPTER, operation, why)
}

/// The file system's error: what it did to `path`, told by its kind and never by its text.
pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> StateStoreError {
    let (kind, why) = match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (Kind::Rejected, "writing here is not allowed")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => (
            Kind::Rejected,
            "a file is where a folder must be, or the other way round",
        ),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
            (Kind::Corrupt, "the file is not as it was written")
        }
        // A full disk, too many open files, and what nobody foresaw: it may work later.
        _ => (Kind::Unavailable, "the file system failed"),
    };
    StateStoreError::new(
        kind,
        ADAPTER,
        operation,
        format!("{why}: {}", path.display()),
    )
    .with_source(source)
}
