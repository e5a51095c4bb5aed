//! Removing files and trees.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags, openat};
use seaworthy_ports::sandbox::{Kind, SandboxError};

use super::{Files, is_absent, path};
use crate::error;

/// How deep a tree may be: each level holds a directory open.
const MAX_DEPTH: usize = 200;

impl Files {
    pub(crate) fn remove(&self, path: &str) -> Result<(), SandboxError> {
        let path = path::parse(path, "remove")?;
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            return Err(error::new(
                Kind::Rejected,
                "remove",
                "the workspace itself stays; remove what is in it",
            ));
        };
        // Asked even if nothing is there: a session of an earlier attempt must find out.
        drop(self.enter("remove")?);
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        match self.root.open_dir(parent) {
            Ok(folder) => {
                let mut removed = 0;
                self.remove_entry(&folder, name, MAX_DEPTH, &mut removed)
                    .map_err(|error| {
                        if removed > 0 {
                            error.with_unknown_effect()
                        } else {
                            error
                        }
                    })
            }
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(error::io("remove", "the directory above", error)),
        }
    }

    /// Removes the entry `name` of `folder` and counts what it removes. Links are removed, never followed.
    fn remove_entry(
        &self,
        folder: &Dir,
        name: &OsStr,
        depth: usize,
        removed: &mut u64,
    ) -> Result<(), SandboxError> {
        let failed = |source| error::io("remove", "the path", source);
        let found = match folder.symlink_metadata(name) {
            Err(error) if is_absent(&error) => return Ok(()),
            other => other.map_err(failed)?,
        };
        if found.is_dir() {
            if depth == 0 {
                return Err(error::new(
                    Kind::Rejected,
                    "remove",
                    "the directories are nested too deeply; remove the inner ones first",
                ));
            }
            let inner = match open_entry(folder, name) {
                Err(error) if is_absent(&error) => return Ok(()),
                other => other.map_err(failed)?,
            };
            for entry in inner.entries().map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                self.remove_entry(&inner, &name, depth - 1, removed)?;
            }
        }
        let _guard = self.enter("remove")?;
        let done = if found.is_dir() {
            folder.remove_dir(name)
        } else {
            folder.remove_file(name)
        };
        match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(error)),
            Ok(()) => {
                *removed += 1;
                Ok(())
            }
        }
    }
}

/// Opens a directory by its name, not by a path, and not through a link that has taken its place.
fn open_entry(folder: &Dir, name: &OsStr) -> io::Result<Dir> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entry = openat(folder, name, flags, Mode::empty())?;
    Ok(Dir::from_std_file(File::from(entry)))
}
