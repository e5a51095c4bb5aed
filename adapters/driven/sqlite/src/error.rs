//! The one place where driver errors become port errors.

use std::sync::Arc;

use rusqlite::Error;
use rusqlite::types::Type;
use seaworthy_ports::checkpoint_store::{self, CheckpointError};
use seaworthy_ports::durable_runtime::{self, RuntimeError};
use seaworthy_ports::state_store::{self, StateStoreError};
use seaworthy_ports::{Effect, ErrorKind, PortError};

/// The adapter's id, in every error.
pub(crate) const ADAPTER: &str = "sqlite";

/// What SQLite's result codes come down to. Matched by code: texts are reworded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Another process writes for longer than the busy timeout.
    Busy,
    /// No room on the disk, or beyond the configured size.
    NoRoom,
    /// The disk, or the connection, failed.
    Broken,
    /// The file cannot be opened.
    CannotOpen,
    /// The file or its folder cannot be written.
    ReadOnly,
    /// What is stored cannot be read.
    Corrupt,
    /// The file is no database.
    NotADatabase,
    /// A value beyond SQLite's own limit.
    TooBig,
    /// Anything else: never retried.
    Unforeseen,
}

impl Class {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Busy => "another process is writing to the database",
            Self::NoRoom => "the database has no room to grow",
            Self::Broken => "reading or writing the database file failed",
            Self::CannotOpen => "the database file cannot be opened",
            Self::ReadOnly => "the database file or its folder cannot be written",
            Self::Corrupt => "what is stored cannot be read",
            Self::NotADatabase => "the file is not a database",
            Self::TooBig => "a value is larger than the database takes",
            Self::Unforeseen => "the database refused the statement",
        }
    }
}

/// By SQLite's primary result code (the low byte of the extended one).
pub(crate) fn classify(error: &Error) -> Class {
    match error {
        Error::SqliteFailure(failure, _) | Error::SqlInputError { error: failure, .. } => {
            match failure.extended_code & 0xff {
                5 | 6 => Class::Busy,                  // BUSY, LOCKED
                13 => Class::NoRoom,                   // FULL
                7 | 9 | 10 | 15 | 17 => Class::Broken, // NOMEM, INTERRUPT, IOERR, PROTOCOL, SCHEMA
                14 => Class::CannotOpen,               // CANTOPEN
                3 | 8 => Class::ReadOnly,              // PERM, READONLY
                // A constraint stands for what our own checks let through: rows that contradict each other.
                11 | 19 | 20 => Class::Corrupt, // CORRUPT, CONSTRAINT, MISMATCH
                26 => Class::NotADatabase,      // NOTADB
                18 => Class::TooBig,            // TOOBIG
                _ => Class::Unforeseen,
            }
        }
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..)
        | Error::InvalidColumnIndex(_)
        | Error::InvalidColumnName(_)
        | Error::InvalidColumnType(..)
        | Error::QueryReturnedNoRows => Class::Corrupt,
        _ => Class::Unforeseen,
    }
}

/// Why a call did not succeed, shared by every member of its group.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    class: Class,
    effect: Effect,
    source: Option<Arc<Error>>,
}

impl Failure {
    /// The write was rolled back or never began.
    pub(crate) fn without_effect(source: &Arc<Error>) -> Self {
        Self {
            class: classify(source),
            effect: Effect::None,
            source: Some(Arc::clone(source)),
        }
    }

    /// The commit failed in a way that may have left it on the disk.
    pub(crate) fn unknown(source: &Arc<Error>) -> Self {
        Self {
            effect: Effect::Unknown,
            ..Self::without_effect(source)
        }
    }

    /// The store was closed before the write was queued.
    pub(crate) const fn closed() -> Self {
        Self {
            class: Class::Broken,
            effect: Effect::None,
            source: None,
        }
    }

    /// The store went away before it replied.
    pub(crate) const fn lost() -> Self {
        Self {
            class: Class::Broken,
            effect: Effect::Unknown,
            source: None,
        }
    }
}

impl From<Error> for Failure {
    fn from(source: Error) -> Self {
        Self::without_effect(&Arc::new(source))
    }
}

fn port_error<K: ErrorKind>(kind: K, operation: &'static str, failure: Failure) -> PortError<K> {
    let words = match failure.source {
        None => "the store is closed",
        Some(_) => failure.class.words(),
    };
    let mut error = PortError::new(kind, ADAPTER, operation, words);
    if failure.effect == Effect::Unknown {
        error = error.with_unknown_effect();
    }
    match failure.source {
        Some(source) => error.with_source(source),
        None => error,
    }
}

pub(crate) fn state_store(operation: &'static str, failure: impl Into<Failure>) -> StateStoreError {
    let failure = failure.into();
    let kind = state_store_kind(failure.class);
    port_error(kind, operation, failure)
}

pub(crate) const fn state_store_kind(class: Class) -> state_store::Kind {
    use state_store::Kind;
    match class {
        Class::Busy | Class::NoRoom | Class::Broken | Class::CannotOpen => Kind::Unavailable,
        Class::Corrupt | Class::NotADatabase => Kind::Corrupt,
        Class::TooBig => Kind::TooLarge,
        Class::ReadOnly | Class::Unforeseen => Kind::Rejected,
    }
}

pub(crate) fn runtime(operation: &'static str, failure: impl Into<Failure>) -> RuntimeError {
    use durable_runtime::Kind;
    let failure = failure.into();
    let kind = match failure.class {
        Class::Busy | Class::NoRoom | Class::Broken | Class::CannotOpen => Kind::Unavailable,
        Class::Corrupt | Class::NotADatabase => Kind::Corrupt,
        Class::TooBig | Class::ReadOnly | Class::Unforeseen => Kind::Rejected,
    };
    port_error(kind, operation, failure)
}

pub(crate) fn checkpoint(operation: &'static str, failure: impl Into<Failure>) -> CheckpointError {
    use checkpoint_store::Kind;
    let failure = failure.into();
    let kind = match failure.class {
        Class::Busy | Class::NoRoom | Class::Broken | Class::CannotOpen => Kind::Unavailable,
        Class::Corrupt | Class::NotADatabase => Kind::Corrupt,
        Class::TooBig => Kind::TooLarge,
        Class::ReadOnly | Class::Unforeseen => Kind::Rejected,
    };
    port_error(kind, operation, failure)
}

/// A decoded row says what no row of ours can say.
pub(crate) fn undecodable(what: &'static str) -> Error {
    // The driver has no error for a row that is wrong as a whole; the column that is named is of no meaning.
    Error::FromSqlConversionFailure(0, Type::Null, what.into())
}
