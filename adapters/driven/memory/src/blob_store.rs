//! [`MemoryBlobStore`].

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use seaworthy_ports::blob_store::{BlobCapabilities, BlobError, BlobStore, Kind};
use seaworthy_ports::state_store::{Page, PageToken};
use seaworthy_ports::{AdapterInfo, Digest, Durability};
use sha2::{Digest as _, Sha256};

use crate::error::blob as error;
use crate::lock;

/// Small parts are joined up to this size, so that a blob put byte by byte does not cost a hundred bytes a byte.
const PART_BYTES: usize = 256 * 1024;

/// Blobs in memory.
///
/// Clones share their contents. A blob costs its size and little more, while it is put and while it is read.
#[derive(Clone, Default)]
pub struct MemoryBlobStore(Arc<Mutex<BTreeMap<Digest, Arc<Blob>>>>);

struct Blob {
    size: u64,
    parts: Vec<Bytes>,
}

/// Joins small parts and computes size and digest on the way.
#[derive(Default)]
struct Collector {
    hasher: Sha256,
    size: u64,
    parts: Vec<Bytes>,
    joining: BytesMut,
}

impl Collector {
    fn add(&mut self, part: Bytes) {
        self.hasher.update(&part);
        self.size += part.len() as u64;
        if part.len() >= PART_BYTES {
            self.flush();
            self.parts.push(part);
        } else {
            self.joining.extend_from_slice(&part);
            if self.joining.len() >= PART_BYTES {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        if !self.joining.is_empty() {
            self.parts.push(self.joining.split().freeze());
        }
    }

    fn finish(mut self) -> (Digest, Blob) {
        self.flush();
        (
            Digest::from_sha256(self.hasher.finalize().into()),
            Blob {
                size: self.size,
                parts: self.parts,
            },
        )
    }
}

impl std::fmt::Debug for MemoryBlobStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBlobStore")
            .field("blobs", &lock(&self.0).len())
            .finish()
    }
}

#[async_trait]
impl BlobStore for MemoryBlobStore {
    fn info(&self) -> AdapterInfo {
        crate::INFO
    }

    fn capabilities(&self) -> BlobCapabilities {
        BlobCapabilities {
            durability: Durability::Volatile,
        }
    }

    async fn put(
        &self,
        mut content: BoxStream<'static, Result<Bytes, BlobError>>,
    ) -> Result<Digest, BlobError> {
        let mut collector = Collector::default();
        while let Some(part) = content.try_next().await? {
            collector.add(part);
        }
        let (digest, blob) = collector.finish();
        lock(&self.0)
            .entry(digest)
            .or_insert_with(|| Arc::new(blob));
        Ok(digest)
    }

    /// The bytes are those that were hashed when they were put: nothing can change them, so nothing is hashed again.
    async fn get(
        &self,
        digest: &Digest,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let found = lock(&self.0).get(digest).map(Arc::clone);
        let blob = found.ok_or_else(|| error(Kind::NotFound, "get", "there is no such blob"))?;
        let parts = stream::unfold((blob, 0), |(blob, next)| async move {
            let part = blob.parts.get(next)?.clone();
            Some((Ok(part), (blob, next + 1)))
        });
        Ok(parts.boxed())
    }

    async fn head(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        Ok(lock(&self.0).get(digest).map(|blob| blob.size))
    }

    async fn delete(&self, digest: &Digest) -> Result<(), BlobError> {
        lock(&self.0).remove(digest);
        Ok(())
    }

    async fn list(
        &self,
        limit: NonZeroU32,
        page: Option<PageToken>,
    ) -> Result<Page<Digest>, BlobError> {
        let after = match page {
            None => Bound::Unbounded,
            Some(PageToken(token)) => Bound::Excluded(token.parse::<Digest>().map_err(|_bad| {
                error(
                    Kind::Rejected,
                    "list",
                    "the page token is not from this store",
                )
            })?),
        };
        let blobs = lock(&self.0);
        let mut rest = blobs
            .range((after, Bound::Unbounded))
            .map(|(digest, _)| *digest);
        let items: Vec<Digest> = rest.by_ref().take(limit.get() as usize).collect();
        let next = match (items.last(), rest.next()) {
            (Some(last), Some(_more)) => Some(PageToken(last.to_string())),
            _ => None,
        };
        Ok(Page { items, next })
    }
}
