//! The record codec: canonical JSON (RFC 8785) in a hash chain.
//!
//! A stored body is the canonical JSON of `{v, seq, at, type, attempt, data, prev}`, where `prev` is the digest of the
//! body before it (`null` for the first). Whoever has the bodies can therefore prove their order and integrity without
//! trusting the store. Data of more than [`MAX_INLINE_BYTES`] lies in the blob store; its place then holds
//! `{"$blob": digest, "bytes": size}`.

use bytes::Bytes;
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{Digest, Timestamp};
use serde::de::value::MapDeserializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical_json;
use crate::event::Event;

/// The version of the record format that is written.
pub const VERSION: u32 = 1;
/// The most bytes of data that a record holds itself.
pub const MAX_INLINE_BYTES: usize = 32 * 1024;
/// Room for most records from the start.
const TYPICAL_BYTES: usize = 768;

/// A record without the interpretation of its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The version of the format.
    pub v: u32,
    /// The record's position.
    pub seq: Seq,
    /// When it was written, by its writer's clock.
    pub at: Timestamp,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The attempt that wrote it; 0: not written by a worker.
    pub attempt: u32,
    /// The event's data, or a reference to it.
    pub data: Value,
    /// The digest of the body before.
    pub prev: Option<Digest>,
}

/// Data that lies in the blob store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobRef {
    /// Where.
    #[serde(rename = "$blob")]
    pub digest: Digest,
    /// How many bytes.
    pub bytes: u64,
}

/// Why a body is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The body is not the canonical JSON of an envelope.
    #[error("record {seq} is damaged: {why}")]
    Damaged {
        /// The position it was read from.
        seq: Seq,
        /// What is wrong.
        why: String,
    },
    /// The record was written by a newer version of this program.
    #[error(
        "record {seq} has format version {version}; this program reads up to {VERSION}: update it"
    )]
    Newer {
        /// The position it was read from.
        seq: Seq,
        /// Its version.
        version: u32,
    },
    /// The record does not continue the one before it.
    #[error("record {seq} does not continue the chain: its {what} is wrong")]
    Broken {
        /// The position it was read from.
        seq: Seq,
        /// Which link.
        what: &'static str,
    },
}

/// Where a chain stands: what the next record continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The newest record's position; 0: none.
    pub seq: Seq,
    /// The digest of its body.
    pub digest: Option<Digest>,
}

/// A record ready to be appended, or just read, with the link behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    /// The stored bytes.
    pub body: Bytes,
    /// What the next record continues.
    pub link: Link,
}

/// The data a record would hold for `event`.
///
/// # Errors
///
/// Data that JSON cannot hold.
pub fn data_of(event: &Event) -> Result<(String, Value), serde_json::Error> {
    match serde_json::to_value(event)? {
        Value::Object(mut object) => {
            let kind = match object.remove("type") {
                Some(Value::String(kind)) => kind,
                _ => String::new(),
            };
            Ok((
                kind,
                object
                    .remove("data")
                    .unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            ))
        }
        other => Ok((String::new(), other)),
    }
}

/// Makes the record that follows `after`, with `event` in it whatever its size.
///
/// # Errors
///
/// Data that JSON cannot hold.
pub fn seal_event(
    after: Link,
    at: Timestamp,
    attempt: u32,
    event: &Event,
) -> Result<Sealed, serde_json::Error> {
    write(after, at, attempt, event)
}

/// Makes the record that follows `after`.
///
/// # Errors
///
/// Data that JSON cannot hold.
pub fn seal(
    after: Link,
    at: Timestamp,
    attempt: u32,
    kind: &str,
    data: &Value,
) -> Result<Sealed, serde_json::Error> {
    #[derive(Serialize)]
    struct Content<'a> {
        #[serde(rename = "type")]
        kind: &'a str,
        data: &'a Value,
    }
    write(after, at, attempt, &Content { kind, data })
}

fn write<C: Serialize>(
    after: Link,
    at: Timestamp,
    attempt: u32,
    content: &C,
) -> Result<Sealed, serde_json::Error> {
    // The members of an envelope in their order. Those of the content are written between the others: what is written
    // last would otherwise have to be moved in front of what is written first, for every record.
    let seq = after.seq.next();
    let mut body = Vec::with_capacity(TYPICAL_BYTES);
    body.extend_from_slice(b"{\"at\":");
    canonical_json::append(&mut body, &at)?;
    body.extend_from_slice(b",\"attempt\":");
    canonical_json::append(&mut body, &attempt)?;
    let data = body.len();
    canonical_json::append(&mut body, content)?;
    let kind = join(&mut body, data)
        .ok_or_else(|| serde::ser::Error::custom("a record is of a type and has data"))?;
    body.extend_from_slice(b",\"prev\":");
    canonical_json::append(&mut body, &after.digest)?;
    body.extend_from_slice(b",\"seq\":");
    canonical_json::append(&mut body, &seq)?;
    body.extend_from_slice(&kind);
    body.extend_from_slice(b",\"v\":");
    canonical_json::append(&mut body, &VERSION)?;
    body.push(b'}');
    let body = Bytes::from(body);
    let digest = Some(Digest::of(&body));
    Ok(Sealed {
        body,
        link: Link { seq, digest },
    })
}

/// Makes the object `{"data":…,"type":"…"}` that begins at `start` and ends `body` a part of the object around it, and
/// takes `,"type":"…"` off.
fn join(body: &mut Vec<u8>, start: usize) -> Option<Vec<u8>> {
    const KIND: &[u8] = b",\"type\":\"";
    let members = body.get(start..)?.strip_suffix(b"}")?;
    if !members.starts_with(b"{\"data\":") {
        return None;
    }
    // No name of a type has a quote in it, so the last place is the one.
    let at = members
        .windows(KIND.len())
        .rposition(|window| window == KIND)?;
    let kind = members.get(at..)?.to_vec();
    *body.get_mut(start)? = b',';
    body.truncate(start.checked_add(at)?);
    Some(kind)
}

/// Reads the record at `seq` that follows `after`, and the link behind it.
///
/// # Errors
///
/// A body that is no record, is not canonical, is newer than this program, or does not continue the chain.
pub fn open(after: Link, seq: Seq, body: &Bytes) -> Result<(Envelope, Link), RecordError> {
    let damaged = |why: String| RecordError::Damaged { seq, why };
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    let newer = |version| RecordError::Newer { seq, version };
    let envelope: Envelope = serde_json::from_slice(body).map_err(|error| {
        // A newer version may have other members.
        match serde_json::from_slice(body) {
            Ok(Versioned { v }) if v > VERSION => newer(v),
            Ok(_) | Err(_) => damaged(error.to_string()),
        }
    })?;
    if envelope.v > VERSION {
        return Err(newer(envelope.v));
    }
    if envelope.seq != seq || seq != after.seq.next() {
        return Err(RecordError::Broken {
            seq,
            what: "sequence",
        });
    }
    if envelope.prev != after.digest {
        return Err(RecordError::Broken {
            seq,
            what: "link to the record before",
        });
    }
    Ok((
        envelope,
        Link {
            seq,
            digest: Some(Digest::of(body)),
        },
    ))
}

/// When the record in `body` was written, as far as it says so. Nothing else of it is checked.
#[must_use]
pub fn written_at(body: &[u8]) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Written {
        at: Timestamp,
    }
    serde_json::from_slice(body)
        .ok()
        .map(|written: Written| written.at)
}

impl Envelope {
    /// The reference, where the data lies in the blob store.
    #[must_use]
    pub fn blob(&self) -> Option<BlobRef> {
        self.data.get("$blob")?;
        BlobRef::deserialize(&self.data).ok()
    }

    /// The event, once the data is here.
    ///
    /// # Errors
    ///
    /// Data that is not that of the event's type, or a type this program does not know.
    pub fn event(&self) -> Result<Event, RecordError> {
        self.clone().into_event()
    }

    /// The same, without a copy of the data.
    ///
    /// # Errors
    ///
    /// Those of [`Self::event`].
    pub fn into_event(self) -> Result<Event, RecordError> {
        // The type first: the data is read as what it is, and not kept until that is known.
        let members = [("type", Value::String(self.kind)), ("data", self.data)];
        let tagged = MapDeserializer::<_, serde_json::Error>::new(members.into_iter());
        Event::deserialize(tagged).map_err(|error| RecordError::Damaged {
            seq: self.seq,
            why: error.to_string(),
        })
    }
}
