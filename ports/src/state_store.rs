//! Append-only logs with an expected head, and versioned documents.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::{
    AdapterInfo, AppendId, DocumentPath, Durability, ErrorKind, LogId, LogKind, PortError, Retry,
    WriterId,
};

/// Keeps what happened, in order, and refuses writers that lost it.
///
/// # Contract
///
/// * **SS-1** An append writes all its bodies, its labels and its seal, or nothing, across the death of the process at
///   any point. Sequences are contiguous from 1.
/// * **SS-2** An append whose `expected` is not the head fails with [`Kind::Conflict`] carrying the true head and writes
///   nothing. [`Expected::Absent`] means the log must not exist.
/// * **SS-3** Of any number of concurrent appends expecting the same head exactly one succeeds.
/// * **SS-4** Repeating the log's newest append with the same [`AppendId`] returns the first outcome and writes nothing,
///   also after reopening. Repeating an id with other content is [`Kind::Rejected`].
/// * **SS-5** A sealed log refuses every append with [`Kind::Sealed`]; repeating the append that sealed it is SS-4.
/// * **SS-6** Bodies come back bit for bit, in order, without gaps, strictly after `after`; a read sees at least every
///   append acknowledged before it began, and ends.
/// * **SS-7** Labels (at most [`MAX_LABELS`] short strings) are replaced with each append; `list` filters by kind and
///   label equality, newest or oldest created first, with page tokens stable under concurrent inserts. It may lag only
///   where `eventual_list` is declared.
/// * **SS-8** Logs are independent: a stalled, refused or failing append never delays or fails one on another log,
///   grouped commits included.
/// * **SS-9** An acknowledged append survives what [`StateStoreCapabilities::durability`] says.
/// * **SS-10** `delete` removes records, labels and documents under the log's scope and leaves a tombstone: later appends
///   and documents get [`Kind::Gone`], never a revival. Deleting twice is fine.
/// * **SS-11** More than `max_append_bytes` of bodies is [`Kind::TooLarge`], nothing written, the store unharmed.
/// * **SS-12** What cannot be decoded is [`Kind::Corrupt`] for that log, never a shorter or empty answer; other logs stay
///   usable.
/// * **SS-13** Documents: `put` compares and swaps; versions rise by one from 1; the writer is stored with the value, in
///   the same write; `list_documents` is sorted by path.
/// * **SS-14** Two handles, two processes: each sees what the other was acknowledged.
/// * **SS-15** *(watch)* [`StateStoreWatch::watch`] is a hint: it may return early or late and nothing depends on it.
/// * **SS-16** A reply lost after the commit surfaces as [`Effect::Unknown`](crate::Effect::Unknown); retrying with the
///   same id resolves it.
///
/// An append of no bodies is [`Kind::Rejected`].
///
/// # Cancellation
///
/// Dropping a returned future leaves the outcome unknown, never half done.
#[async_trait]
pub trait StateStore: fmt::Debug + Send + Sync + 'static {
    /// Who this is. No I/O.
    fn info(&self) -> AdapterInfo;

    /// What this store promises beyond the unconditional clauses. No I/O.
    fn capabilities(&self) -> StateStoreCapabilities;

    /// Appends `append.bodies` to the end of the log if the head is the expected one.
    async fn append(&self, append: Append) -> Result<Appended, StateStoreError>;

    /// Streams the log's records after `after` ([`Seq::ZERO`]: all), oldest first, then ends. An absent or deleted log
    /// has none.
    fn read(&self, log: &LogId, after: Seq) -> BoxStream<'static, Result<Record, StateStoreError>>;

    /// The log's head, or `None` where the log is absent or deleted.
    async fn head(&self, log: &LogId) -> Result<Option<Head>, StateStoreError>;

    /// One page of heads.
    async fn list(&self, query: HeadQuery) -> Result<Page<Head>, StateStoreError>;

    /// Deletes the log and the documents under its scope, and leaves a tombstone.
    async fn delete(&self, log: &LogId) -> Result<(), StateStoreError>;

    /// The document at `key`, if there is one.
    async fn get(&self, key: &DocumentKey) -> Result<Option<Document>, StateStoreError>;

    /// Writes a document if its version is the expected one, and returns the new version.
    async fn put(&self, put: PutDocument) -> Result<Version, StateStoreError>;

    /// Removes a document if its version is the expected one. Removing an absent one under [`ExpectedVersion::Any`] or
    /// [`ExpectedVersion::Absent`] is fine. A later `put` starts again at version 1.
    async fn remove(
        &self,
        key: &DocumentKey,
        expected: ExpectedVersion,
    ) -> Result<(), StateStoreError>;

    /// One page of a scope's documents, sorted by path, without their values.
    async fn list_documents(
        &self,
        query: DocumentQuery,
    ) -> Result<Page<DocumentEntry>, StateStoreError>;

    /// The sub-port of the `watch` capability.
    fn as_watch(&self) -> Option<&dyn StateStoreWatch>;
}

/// Hints that a log has grown (SS-15).
#[async_trait]
pub trait StateStoreWatch: Send + Sync {
    /// Returns when the log may have records newer than `newer_than`, after `max` at the latest. Early and late returns
    /// are both fine. Dropping the future leaves nothing behind.
    async fn watch(&self, log: &LogId, newer_than: Seq, max: Duration);
}

/// How many labels a head may have.
pub const MAX_LABELS: usize = 16;
/// How many bytes a label's name or value may have.
pub const MAX_LABEL_BYTES: usize = 256;

/// What a store promises beyond the unconditional clauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StateStoreCapabilities {
    /// What an acknowledged append survives (SS-9).
    pub durability: Durability,
    /// `list` may lag behind appends (SS-7).
    pub eventual_list: bool,
    /// `as_watch` is there (SS-15).
    pub watch: bool,
    /// The most bytes of bodies in one append (SS-11).
    pub max_append_bytes: usize,
}

/// The position of a record in its log; the first is 1, and 0 is the position before it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Before the first record.
    pub const ZERO: Self = Self(0);

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The head an append expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The log does not exist.
    Absent,
    /// The log exists and this is its last sequence.
    Head(Seq),
}

/// Short strings that a head is found by. Names and values have at most [`MAX_LABEL_BYTES`] bytes each.
pub type Labels = BTreeMap<String, String>;

/// Bodies to add to a log, and what its head becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The log.
    pub log: LogId,
    /// Makes repeating this append harmless.
    pub id: AppendId,
    /// What the head must be.
    pub expected: Expected,
    /// The bodies, in order; at least one.
    pub bodies: Vec<Bytes>,
    /// All labels of the head from now on.
    pub labels: Labels,
    /// Whether the log is closed for ever.
    pub seal: bool,
}

/// An append that took effect, now or, when it is repeated, before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The sequence of the append's last body.
    pub head: Seq,
}

/// One body of a log with its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position.
    pub seq: Seq,
    /// Exactly the appended bytes.
    pub body: Bytes,
}

/// A log's last sequence and what it is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The log.
    pub log: LogId,
    /// Its last sequence.
    pub seq: Seq,
    /// Whether it is closed for ever.
    pub sealed: bool,
    /// The labels of the newest append.
    pub labels: Labels,
}

/// The order of a listing, by when the logs were created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The newest log first.
    NewestFirst,
    /// The oldest log first.
    OldestFirst,
}

/// Which heads to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadQuery {
    /// Logs of this kind only.
    pub kind: LogKind,
    /// Only heads with all of these labels.
    pub labels: Labels,
    /// In this order.
    pub order: Order,
    /// At most so many.
    pub limit: NonZeroU32,
    /// Continue after an earlier page.
    pub page: Option<PageToken>,
}

/// Where the next page starts: opaque, made by the store that reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken(pub String);

/// Some items, and where the rest begins if there is more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the rest begins; `None`: this was all.
    pub next: Option<PageToken>,
}

/// Names a document: the log whose scope it belongs to (which need not exist) and its path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentKey {
    /// Whose document it is.
    pub scope: LogId,
    /// Where in the scope.
    pub path: DocumentPath,
}

/// A document's version: 1 when first put, one more with each put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version(pub u64);

/// The version a write expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Whatever is there.
    Any,
    /// No document.
    Absent,
    /// Exactly this version.
    Version(Version),
}

/// A document's value and who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its version.
    pub version: Version,
    /// Who wrote this version.
    pub writer: WriterId,
    /// The value.
    pub value: Bytes,
}

/// A document to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutDocument {
    /// Where.
    pub key: DocumentKey,
    /// Over what.
    pub expected: ExpectedVersion,
    /// By whom.
    pub writer: WriterId,
    /// The value.
    pub value: Bytes,
}

/// Which documents to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentQuery {
    /// Of this scope.
    pub scope: LogId,
    /// Only paths that start with this; empty: all.
    pub prefix: String,
    /// At most so many.
    pub limit: NonZeroU32,
    /// Continue after an earlier page.
    pub page: Option<PageToken>,
}

/// A document without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentEntry {
    /// Where in the scope.
    pub path: DocumentPath,
    /// Its version.
    pub version: Version,
    /// Who wrote this version.
    pub writer: WriterId,
    /// The value's size in bytes.
    pub size: u64,
}

/// Why a state store call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kind {
    /// The head, or a document's version, is not the expected one.
    #[error("conflict")]
    Conflict {
        /// The true head of the log, `None` where it is absent; `None` for documents.
        head: Option<Seq>,
    },
    /// The log is closed for ever.
    #[error("sealed")]
    Sealed,
    /// The log was deleted.
    #[error("gone")]
    Gone,
    /// More than the store takes in one write.
    #[error("too large")]
    TooLarge,
    /// What is stored cannot be read.
    #[error("corrupt")]
    Corrupt,
    /// The store cannot be reached, is busy or has no room.
    #[error("unavailable")]
    Unavailable,
    /// The call is malformed, or the store refuses it for good.
    #[error("rejected")]
    Rejected,
}

impl ErrorKind for Kind {
    fn default_retry(self) -> Retry {
        match self {
            Self::Unavailable => Retry::Backoff,
            Self::Conflict { .. }
            | Self::Sealed
            | Self::Gone
            | Self::TooLarge
            | Self::Corrupt
            | Self::Rejected => Retry::No,
        }
    }
}

/// Why a state store call failed.
pub type StateStoreError = PortError<Kind>;
