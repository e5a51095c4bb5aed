//! Canonical JSON after [RFC 8785](https://www.rfc-editor.org/rfc/rfc8785): no space, one form for each number and string,
//! keys in the order of their UTF-16 code units.
//!
//! Values are written as they come, into one buffer. Where an object's members did not come in order they are put in
//! order at its end: no tree is built, and what is in order already costs a comparison per key.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::io;
use std::ops::Range;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// The largest integer up to which every integer is a number of its own in JSON as RFC 8785 has it.
const MAX_EXACT: u64 = 1 << 53;

/// Room for most records from the start.
const TYPICAL_BYTES: usize = 768;

/// The canonical JSON of `value`.
///
/// # Errors
///
/// A value that JSON cannot hold: a number that is not finite, a map whose keys are no strings.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = Vec::with_capacity(TYPICAL_BYTES);
    append(&mut text, value)?;
    Ok(text)
}

/// Adds the canonical JSON of `value` to `text`, which is lost on an error.
pub(crate) fn append<T: Serialize + ?Sized>(
    into: &mut Vec<u8>,
    value: &T,
) -> Result<(), serde_json::Error> {
    let text = Text(RefCell::new(std::mem::take(into)));
    let members = Members {
        text: &text,
        spans: Vec::new(),
        objects: Vec::new(),
        moved: Vec::new(),
    };
    value.serialize(&mut Serializer::with_formatter(Sink(&text), members))?;
    *into = text.0.into_inner();
    Ok(())
}

/// What is written so far. The serializer owns its sink and its formatter; both need this one.
struct Text(RefCell<Vec<u8>>);

impl Text {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        self.0
            .try_borrow_mut()
            .map(|mut text| work(&mut text))
            .map_err(io::Error::other)
    }

    fn len(&self) -> io::Result<usize> {
        self.with(|text| text.len())
    }
}

struct Sink<'a>(&'a Text);

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.with(|text| text.extend_from_slice(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where one member of an object lies in the text.
struct Span {
    /// With its quotes.
    key: Range<usize>,
    end: usize,
}

/// Writes numbers in their one form, and objects with their members in order.
struct Members<'a> {
    text: &'a Text,
    /// The members of all open objects, the innermost object's last.
    spans: Vec<Span>,
    /// For each open object, how many of the spans are not its own.
    objects: Vec<usize>,
    /// Room to put members in order.
    moved: Vec<u8>,
}

impl Formatter for Members<'_> {
    fn write_i64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        if value.unsigned_abs() <= MAX_EXACT {
            return CompactFormatter.write_i64(writer, value);
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "RFC 8785: the nearest double stands for a larger integer"
        )]
        self.write_f64(writer, value as f64)
    }

    fn write_u64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        if value <= MAX_EXACT {
            return CompactFormatter.write_u64(writer, value);
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "RFC 8785: the nearest double stands for a larger integer"
        )]
        self.write_f64(writer, value as f64)
    }

    fn write_i128<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: i128) -> io::Result<()> {
        match i64::try_from(value) {
            Ok(value) => self.write_i64(writer, value),
            #[expect(
                clippy::cast_precision_loss,
                reason = "RFC 8785: the nearest double stands for a larger integer"
            )]
            Err(_large) => self.write_f64(writer, value as f64),
        }
    }

    fn write_u128<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: u128) -> io::Result<()> {
        match u64::try_from(value) {
            Ok(value) => self.write_u64(writer, value),
            #[expect(
                clippy::cast_precision_loss,
                reason = "RFC 8785: the nearest double stands for a larger integer"
            )]
            Err(_large) => self.write_f64(writer, value as f64),
        }
    }

    fn write_f32<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        self.write_f64(writer, f64::from(value))
    }

    /// As ECMAScript writes numbers. What is not finite never comes here: the serializer writes null for it.
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(ryu_js::Buffer::new().format(value).as_bytes())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.objects.push(self.spans.len());
        writer.write_all(b"{")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        let start = self.text.len()?;
        self.spans.push(Span {
            key: start..start,
            end: start,
        });
        Ok(())
    }

    fn end_object_key<W: ?Sized + io::Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        let end = self.text.len()?;
        if let Some(member) = self.spans.last_mut() {
            member.key.end = end;
        }
        Ok(())
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        let end = self.text.len()?;
        if let Some(member) = self.spans.last_mut() {
            member.end = end;
        }
        Ok(())
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let first = self.objects.pop().unwrap_or_default();
        let (members, moved) = (
            self.spans.get_mut(first..).unwrap_or_default(),
            &mut self.moved,
        );
        self.text.with(|text| sort(text, members, moved))?;
        self.spans.truncate(first);
        writer.write_all(b"}")
    }
}

/// Puts the members of the object that ends the text in order.
fn sort(text: &mut Vec<u8>, members: &mut [Span], moved: &mut Vec<u8>) {
    let order = |one: &Span, other: &Span| compare(key(text, one), key(text, other));
    if members.is_sorted_by(|one, other| order(one, other) != Ordering::Greater) {
        return;
    }
    let start = members
        .first()
        .map_or(text.len(), |member| member.key.start);
    members.sort_unstable_by(order);
    moved.clear();
    for member in members {
        if !moved.is_empty() {
            moved.push(b',');
        }
        moved.extend_from_slice(text.get(member.key.start..member.end).unwrap_or_default());
    }
    text.truncate(start);
    text.extend_from_slice(moved);
}

fn key<'a>(text: &'a [u8], member: &Span) -> &'a [u8] {
    text.get(member.key.clone()).unwrap_or_default()
}

/// The order of two keys, each with its quotes.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    for (left, right) in one.iter().zip(other).skip(1) {
        // What is escaped, or not ASCII, does not sort like its bytes.
        if !is_plain(*left) || !is_plain(*right) {
            return utf16(one).cmp(&utf16(other));
        }
        match (left, right) {
            (b'"', b'"') => return Ordering::Equal,
            (b'"', _) => return Ordering::Less,
            (_, b'"') => return Ordering::Greater,
            _ if left != right => return left.cmp(right),
            _ => {}
        }
    }
    one.len().cmp(&other.len())
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii() && byte != b'\\'
}

fn utf16(quoted: &[u8]) -> Vec<u16> {
    // It was written as a string a moment ago.
    let key: String = serde_json::from_slice(quoted).unwrap_or_default();
    key.encode_utf16().collect()
}
