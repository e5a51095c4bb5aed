//! Canonical JSON after [RFC 8785](https://www.rfc-editor.org/rfc/rfc8785): no space, one form for each number and string,
//! keys in the order of their UTF-16 code units.
//!
//! Values are written as they come, into one buffer. Where an object's members did not come in order they are put in
//! order at its end: no tree is built, and what is in order already costs a comparison per key.

mod key;
mod map_key;
mod text;
mod writer;

use serde::Serialize;

use writer::Writer;

/// Room for most records from the start.
const TYPICAL_BYTES: usize = 768;

/// The canonical JSON of `value`.
///
/// # Errors
///
/// A value that JSON cannot hold, such as a map whose keys are no strings; what `value` itself fails with.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = Vec::with_capacity(TYPICAL_BYTES);
    append(&mut text, value)?;
    Ok(text)
}

/// Adds the canonical JSON of `value` to `text`; on an error, a part of it.
pub(crate) fn append<T: Serialize + ?Sized>(
    text: &mut Vec<u8>,
    value: &T,
) -> Result<(), serde_json::Error> {
    value.serialize(&mut Writer::new(text))
}
