//! Which workers of this machine are alive, told by file locks: the operating system frees a lock when its holder dies,
//! however it dies.
//!
//! A lock proves death, never life: nothing safe depends on it, it only makes a takeover faster than a lease. Files are
//! removed by their worker when it leaves in order, or by whoever has dealt with its death.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use seaworthy_ports::WorkerId;

const SUFFIX: &str = ".lock";
/// Somebody who deals with an earlier life of a worker holds its file for one commit.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// How many files one look tries.
const MAX_FILES: usize = 4096;

#[derive(Clone, Debug)]
pub(crate) struct Liveness {
    folder: PathBuf,
}

/// A locked file of a worker: one's own, or that of a dead one.
#[derive(Debug)]
pub(crate) struct Lock {
    pub(crate) worker: WorkerId,
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Removes the file, then frees the lock.
    pub(crate) async fn remove(self) {
        let removed = tokio::task::spawn_blocking(move || std::fs::remove_file(&self.path)).await;
        if let Ok(Err(error)) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a worker's lock file could not be removed");
        }
    }
}

impl Liveness {
    pub(crate) const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Takes the worker's lock; `None` where a live worker has it.
    pub(crate) async fn enlist(&self, worker: &WorkerId) -> io::Result<Option<Lock>> {
        for _ in 0..TRIES {
            let (folder, worker) = (self.folder.clone(), worker.clone());
            let lock = tokio::task::spawn_blocking(move || {
                std::fs::create_dir_all(&folder)?;
                lock(folder.join(file_name(&worker)), worker, true)
            })
            .await
            .map_err(io::Error::other)??;
            if lock.is_some() {
                return Ok(lock);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(None)
    }

    /// Takes the locks of all workers that died.
    pub(crate) async fn dead(&self) -> io::Result<Vec<Lock>> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || dead(&folder))
            .await
            .map_err(io::Error::other)?
    }
}

fn dead(folder: &Path) -> io::Result<Vec<Lock>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut dead = Vec::new();
    for entry in entries.take(MAX_FILES) {
        let path = entry?.path();
        if let Some(worker) = worker_of(&path)
            // A file that cannot be opened tells nothing about its worker.
            && let Ok(Some(lock)) = lock(path, worker, false)
        {
            dead.push(lock);
        }
    }
    Ok(dead)
}

/// Locks the file at `path`; `None` where somebody else has locked it, or where it was removed on the way.
fn lock(path: PathBuf, worker: WorkerId, create: bool) -> io::Result<Option<Lock>> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .open(&path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if !create && error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Whoever removed the file between opening and locking left a lock that nobody can see.
    Ok(is_at(&file, &path)?.then_some(Lock {
        worker,
        path,
        _file: file,
    }))
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let there = match path.metadata() {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let here = file.metadata()?;
    Ok((here.dev(), here.ino()) == (there.dev(), there.ino()))
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// A colon is no part of a file name everywhere, and ids hold no percent sign.
fn file_name(worker: &WorkerId) -> String {
    format!("{}{SUFFIX}", worker.as_str().replace(':', "%3A"))
}

fn worker_of(path: &Path) -> Option<WorkerId> {
    let name = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
    WorkerId::new(name.replace("%3A", ":")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(name: &str) -> WorkerId {
        WorkerId::new(name).expect("a valid id")
    }

    #[tokio::test]
    async fn only_a_worker_without_its_lock_is_dead() {
        let folder = tempfile::tempdir().expect("a folder");
        let liveness = Liveness::new(folder.path().join("workers"));
        assert!(liveness.dead().await.expect("no folder yet").is_empty());
        let alive = liveness.enlist(&worker("a:1")).await.expect("a lock");
        let died = liveness.enlist(&worker("b")).await.expect("a lock");
        drop(died);
        let dead = liveness.dead().await.expect("a look");
        let names: Vec<&str> = dead.iter().map(|lock| lock.worker.as_str()).collect();
        assert_eq!(names, ["b"]);
        for lock in dead {
            lock.remove().await;
        }
        alive.expect("it was free").remove().await;
        assert!(liveness.dead().await.expect("a look").is_empty());
        let left = std::fs::read_dir(folder.path().join("workers")).expect("the folder");
        assert_eq!(left.count(), 0);
    }

    #[tokio::test]
    async fn a_second_worker_of_the_same_name_gets_no_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let liveness = Liveness::new(folder.path().to_path_buf());
        let first = liveness.enlist(&worker("w")).await.expect("a lock");
        assert!(first.is_some());
        assert!(
            liveness
                .enlist(&worker("w"))
                .await
                .expect("a try")
                .is_none()
        );
    }
}
