//! Ports kept in a local directory. One file per port, named like the port.

mod blob_store;
mod error;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use seaworthy_ports::AdapterInfo;
use seaworthy_ports::blob_store::{BlobError, BlobStore};

const ADAPTER: &str = "local-fs";

const fn info() -> AdapterInfo {
    AdapterInfo {
        id: ADAPTER,
        package: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// Where a [`LocalFs`] keeps its files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LocalFsConfig {
    /// The directory; it is created if it is absent.
    pub root: PathBuf,
}

impl LocalFsConfig {
    /// Everything under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

/// Ports in a local directory.
#[derive(Clone, Debug)]
pub struct LocalFs {
    root: Arc<Path>,
}

impl LocalFs {
    /// Opens the directory, creates what is missing, proves that it can be written to, and sweeps what killed writers
    /// left.
    ///
    /// # Errors
    ///
    /// A directory that cannot be created or written to.
    pub async fn connect(config: LocalFsConfig) -> Result<Self, BlobError> {
        let root: Arc<Path> = config.root.into();
        blob_store::prepare(Arc::clone(&root)).await?;
        Ok(Self { root })
    }

    /// The blob store in this directory.
    #[must_use]
    pub fn blob_store(&self) -> Arc<dyn BlobStore> {
        Arc::new(blob_store::LocalFsBlobStore::new(Arc::clone(&self.root)))
    }
}
