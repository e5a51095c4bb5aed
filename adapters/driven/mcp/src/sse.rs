//! Splits a stream into server-sent events of bounded size, with what a broken stream is taken up by.

use std::time::Duration;

use bytes::Bytes;
use seaworthy_ports::mcp::MAX_MESSAGE_BYTES;

use crate::error::Fault;

/// The most bytes of an event's id that are kept; a stream with a longer one is not taken up again.
const LONGEST_ID: usize = 1024;
/// The longest a server may have its client wait before it takes a stream up again.
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Reads events, of whatever name.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    is_after_cr: bool,
    /// The id of the last event that had one.
    pub(crate) last_id: Option<String>,
    /// How long to wait before taking the stream up again.
    pub(crate) delay: Option<Duration>,
}

impl Events {
    /// Ready for the stream that goes on where this one ended: what was left of an event is forgotten.
    pub(crate) fn resumed(self) -> Self {
        Self {
            last_id: self.last_id,
            delay: self.delay,
            ..Self::default()
        }
    }

    /// Takes the next bytes; `each` gets the data of every event that ends in them.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Bytes)) -> Result<(), Fault> {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.is_after_cr) && *first == b'\n' {
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
            self.line.extend_from_slice(line);
            self.is_after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            if self.end_line() {
                each(std::mem::take(&mut self.data).into());
                self.has_data = false;
            }
        }
        Ok(())
    }

    fn fits(&self, more: usize) -> Result<(), Fault> {
        // The name of the field comes on top of the data.
        let bound = MAX_MESSAGE_BYTES + 16;
        let all = self.line.len() + self.data.len();
        if all.saturating_add(more) > bound {
            return Err(Fault::TooLarge);
        }
        Ok(())
    }

    /// Whether an event with data is at its end.
    fn end_line(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.has_data;
        }
        let (field, value) = match memchr::memchr(b':', &line) {
            Some(at) => {
                let (field, value) = line.split_at(at);
                let value = value.get(1..).unwrap_or_default();
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line.as_slice(), &b""[..]),
        };
        let text = || std::str::from_utf8(value).ok();
        match field.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(field) {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"id" if !value.contains(&0) => {
                self.last_id = text()
                    .filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)
                    .map(str::to_owned);
            }
            b"retry" => {
                let delay = text().and_then(|digits| digits.parse().ok());
                self.delay = delay
                    .map(|delay| Duration::from_millis(delay).min(LONGEST_DELAY))
                    .or(self.delay);
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(events: &mut Events, bytes: &[u8]) -> Vec<String> {
        let mut read = Vec::new();
        let fed = events.feed(bytes, |data| {
            read.push(String::from_utf8(data.to_vec()).unwrap());
        });
        fed.unwrap();
        read
    }

    #[test]
    fn events_may_be_split_anywhere() {
        let all = "\u{FEFF}data: one\r\nid: a\r\n\r\n: comment\n\nevent: message\ndata:two\rdata:  three\r\rretry: 40\nid: b\n\ndata\n\nid\ndata: last\n\ndata: lost".as_bytes();
        for at in 0..all.len() {
            let mut events = Events::default();
            let mut seen = read(&mut events, &all[..at]);
            seen.extend(read(&mut events, &all[at..]));
            assert_eq!(seen, ["one", "two\n three", "", "last"]);
            assert_eq!(events.delay, Some(Duration::from_millis(40)));
            assert_eq!(events.last_id, None);
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        for piece in [
            &b"data: 0123456789\n"[..],
            b": 0123456789",
            b"id: 0123456789\n\n",
        ] {
            let mut events = Events::default();
            let piece = piece.repeat(10_000);
            let fault = (0..200).find_map(|_| events.feed(&piece, drop).err());
            let is_endless = !piece.ends_with(b"\n\n");
            assert_eq!(fault, is_endless.then_some(Fault::TooLarge));
        }
    }

    #[test]
    fn a_delay_is_never_longer_than_a_client_would_wait() {
        let mut events = Events::default();
        read(&mut events, b"retry: 99999999999\n");
        assert_eq!(events.delay, Some(LONGEST_DELAY));
        read(&mut events, b"retry: soon\n");
        assert_eq!(events.delay, Some(LONGEST_DELAY));
    }
}
