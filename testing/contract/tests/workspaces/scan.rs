//! Copying a directory that others may be changing, without being led out of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{CHECKS_THEN_USES, FOLLOWS_LINKS, READS_PIPES, TORN, TRUSTS_TIME};

/// Why a directory was not copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It changes.
    Changing,
    /// It holds what gives nothing to whoever reads it, and no end.
    Silence,
    /// It holds what no snapshot may hold.
    Refused(&'static str),
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    pub(super) size: u64,
    modified: (i64, i64),
    pub(super) changed: (i64, i64),
    pub(super) mode: u32,
}

impl Stamp {
    #[expect(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "these types differ between systems"
    )]
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            mode: u32::from(stat.st_mode) & 0o777,
        }
    }

    /// Whether both are of the same version, as far as a store with this bug looks.
    pub(super) fn agrees(&self, other: &Self, bug: u8) -> bool {
        if bug == TRUSTS_TIME {
            return (self.size, self.modified) == (other.size, other.modified);
        }
        self == other
    }
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Directory(Stamp),
    File(Stamp),
    Link(String),
}

/// Everything under a directory, by its path relative to it.
pub(super) type Scan = BTreeMap<String, Seen>;

/// When what was seen changed last, as the file system tells it.
pub(super) fn last_change(scan: &Scan) -> Option<(i64, i64)> {
    let changes = scan.values().filter_map(|seen| match seen {
        Seen::Directory(stamp) | Seen::File(stamp) => Some(stamp.changed),
        Seen::Link(_) => None,
    });
    changes.max()
}

/// Whether nothing has changed between two scans.
pub(super) fn agree(one: &Scan, other: &Scan, bug: u8) -> bool {
    match bug {
        TORN => true,
        // What lies deeper is taken for what it was.
        CHECKS_THEN_USES => one
            .iter()
            .filter(|(path, seen)| !path.contains('/') && matches!(seen, Seen::File(_)))
            .all(|(path, seen)| other.get(path) == Some(seen)),
        _ => one == other,
    }
}

const NOTHING: Mode = Mode::empty();
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn trouble(error: Errno) -> Trouble {
    match error {
        // Gone, or something else than a moment ago.
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Trouble::Changing,
        _ => Trouble::Refused("a file cannot be read"),
    }
}

fn open_root(root: &Path) -> Result<OwnedFd, Trouble> {
    rustix::fs::open(root, DIRECTORY, NOTHING)
        .map_err(|_error| Trouble::Refused("this is no directory"))
}

/// Looks at everything under `root`.
pub(super) fn scan(root: &Path, bug: u8) -> Result<Scan, Trouble> {
    let mut scan = Scan::new();
    let mut open = vec![(String::new(), open_root(root)?)];
    while let Some((prefix, directory)) = open.pop() {
        for entry in Dir::read_from(&directory).map_err(trouble)? {
            let entry = entry.map_err(trouble)?;
            let bytes = entry.file_name().to_bytes();
            if bytes == b"." || bytes == b".." {
                continue;
            }
            let name = OsStr::from_bytes(bytes);
            let text = name.to_str().ok_or(Trouble::Refused("a name is no text"))?;
            let path = format!("{prefix}{text}");
            let at = directory.as_fd();
            let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(trouble)?;
            let stamp = Stamp::of(&stat);
            let seen = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Seen::File(stamp),
                FileType::Fifo if bug == READS_PIPES => return Err(Trouble::Silence),
                FileType::Directory => {
                    let opened = rustix::fs::openat(at, name, DIRECTORY, NOTHING);
                    open.push((format!("{path}/"), opened.map_err(trouble)?));
                    Seen::Directory(stamp)
                }
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(at, name, Vec::new()).map_err(trouble)?;
                    let target = target.into_string();
                    Seen::Link(target.map_err(|_bytes| Trouble::Refused("a link is no text"))?)
                }
                _ => return Err(Trouble::Refused("this is no file, directory or link")),
            };
            scan.insert(path, seen);
        }
    }
    Ok(scan)
}

/// Reads the version of a file that was seen, and no other.
pub(super) fn read(root: &Path, path: &str, seen: &Stamp, bug: u8) -> Result<Vec<u8>, Trouble> {
    if matches!(bug, FOLLOWS_LINKS | CHECKS_THEN_USES) {
        return read_by_path(root, path);
    }
    let mut at = open_root(root)?;
    let mut names = path.split('/').peekable();
    while let Some(name) = names.next() {
        let flags = match names.peek() {
            Some(_) => DIRECTORY,
            None => OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        };
        at = rustix::fs::openat(&at, name, flags, NOTHING).map_err(trouble)?;
    }
    let mut bytes = Vec::new();
    // One byte more than there should be is one too many.
    let read = File::from(at.try_clone().map_err(|_error| Trouble::Changing)?)
        .take(seen.size.saturating_add(1))
        .read_to_end(&mut bytes);
    read.map_err(|_error| Trouble::Changing)?;
    let now = Stamp::of(&rustix::fs::fstat(&at).map_err(trouble)?);
    if bug != TORN && (now != *seen || bytes.len() as u64 != seen.size) {
        return Err(Trouble::Changing);
    }
    Ok(bytes)
}

/// Lets time pass between a look at a file and its use: until its directory is a link, if it ever becomes one.
pub(super) fn dawdle(root: &Path, path: &str) {
    let Some(parent) = Path::new(path)
        .parent()
        .filter(|parent| *parent != Path::new(""))
    else {
        return;
    };
    let directory = root.join(parent);
    for _look in 0..2_000 {
        if directory.is_symlink() {
            return;
        }
    }
}

/// As somebody reads who has looked before and trusts that.
fn read_by_path(root: &Path, path: &str) -> Result<Vec<u8>, Trouble> {
    for _try in 0..10_000 {
        if let Ok(bytes) = std::fs::read(root.join(path)) {
            return Ok(bytes);
        }
    }
    Err(Trouble::Changing)
}

/// Whether a link leads to a file that is there, wherever that is.
pub(super) fn leads_to_a_file(root: &Path, path: &str) -> Option<Stamp> {
    let stat = rustix::fs::statat(CWD, root.join(path), AtFlags::empty()).ok()?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    is_file.then(|| Stamp::of(&stat))
}
