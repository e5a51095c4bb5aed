//! What a snapshot holds, and how it becomes a directory.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use seaworthy_ports::Digest;
use seaworthy_ports::workspace_store::{Quota, Quotas};
use serde::{Deserialize, Serialize};

use super::scan::{Scan, Seen};
use super::{FORGETS_MODES, HARD_LINKS, LEXICAL_LINKS, NO_EMPTY_DIRECTORIES};

/// An entry of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Node {
    Directory,
    File {
        content: Digest,
        size: u64,
        mode: u32,
    },
    Link(String),
}

/// All entries of a snapshot by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest(pub(super) BTreeMap<String, Node>);

impl Manifest {
    pub(super) fn contents(&self) -> impl Iterator<Item = (Digest, u64)> {
        self.0.values().filter_map(|node| match node {
            Node::File { content, size, .. } => Some((*content, *size)),
            Node::Directory | Node::Link(_) => None,
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.contents().map(|(_, size)| size).sum()
    }

    /// The sizes of its files.
    pub(super) fn sizes(&self) -> (u64, Vec<u64>) {
        let sizes = self.contents().map(|(_, size)| size).collect();
        (self.0.len() as u64, sizes)
    }

    /// Makes it a directory that is not there yet.
    pub(super) fn restore(
        &self,
        root: &Path,
        blob: impl Fn(&Digest) -> io::Result<Vec<u8>>,
        linked: impl Fn(&Digest, &Path) -> io::Result<()>,
        bug: u8,
    ) -> io::Result<()> {
        fs::create_dir(root)?;
        for (path, node) in &self.0 {
            let is_empty = || {
                let below = format!("{path}/");
                !self.0.keys().any(|other| other.starts_with(&below))
            };
            match node {
                Node::Directory if bug == NO_EMPTY_DIRECTORIES && is_empty() => {}
                Node::Directory => fs::create_dir(root.join(path))?,
                // With the mode that blobs have.
                Node::File {
                    content,
                    mode: 0o644,
                    ..
                } if bug == HARD_LINKS => {
                    blob(content)?;
                    linked(content, &root.join(path))?;
                }
                Node::File { content, mode, .. } => {
                    let path = root.join(path);
                    // A name that is there already is another entry under a name that this system takes for the same.
                    let mut file = OpenOptions::new()
                        .write(true)
                        .create_new(true)
                        .open(&path)?;
                    file.write_all(&blob(content)?)?;
                    let mode = if bug == FORGETS_MODES { 0o644 } else { *mode };
                    fs::set_permissions(path, Permissions::from_mode(mode))?;
                }
                Node::Link(_) => {}
            }
        }
        // At the end, so that no file is written through one.
        for (path, node) in &self.0 {
            if let Node::Link(target) = node {
                symlink(target, root.join(path))?;
            }
        }
        Ok(())
    }
}

/// The first quota that `files` entries with files of these sizes exceed.
pub(super) fn exceeded(quotas: &Quotas, (files, sizes): (u64, Vec<u64>)) -> Option<Quota> {
    let above = |limit: Option<std::num::NonZeroU64>, seen: u64| {
        limit.is_some_and(|limit| seen > limit.get())
    };
    if above(quotas.files, files) {
        Some(Quota::Files)
    } else if sizes.iter().any(|size| above(quotas.file_bytes, *size)) {
        Some(Quota::FileBytes)
    } else if above(quotas.bytes, sizes.iter().sum()) {
        Some(Quota::Bytes)
    } else {
        None
    }
}

/// Entries, and the sizes of the files among them.
pub(super) fn sizes(scan: &Scan) -> (u64, Vec<u64>) {
    let sizes = scan.values().filter_map(|seen| match seen {
        Seen::File(stamp) => Some(stamp.size),
        Seen::Directory(_) | Seen::Link(_) => None,
    });
    (scan.len() as u64, sizes.collect())
}

/// A link that leads outside, if there is one.
pub(super) fn astray(scan: &Scan, bug: u8) -> Option<&String> {
    let leads_outside = |path: &&String| match scan.get(*path) {
        Some(Seen::Link(target)) => leaves(scan, path, target, bug),
        _ => false,
    };
    scan.keys().find(leads_outside)
}

/// Walks where a link leads as the system would, in what was seen. What is not there is taken for a directory.
fn leaves(scan: &Scan, path: &str, target: &str, bug: u8) -> bool {
    let mut at: Vec<String> = path.split('/').map(str::to_owned).collect();
    at.pop();
    let mut rest: Vec<String> = words(target);
    if target.starts_with('/') {
        return true;
    }
    let mut followed = 0;
    while let Some(word) = rest.pop() {
        match word.as_str() {
            "" | "." => {}
            ".." => {
                if at.pop().is_none() {
                    return true;
                }
            }
            _ => {
                at.push(word);
                let here = at.join("/");
                match scan.get(&here) {
                    Some(Seen::Link(_)) if bug == LEXICAL_LINKS => {}
                    Some(Seen::Link(next)) => {
                        if next.starts_with('/') {
                            return true;
                        }
                        // No system follows more, so nobody knows where they lead.
                        followed += 1;
                        if followed > 40 {
                            return true;
                        }
                        at.pop();
                        rest.extend(words(next));
                    }
                    _ => {}
                }
            }
        }
    }
    false
}

/// The words of a path, the first at the end.
fn words(path: &str) -> Vec<String> {
    path.split('/').rev().map(str::to_owned).collect()
}
