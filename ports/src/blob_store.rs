//! Immutable bytes, addressed by their digest.

use std::fmt;
use std::num::NonZeroU32;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use serde::Serialize;

use crate::state_store::{Page, PageToken};
use crate::{AdapterInfo, Digest, Durability, ErrorKind, PortError, Retry};

/// Keeps bytes by their SHA-256.
///
/// # Contract
///
/// * **BL-1** The digest is the SHA-256 of exactly the stored bytes; `get` verifies while streaming and fails with
///   [`Kind::Corrupt`], at the latest in place of its end.
/// * **BL-2** Concurrent and repeated puts of the same bytes are harmless and leave one object; a killed put leaves nothing
///   visible.
/// * **BL-3** Empty, one byte, 100 MiB by stream with bounded memory.
/// * **BL-4** Nothing but a digest can name a blob.
///
/// # Cancellation
///
/// A dropped `put` has stored the whole blob or none of it.
#[async_trait]
pub trait BlobStore: fmt::Debug + Send + Sync + 'static {
    /// Who this is. No I/O.
    fn info(&self) -> AdapterInfo;

    /// What this store promises beyond the unconditional clauses. No I/O.
    fn capabilities(&self) -> BlobCapabilities;

    /// Stores the bytes of `content`, durable on return. A part that fails makes the put fail with that error.
    async fn put(
        &self,
        content: BoxStream<'static, Result<Bytes, BlobError>>,
    ) -> Result<Digest, BlobError>;

    /// Streams the blob; [`Kind::NotFound`] where there is none.
    async fn get(
        &self,
        digest: &Digest,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError>;

    /// The blob's size in bytes, if it is there.
    async fn head(&self, digest: &Digest) -> Result<Option<u64>, BlobError>;

    /// Deletes the blob. Deleting an absent one is fine.
    async fn delete(&self, digest: &Digest) -> Result<(), BlobError>;

    /// One page of digests, in their order.
    async fn list(
        &self,
        limit: NonZeroU32,
        page: Option<PageToken>,
    ) -> Result<Page<Digest>, BlobError>;
}

/// What a blob store promises beyond the unconditional clauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BlobCapabilities {
    /// What a stored blob survives.
    pub durability: Durability,
}

/// Why a blob store call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kind {
    /// There is no such blob.
    #[error("not found")]
    NotFound,
    /// The stored bytes do not have their digest.
    #[error("corrupt")]
    Corrupt,
    /// The store cannot be reached or has no room.
    #[error("unavailable")]
    Unavailable,
    /// The store refuses the call for good.
    #[error("rejected")]
    Rejected,
}

impl ErrorKind for Kind {
    fn default_retry(self) -> Retry {
        match self {
            Self::Unavailable => Retry::Backoff,
            Self::NotFound | Self::Corrupt | Self::Rejected => Retry::No,
        }
    }
}

/// Why a blob store call failed.
pub type BlobError = PortError<Kind>;
