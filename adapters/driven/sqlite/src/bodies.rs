//! The bodies of one append in one row: end to end, with their lengths beside them where there are several.

use std::borrow::Cow;

use bytes::Bytes;

/// The bytes of one length: little-endian, unsigned.
const LENGTH: usize = 4;

/// The lengths of `bodies`, unless there is only one, which needs none; and all of them end to end.
///
/// A body is at most as long as an append may be, so its length fits.
pub(crate) fn pack(bodies: &[Bytes]) -> (Option<Vec<u8>>, Cow<'_, [u8]>) {
    if let [one] = bodies {
        return (None, Cow::Borrowed(one));
    }
    let length = |body: &Bytes| u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let lengths = bodies.iter().flat_map(length).collect();
    (Some(lengths), Cow::Owned(bodies.concat()))
}

/// The bodies of an append, or `None` where the lengths are not theirs.
pub(crate) fn unpack(lengths: Option<&[u8]>, bodies: Vec<u8>) -> Option<Vec<Bytes>> {
    let mut rest = Bytes::from(bodies);
    let Some(lengths) = lengths else {
        return Some(vec![rest]);
    };
    let (lengths, odd) = lengths.as_chunks::<LENGTH>();
    let mut unpacked = Vec::with_capacity(lengths.len());
    for length in lengths {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if length > rest.len() {
            return None;
        }
        unpacked.push(rest.split_to(length));
    }
    (odd.is_empty() && rest.is_empty() && !unpacked.is_empty()).then_some(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(of: &[&'static str]) -> Vec<Bytes> {
        of.iter()
            .map(|body| Bytes::from_static(body.as_bytes()))
            .collect()
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        for case in [&["a"][..], &[""], &["", ""], &["ab", "", "c"]] {
            let bodies = bodies(case);
            let (lengths, all) = pack(&bodies);
            assert_eq!(
                unpack(lengths.as_deref(), all.to_vec()),
                Some(bodies.clone())
            );
        }
    }

    #[test]
    fn lengths_that_are_not_those_of_the_bodies_are_refused() {
        let bodies = bodies(&["ab", "c"]);
        let (lengths, all) = pack(&bodies);
        let lengths = lengths.expect("there are two");
        let longer = [&lengths[..], &[0]].concat();
        for wrong in [&[][..], &lengths[..4], &lengths[..7], &longer, &[9; 8]] {
            assert_eq!(unpack(Some(wrong), all.to_vec()), None, "{wrong:?}");
        }
        assert_eq!(unpack(Some(&lengths), b"ab".to_vec()), None);
        assert_eq!(unpack(Some(&lengths), b"abcd".to_vec()), None);
    }
}
