//! The order of an object's members.

use std::cmp::Ordering;
use std::ops::Range;

/// Where one member of an object lies in the text.
pub(super) struct Member {
    /// Without its quotes.
    pub(super) key: Range<usize>,
    pub(super) key_is_escaped: bool,
    pub(super) end: usize,
}

/// Whether two members of `text` are in order.
pub(super) fn in_order(text: &[u8], one: &Member, other: &Member) -> bool {
    order(text, one, other) != Ordering::Greater
}

/// Puts the members of the object that ends the text in order. `moved` is room for that.
pub(super) fn sort(text: &mut Vec<u8>, members: &mut [Member], moved: &mut Vec<u8>) {
    // With the quote.
    let begin = |member: &Member| member.key.start.saturating_sub(1);
    let start = members.first().map_or(text.len(), begin);
    if let [_first, second] = members {
        // What is tagged with its type, as every record is: the two change places.
        let second = second.end.saturating_sub(begin(second));
        let both = text.get_mut(start..).unwrap_or_default();
        both.rotate_right(second);
        // The comma behind the first is at the end now.
        both.get_mut(second..).unwrap_or_default().rotate_right(1);
        return;
    }
    members.sort_by(|one, other| order(text, one, other));
    moved.clear();
    for member in members {
        if !moved.is_empty() {
            moved.push(b',');
        }
        moved.extend_from_slice(text.get(begin(member)..member.end).unwrap_or_default());
    }
    text.truncate(start);
    text.extend_from_slice(moved);
}

fn order(text: &[u8], one: &Member, other: &Member) -> Ordering {
    let key = |member: &Member| text.get(member.key.clone()).unwrap_or_default();
    let (left, right) = (key(one), key(other));
    if one.key_is_escaped || other.key_is_escaped {
        return compare(&unescaped(left), &unescaped(right));
    }
    compare(left, right)
}

/// The order of two strings by their UTF-16 code units. That of their bytes differs from it in one case: characters
/// outside the basic plane come before the last ones inside it.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    const LAST_OF_BASIC: u8 = 0xee;
    const OUTSIDE: u8 = 0xf0;
    match one.iter().zip(other).find(|(left, right)| left != right) {
        None => one.len().cmp(&other.len()),
        Some((left, right)) => {
            let is_special = *left >= LAST_OF_BASIC && *right >= LAST_OF_BASIC;
            if is_special && (*left >= OUTSIDE) != (*right >= OUTSIDE) {
                right.cmp(left)
            } else {
                left.cmp(right)
            }
        }
    }
}

/// The bytes of a key that was written as the inside of a string a moment ago.
fn unescaped(key: &[u8]) -> Vec<u8> {
    let quoted = [b"\"", key, b"\""].concat();
    let text: String = serde_json::from_slice(&quoted).unwrap_or_default();
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_like_their_utf_16_code_units() {
        let words = [
            "",
            "a",
            "ab",
            "b",
            "A",
            "é",
            "\u{7ff}",
            "\u{800}",
            "\u{d7ff}",
            "\u{e000}",
            "\u{fffd}",
            "\u{10000}",
            "\u{10ffff}",
            "a\u{e000}",
            "a\u{10000}",
            "a\u{10000}b",
        ];
        for one in words {
            for other in words {
                let expected = one.encode_utf16().cmp(other.encode_utf16());
                assert_eq!(
                    compare(one.as_bytes(), other.as_bytes()),
                    expected,
                    "{one} {other}"
                );
            }
        }
    }
}
