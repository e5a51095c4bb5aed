//! Copies of directories, and directories of copies.

use super::*;

/// A copy of a directory.
pub(super) struct Copied {
    pub(super) manifest: Manifest,
    pub(super) work: SnapshotWork,
    /// Blobs that a store with a bug stores later.
    pub(super) held_back: Vec<(Digest, Vec<u8>)>,
}

enum Attempt {
    Copied(Manifest, Vec<(Digest, Vec<u8>)>),
    Exceeds(Quota),
}

impl Store {
    /// Copies a directory that rests. What it has read since `cache` goes into that.
    pub(super) async fn copy(
        &self,
        operation: &'static str,
        root: &Path,
        quotas: &Quotas,
        cache: &mut Cache,
    ) -> Result<Copied, WorkspaceError> {
        let changing = || error(Kind::Unavailable, operation, "the files are changing");
        let mut work = SnapshotWork::default();
        for _attempt in 0..4 {
            match self.try_copy(root, quotas, cache, &mut work).await {
                Ok(Attempt::Copied(manifest, held_back)) => {
                    return Ok(Copied {
                        manifest,
                        work,
                        held_back,
                    });
                }
                Ok(Attempt::Exceeds(quota)) => {
                    let kind = Kind::QuotaExceeded { quota };
                    return Err(error(kind, operation, "there is too much"));
                }
                Err(Trouble::Refused(why)) => return Err(error(Kind::Rejected, operation, why)),
                // As whoever waits for its writer to open it too.
                Err(Trouble::Silence) => std::future::pending().await,
                Err(Trouble::Changing) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        Err(changing())
    }

    /// Waits until the file system's clock has gone on since the last change of what was seen, so that none can hide behind it.
    async fn settle(&self, seen: &Scan) -> Result<(), Trouble> {
        if matches!(self.bug, TORN | TRUSTS_TIME) {
            return Ok(());
        }
        for _look in 0..SLOWEST_TICK {
            if scan::last_change(seen) < Some(self.disk.now()) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(Trouble::Changing)
    }

    async fn try_copy(
        &self,
        root: &Path,
        quotas: &Quotas,
        cache: &mut Cache,
        work: &mut SnapshotWork,
    ) -> Result<Attempt, Trouble> {
        let mut before = scan::scan(root, self.bug)?;
        if let Some(quota) = tree::exceeded(quotas, tree::sizes(&before))
            && self.bug != LATE_QUOTA
        {
            return Ok(Attempt::Exceeds(quota));
        }
        if self.bug == FOLLOWS_LINKS {
            follow(root, &mut before);
        } else if tree::astray(&before, self.bug).is_some() {
            return Err(Trouble::Refused("a link leads outside"));
        }
        self.settle(&before).await?;
        let mut held_back = Vec::new();
        let mut nodes = Manifest::default().0;
        for (path, seen) in &before {
            let node = match seen {
                Seen::Directory(_) => Node::Directory,
                Seen::Link(target) => Node::Link(target.clone()),
                Seen::File(stamp) => {
                    let known = cache
                        .get(path)
                        .filter(|(known, _)| known.agrees(stamp, self.bug));
                    let content = match known {
                        // A sweep may have taken the blob.
                        Some((_, content))
                            if self.disk.has_blob(content)
                                && !matches!(self.bug, READS_AGAIN | HIDES_WORK) =>
                        {
                            *content
                        }
                        _ => {
                            if self.bug == CHECKS_THEN_USES {
                                scan::dawdle(root, path);
                            }
                            let bytes = scan::read(root, path, stamp, self.bug)?;
                            self.count(None);
                            work.files_read += u64::from(self.bug != HIDES_WORK || known.is_none());
                            let content = Digest::of(&bytes);
                            cache.insert(path.clone(), (*stamp, content));
                            if self.bug == STORES_AGAIN || !self.disk.has_blob(&content) {
                                work.blobs_stored += 1;
                                work.bytes_stored += bytes.len() as u64;
                                self.count(Some(&bytes));
                                if self.bug == RECORDS_FIRST {
                                    held_back.push((content, bytes));
                                } else {
                                    self.disk.keep_blob(&content, &bytes);
                                }
                            }
                            tokio::task::yield_now().await;
                            content
                        }
                    };
                    let mode = if self.bug == MODELESS_MANIFEST {
                        0o644
                    } else {
                        stamp.mode
                    };
                    let size = stamp.size;
                    Node::File {
                        content,
                        size,
                        mode,
                    }
                }
            };
            let folded = path.to_lowercase();
            let collides = || {
                let others = before.keys().filter(|other| *other != path);
                others
                    .into_iter()
                    .any(|other| other.to_lowercase() == folded)
            };
            let path = if self.bug == FOLDS_NAMES && collides() {
                folded
            } else {
                path.clone()
            };
            nodes.insert(path, node);
        }
        cache.retain(|path, _| before.contains_key(path));
        let looks = if self.bug == CHECKS_THEN_USES { 100 } else { 1 };
        let mut after = scan::scan(root, self.bug);
        for _again in 1..looks {
            if after.is_err() {
                after = scan::scan(root, self.bug);
            }
        }
        let mut after = after?;
        if self.bug == FOLLOWS_LINKS {
            follow(root, &mut after);
        }
        if !scan::agree(&before, &after, self.bug) {
            return Err(Trouble::Changing);
        }
        if let Some(quota) = tree::exceeded(quotas, tree::sizes(&before)) {
            return Ok(Attempt::Exceeds(quota));
        }
        Ok(Attempt::Copied(Manifest(nodes), held_back))
    }

    /// Makes a manifest a new directory.
    pub(super) fn restore(
        &self,
        operation: &'static str,
        manifest: &Manifest,
        known: &mut Known,
    ) -> Result<String, WorkspaceError> {
        let name = format!("{}", known.next());
        // A call that was dropped may have left it behind.
        self.disk.remove_directory(&name);
        let restored = manifest.restore(
            &self.disk.directory(&name),
            |content| {
                let bytes = self.disk.blob(content)?;
                if self.bug != UNVERIFIED && Digest::of(&bytes) != *content {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok(bytes)
            },
            |content, path| self.disk.link_blob(content, path),
            // A new workspace has files of its own also with this bug.
            if (self.bug, operation) == (HARD_LINKS, "start") {
                NONE
            } else {
                self.bug
            },
        );
        restored.map(|()| name.clone()).map_err(|failed| {
            self.disk.remove_directory(&name);
            error(Kind::Corrupt, operation, failed.to_string())
        })
    }
}

/// Takes what links that lead outside lead to for what is there.
fn follow(root: &Path, scan: &mut Scan) {
    while let Some(path) = tree::astray(scan, NONE).cloned() {
        match scan::leads_to_a_file(root, &path) {
            Some(stamp) => scan.insert(path, Seen::File(stamp)),
            None => scan.remove(&path),
        };
    }
}

/// Removes all files, wherever links lead.
pub(super) fn clear(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            clear(&entry.path());
        } else {
            let _gone_is_fine = fs::remove_file(entry.path());
        }
    }
}
