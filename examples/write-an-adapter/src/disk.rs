//! What everything else is built on: locks, and files that are replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use seaworthy_ports::Digest;

/// The bytes of a digest's text in front of a checked file, its line end included.
const SUM_BYTES: usize = 72;

/// Waits until nobody else, in this process or another, holds the lock in this file. It is free again when the returned
/// file is dropped or the process dies. Lock files are never removed: two processes could otherwise hold two of one name.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    file.lock()?;
    Ok(file)
}

/// Replaces the file by one that holds `content` and its digest. Whoever reads it sees the old one or the new one, never a
/// part, also after the process or the machine died in the middle. The caller holds the lock of the folder.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    writeln!(file, "{}", Digest::of(content))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_folder_of(path)
}

/// The content of a file that [`replace`] wrote; `None`: there is none.
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if bytes.len() < SUM_BYTES {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let content = bytes.split_off(SUM_BYTES);
    if bytes == format!("{}\n", Digest::of(&content)).into_bytes() {
        Ok(Some(content))
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Removes the file, if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder_of(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the folder, so that it is there after a loss of power too.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => sync_folder_of(path),
        // Whoever made it may not have synced it yet.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => sync_folder_of(path),
        Err(error) => Err(error),
    }
}

/// A name is durable when the folder that holds it is.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
