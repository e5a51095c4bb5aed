//! Files as the tools of a run make and see them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use seaworthy_ports::Digest;
use tempfile::TempDir;

use crate::outcome::{Halt, Outcome, broken};

/// What a directory holds, links not followed.
pub(super) type Tree = BTreeMap<String, Node>;

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Directory,
    File {
        size: u64,
        content: Digest,
        executable: bool,
    },
    Link(PathBuf),
    Other,
}

/// The scenario's own work with files has to succeed.
pub(super) fn done<T>(did: &str, result: io::Result<T>) -> Result<T, Halt> {
    result.map_err(|error| broken(did, "success", error))
}

/// A directory of the scenario's own, outside every workspace.
pub(super) fn elsewhere() -> Result<TempDir, Halt> {
    done("made a directory", tempfile::tempdir())
}

pub(super) fn write(root: &Path, name: &str, content: impl AsRef<[u8]>) -> Outcome {
    let path = root.join(name);
    if let Some(parent) = path.parent() {
        done("made a directory", fs::create_dir_all(parent))?;
    }
    done("wrote a file", fs::write(path, content))
}

pub(super) fn directory(root: &Path, name: &str) -> Outcome {
    done("made a directory", fs::create_dir_all(root.join(name)))
}

pub(super) fn read(root: &Path, name: &str) -> Result<Vec<u8>, Halt> {
    done("read a file", fs::read(root.join(name)))
}

pub(super) fn remove(root: &Path, name: &str) -> Outcome {
    done("removed a file", fs::remove_file(root.join(name)))
}

#[cfg(unix)]
pub(super) fn symlink(target: impl AsRef<Path>, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
pub(super) fn symlink(_target: impl AsRef<Path>, _link: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What this system cannot do is left out of what a scenario does.
pub(super) fn where_it_can(outcome: Outcome) -> Outcome {
    match outcome {
        Err(Halt::NotCheckable(_)) => Ok(()),
        other => other,
    }
}

/// Makes `name` a link to `target`.
pub(super) fn link(root: &Path, name: &str, target: impl AsRef<Path>) -> Outcome {
    match symlink(target, &root.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            Err(Halt::NotCheckable("this system has no symbolic links"))
        }
        made => done("made a link", made),
    }
}

#[cfg(unix)]
pub(super) fn set_mode(root: &Path, name: &str, mode: u32) -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;

    let permissions = fs::Permissions::from_mode(mode);
    done(
        "changed a mode",
        fs::set_permissions(root.join(name), permissions),
    )
}

#[cfg(not(unix))]
pub(super) fn set_mode(_root: &Path, _name: &str, _mode: u32) -> Outcome {
    Err(Halt::NotCheckable("this system has no modes"))
}

#[cfg(unix)]
pub(super) fn mode(metadata: &fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;

    metadata.permissions().mode() & 0o777
}

#[cfg(not(unix))]
pub(super) fn mode(_metadata: &fs::Metadata) -> u32 {
    0
}

/// Everything under `root`, by its path relative to it.
pub(super) fn tree(root: &Path) -> Result<Tree, Halt> {
    let mut tree = Tree::new();
    let mut open = vec![(String::new(), root.to_path_buf())];
    while let Some((prefix, path)) = open.pop() {
        let entries = done("listed a directory", fs::read_dir(&path))?;
        for entry in entries {
            let entry = done("listed a directory", entry)?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let metadata = done("looked at a file", fs::symlink_metadata(entry.path()))?;
            let node = if metadata.is_symlink() {
                Node::Link(done("read a link", fs::read_link(entry.path()))?)
            } else if metadata.is_dir() {
                open.push((format!("{name}/"), entry.path()));
                Node::Directory
            } else if metadata.is_file() {
                let bytes = done("read a file", fs::read(entry.path()))?;
                Node::File {
                    size: bytes.len() as u64,
                    content: Digest::of(&bytes),
                    executable: mode(&metadata) & 0o111 != 0,
                }
            } else {
                Node::Other
            };
            tree.insert(name, node);
        }
    }
    Ok(tree)
}

/// A file that is not executable.
pub(super) fn file(content: impl AsRef<[u8]>) -> Node {
    Node::File {
        size: content.as_ref().len() as u64,
        content: Digest::of(content.as_ref()),
        executable: false,
    }
}

/// The same bytes for the same number, others for another, that no compression makes small.
pub(super) fn noise(number: u64, size: usize) -> Vec<u8> {
    let mut chance = crate::chance::Chance::new(number);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend_from_slice(&chance.bits().to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// A tool that works in the background until this is dropped.
#[derive(Debug)]
pub(super) struct Busy {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Busy {
    /// Calls `step` with 1, 2, 3 and so on.
    pub(super) fn start(mut step: impl FnMut(u64) -> io::Result<()> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !told.load(Ordering::Relaxed) {
                number += 1;
                step(number)?;
            }
            Ok(())
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it; its work must have gone well.
    pub(super) fn end(mut self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(worked)) => done("worked in a workspace", worked),
            Some(Err(_panicked)) => Err(broken("worked in a workspace", "an end", "a panic")),
            None => Ok(()),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _its_failure_is_not_the_point = thread.join();
        }
    }
}
