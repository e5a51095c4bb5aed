//! Files that only their user can read.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The most bytes of one.
const MOST_BYTES: u64 = 128 * 1024;
/// What a file is called that is to take the place of another, and how old one is that never will.
const NEW: &str = "new";
const SURELY_DEAD: Duration = Duration::from_secs(60);

/// Why what is in a file is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Others can read it, or have put it there.
    NotItsUsersAlone,
    /// It is no file of text, or one that is too large.
    NoText,
    /// The system says no.
    Unreadable,
}

/// What is in the file; `None`: there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, Unread> {
    let mut options = OpenOptions::new();
    options.read(true);
    // A pipe would never be opened, and a link may lead anywhere.
    #[cfg(unix)]
    options
        .custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_error) if path.is_symlink() => return Err(Unread::NotItsUsersAlone),
        Err(_error) => return Err(Unread::Unreadable),
    };
    let about = file.metadata().map_err(|_error| Unread::Unreadable)?;
    #[cfg(unix)]
    if about.permissions().mode() & 0o077 != 0 {
        return Err(Unread::NotItsUsersAlone);
    }
    if !about.is_file() {
        return Err(Unread::NoText);
    }
    let mut bytes = Vec::new();
    let read = file.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|_error| Unread::Unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Unread::NoText);
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_error| Unread::NoText)
}

/// Puts `bytes` into the place of the file, as a whole and durably.
pub(super) fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    made(folder)?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let new = path.with_extension(format!("{}-{number}.{NEW}", std::process::id()));
    // Of a process that died and had this one's number.
    let _none = fs::remove_file(&new);
    let written = (|| {
        let mut file = own().create_new(true).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        #[cfg(unix)]
        File::open(folder)?.sync_all()?;
        Ok(())
    })();
    if written.is_err() {
        let _gone = fs::remove_file(&new);
    } else {
        // The tokens are kept; what is left beside them may go another time.
        let _left = sweep(folder, path, SURELY_DEAD);
    }
    written
}

/// Throws the file away, and what processes that died have left of it. Whether it was there.
pub(super) fn forget(folder: &Path, path: &Path) -> io::Result<bool> {
    let is_gone = match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    sweep(folder, path, Duration::ZERO)?;
    Ok(is_gone)
}

/// Removes what was written to take the place of the file, at least so long ago, and never did: its process died.
fn sweep(folder: &Path, path: &Path, age: Duration) -> io::Result<()> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_new = name.to_str().is_some_and(|name| {
            name.split_once('.').map(|(stem, _rest)| stem) == stem
                && name.ends_with(&format!(".{NEW}"))
        });
        if !is_new {
            continue;
        }
        let written = entry.metadata().and_then(|about| about.modified());
        let is_old = written.is_ok_and(|at| at.elapsed().is_ok_and(|since| since >= age));
        if is_old || age.is_zero() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The lock, until it is dropped. `None`: somebody has it.
pub(super) fn lock(folder: &Path, path: &Path) -> io::Result<Option<File>> {
    made(folder)?;
    let mut options = own();
    // Else whoever can put a link here has any file locked.
    #[cfg(unix)]
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    let file = options.create(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn made(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(folder)
}

fn own() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    options.mode(0o600);
    options
}
