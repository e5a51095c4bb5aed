//! Splits a byte stream into server-sent events, with a cap on each.
//!
//! Our own because the decoders that exist buffer an event of any size. Input may be split anywhere: between the bytes of
//! a letter, between CR and LF, within the byte order mark.

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// What `event:` named it; empty if nothing did.
    pub(crate) name: String,
    /// The lines of `data:`, joined.
    pub(crate) data: String,
}

/// The input is no stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An event exceeds the cap.
    TooLong,
    /// A line is not UTF-8.
    NotUtf8,
}

/// Takes bytes, gives events.
#[derive(Debug)]
pub(crate) struct Decoder {
    cap: usize,
    line: Vec<u8>,
    name: String,
    data: Option<String>,
    after_cr: bool,
    at_start: bool,
}

const BOM: &[u8] = b"\xEF\xBB\xBF";

impl Decoder {
    /// A decoder for events of at most `cap` bytes.
    pub(crate) fn new(cap: usize) -> Self {
        Self {
            cap,
            line: Vec::new(),
            name: String::new(),
            data: None,
            after_cr: false,
            at_start: true,
        }
    }

    /// Takes `bytes` and adds what they complete to `events`.
    pub(crate) fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Fault> {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            if self.after_cr {
                self.after_cr = false;
                if *first == b'\n' {
                    rest = rest.get(1..).unwrap_or_default();
                    continue;
                }
            }
            let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.keep(rest);
            };
            let (line, tail) = rest.split_at(end);
            self.keep(line)?;
            self.after_cr = tail.first() == Some(&b'\r');
            rest = tail.get(1..).unwrap_or_default();
            self.end_line(events)?;
        }
        Ok(())
    }

    /// What was not finished by an empty line: some servers end with one too few. It may be cut off.
    pub(crate) fn rest(mut self) -> Option<Event> {
        if !self.line.is_empty() {
            self.end_line(&mut Vec::new()).ok()?;
        }
        self.take()
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let held = self.line.len() + self.data.as_ref().map_or(0, String::len) + self.name.len();
        if held.saturating_add(bytes.len()) > self.cap {
            return Err(Fault::TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<Event>) -> Result<(), Fault> {
        let line = std::mem::take(&mut self.line);
        let line = match line.strip_prefix(BOM) {
            Some(rest) if self.at_start => rest,
            _ => line.as_slice(),
        };
        self.at_start = false;
        if line.is_empty() {
            events.extend(self.take());
            return Ok(());
        }
        let line = std::str::from_utf8(line).map_err(|_error| Fault::NotUtf8)?;
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "event" => value.clone_into(&mut self.name),
            // A comment, an id, a delay to reconnect after, or what the standard says to ignore.
            _ => {}
        }
        Ok(())
    }

    fn take(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        self.data.take().map(|data| Event { name, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(pieces: &[&[u8]]) -> Vec<Event> {
        let mut decoder = Decoder::new(1024);
        let mut events = Vec::new();
        for piece in pieces {
            decoder.feed(piece, &mut events).unwrap();
        }
        events
    }

    fn data(pieces: &[&[u8]]) -> Vec<String> {
        decoded(pieces)
            .into_iter()
            .map(|event| event.data)
            .collect()
    }

    const ALL: &str = "\u{FEFF}data: one\r\n\r\n: a comment\n\nevent: e\rdata:two\rdata:  zwö 🦀\r\rid: 3\nretry: 4\n\ndata\n\nnonsense\n\ndata: [DONE]\n\n";

    #[test]
    fn events_are_split_as_the_standard_says() {
        let events = decoded(&[ALL.as_bytes()]);
        let (names, data): (Vec<_>, Vec<_>) = events
            .into_iter()
            .map(|event| (event.name, event.data))
            .unzip();
        assert_eq!(data, ["one", "two\n zwö 🦀", "", "[DONE]"]);
        assert_eq!(names, ["", "e", "", ""]);
    }

    #[test]
    fn it_does_not_matter_where_the_bytes_are_split() {
        let whole = data(&[ALL.as_bytes()]);
        for at in 0..=ALL.len() {
            let (one, two) = ALL.as_bytes().split_at(at);
            assert_eq!(data(&[one, two]), whole, "{at}");
        }
        let single: Vec<&[u8]> = ALL.as_bytes().chunks(1).collect();
        assert_eq!(data(&single), whole);
    }

    #[test]
    fn an_event_has_a_most_size_whether_it_is_one_line_or_many() {
        for piece in [&b"data: 0123456789"[..], b"data: 0\n", b"event: 0123456789"] {
            let mut decoder = Decoder::new(64);
            let mut events = Vec::new();
            let fault = (0..1000).find_map(|_round| decoder.feed(piece, &mut events).err());
            let expected = (!piece.starts_with(b"event")).then_some(Fault::TooLong);
            assert_eq!(fault.or(expected), Some(Fault::TooLong));
            assert!(decoder.line.capacity() <= 128);
        }
    }

    #[test]
    fn events_below_the_cap_may_follow_each_other_for_ever() {
        let mut decoder = Decoder::new(16);
        for _round in 0..1000 {
            let mut events = Vec::new();
            decoder
                .feed(b": comment\ndata: x\n\n", &mut events)
                .unwrap();
            assert_eq!(events.len(), 1);
        }
    }

    #[test]
    fn what_is_not_utf8_is_a_fault() {
        let mut events = Vec::new();
        assert_eq!(
            Decoder::new(64).feed(b"data: \xFF\n", &mut events),
            Err(Fault::NotUtf8)
        );
    }

    #[test]
    fn an_event_without_its_empty_line_is_found_at_the_end() {
        for last in ["data: [DONE]", "data: [DONE]\n", "data: [DONE]\r"] {
            let mut decoder = Decoder::new(64);
            let mut events = Vec::new();
            decoder.feed(last.as_bytes(), &mut events).unwrap();
            assert_eq!(events, []);
            assert_eq!(
                decoder.rest().map(|event| event.data).as_deref(),
                Some("[DONE]")
            );
        }
        assert_eq!(Decoder::new(64).rest(), None);
    }
}
