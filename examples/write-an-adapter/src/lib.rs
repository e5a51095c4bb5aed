//! An adapter that somebody outside of Seaworthy could have written: a state store on plain files.
//!
//! It depends on the port it implements and, in its tests, on the suite that proves it. `docs/adapter-authors.md` walks
//! through it. It is correct for any number of processes on one machine and written to be read; what it gives up for that
//! is speed: a listing looks at every log.
//!
//! ```text
//! ROOT/format                 what wrote this folder
//! ROOT/lock, ROOT/created     the number of the newest log, and its lock
//! ROOT/logs/HASH/lock         held by whoever writes to this log or its documents
//! ROOT/logs/HASH/records      the bodies, one after the other
//! ROOT/logs/HASH/head         replaced with each append: this is what makes it happen
//! ROOT/logs/HASH/documents/   a file for each document
//! ```

mod disk;
mod documents;
mod error;
mod head;
mod log;
mod store;

pub use store::PlainFiles;
