//! Blobs as files named by their digest.
//!
//! A blob is written to a temporary file in the same directory, synced, and renamed to its name; the directory is synced
//! too. So a name is only ever seen with all of its bytes behind it, and they survive the loss of power.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use seaworthy_ports::blob_store::{BlobCapabilities, BlobError, BlobStore, Kind};
use seaworthy_ports::state_store::{Page, PageToken};
use seaworthy_ports::{AdapterInfo, BoxStream, Digest, Durability};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;

use crate::{ADAPTER, error, info};

const FOLDER: &str = "sha256";
const TEMPORARY: &str = "tmp";
/// How much of a blob is in memory at once.
const PART_BYTES: usize = 256 * 1024;
/// How many parts wait between the file and the stream.
const PARTS_AHEAD: usize = 4;
/// A temporary file older than this was left by a killed writer.
const LEFT_OVER: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(crate) struct LocalFsBlobStore {
    root: Arc<Path>,
}

/// Creates the folders, proves that they can be written to and sweeps left-overs.
pub(crate) async fn prepare(root: Arc<Path>) -> Result<(), BlobError> {
    blocking("connect", move || {
        let temporary = root.join(TEMPORARY);
        for folder in [root.join(FOLDER), temporary.clone()] {
            fs::create_dir_all(&folder)
                .map_err(|source| error::blob("connect", &folder, source))?;
        }
        let fail = |source| error::blob("connect", &temporary, source);
        NamedTempFile::new_in(&temporary).map_err(fail)?;
        for entry in fs::read_dir(&temporary).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let age = fs::metadata(&path)
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|modified| SystemTime::now().duration_since(modified).ok());
            if age.is_some_and(|age| age > LEFT_OVER) {
                // Another process may sweep too.
                let _gone = fs::remove_file(&path);
            }
        }
        Ok(())
    })
    .await
}

async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_joined| {
            Err(BlobError::new(
                Kind::Unavailable,
                ADAPTER,
                operation,
                "the process is shutting down",
            )
            .with_unknown_effect())
        })
}

impl LocalFsBlobStore {
    pub(crate) fn new(root: Arc<Path>) -> Self {
        Self { root }
    }

    /// Two characters of the digest make a folder, so that none grows too large.
    fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        let (folder, file) = hex.split_at_checked(2).unwrap_or((&hex, ""));
        self.root.join(FOLDER).join(folder).join(file)
    }
}

#[async_trait]
impl BlobStore for LocalFsBlobStore {
    fn info(&self) -> AdapterInfo {
        info()
    }

    fn capabilities(&self) -> BlobCapabilities {
        BlobCapabilities {
            durability: Durability::OsCrash,
        }
    }

    async fn put(
        &self,
        mut content: BoxStream<'static, Result<Bytes, BlobError>>,
    ) -> Result<Digest, BlobError> {
        let folder = self.root.join(TEMPORARY);
        let mut file = blocking("put", move || {
            NamedTempFile::new_in(&folder).map_err(|source| error::blob("put", &folder, source))
        })
        .await?;
        let mut sum = Sha256::new();
        while let Some(part) = content.next().await {
            let part = part?;
            sum.update(&part);
            file = blocking("put", move || {
                file.write_all(&part)
                    .map_err(|source| error::blob("put", file.path(), source))?;
                Ok(file)
            })
            .await?;
        }
        let digest = Digest::from_sha256(sum.finalize().into());
        let path = self.path(&digest);
        blocking("put", move || keep(file, &path)).await?;
        Ok(digest)
    }

    async fn get(
        &self,
        digest: &Digest,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let (path, digest) = (self.path(digest), *digest);
        let opened = path.clone();
        let file = blocking("get", move || {
            File::open(&opened).map_err(|source| error::blob("get", &opened, source))
        })
        .await?;
        let (sender, receiver) = mpsc::channel(PARTS_AHEAD);
        // Ends when the file does, or when nobody reads on.
        tokio::task::spawn_blocking(move || send_parts(file, &path, &digest, &sender));
        let parts = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|part| (part, receiver))
        });
        Ok(parts.boxed())
    }

    async fn head(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        let path = self.path(digest);
        blocking("head", move || match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(error::blob("head", &path, source)),
        })
        .await
    }

    async fn delete(&self, digest: &Digest) -> Result<(), BlobError> {
        let path = self.path(digest);
        blocking("delete", move || match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(error::blob("delete", &path, source)),
        })
        .await
    }

    async fn list(
        &self,
        limit: NonZeroU32,
        page: Option<PageToken>,
    ) -> Result<Page<Digest>, BlobError> {
        let after = match page {
            None => None,
            Some(token) => Some(token.0.parse::<Digest>().map_err(|_error| {
                BlobError::new(
                    Kind::Rejected,
                    ADAPTER,
                    "list",
                    "this is no page token of this store",
                )
            })?),
        };
        let folder = self.root.join(FOLDER);
        blocking("list", move || list(&folder, limit, after)).await
    }
}

/// Gives the synced temporary file its name. One that is there already is replaced: the bytes are the same whoever comes
/// first, unless it was damaged, which this heals.
fn keep(file: NamedTempFile, path: &Path) -> Result<(), BlobError> {
    let fail = |source| error::blob("put", path, source);
    file.as_file().sync_all().map_err(fail)?;
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(fail)?;
    file.persist(path).map_err(|persist| fail(persist.error))?;
    // The folder above too: another put may have created this one and not have synced it yet.
    for folder in [Some(folder), folder.parent()].into_iter().flatten() {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| fail(source).with_unknown_effect())?;
    }
    Ok(())
}

fn send_parts(
    mut file: File,
    path: &Path,
    digest: &Digest,
    sender: &mpsc::Sender<Result<Bytes, BlobError>>,
) {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; PART_BYTES];
    loop {
        let part = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default()),
            Err(source) if source.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => {
                let _nobody_reads = sender.blocking_send(Err(error::blob("get", path, source)));
                return;
            }
        };
        sum.update(&part);
        if sender.blocking_send(Ok(part)).is_err() {
            return;
        }
    }
    if Digest::from_sha256(sum.finalize().into()) != *digest {
        let why = format!("the file of blob {digest} has other bytes");
        let _nobody_reads =
            sender.blocking_send(Err(BlobError::new(Kind::Corrupt, ADAPTER, "get", why)));
    }
}

/// Folders and files in the order of their names, which is the order of the digests.
fn list(
    folder: &Path,
    limit: NonZeroU32,
    after: Option<Digest>,
) -> Result<Page<Digest>, BlobError> {
    let limit = usize::try_from(limit.get()).unwrap_or(usize::MAX);
    let from = after.map(|digest| digest.to_hex()).unwrap_or_default();
    let mut items = Vec::new();
    'folders: for first in names(folder)? {
        let is_ours = first.len() == 2 && first.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_ours || first.as_str() < from.get(..2).unwrap_or_default() {
            continue;
        }
        for rest in names(&folder.join(&first))? {
            let Ok(digest) = format!("sha256:{first}{rest}").parse::<Digest>() else {
                continue;
            };
            if after.is_some_and(|after| digest <= after) {
                continue;
            }
            items.push(digest);
            if items.len() > limit {
                break 'folders;
            }
        }
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items
        .last()
        .filter(|_last| more)
        .map(|digest| PageToken(digest.to_string()));
    Ok(Page { items, next })
}

fn names(folder: &Path) -> Result<Vec<String>, BlobError> {
    let fail = |source| error::blob("list", folder, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(fail)? {
        if let Ok(name) = entry.map_err(fail)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
