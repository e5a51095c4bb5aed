//! Why an observer could not be made or did not get rid of what it had.

/// What went wrong. No message holds an address's credentials or a header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtlpError {
    /// The configuration cannot be used.
    #[error("OTLP: {0}")]
    Configuration(String),
    /// The thread that sends cannot be started.
    #[error("OTLP: the thread that sends cannot be started: {0}")]
    Thread(String),
    /// Not everything was sent in time, or the backend refused some of it.
    #[error("OTLP: not everything was sent; is the collector there?")]
    Incomplete,
}
