//! The one place where failures become port errors.

use std::io;

use rustix::io::Errno;
use seaworthy_ports::sandbox::{Kind, SandboxError};

/// The adapter's id, in every error.
pub(crate) const ADAPTER: &str = "process";

pub(crate) fn new(kind: Kind, operation: &'static str, message: impl Into<String>) -> SandboxError {
    SandboxError::new(kind, ADAPTER, operation, message)
}

/// The operating system refused something while `operation` was doing `what`.
pub(crate) fn io(operation: &'static str, what: &str, source: io::Error) -> SandboxError {
    let kind = classify(&source);
    // Neither paths nor contents: the texts of the system's errors hold none.
    new(kind, operation, format!("{what}: {source}")).with_source(source)
}

/// The sandbox's own means fail it: nothing that the caller has named is at fault.
pub(crate) fn own_means(operation: &'static str, what: &str, source: io::Error) -> SandboxError {
    let kind = match classify(&source) {
        Kind::NoSpace => Kind::NoSpace,
        _ => Kind::Unavailable,
    };
    new(kind, operation, format!("{what}: {source}")).with_source(source)
}

pub(crate) fn fenced(operation: &'static str) -> SandboxError {
    new(
        Kind::Fenced,
        operation,
        "a later attempt has taken the run over, or the run has ended; this session can do nothing more",
    )
}

pub(crate) fn closed(operation: &'static str) -> SandboxError {
    new(Kind::Rejected, operation, "the session is closed")
}

/// By the system's error number, never by text.
pub(crate) fn classify(error: &io::Error) -> Kind {
    match Errno::from_io_error(error) {
        Some(errno) => by_number(errno),
        // cap-std's own refusal, the only one of this kind without a number.
        None if error.kind() == io::ErrorKind::PermissionDenied => Kind::Outside,
        None => Kind::Unavailable,
    }
}

fn by_number(errno: Errno) -> Kind {
    match errno {
        Errno::NOENT => Kind::NotFound,
        Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::NXIO | Errno::NOEXEC => Kind::WrongType,
        Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::TXTBSY => Kind::Denied,
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Kind::NoSpace,
        Errno::NAMETOOLONG | Errno::INVAL | Errno::TOOBIG | Errno::ILSEQ => Kind::Rejected,
        _ => Kind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_number() {
        let kind = |errno: Errno| classify(&io::Error::from(errno));
        assert_eq!(kind(Errno::NOENT), Kind::NotFound);
        assert_eq!(kind(Errno::ACCESS), Kind::Denied);
        assert_eq!(kind(Errno::NOSPC), Kind::NoSpace);
        assert_eq!(kind(Errno::DQUOT), Kind::NoSpace);
        assert_eq!(kind(Errno::ISDIR), Kind::WrongType);
        assert_eq!(kind(Errno::TOOBIG), Kind::Rejected);
        assert_eq!(kind(Errno::MFILE), Kind::Unavailable);
        let escape = io::Error::new(io::ErrorKind::PermissionDenied, "words do not matter");
        assert_eq!(classify(&escape), Kind::Outside);
    }
}
