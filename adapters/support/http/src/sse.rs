//! Splits a byte stream into server-sent events, with a cap on each line and event.
//!
//! Our own because the decoders that exist buffer an event of any size. Input may be split anywhere: between the bytes of
//! a letter, between CR and LF, within the byte order mark. One buffer is used again for every event.

use std::ops::ControlFlow;

use crate::frames::{Caps, Unreadable};

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// What `event:` named it; empty if nothing did.
    pub name: &'a str,
    /// The lines of `data:`, joined.
    pub data: &'a str,
}

/// Takes bytes, gives events.
#[derive(Debug)]
pub struct Decoder {
    caps: Caps,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    event: Pending,
    after_cr: bool,
    at_start: bool,
}

/// An event whose empty line has not come.
#[derive(Debug, Default)]
struct Pending {
    name: String,
    data: String,
    has_data: bool,
}

const BOM: &[u8] = b"\xEF\xBB\xBF";

impl Decoder {
    /// A decoder within `caps`.
    #[must_use]
    pub fn new(caps: Caps) -> Self {
        Self {
            caps,
            line: Vec::new(),
            event: Pending::default(),
            after_cr: false,
            at_start: true,
        }
    }

    /// Takes `bytes` and gives `each` what they complete, until it breaks: what follows is not looked at then, and the
    /// decoder is of no more use.
    ///
    /// # Errors
    ///
    /// [`Unreadable`]: the input is no stream of events within the caps. Events before the fault were given.
    pub fn feed<B>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Event<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, Unreadable> {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else {
                self.fits(rest.len())?;
                self.line.extend_from_slice(rest);
                break;
            };
            let (line, tail) = rest.split_at(end);
            self.fits(line.len())?;
            self.after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            let is_end = if self.line.is_empty() {
                self.end_line(line)?
            } else {
                // A line in pieces.
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                let is_end = self.end_line(&whole);
                whole.clear();
                self.line = whole;
                is_end?
            };
            if is_end && let ControlFlow::Break(broken) = self.event.give(&mut each) {
                return Ok(ControlFlow::Break(broken));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Gives `each` what was not finished by an empty line, if anything: some servers end with one too few. It may be
    /// cut off.
    pub fn rest<B>(&mut self, mut each: impl FnMut(Event<'_>) -> ControlFlow<B>) -> ControlFlow<B> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() && self.end_line(&line).is_err() {
            return ControlFlow::Continue(());
        }
        self.event.give(&mut each)
    }

    fn fits(&self, more: usize) -> Result<(), Unreadable> {
        let line = self.line.len().saturating_add(more);
        let event = self.event.name.len() + self.event.data.len();
        if line > self.caps.line_bytes || event.saturating_add(line) > self.caps.event_bytes {
            return Err(Unreadable::TooLong);
        }
        Ok(())
    }

    /// Takes a whole line; whether it was the empty one that ends an event.
    fn end_line(&mut self, line: &[u8]) -> Result<bool, Unreadable> {
        let line = match line.strip_prefix(BOM) {
            Some(rest) if self.at_start => rest,
            _ => line,
        };
        self.at_start = false;
        if line.is_empty() {
            return Ok(true);
        }
        let line = std::str::from_utf8(line).map_err(|_error| Unreadable::NotUtf8)?;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.event.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.event.has_data = true;
            }
            "event" => value.clone_into(&mut self.event.name),
            // A comment, an id, a delay to reconnect after, or what the standard says to ignore.
            _ => {}
        }
        Ok(false)
    }
}

impl Pending {
    /// An event without data is none.
    fn give<B>(&mut self, each: &mut impl FnMut(Event<'_>) -> ControlFlow<B>) -> ControlFlow<B> {
        let given = if self.has_data {
            each(Event {
                name: &self.name,
                data: &self.data,
            })
        } else {
            ControlFlow::Continue(())
        };
        self.name.clear();
        self.data.clear();
        self.has_data = false;
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(bytes: usize) -> Caps {
        Caps::new(bytes, usize::MAX)
    }

    fn fed(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<(String, String)>, Unreadable> {
        let mut events = Vec::new();
        let flow = decoder.feed(bytes, |event| {
            events.push((event.name.to_owned(), event.data.to_owned()));
            ControlFlow::<()>::Continue(())
        })?;
        assert_eq!(flow, ControlFlow::Continue(()));
        Ok(events)
    }

    #[test]
    fn events_are_split_as_the_standard_says() {
        const ALL: &str = "\u{FEFF}data: one\r\n\r\n: a comment\n\nevent: e\rdata:two\rdata:  zwö 🦀\r\rid: 3\nretry: 4\n\ndata\n\nnonsense\n\nevent: lost\n\ndata: [DONE]\n\n";
        let events = fed(&mut Decoder::new(caps(1024)), ALL.as_bytes()).unwrap();
        let (names, data): (Vec<_>, Vec<_>) = events.into_iter().unzip();
        assert_eq!(data, ["one", "two\n zwö 🦀", "", "[DONE]"]);
        assert_eq!(names, ["", "e", "", ""]);
    }

    #[test]
    fn an_event_has_a_most_size_whether_it_is_one_line_or_many() {
        for piece in [&b"data: 0123456789"[..], b"data: 0\n", b": 0123456789"] {
            let mut decoder = Decoder::new(caps(64));
            let fault = (0..1000).find_map(|_round| fed(&mut decoder, piece).err());
            assert_eq!(fault, Some(Unreadable::TooLong), "{piece:?}");
            assert!(decoder.line.capacity() <= 128);
            assert!(decoder.event.data.capacity() <= 128);
        }
    }

    #[test]
    fn a_line_has_a_most_size_of_its_own() {
        let caps = Caps {
            line_bytes: 16,
            ..caps(64)
        };
        let long = b"data: 0123456789\ndata: 01234567890\n\n";
        assert_eq!(fed(&mut Decoder::new(caps), long), Err(Unreadable::TooLong));
        let short = b"data: 0123456789\ndata: 0123456789\n\n";
        assert_eq!(fed(&mut Decoder::new(caps), short).unwrap().len(), 1);
    }

    #[test]
    fn events_below_the_cap_may_follow_each_other_for_ever() {
        let mut decoder = Decoder::new(caps(16));
        for _round in 0..1000 {
            let events = fed(&mut decoder, b": comment\ndata: x\n\n").unwrap();
            assert_eq!(events.len(), 1);
        }
    }

    #[test]
    fn what_is_not_utf8_is_a_fault_after_the_events_before_it() {
        let mut seen = 0;
        let fault = Decoder::new(caps(64)).feed(b"data: x\n\ndata: \xFF\n", |_event| {
            seen += 1;
            ControlFlow::<()>::Continue(())
        });
        assert_eq!((fault, seen), (Err(Unreadable::NotUtf8), 1));
    }

    #[test]
    fn nothing_is_looked_at_after_a_break() {
        let flow = Decoder::new(caps(64)).feed(b"data: a\n\n\xFF\n\n", |event| {
            ControlFlow::Break(event.data.to_owned())
        });
        assert_eq!(flow, Ok(ControlFlow::Break("a".to_owned())));
    }

    #[test]
    fn an_event_without_its_empty_line_is_found_at_the_end() {
        let rest =
            |decoder: &mut Decoder| decoder.rest(|event| ControlFlow::Break(event.data.to_owned()));
        for last in ["data: [DONE]", "data: [DONE]\n", "data: [DONE]\r"] {
            let mut decoder = Decoder::new(caps(64));
            assert_eq!(fed(&mut decoder, last.as_bytes()), Ok(vec![]));
            assert_eq!(rest(&mut decoder), ControlFlow::Break("[DONE]".to_owned()));
        }
        assert_eq!(rest(&mut Decoder::new(caps(64))), ControlFlow::Continue(()));
    }
}
