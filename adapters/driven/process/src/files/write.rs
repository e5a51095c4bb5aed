//! Replacing a file.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt as _, Permissions};
use seaworthy_ports::sandbox::{Kind, SandboxError};

use super::{Files, is_absent, path, sync};
use crate::error;

static COUNTER: AtomicU64 = AtomicU64::new(0);

impl Files {
    /// Writes beside the file, syncs, renames over it, syncs the folder: a recorded write is on disk.
    pub(crate) fn write(&self, path: &str, content: &[u8]) -> Result<(), SandboxError> {
        let failed = |source| error::io("write", "the file", source);
        let path = self.through_link(path::parse(path, "write")?)?;
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            return Err(error::new(
                Kind::WrongType,
                "write",
                "the workspace itself is a directory",
            ));
        };
        let folder = self.folder_to_write(parent)?;
        let permissions = match folder.symlink_metadata(name) {
            Ok(found) if found.is_file() => Some(found.permissions()),
            Ok(_) => {
                return Err(error::new(
                    Kind::WrongType,
                    "write",
                    "something else than a file is there",
                ));
            }
            Err(error) if is_absent(&error) => None,
            Err(error) => return Err(failed(error)),
        };
        let draft = {
            let _guard = self.enter("write")?;
            Draft::create(&folder, permissions.is_some()).map_err(failed)?
        };
        draft.fill(content, permissions).map_err(failed)?;
        {
            let _guard = self.enter("write")?;
            draft.publish(name.as_ref()).map_err(failed)?;
        }
        sync(&folder).map_err(|source| failed(source).with_unknown_effect())
    }

    /// The path of what `path` links to, if it is a link. A link out of the workspace is refused, a link to nothing is
    /// [`Kind::NotFound`].
    fn through_link(&self, path: PathBuf) -> Result<PathBuf, SandboxError> {
        match self.root.symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => self
                .root
                .canonicalize(&path)
                .map_err(|source| error::io("write", "the link's target", source)),
            _ => Ok(path), // what is wrong with it shows when it is used
        }
    }

    /// Opens a folder, making those that are missing.
    fn folder_to_write(&self, path: &Path) -> Result<Dir, SandboxError> {
        let failed = |source| error::io("write", "the directory above the file", source);
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        match self.root.open_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map_err(failed),
        }
        let mut folder = self.root.open_dir(".").map_err(failed)?;
        let mut so_far = PathBuf::new();
        for segment in path {
            so_far.push(segment);
            // From the root each time: a link may lead up again, within the workspace.
            folder = match self.root.open_dir(&so_far) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    {
                        let _guard = self.enter("write")?;
                        match folder.create_dir(segment) {
                            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                                return Err(failed(error));
                            }
                            _ => {}
                        }
                    }
                    sync(&folder).map_err(failed)?;
                    self.root.open_dir(&so_far).map_err(failed)?
                }
                other => other.map_err(failed)?,
            };
        }
        Ok(folder)
    }
}

/// A file that is not in its place yet; dropping it removes it.
struct Draft<'a> {
    folder: &'a Dir,
    name: Option<String>,
    file: File,
}

impl<'a> Draft<'a> {
    /// `is_private` until it has the permissions of the file it replaces: nobody else may look into it meanwhile.
    fn create(folder: &'a Dir, is_private: bool) -> io::Result<Self> {
        let mut tries = 16;
        loop {
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!(".seaworthy-{}-{count}.tmp", std::process::id());
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            if is_private {
                options.mode(0o600);
            }
            tries -= 1;
            match folder.open_with(&name, &options) {
                // Left by a process of the same id that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries > 0 => {}
                other => {
                    return Ok(Self {
                        folder,
                        name: Some(name),
                        file: other?,
                    });
                }
            }
        }
    }

    fn fill(&self, content: &[u8], permissions: Option<Permissions>) -> io::Result<()> {
        (&self.file).write_all(content)?;
        if let Some(permissions) = permissions {
            self.file.set_permissions(permissions)?;
        }
        self.file.sync_all()
    }

    fn publish(mut self, name: &Path) -> io::Result<()> {
        if let Some(draft) = &self.name {
            self.folder.rename(draft, self.folder, name)?;
        }
        self.name = None;
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _gone = self.folder.remove_file(name);
        }
    }
}
