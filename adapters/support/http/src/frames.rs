//! How an answer is written, and how long it may be.

use std::ops::ControlFlow;

use reqwest::header::{CONTENT_TYPE, HeaderMap};

use crate::{ndjson, sse};

/// The most bytes of an answer and its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Of a line.
    pub line_bytes: usize,
    /// Of an event: all its lines together.
    pub event_bytes: usize,
    /// Of the whole answer.
    pub stream_bytes: usize,
}

impl Caps {
    /// An event may be a single line.
    #[must_use]
    pub const fn new(event_bytes: usize, stream_bytes: usize) -> Self {
        Self {
            line_bytes: event_bytes,
            event_bytes,
            stream_bytes,
        }
    }
}

/// The bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// A cap is exceeded.
    TooLong,
    /// A line is not UTF-8.
    NotUtf8,
}

/// How a provider writes the frames of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As server-sent events.
    Events,
    /// As lines of JSON.
    Lines,
}

impl Form {
    /// What a client says that it takes.
    pub(crate) const fn accepted(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream, application/json",
            Self::Lines => "application/x-ndjson, application/json",
        }
    }
}

/// A part of an answer that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The event's name; empty where frames have none.
    pub name: &'a str,
    /// What it holds.
    pub data: &'a str,
}

/// Takes the bytes of one answer, gives its frames.
#[derive(Debug)]
pub(crate) struct Frames {
    left: usize,
    decoder: Decoder,
}

#[derive(Debug)]
enum Decoder {
    Events(sse::Decoder),
    Lines(ndjson::Decoder),
    /// One document, from backends that do not stream.
    Whole(Vec<u8>),
}

impl Frames {
    /// For an answer with these headers. `None`: they announce what no provider sends, such as a page for people.
    pub(crate) fn of(headers: &HeaderMap, form: Form, caps: Caps) -> Option<Self> {
        let written = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let name = written
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let decoder = match name.as_str() {
            "application/json" => Decoder::Whole(Vec::new()),
            "" | "text/plain" | "application/octet-stream" => Decoder::new(form, caps),
            "text/event-stream" => Decoder::new(Form::Events, caps),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
                Decoder::new(Form::Lines, caps)
            }
            _ => return None,
        };
        Some(Self {
            left: caps.stream_bytes,
            decoder,
        })
    }

    /// Takes `bytes` and gives `each` the frames they complete, until it breaks.
    pub(crate) fn feed<B>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Frame<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, Unreadable> {
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            return Err(Unreadable::TooLong);
        };
        self.left = left;
        match &mut self.decoder {
            Decoder::Events(decoder) => decoder.feed(bytes, |event| each(event.into())),
            Decoder::Lines(decoder) => decoder.feed(bytes, |line| each(Frame::line(line))),
            Decoder::Whole(body) => {
                body.extend_from_slice(bytes);
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    /// The frame that the end of the bytes may have cut off, or the whole document.
    pub(crate) fn rest<B>(
        &mut self,
        mut each: impl FnMut(Rest<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, Unreadable> {
        Ok(match &mut self.decoder {
            Decoder::Events(decoder) => decoder.rest(|event| each(Rest::Frame(event.into()))),
            Decoder::Lines(decoder) => decoder.rest(|line| each(Rest::Frame(Frame::line(line)))),
            Decoder::Whole(body) => {
                let text = std::str::from_utf8(body).map_err(|_error| Unreadable::NotUtf8)?;
                each(Rest::Whole(text))
            }
        })
    }
}

/// What is left at the end of the bytes.
pub(crate) enum Rest<'a> {
    Frame(Frame<'a>),
    Whole(&'a str),
}

impl Decoder {
    fn new(form: Form, caps: Caps) -> Self {
        match form {
            Form::Events => Self::Events(sse::Decoder::new(caps)),
            Form::Lines => Self::Lines(ndjson::Decoder::new(caps)),
        }
    }
}

impl<'a> Frame<'a> {
    const fn line(data: &'a str) -> Self {
        Self { name: "", data }
    }
}

impl<'a> From<sse::Event<'a>> for Frame<'a> {
    fn from(event: sse::Event<'a>) -> Self {
        Self {
            name: event.name,
            data: event.data,
        }
    }
}
