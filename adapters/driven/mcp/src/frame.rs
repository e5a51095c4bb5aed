//! Splits what a process writes into lines of bounded size, and finds out whom a line belonged to that was too long to
//! be kept.

use bytes::{Bytes, BytesMut};
use seaworthy_ports::mcp::MAX_MESSAGE_BYTES;

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// It fits.
    Whole(Bytes),
    /// It does not, and answers this request if it is an answer.
    TooLarge(Option<u64>),
}

/// Keeps the beginning of a line until the rest has come.
#[derive(Debug)]
pub(crate) struct Splitter {
    bound: usize,
    line: BytesMut,
    /// What is known of a line that is too long.
    skipped: Option<Envelope>,
}

impl Splitter {
    pub(crate) fn new() -> Self {
        Self::bounded(MAX_MESSAGE_BYTES)
    }

    fn bounded(bound: usize) -> Self {
        Self {
            bound,
            line: BytesMut::new(),
            skipped: None,
        }
    }

    /// Takes the next bytes; `each` gets every line that ends in them, empty ones excepted.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Frame)) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, tail) = rest.split_at(end);
            self.keep(line);
            rest = tail.get(1..).unwrap_or_default();
            if let Some(skipped) = self.skipped.take() {
                each(Frame::TooLarge(skipped.answers()));
            } else {
                let line = self.line.split().freeze();
                if !line.trim_ascii().is_empty() {
                    each(Frame::Whole(line));
                }
            }
        }
        self.keep(rest);
    }

    fn keep(&mut self, piece: &[u8]) {
        if let Some(skipped) = &mut self.skipped {
            skipped.feed(piece);
        } else if self.line.len().saturating_add(piece.len()) > self.bound {
            let mut skipped = Envelope::default();
            skipped.feed(&self.line);
            skipped.feed(piece);
            self.skipped = Some(skipped);
            self.line = BytesMut::new();
        } else {
            self.line.extend_from_slice(piece);
        }
    }
}

/// The longest word of the outermost object that matters: a number of a request, or `method`.
const WORD: usize = 20;

/// Reads the outermost object of a message for what kind of message it is, and keeps nothing else of it.
#[derive(Debug, Default)]
pub(crate) struct Envelope {
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
    is_after_colon: bool,
    /// The value that is being read is the number of a request.
    is_id: bool,
    word: Vec<u8>,
    id: Option<u64>,
    has_method: bool,
}

impl Envelope {
    /// What a whole message is.
    pub(crate) fn of(message: &[u8]) -> Self {
        let mut envelope = Self::default();
        envelope.feed(message);
        envelope
    }

    /// The request that the message answers, if it answers one.
    pub(crate) fn answers(&self) -> Option<u64> {
        self.id.filter(|_| !self.has_method)
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            rest = tail;
            if !self.is_in_string {
                self.outside(byte);
            } else if self.is_escaped {
                self.is_escaped = false;
                self.note(byte);
            } else if byte == b'\\' {
                self.is_escaped = true;
                self.note(byte);
            } else if byte == b'"' {
                self.is_in_string = false;
            } else if self.depth == 1 {
                self.note(byte);
            } else {
                // The long part of a long message is a text somewhere inside.
                let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                rest = rest.get(end..).unwrap_or_default();
            }
        }
    }

    fn outside(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.is_in_string = true;
                // A request of ours is numbered, so a text is the name of somebody else's.
                self.is_id = false;
            }
            b'{' | b'[' => {
                self.depth = self.depth.saturating_add(1);
                self.is_id = false;
            }
            b'}' | b']' => {
                self.end_value();
                self.depth = self.depth.saturating_sub(1);
            }
            b':' if self.depth == 1 => {
                self.is_after_colon = true;
                self.is_id = self.word == b"id";
                self.has_method |= self.word == b"method";
                self.word.clear();
            }
            b',' => self.end_value(),
            byte if byte.is_ascii_whitespace() => {}
            byte => self.note(byte),
        }
    }

    fn note(&mut self, byte: u8) {
        if self.depth == 1 && self.word.len() < WORD {
            self.word.push(byte);
        }
    }

    fn end_value(&mut self) {
        if self.depth != 1 {
            return;
        }
        if self.is_after_colon && self.is_id {
            let digits = std::str::from_utf8(&self.word).ok();
            self.id = digits.and_then(|digits| digits.parse().ok());
        }
        self.is_after_colon = false;
        self.is_id = false;
        self.word.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(splitter: &mut Splitter, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        splitter.feed(bytes, |frame| frames.push(frame));
        frames
    }

    #[test]
    fn lines_may_be_split_anywhere() {
        let all = b"{\"a\":1}\n\r\n  \n[2]\r\n3";
        for at in 0..all.len() {
            let mut splitter = Splitter::new();
            let mut frames = split(&mut splitter, &all[..at]);
            frames.extend(split(&mut splitter, &all[at..]));
            let whole = |line: &'static [u8]| Frame::Whole(Bytes::from_static(line));
            assert_eq!(frames, [whole(b"{\"a\":1}"), whole(b"[2]\r")]);
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_not_kept_and_its_request_is_known() {
        let long = "x".repeat(100);
        let cases = [
            (format!(r#"{{"id":7,"result":"{long}"}}"#), Some(7)),
            (
                format!(r#"{{"result":{{"id":8,"t":"{long}"}}, "jsonrpc" : "2.0" , "id" : 9 }}"#),
                Some(9),
            ),
            (
                format!(r#"{{"result":"\"id\":3,\\","t":"{long}","id":4}}"#),
                Some(4),
            ),
            (format!(r#"{{"id":"5","result":"{long}"}}"#), None),
            (
                format!(r#"{{"id":5,"method":"ping","params":"{long}"}}"#),
                None,
            ),
            (format!(r#"{{"method":"ping","params":"{long}"}}"#), None),
            (format!(r#"[{{"id":5}},"{long}"]"#), None),
            (long.clone(), None),
        ];
        for (line, id) in cases {
            for step in [1, 3, 64, 1000] {
                let mut splitter = Splitter::bounded(64);
                let mut frames = Vec::new();
                for piece in format!("{line}\nnext\n").as_bytes().chunks(step) {
                    frames.extend(split(&mut splitter, piece));
                    assert!(splitter.line.capacity() <= 256);
                }
                let next = Frame::Whole(Bytes::from_static(b"next"));
                assert_eq!(frames, [Frame::TooLarge(id), next], "{line} by {step}");
            }
        }
    }
}
