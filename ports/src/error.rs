//! One error envelope for every port.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// The closed set of reasons a port's calls fail for. A new kind is a new contract.
pub trait ErrorKind: fmt::Debug + fmt::Display + Copy + Eq + Send + Sync + 'static {
    /// What a caller should do about this kind unless the error says otherwise.
    fn default_retry(self) -> Retry;
}

/// Advice on repeating a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call fails again until something else changes.
    No,
    /// Repeat with growing delays of the caller's choice.
    Backoff,
    /// Repeat no sooner than this; the backend said so.
    After(Duration),
}

/// Whether a failed call may have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing happened.
    None,
    /// The reply was lost: it may have happened. Repeat only idempotent calls.
    Unknown,
}

/// Why a port call failed: a kind to decide on, and words for a person.
///
/// Decisions are made on [`kind`](Self::kind), [`retry`](Self::retry) and [`effect`](Self::effect), never on text.
/// None of it may hold a secret; adapters build messages from what they know to be harmless.
#[derive(Debug)]
pub struct PortError<K> {
    kind: K,
    retry: Retry,
    effect: Effect,
    /// Boxed, so that results stay small.
    words: Box<Words>,
}

/// What a person reads.
#[derive(Debug)]
struct Words {
    operation: &'static str,
    adapter: &'static str,
    message: String,
    source: Option<Box<dyn Error + Send + Sync + 'static>>,
}

impl<K: ErrorKind> PortError<K> {
    /// An error of `kind` in `adapter` while doing `operation`; the call had no effect.
    pub fn new(
        kind: K,
        adapter: &'static str,
        operation: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            retry: kind.default_retry(),
            effect: Effect::None,
            words: Box::new(Words {
                operation,
                adapter,
                message: message.into(),
                source: None,
            }),
        }
    }

    /// The same error, but the call may have taken effect.
    #[must_use]
    pub fn with_unknown_effect(mut self) -> Self {
        self.effect = Effect::Unknown;
        self
    }

    /// The same error with other retry advice.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same error with its cause. The cause's text must be free of secrets too.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn Error + Send + Sync + 'static>>,
    ) -> Self {
        self.words.source = Some(source.into());
        self
    }

    /// What to decide on.
    pub fn kind(&self) -> K {
        self.kind
    }

    /// Whether repeating helps.
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// Whether the call may have taken effect.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// The port method that failed.
    pub fn operation(&self) -> &'static str {
        self.words.operation
    }

    /// The id of the adapter that failed.
    pub fn adapter(&self) -> &'static str {
        self.words.adapter
    }

    /// The words for a person, without adapter and operation.
    pub fn message(&self) -> &str {
        &self.words.message
    }
}

impl<K: ErrorKind> fmt::Display for PortError<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {}: {}",
            self.words.adapter, self.words.operation, self.kind, self.words.message
        )?;
        if self.effect == Effect::Unknown {
            f.write_str(" (it may have taken effect)")?;
        }
        Ok(())
    }
}

impl<K: ErrorKind> Error for PortError<K> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.words
            .source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_store::Kind;

    #[test]
    fn an_error_has_its_kinds_advice_and_no_effect_unless_it_says_so() {
        let busy = PortError::new(Kind::Unavailable, "test", "append", "busy");
        assert_eq!(
            (busy.retry(), busy.effect()),
            (Retry::Backoff, Effect::None)
        );
        let sealed = PortError::new(Kind::Sealed, "test", "append", "the log is sealed");
        assert_eq!(sealed.retry(), Retry::No);
        let late = busy
            .with_retry(Retry::After(Duration::from_secs(3)))
            .with_unknown_effect();
        assert_eq!(late.retry(), Retry::After(Duration::from_secs(3)));
        assert_eq!(late.effect(), Effect::Unknown);
    }

    #[test]
    fn an_error_names_adapter_operation_and_kind_and_keeps_its_cause() {
        let error = PortError::new(Kind::Corrupt, "test", "read", "a row cannot be read")
            .with_source(fmt::Error);
        assert_eq!((error.adapter(), error.operation()), ("test", "read"));
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.source().is_some_and(|cause| cause.is::<fmt::Error>()));
    }
}
