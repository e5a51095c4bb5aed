//! Strings and numbers in their one form.

use std::fmt;

/// The largest integer up to which every integer is a number of its own in JSON as RFC 8785 has it.
const MAX_EXACT: u64 = 1 << 53;

/// Writes `value` with its quotes. Returns whether anything in it had to be escaped.
pub(super) fn string(text: &mut Vec<u8>, value: &str) -> bool {
    text.reserve(value.len().saturating_add(2));
    text.push(b'"');
    let is_plain = is_plain(value.as_bytes());
    if is_plain {
        text.extend_from_slice(value.as_bytes());
    } else {
        characters(text, value);
    }
    text.push(b'"');
    !is_plain
}

/// What somebody formats, as the inside of a string.
pub(super) struct Inside<'a>(pub(super) &'a mut Vec<u8>);

impl fmt::Write for Inside<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        characters(self.0, part);
        Ok(())
    }
}

fn characters(text: &mut Vec<u8>, value: &str) {
    let mut rest = value.as_bytes();
    loop {
        let (plain, behind) = rest.split_at(plain_bytes(rest));
        text.extend_from_slice(plain);
        let Some((special, behind)) = behind.split_first() else {
            return;
        };
        escape(text, *special);
        rest = behind;
    }
}

/// Whether nothing has to be escaped. Most strings are such, and most are short: the last bytes are looked at twice
/// rather than one by one.
fn is_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<8>() {
        let (words, _rest) = bytes.as_chunks::<8>();
        return !words
            .iter()
            .chain([last])
            .any(|word| has_special(u64::from_ne_bytes(*word)));
    }
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let halves = [u32::from_ne_bytes(*first), u32::from_ne_bytes(*last)].map(u64::from);
            let [first, last] = halves;
            !has_special(first | last << 32)
        }
        _ => !bytes.iter().any(|byte| is_special(*byte)),
    }
}

/// How many bytes there are before the first that must be escaped.
fn plain_bytes(bytes: &[u8]) -> usize {
    let (words, _rest) = bytes.as_chunks::<8>();
    let plain = words
        .iter()
        .take_while(|word| !has_special(u64::from_ne_bytes(**word)))
        .count();
    let at = plain.saturating_mul(8);
    let rest = bytes.get(at..).unwrap_or_default();
    at.saturating_add(
        rest.iter()
            .position(|byte| is_special(*byte))
            .unwrap_or(rest.len()),
    )
}

const fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether one of eight bytes is special; all eight are looked at together.
const fn has_special(word: u64) -> bool {
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // The high bit of a byte is set where the byte is less than `n`, for the lowest such byte at least.
    const fn less(word: u64, n: u8) -> u64 {
        word.wrapping_sub(u64::from_ne_bytes([n; 8])) & !word
    }
    let quote = word ^ u64::from_ne_bytes([b'"'; 8]);
    let backslash = word ^ u64::from_ne_bytes([b'\\'; 8]);
    (less(word, 0x20) | less(quote, 1) | less(backslash, 1)) & HIGH != 0
}

fn escape(text: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            let digit = |half: u8| {
                if half < 10 {
                    b'0' + half
                } else {
                    b'a' + half - 10
                }
            };
            text.extend_from_slice(b"\\u00");
            text.push(digit(byte >> 4));
            text.push(digit(byte & 0x0f));
            return;
        }
    };
    text.extend_from_slice(&[b'\\', short]);
}

pub(super) fn unsigned(text: &mut Vec<u8>, value: u64) {
    if value <= MAX_EXACT {
        text.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    } else {
        #[expect(
            clippy::cast_precision_loss,
            reason = "RFC 8785: the nearest double stands for a larger integer"
        )]
        double(text, value as f64);
    }
}

pub(super) fn signed(text: &mut Vec<u8>, value: i64) {
    if value.unsigned_abs() <= MAX_EXACT {
        text.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    } else {
        #[expect(
            clippy::cast_precision_loss,
            reason = "RFC 8785: the nearest double stands for a larger integer"
        )]
        double(text, value as f64);
    }
}

/// As ECMAScript writes numbers; null where there is none.
pub(super) fn double(text: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        text.extend_from_slice(ryu_js::Buffer::new().format_finite(value).as_bytes());
    } else {
        text.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_special_bytes_are_found_wherever_they_are() {
        for special in 0..=u8::MAX {
            for at in 0..24 {
                let mut bytes = [b'a'; 24];
                bytes[at] = special;
                let expected = if is_special(special) { at } else { 24 };
                assert_eq!(plain_bytes(&bytes), expected, "{special:#x} at {at}");
                for end in 0..=24 {
                    let is_expected = end <= at || !is_special(special);
                    assert_eq!(is_plain(&bytes[..end]), is_expected, "{special:#x} at {at}");
                }
            }
        }
    }
}
