//! Blobs in memory.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use seaworthy_ports::blob_store::{BlobCapabilities, BlobError, BlobStore, Kind};
use seaworthy_ports::state_store::{Page, PageToken};
use seaworthy_ports::{AdapterInfo, BoxStream, Digest, Durability};

use crate::{ADAPTER, info, locked, page};

/// A blob store that lives as long as its value. Clones share their blobs.
#[derive(Clone, Debug, Default)]
pub struct MemoryBlobStore(Arc<Mutex<BTreeMap<Digest, Bytes>>>);

#[async_trait]
impl BlobStore for MemoryBlobStore {
    fn info(&self) -> AdapterInfo {
        info()
    }

    fn capabilities(&self) -> BlobCapabilities {
        BlobCapabilities { durability: Durability::Volatile }
    }

    async fn put(&self, content: BoxStream<'static, Result<Bytes, BlobError>>) -> Result<Digest, BlobError> {
        let bytes = content
            .try_fold(BytesMut::new(), |mut all, part| async move {
                all.extend_from_slice(&part);
                Ok(all)
            })
            .await?
            .freeze();
        let digest = Digest::of(&bytes);
        locked(&self.0).entry(digest).or_insert(bytes);
        Ok(digest)
    }

    async fn get(&self, digest: &Digest) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let found = locked(&self.0).get(digest).cloned();
        let missing = || BlobError::new(Kind::NotFound, ADAPTER, "get", format!("there is no blob {digest}"));
        let bytes = found.ok_or_else(missing)?;
        if Digest::of(&bytes) != *digest {
            return Err(BlobError::new(Kind::Corrupt, ADAPTER, "get", format!("blob {digest} has changed")));
        }
        Ok(stream::iter([Ok(bytes)]).boxed())
    }

    async fn head(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        Ok(locked(&self.0).get(digest).map(|bytes| bytes.len() as u64))
    }

    async fn delete(&self, digest: &Digest) -> Result<(), BlobError> {
        locked(&self.0).remove(digest);
        Ok(())
    }

    async fn list(&self, limit: NonZeroU32, after: Option<PageToken>) -> Result<Page<Digest>, BlobError> {
        let from = match after {
            None => Bound::Unbounded,
            Some(token) => Bound::Excluded(token.0.parse::<Digest>().map_err(|_error| {
                BlobError::new(Kind::Rejected, ADAPTER, "list", "this is no page token of this store")
            })?),
        };
        let blobs = locked(&self.0);
        let digests = blobs.range((from, Bound::Unbounded)).map(|(digest, _bytes)| *digest);
        Ok(page(digests, limit, Digest::to_string))
    }
}
