//! Logs: appending, reading and deleting. All of it blocks.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use seaworthy_ports::state_store::{
    Append, Appended, Expected, Kind, Record, Seq, StateStoreError,
};
use seaworthy_ports::{Digest, LogId};

use crate::head::{self, Present, State};
use crate::{disk, error};

/// In front of each body: its length and its digest.
const FRAME_BYTES: u64 = 8 + 32;
/// How much is read at once.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: u64 = 1 << 20;

/// Appends, under the lock of the log. `created` gives a new log its number.
pub(crate) fn append(
    folder: &Path,
    append: Append,
    created: impl FnOnce() -> Result<u64, StateStoreError>,
) -> Result<Appended, StateStoreError> {
    let refuse = |kind, why| Err(error::refused(kind, "append", why));
    let content = head::content_of(&append);
    let present = match head::read("append", folder)? {
        Some(State::Deleted(_)) => return refuse(Kind::Gone, "the log was deleted"),
        Some(State::Present(present)) => Some(present),
        None => None,
    };
    if let Some(present) = present.as_ref().filter(|known| known.newest == append.id) {
        return if present.content == content {
            Ok(Appended { head: present.seq })
        } else {
            refuse(
                Kind::Rejected,
                "the id belongs to an append of other content",
            )
        };
    }
    if present.as_ref().is_some_and(|present| present.sealed) {
        return refuse(Kind::Sealed, "the log is sealed");
    }
    let at = present.as_ref().map(|present| present.seq);
    let expected = match append.expected {
        Expected::Absent => None,
        Expected::Head(seq) => Some(seq),
    };
    if at != expected {
        return refuse(Kind::Conflict { head: at }, "the head is another");
    }
    let (created, start) = match &present {
        Some(present) => (present.created, present.bytes),
        None => (created()?, 0),
    };
    let path = records(folder);
    let bytes = write_bodies(&path, start, &append.bodies)
        .map_err(|source| error::io("append", &path, source))?;
    let seq = Seq(at.unwrap_or_default().0 + append.bodies.len() as u64);
    let present = Present {
        log: append.log,
        created,
        seq,
        sealed: append.seal,
        labels: append.labels,
        newest: append.id,
        content,
        bytes,
    };
    head::write("append", folder, &State::Present(present))?;
    Ok(Appended { head: seq })
}

/// Writes bodies from `start` on, over whatever a writer left there that died before it was done.
fn write_bodies(path: &Path, start: u64, bodies: &[Bytes]) -> io::Result<u64> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    if file.metadata()?.len() < start {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.set_len(start)?;
    file.seek(SeekFrom::Start(start))?;
    let mut writer = io::BufWriter::new(file);
    let mut end = start;
    for body in bodies {
        writer.write_all(&(body.len() as u64).to_le_bytes())?;
        writer.write_all(&sum(body))?;
        writer.write_all(body)?;
        end += FRAME_BYTES + body.len() as u64;
    }
    writer.into_inner()?.sync_all()?;
    Ok(end)
}

/// The digest of a body as it is stored.
fn sum(body: &[u8]) -> [u8; 32] {
    let hex = Digest::of(body).to_hex();
    let mut sum = [0; 32];
    for (byte, digits) in sum.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let digits = str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
    }
    sum
}

/// A log that is being read up to the head it had when that began.
#[derive(Debug)]
pub(crate) struct Reading {
    file: File,
    path: PathBuf,
    at: u64,
    next: Seq,
    after: Seq,
    last: Seq,
    end: u64,
}

/// Begins to read the log in `folder`; `None`: it is absent or deleted.
pub(crate) fn open(folder: &Path, after: Seq) -> Result<Option<Reading>, StateStoreError> {
    let Some(State::Present(present)) = head::read("read", folder)? else {
        return Ok(None);
    };
    let path = records(folder);
    let file = match File::open(&path) {
        Ok(file) => file,
        // Deleted between the two looks, which is like having come later; else it was lost.
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return match head::read("read", folder)? {
                Some(State::Deleted(_)) => Ok(None),
                _ => Err(error::io(
                    "read",
                    &path,
                    io::ErrorKind::UnexpectedEof.into(),
                )),
            };
        }
        Err(source) => return Err(error::io("read", &path, source)),
    };
    Ok(Some(Reading {
        file,
        path,
        at: 0,
        next: Seq(1),
        after,
        last: present.seq,
        end: present.bytes,
    }))
}

impl Reading {
    /// The next records; none at the end.
    pub(crate) fn batch(&mut self) -> Result<Vec<Record>, StateStoreError> {
        self.records()
            .map_err(|source| error::io("read", &self.path, source))
    }

    fn records(&mut self) -> io::Result<Vec<Record>> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        while self.next <= self.last && records.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            self.file.seek(SeekFrom::Start(self.at))?;
            let (mut length, mut expected) = ([0; 8], [0; 32]);
            self.file.read_exact(&mut length)?;
            self.file.read_exact(&mut expected)?;
            let length = u64::from_le_bytes(length);
            let end = self
                .at
                .checked_add(FRAME_BYTES)
                .and_then(|at| at.checked_add(length));
            // A damaged length must not make us read, or allocate, what was never written.
            self.at = end
                .filter(|end| *end <= self.end)
                .ok_or(io::ErrorKind::InvalidData)?;
            if self.next > self.after {
                let mut body = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
                self.file.read_exact(&mut body)?;
                if sum(&body) != expected {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                bytes += length;
                records.push(Record {
                    seq: self.next,
                    body: body.into(),
                });
            }
            self.next = self.next.next();
        }
        Ok(records)
    }
}

/// Leaves a tombstone and removes the rest, under the lock of the log. If it dies in between, the next deletion goes on
/// from there, and nobody sees what is left.
pub(crate) fn delete(folder: &Path, log: LogId) -> Result<(), StateStoreError> {
    head::write("delete", folder, &State::Deleted(log))?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| error::io("delete", &path, source).with_unknown_effect()
    };
    let path = records(folder);
    disk::remove(&path).map_err(failed(&path))?;
    let documents = folder.join("documents");
    match fs::remove_dir_all(&documents) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(failed(&documents)(source)),
        _ => Ok(()),
    }
}

fn records(folder: &Path) -> PathBuf {
    folder.join("records")
}
