//! What a scenario makes a backend say, in no provider's words.

use std::time::SystemTime;

use seaworthy_ports::model_provider::{FinishReason, Kind, RateLimits, Usage};

/// What a backend does with a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// It answers with a stream; over HTTP with status 200.
    Stream(Script),
    /// It refuses; over HTTP with the status of an error.
    Refuse(Failure),
    /// It answers calls for vectors and scores.
    Numbers(Numbers),
    /// It takes the call, says nothing at all and keeps the connection open.
    Silence,
    /// It takes the call and closes the connection without a word.
    HangUp,
}

/// Vectors of texts, and scores of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// How long each vector is.
    pub length: usize,
    /// The tokens that the backend counts for each call.
    pub tokens: Option<u64>,
    /// What is wrong with the answer.
    pub wrong: Option<Wrong>,
}

/// What is wrong with vectors or scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The last is missing.
    OneTooFew,
    /// The last comes twice.
    OneTooMany,
    /// The last vector is longer than the others.
    Uneven,
    /// The answer is JSON that says something else.
    Nonsense,
}

impl Numbers {
    /// The score of a text, which is also the first number of its vector: what it ends with.
    #[must_use]
    pub fn of(text: &str) -> f32 {
        let last = text.rsplit(' ').next();
        last.and_then(|number| number.parse().ok()).unwrap_or(0.0)
    }

    /// The vectors of texts, in their order, or what comes instead. `None`: nonsense.
    #[must_use]
    pub fn vectors(&self, texts: &[String]) -> Option<Vec<Vec<f32>>> {
        let vector = |text: &String| {
            let rest = self.length.saturating_sub(1);
            let all = [Self::of(text)]
                .into_iter()
                .chain(std::iter::repeat_n(1.0, rest));
            all.collect()
        };
        let mut vectors: Vec<Vec<f32>> = texts.iter().map(vector).collect();
        if self.wrong == Some(Wrong::Uneven)
            && let Some(last) = vectors.last_mut()
        {
            last.push(1.0);
        }
        self.counted(vectors)
    }

    /// The scores of documents, in their order, or what comes instead. `None`: nonsense.
    #[must_use]
    pub fn scores(&self, documents: &[String]) -> Option<Vec<f32>> {
        self.counted(documents.iter().map(|text| Self::of(text)).collect())
    }

    fn counted<T: Clone>(&self, mut all: Vec<T>) -> Option<Vec<T>> {
        match self.wrong {
            Some(Wrong::Nonsense) => return None,
            Some(Wrong::OneTooFew) => drop(all.pop()),
            Some(Wrong::OneTooMany) => all.extend(all.last().cloned()),
            Some(Wrong::Uneven) | None => {}
        }
        Some(all)
    }
}

/// A streamed answer.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Script {
    /// The backend's name of the request.
    pub request_id: Option<String>,
    /// What the backend says is left of its limits.
    pub limits: Option<RateLimits>,
    /// The most bytes that the provider gets at once: with 1 it gets each byte for itself, also those of one letter.
    pub pieces: Option<usize>,
    /// What comes, in order. After the last step the stream ends as if all were said: in good order on the transport,
    /// but with the backend's terminal frame only if a [`Step::Finish`] was among the steps.
    pub steps: Vec<Step>,
}

/// A part of a streamed answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Step {
    /// Text for the user, in a frame of its own.
    Text(String),
    /// Reasoning that is shown, in a frame of its own.
    Reasoning(String),
    /// The model declines, in these words.
    Decline(String),
    /// A call of a tool begins. Calls are counted from 0 in the order they begin; each has an id of its own.
    Call {
        /// Its number.
        call: u32,
        /// The tool.
        name: String,
    },
    /// More of a call's arguments, in a frame of its own. Fragments of several calls may interleave.
    Arguments {
        /// The call's number.
        call: u32,
        /// The fragment.
        fragment: String,
    },
    /// Data that must return to the backend, such as a signature.
    Item {
        /// What it belongs to.
        of: Owner,
        /// The data: letters that JSON need not escape.
        data: String,
    },
    /// What the call used, as the port counts it; the harness takes it apart as its backend would write it.
    Usage(Usage),
    /// The backend says why the model stopped, in its own words; for [`FinishReason::Other`] in words that are new.
    Finish(FinishReason),
    /// An event of a kind that does not exist yet.
    Unknown,
    /// An event of a kind that every provider of this backend knows, damaged, with this text in it.
    Malformed(String),
    /// The backend reports a failure in the stream.
    Fail(Failure),
    /// The connection breaks, so that the transport notices. Nothing follows.
    Cut,
    /// Nothing comes any more, and the connection stays open. Nothing follows.
    Silence,
    /// The same again and again, as long as anybody listens. Nothing follows.
    Endless(Flood),
}

/// What an opaque item belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The call of this number.
    Call(u32),
    /// The reasoning.
    Reasoning,
}

/// What comes without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Text, in frames of a kilobyte or so.
    Text,
    /// One frame.
    Frame,
    /// Frames with nothing in them for anybody: comments, pings, events of unknown kinds.
    Noise,
}

/// What a backend says when it fails.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// What went wrong.
    pub kind: Kind,
    /// The backend's name of the request.
    pub request_id: Option<String>,
    /// When to come back.
    pub retry_after: Option<RetryAfter>,
    /// The words for a person. They may quote what must not be seen.
    pub message: String,
}

/// When a backend wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// In so many seconds.
    Seconds(u64),
    /// Not before then.
    Date(SystemTime),
}

/// What became of an answer in the backend's own words: what a provider must pass on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Why the model stopped, where [`Step::Finish`] was said.
    pub finish: Option<String>,
    /// The HTTP status of the failure that was said.
    pub status: Option<u16>,
    /// The backend's code of the failure that was said.
    pub code: Option<String>,
}

impl Answer {
    pub(super) fn of(steps: impl Into<Vec<Step>>) -> Self {
        Self::Stream(Script {
            steps: steps.into(),
            ..Script::default()
        })
    }

    pub(super) fn in_pieces(pieces: usize, steps: impl Into<Vec<Step>>) -> Self {
        Self::Stream(Script {
            pieces: Some(pieces),
            steps: steps.into(),
            ..Script::default()
        })
    }
}

impl Failure {
    pub(crate) fn of(kind: Kind) -> Self {
        Self {
            kind,
            request_id: None,
            retry_after: None,
            message: "it went wrong".to_owned(),
        }
    }
}

impl Step {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn call(call: u32, name: &str) -> Self {
        Self::Call {
            call,
            name: name.to_owned(),
        }
    }

    pub(super) fn arguments(call: u32, fragment: &str) -> Self {
        Self::Arguments {
            call,
            fragment: fragment.to_owned(),
        }
    }
}
