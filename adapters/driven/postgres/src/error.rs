//! The one place where driver errors become port errors.

use std::sync::Arc;

use seaworthy_ports::checkpoint_store::{self, CheckpointError};
use seaworthy_ports::durable_runtime::{self, RuntimeError};
use seaworthy_ports::state_store::{self, StateStoreError};
use seaworthy_ports::{Effect, ErrorKind, PortError};

/// The adapter's id, in every error.
pub(crate) const ADAPTER: &str = "postgres";

/// What the driver's errors come down to. Matched by SQLSTATE: texts are translated and reworded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Somebody else holds what the statement needs for longer than it waits.
    Locked,
    /// The statement took too long, or somebody cancelled it.
    Cancelled,
    /// The server undid the transaction; it may do the same one again.
    RolledBack,
    /// The server has no room on its disk.
    NoRoom,
    /// The server has no connection or memory left.
    Overloaded,
    /// The server starts, stops, or takes no writes for now.
    NotServing,
    /// The connection broke or could not be made.
    Broken,
    /// No connection was free in time.
    Exhausted,
    /// The store is closed.
    Closed,
    /// What is stored cannot be read.
    Corrupt,
    /// A value beyond the server's own limit.
    TooBig,
    /// The tables or functions are not there.
    NotMigrated,
    /// The server does not let this user in, or not at this.
    Forbidden,
    /// The URL or its certificates cannot be used.
    Misconfigured,
    /// The server is not certified as the URL demands.
    Untrusted,
    /// Anything else: never retried.
    Unforeseen,
}

impl Class {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Locked => "another transaction holds what this one needs",
            Self::Cancelled => "the statement took too long and was cancelled",
            Self::RolledBack => "the server rolled the transaction back",
            Self::NoRoom => "the server has no room on its disk",
            Self::Overloaded => "the server has no connection or memory to spare",
            Self::NotServing => "the server is starting, stopping or takes no writes",
            Self::Broken => "the connection to the server broke or cannot be made",
            Self::Exhausted => "no connection became free in time",
            Self::Closed => "the store is closed",
            Self::Corrupt => "what is stored cannot be read",
            Self::TooBig => "a value is larger than the server takes",
            Self::NotMigrated => "the schema has not been migrated; migrate it first",
            Self::Forbidden => "the server refuses this user; check the credentials and rights",
            Self::Misconfigured => "the URL or what it names cannot be used",
            Self::Untrusted => {
                "the server has no certificate that is trusted for this host; check sslmode, sslrootcert and the host's name"
            }
            Self::Unforeseen => "the server refused the statement",
        }
    }

    /// Whether a batch that failed so may have failed because of one of its members.
    pub(crate) const fn may_be_one_members_fault(self) -> bool {
        matches!(
            self,
            Self::Locked
                | Self::Cancelled
                | Self::RolledBack
                | Self::NoRoom
                | Self::Corrupt
                | Self::TooBig
                | Self::Unforeseen
        )
    }
}

pub(crate) fn classify(error: &sqlx::Error) -> Class {
    match error {
        sqlx::Error::Database(error) => error
            .code()
            .map_or(Class::Unforeseen, |code| by_code(&code)),
        sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::RowNotFound => Class::Corrupt,
        // A certificate does not become better by trying again.
        sqlx::Error::Tls(_) => Class::Untrusted,
        sqlx::Error::Io(error) if is_about_a_certificate(error) => Class::Untrusted,
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => Class::Broken,
        sqlx::Error::PoolTimedOut => Class::Exhausted,
        sqlx::Error::PoolClosed => Class::Closed,
        sqlx::Error::Configuration(_) => Class::Misconfigured,
        _ => Class::Unforeseen,
    }
}

fn is_about_a_certificate(error: &std::io::Error) -> bool {
    let cause = error.get_ref();
    let cause = cause.and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(
        cause,
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented)
    )
}

fn by_code(code: &str) -> Class {
    match code {
        "53100" => Class::NoRoom,
        "55P03" => Class::Locked,
        "57014" => Class::Cancelled,
        // A standby: the primary is elsewhere now, or will be.
        "25006" => Class::NotServing,
        // Two that wrote the same row at the same moment: the next time one sees the other's.
        "23505" => Class::RolledBack,
        "3F000" | "42P01" | "42883" | "42703" => Class::NotMigrated,
        "42501" => Class::Forbidden,
        "XX001" | "XX002" => Class::Corrupt,
        // The server ends sessions that are idle for too long in this way, too.
        "25P03" => Class::Broken,
        _ => match code.get(..2) {
            Some("40") => Class::RolledBack,
            Some("53") => Class::Overloaded,
            Some("57") => Class::NotServing,
            Some("08" | "58") => Class::Broken,
            // A constraint stands for what our own checks let through: rows that contradict each other.
            Some("23") => Class::Corrupt,
            Some("28" | "3D") => Class::Forbidden,
            Some("54") => Class::TooBig,
            _ => Class::Unforeseen,
        },
    }
}

/// Why a call did not succeed. Shared by every member of a batch.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    effect: Effect,
    source: Option<Arc<sqlx::Error>>,
}

impl Failure {
    /// Nothing was sent, or nothing was to be changed.
    pub(crate) fn without_effect(source: sqlx::Error) -> Self {
        Self {
            class: classify(&source),
            effect: Effect::None,
            source: Some(Arc::new(source)),
        }
    }

    /// The statement was sent. An error that the server sent in answer to it says that it was undone; one that ends the
    /// session, or no answer at all, says nothing.
    pub(crate) fn of_write(source: sqlx::Error) -> Self {
        let effect = match &source {
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default();
                if code.starts_with("57P") || code.starts_with("08") || code == "25P03" {
                    Effect::Unknown
                } else {
                    Effect::None
                }
            }
            _ => Effect::Unknown,
        };
        Self {
            effect,
            ..Self::without_effect(source)
        }
    }

    /// The server did not even answer that it took too long.
    pub(crate) const fn no_answer(effect: Effect) -> Self {
        Self {
            class: Class::Broken,
            effect,
            source: None,
        }
    }

    /// Nothing was sent, for a reason of our own.
    pub(crate) const fn of(class: Class) -> Self {
        Self {
            class,
            effect: Effect::None,
            source: None,
        }
    }

    /// The store went away before it replied.
    pub(crate) const fn lost() -> Self {
        Self {
            class: Class::Closed,
            effect: Effect::Unknown,
            source: None,
        }
    }

    pub(crate) fn effect(&self) -> Effect {
        self.effect
    }
}

/// What a row says that was read after the statement had taken effect or had none to take.
impl From<sqlx::Error> for Failure {
    fn from(source: sqlx::Error) -> Self {
        Self::without_effect(source)
    }
}

fn port_error<K: ErrorKind>(kind: K, operation: &'static str, failure: Failure) -> PortError<K> {
    let mut error = PortError::new(kind, ADAPTER, operation, failure.class.words());
    if failure.effect == Effect::Unknown {
        error = error.with_unknown_effect();
    }
    match failure.source {
        // What the driver says of a URL may repeat parts of it.
        Some(source) if failure.class != Class::Misconfigured => error.with_source(source),
        _ => error,
    }
}

macro_rules! unavailable {
    () => {
        Class::Locked
            | Class::Cancelled
            | Class::RolledBack
            | Class::NoRoom
            | Class::Overloaded
            | Class::NotServing
            | Class::Broken
            | Class::Exhausted
            | Class::Closed
    };
}

pub(crate) const fn state_store_kind(class: Class) -> state_store::Kind {
    use state_store::Kind;
    match class {
        unavailable!() => Kind::Unavailable,
        Class::Corrupt => Kind::Corrupt,
        Class::TooBig => Kind::TooLarge,
        Class::NotMigrated
        | Class::Forbidden
        | Class::Misconfigured
        | Class::Untrusted
        | Class::Unforeseen => Kind::Rejected,
    }
}

pub(crate) fn state_store(operation: &'static str, failure: impl Into<Failure>) -> StateStoreError {
    let failure = failure.into();
    let kind = state_store_kind(failure.class);
    port_error(kind, operation, failure)
}

pub(crate) fn runtime(operation: &'static str, failure: impl Into<Failure>) -> RuntimeError {
    use durable_runtime::Kind;
    let failure = failure.into();
    let kind = match failure.class {
        unavailable!() => Kind::Unavailable,
        Class::Corrupt => Kind::Corrupt,
        Class::TooBig
        | Class::NotMigrated
        | Class::Forbidden
        | Class::Misconfigured
        | Class::Untrusted
        | Class::Unforeseen => Kind::Rejected,
    };
    port_error(kind, operation, failure)
}

pub(crate) fn checkpoint(operation: &'static str, failure: impl Into<Failure>) -> CheckpointError {
    use checkpoint_store::Kind;
    let failure = failure.into();
    let kind = match failure.class {
        unavailable!() => Kind::Unavailable,
        Class::Corrupt => Kind::Corrupt,
        Class::TooBig => Kind::TooLarge,
        Class::NotMigrated
        | Class::Forbidden
        | Class::Misconfigured
        | Class::Untrusted
        | Class::Unforeseen => Kind::Rejected,
    };
    port_error(kind, operation, failure)
}

/// A decoded row says what no row of ours can say.
pub(crate) fn undecodable(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart_by_what_a_caller_can_do() {
        for (code, class) in [
            ("40P01", Class::RolledBack),
            ("53100", Class::NoRoom),
            ("53300", Class::Overloaded),
            ("57014", Class::Cancelled),
            ("57P01", Class::NotServing),
            ("57P03", Class::NotServing),
            ("25006", Class::NotServing),
            ("28P01", Class::Forbidden),
            ("3D000", Class::Forbidden),
            ("42P01", Class::NotMigrated),
            ("42601", Class::Unforeseen),
            ("", Class::Unforeseen),
        ] {
            assert_eq!(by_code(code), class, "{code}");
        }
    }

    #[test]
    fn what_got_no_answer_may_have_taken_effect() {
        let lost = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(Failure::of_write(lost()).effect(), Effect::Unknown);
        assert_eq!(Failure::without_effect(lost()).effect(), Effect::None);
    }
}
