//! File operations, confined to the workspace (SB-5). Blocking: called from threads that may.
//!
//! Every path is resolved beneath the workspace's directory handle by cap-std, which follows no link out of it, whoever
//! swaps what while it looks. What changes something does so holding the fence, one system call at a time: a process
//! that is stopped in the middle does not keep a later attempt from taking over for long.

mod path;
mod remove;
mod write;

use std::collections::BinaryHeap;
use std::ffi::OsString;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt as _};
use rustix::fs::OFlags;
use rustix::io::Errno;
use seaworthy_ports::Latch;
use seaworthy_ports::sandbox::{
    DirEntry, FileContent, FileKind, Kind, Listing, Metadata, SandboxError,
};

use crate::error;
use crate::fence::{Guard, PATIENCE, PAUSE, Refusal};
use crate::protocol::Fence;

/// The files of a workspace.
#[derive(Debug)]
pub(crate) struct Files {
    root: Dir,
    fence: Fence,
    /// The session's end, after which nothing more is changed.
    closing: Latch,
}

impl Files {
    pub(crate) fn new(root: Dir, fence: Fence, closing: Latch) -> Self {
        Self {
            root,
            fence,
            closing,
        }
    }

    /// Permission to change something. May wait, for a moment only: nobody waits while holding the lock exclusively.
    fn enter(&self, operation: &'static str) -> Result<Guard, SandboxError> {
        let until = Instant::now() + PATIENCE;
        loop {
            if self.closing.is_set() {
                return Err(error::closed(operation));
            }
            let source = match self.fence.try_enter() {
                Ok(Some(guard)) => return Ok(guard),
                Ok(None) if Instant::now() < until => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
                Ok(None) => io::Error::from(Errno::TIMEDOUT),
                Err(Refusal::Fenced) => return Err(error::fenced(operation)),
                Err(Refusal::Io(source)) => source,
            };
            let why = "the fence cannot be read; is the state directory still there and readable?";
            return Err(error::new(Kind::Unavailable, operation, why).with_source(source));
        }
    }

    /// A folder to run a command in.
    pub(crate) fn folder(&self, path: &str, operation: &'static str) -> Result<Dir, SandboxError> {
        let path = path::parse(path, operation)?;
        self.root
            .open_dir(path)
            .map_err(|source| error::io(operation, "the working directory", source))
    }

    pub(crate) fn read(
        &self,
        path: &str,
        offset: u64,
        limit: u64,
    ) -> Result<FileContent, SandboxError> {
        let path = path::parse(path, "read")?;
        let failed = |source| error::io("read", "the file", source);
        // Without NONBLOCK, opening a named pipe would wait for somebody to write to it.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags);
        let mut file = self.root.open_with(path, &options).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(error::new(
                Kind::WrongType,
                "read",
                "it is not a regular file",
            ));
        }
        let mut bytes = Vec::new();
        if offset < metadata.len() {
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        }
        // The file may have grown while it was read.
        let size = metadata
            .len()
            .max(offset.saturating_add(bytes.len() as u64));
        let size = if bytes.is_empty() {
            metadata.len()
        } else {
            size
        };
        Ok(FileContent {
            bytes: Bytes::from(bytes),
            size,
        })
    }

    pub(crate) fn list(&self, path: &str, limit: usize) -> Result<Listing, SandboxError> {
        let path = path::parse(path, "list")?;
        let failed = |source| error::io("list", "the directory", source);
        let folder = self.root.open_dir(path).map_err(failed)?;
        // The first names only, however many there are.
        let mut first = BinaryHeap::<OsString>::new();
        let mut is_cut = false;
        for entry in folder.entries().map_err(failed)? {
            first.push(entry.map_err(failed)?.file_name());
            if first.len() > limit {
                first.pop();
                is_cut = true;
            }
        }
        let mut entries = Vec::with_capacity(first.len());
        for name in first.into_sorted_vec() {
            let metadata = match folder.symlink_metadata(&name) {
                Ok(found) => metadata(&found),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // gone since
                Err(error) => return Err(failed(error)),
            };
            entries.push(DirEntry {
                name: name.to_string_lossy().into_owned(),
                metadata,
            });
        }
        Ok(Listing { entries, is_cut })
    }

    pub(crate) fn stat(&self, path: &str) -> Result<Option<Metadata>, SandboxError> {
        let path = path::parse(path, "stat")?;
        match self.root.symlink_metadata(path) {
            Ok(found) => Ok(Some(metadata(&found))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error::io("stat", "the path", error)),
        }
    }
}

/// Whether nothing can be there: no entry, or a file where a directory would have to be.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn metadata(found: &cap_std::fs::Metadata) -> Metadata {
    let sort = found.file_type();
    let kind = if sort.is_file() {
        FileKind::File
    } else if sort.is_dir() {
        FileKind::Directory
    } else if sort.is_symlink() {
        FileKind::Symlink
    } else {
        FileKind::Other
    };
    Metadata {
        kind,
        size: found.len(),
    }
}

/// Makes the entries of a folder durable.
fn sync(folder: &Dir) -> io::Result<()> {
    let folder: File = folder.open(Path::new("."))?;
    rustix::fs::fsync(folder.as_fd())?;
    Ok(())
}
