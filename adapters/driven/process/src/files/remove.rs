//! Removing files and trees.

use std::io;
use std::path::Path;

use cap_std::fs::Dir;
use seaworthy_ports::sandbox::{Kind, SandboxError};

use super::{Files, is_absent, path};
use crate::error;

/// How deep a tree may be: each level holds a directory open.
const MAX_DEPTH: usize = 200;

impl Files {
    pub(crate) fn remove(&self, path: &str) -> Result<(), SandboxError> {
        let path = path::parse(path, "remove")?;
        if path == Path::new(".") {
            return Err(error::new(
                Kind::Rejected,
                "remove",
                "the workspace itself stays; remove what is in it",
            ));
        }
        // Asked even if nothing is there: a session of an earlier attempt must find out.
        drop(self.enter("remove")?);
        self.remove_entry(&self.root, &path, MAX_DEPTH)
    }

    /// Removes what is at `path` in `folder`. Links are removed, never followed.
    fn remove_entry(&self, folder: &Dir, path: &Path, depth: usize) -> Result<(), SandboxError> {
        let failed = |source| error::io("remove", "the path", source);
        let found = match folder.symlink_metadata(path) {
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
            let inner = match folder.open_dir_nofollow(path) {
                Err(error) if is_absent(&error) => return Ok(()),
                other => other.map_err(failed)?,
            };
            for entry in inner.entries().map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                self.remove_entry(&inner, name.as_ref(), depth - 1)?;
            }
        }
        let _guard = self.enter("remove")?;
        let removed = if found.is_dir() {
            folder.remove_dir(path)
        } else {
            folder.remove_file(path)
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(()),
        }
    }
}
