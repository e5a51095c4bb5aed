//! Blob stores with a bug.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use seaworthy_contract::blob_store::Harness;
use seaworthy_memory::MemoryBlobStore;
use seaworthy_ports::blob_store::{BlobCapabilities, BlobError, BlobStore, Kind};
use seaworthy_ports::state_store::{Page, PageToken};
use seaworthy_ports::{AdapterInfo, BoxStream, Digest, Durability, async_trait};

pub(crate) const NONE: u8 = 0;
pub(crate) const UNVERIFIED: u8 = 1;
pub(crate) const VISIBLE_EARLY: u8 = 2;
pub(crate) const CUTS_AT_FAILURE: u8 = 3;
pub(crate) const ONE_PART: u8 = 4;
pub(crate) const ABSENT_IS_EMPTY: u8 = 5;
pub(crate) const REPEATS: u8 = 6;

pub(crate) struct Broken(Arc<Store>);

#[async_trait]
impl Harness for Broken {
    async fn start() -> Self {
        Self(Arc::default())
    }

    fn store(&self) -> Arc<dyn BlobStore> {
        Arc::<Store>::clone(&self.0)
    }

    async fn corrupt(&self, digest: &Digest) -> bool {
        self.0.damaged.lock().unwrap().push(*digest);
        true
    }
}

#[derive(Debug)]
pub(super) struct Store {
    bug: u8,
    inner: Arc<dyn BlobStore>,
    damaged: Mutex<Vec<Digest>>,
}

impl Default for Store {
    fn default() -> Self {
        Self::over(super::chosen(), Arc::new(MemoryBlobStore::default()))
    }
}

impl Store {
    pub(super) fn over(bug: u8, inner: Arc<dyn BlobStore>) -> Self {
        Self {
            bug,
            inner,
            damaged: Mutex::default(),
        }
    }
}

type Parts = BoxStream<'static, Result<Bytes, BlobError>>;

#[async_trait]
impl BlobStore for Store {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> BlobCapabilities {
        let mut capabilities = self.inner.capabilities();
        if self.bug == super::MODEST {
            capabilities.durability = Durability::Volatile;
        }
        capabilities
    }

    async fn put(&self, mut content: Parts) -> Result<Digest, BlobError> {
        match self.bug {
            VISIBLE_EARLY => {
                let mut parts = Vec::new();
                while let Some(part) = content.try_next().await? {
                    parts.push(part);
                    if parts.len() == 5 {
                        self.inner
                            .put(stream::iter(parts.clone().into_iter().map(Ok)).boxed())
                            .await?;
                    }
                }
                let all = self
                    .inner
                    .put(stream::iter(parts.clone().into_iter().map(Ok)).boxed())
                    .await?;
                let early =
                    Digest::of(&parts.iter().take(5).flatten().copied().collect::<Vec<u8>>());
                if early != all {
                    self.inner.delete(&early).await?;
                }
                Ok(all)
            }
            CUTS_AT_FAILURE => {
                let good = content
                    .take_while(|part| std::future::ready(part.is_ok()))
                    .boxed();
                self.inner.put(good).await
            }
            _ => self.inner.put(content).await,
        }
    }

    async fn get(&self, digest: &Digest) -> Result<Parts, BlobError> {
        let parts = match self.inner.get(digest).await {
            Err(error) if self.bug == ABSENT_IS_EMPTY && error.kind() == Kind::NotFound => {
                stream::empty().boxed()
            }
            other => other?,
        };
        if self.damaged.lock().unwrap().contains(digest) {
            let end = BlobError::new(Kind::Corrupt, "broken", "get", "the digest differs");
            let end = stream::iter((self.bug != UNVERIFIED).then_some(Err(end)));
            return Ok(parts.chain(end).boxed());
        }
        if self.bug == ONE_PART {
            let all: Vec<Bytes> = parts.try_collect().await?;
            return Ok(stream::iter([Ok(Bytes::from(all.concat()))]).boxed());
        }
        Ok(parts)
    }

    async fn head(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        self.inner.head(digest).await
    }

    async fn delete(&self, digest: &Digest) -> Result<(), BlobError> {
        self.inner.delete(digest).await
    }

    async fn list(
        &self,
        limit: NonZeroU32,
        page: Option<PageToken>,
    ) -> Result<Page<Digest>, BlobError> {
        if self.bug == REPEATS
            && limit.get() > 1
            && let Some(PageToken(token)) = &page
        {
            let last: Digest = token.parse().unwrap();
            let less = NonZeroU32::new(limit.get() - 1).unwrap();
            let mut page = self.inner.list(less, page.clone()).await?;
            page.items.insert(0, last);
            return Ok(page);
        }
        self.inner.list(limit, page).await
    }
}
