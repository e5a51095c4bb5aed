//! What is known of a log besides its bodies. Its file is replaced with each append, which is the moment at which the
//! append happens: bodies that no head speaks of were never appended.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use seaworthy_ports::state_store::{Append, Head, Labels, Seq, StateStoreError};
use seaworthy_ports::{AppendId, Digest, LogId};
use serde::{Deserialize, Serialize};

use crate::{disk, error};

/// What the file of a head says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Present(Present),
    /// The tombstone. It names the log, so that the folder can be told from others by a person.
    Deleted(LogId),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Present {
    pub(crate) log: LogId,
    /// Rises with each log that is created in the store.
    pub(crate) created: u64,
    pub(crate) seq: Seq,
    pub(crate) sealed: bool,
    pub(crate) labels: Labels,
    /// The newest append, to recognise it when it is repeated.
    pub(crate) newest: AppendId,
    pub(crate) content: Digest,
    /// How much of the file of bodies counts.
    pub(crate) bytes: u64,
}

impl Present {
    pub(crate) fn to_head(&self) -> Head {
        Head {
            log: self.log.clone(),
            seq: self.seq,
            sealed: self.sealed,
            labels: self.labels.clone(),
        }
    }
}

/// The state of the log in `folder`; `None`: nothing was ever written to it.
pub(crate) fn read(
    operation: &'static str,
    folder: &Path,
) -> Result<Option<State>, StateStoreError> {
    let path = path(folder);
    let content = disk::read(&path).map_err(|source| error::io(operation, &path, source))?;
    content
        .map(|content| serde_json::from_slice(&content))
        .transpose()
        .map_err(|source| error::io(operation, &path, source.into()))
}

/// Replaces the state. A failure may come after the fact: the folder could not be synced.
pub(crate) fn write(
    operation: &'static str,
    folder: &Path,
    state: &State,
) -> Result<(), StateStoreError> {
    let path = path(folder);
    serde_json::to_vec(state)
        .map_err(std::io::Error::from)
        .and_then(|content| disk::replace(&path, &content))
        .map_err(|source| error::io(operation, &path, source).with_unknown_effect())
}

fn path(folder: &Path) -> PathBuf {
    folder.join("head")
}

/// The digest of all that an append says, so that its id cannot be used for another.
pub(crate) fn content_of(append: &Append) -> Digest {
    let bodies: Vec<Digest> = append.bodies.iter().map(|body| Digest::of(body)).collect();
    let whole = serde_json::json!([bodies, append.labels, append.seal]);
    Digest::of(&Bytes::from(whole.to_string()))
}
