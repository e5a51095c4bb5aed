//! Splits a byte stream into lines of JSON, with a cap on each.
//!
//! A line ends with LF or CR LF; blank lines are nothing. Input may be split anywhere.

use std::ops::ControlFlow;

use crate::frames::{Caps, Unreadable};

/// Takes bytes, gives lines. What a line holds is for others to say.
#[derive(Debug)]
pub struct Decoder {
    most: usize,
    line: Vec<u8>,
}

impl Decoder {
    /// A decoder within `caps`: a line is an event, so the smaller of the two holds.
    #[must_use]
    pub fn new(caps: Caps) -> Self {
        Self {
            most: caps.line_bytes.min(caps.event_bytes),
            line: Vec::new(),
        }
    }

    /// Takes `bytes` and gives `each` the lines they complete, until it breaks: what follows is not looked at then, and
    /// the decoder is of no more use.
    ///
    /// # Errors
    ///
    /// [`Unreadable`]: a line is too long or not UTF-8. Lines before it were given.
    pub fn feed<B>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&str) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, Unreadable> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, tail) = rest.split_at(end);
            self.fits(line.len())?;
            rest = tail.get(1..).unwrap_or_default();
            let flow = if self.line.is_empty() {
                give(line, &mut each)?
            } else {
                // A line in pieces.
                self.line.extend_from_slice(line);
                let flow = give(&self.line, &mut each)?;
                self.line.clear();
                flow
            };
            if let ControlFlow::Break(broken) = flow {
                return Ok(ControlFlow::Break(broken));
            }
        }
        self.fits(rest.len())?;
        self.line.extend_from_slice(rest);
        Ok(ControlFlow::Continue(()))
    }

    /// Gives `each` what was not finished by a line feed, if anything. It may be cut off.
    pub fn rest<B>(&mut self, mut each: impl FnMut(&str) -> ControlFlow<B>) -> ControlFlow<B> {
        let line = std::mem::take(&mut self.line);
        give(&line, &mut each).unwrap_or(ControlFlow::Continue(()))
    }

    fn fits(&self, more: usize) -> Result<(), Unreadable> {
        if self.line.len().saturating_add(more) > self.most {
            return Err(Unreadable::TooLong);
        }
        Ok(())
    }
}

fn give<B>(
    line: &[u8],
    each: &mut impl FnMut(&str) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, Unreadable> {
    let line = std::str::from_utf8(line).map_err(|_error| Unreadable::NotUtf8)?;
    let line = line.trim_matches([' ', '\t', '\r']);
    if line.is_empty() {
        return Ok(ControlFlow::Continue(()));
    }
    Ok(each(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<String>, Unreadable> {
        let mut lines = Vec::new();
        let flow = decoder.feed(bytes, |line| {
            lines.push(line.to_owned());
            ControlFlow::<()>::Continue(())
        })?;
        assert_eq!(flow, ControlFlow::Continue(()));
        Ok(lines)
    }

    fn caps(bytes: usize) -> Caps {
        Caps::new(bytes, usize::MAX)
    }

    #[test]
    fn lines_end_with_lf_or_cr_lf_and_blank_ones_are_nothing() {
        let lines = fed(&mut Decoder::new(caps(64)), b"{}\n\r\n \n[1]\r\n{\"a\":\n").unwrap();
        assert_eq!(lines, ["{}", "[1]", "{\"a\":"]);
    }

    #[test]
    fn a_line_has_a_most_size() {
        for pieces in [1, 3, 64] {
            let mut decoder = Decoder::new(caps(16));
            let long = [b'x'; 17];
            let fault = long
                .chunks(pieces)
                .find_map(|piece| fed(&mut decoder, piece).err());
            assert_eq!(fault, Some(Unreadable::TooLong));
        }
        for _round in 0..100 {
            let lines = fed(&mut Decoder::new(caps(16)), b"0123456789abcdef\n").unwrap();
            assert_eq!(lines.len(), 1);
        }
    }

    #[test]
    fn what_is_not_utf8_is_a_fault_after_the_lines_before_it() {
        let mut seen = 0;
        let fault = Decoder::new(caps(64)).feed(b"{}\n\"\xFF\"\n", |_line| {
            seen += 1;
            ControlFlow::<()>::Continue(())
        });
        assert_eq!((fault, seen), (Err(Unreadable::NotUtf8), 1));
    }

    #[test]
    fn a_line_without_its_end_is_found_at_the_end() {
        let mut decoder = Decoder::new(caps(64));
        assert_eq!(fed(&mut decoder, b"{}\n{\"a\"").unwrap(), ["{}"]);
        let rest = |decoder: &mut Decoder| decoder.rest(|line| ControlFlow::Break(line.to_owned()));
        assert_eq!(rest(&mut decoder), ControlFlow::Break("{\"a\"".to_owned()));
        assert_eq!(rest(&mut decoder), ControlFlow::Continue(()));
    }
}
