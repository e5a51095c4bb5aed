//! Reads the JSON of an answer while it comes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::forms::{ANSWER, Answer, Forms, NAME, PARAMETERS};

/// The most bytes of an answer.
pub(super) const MAX_BYTES: usize = 16 * 1024 * 1024;
/// From so many bytes on it is not looked any more for what an answer begins with.
const MAX_OPENING: usize = 4 * 1024;

/// What became clear of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It calls this tool; what follows are its arguments.
    Call(String),
    /// It is no call; what follows is the answer.
    Answer,
    /// More of either.
    Delta(String),
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Called,
    Answered,
    /// It has none of its forms, or is cut off.
    Formless,
}

/// An answer as it comes in.
#[derive(Debug)]
pub(super) struct Reading {
    forms: Forms,
    /// All of it so far.
    raw: String,
    /// How far it was passed on.
    at: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is not clear what it is.
    Opening,
    /// It did not begin as expected. It may be a form in another order: that is seen at its end.
    Odd,
    /// JSON that is passed on as it is.
    Json(Json),
    /// The inside of a JSON text, which is passed on as what it stands for.
    Text,
    /// All that is passed on has come.
    Over,
}

/// How deep in a JSON value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Json {
    depth: u32,
    in_text: bool,
    is_escaped: bool,
    has_begun: bool,
}

impl Reading {
    pub(super) const fn new(forms: Forms) -> Self {
        Self {
            forms,
            raw: String::new(),
            at: 0,
            state: State::Opening,
        }
    }

    /// All of it so far.
    pub(super) fn raw(&self) -> &str {
        &self.raw
    }

    /// Whether what was said was passed on as a call or an answer.
    pub(super) const fn is_clear(&self) -> bool {
        !matches!(self.state, State::Opening | State::Odd)
    }

    /// More of it. `Err`: it is too long.
    pub(super) fn push(&mut self, delta: &str) -> Result<Vec<Part>, ()> {
        if self.raw.len().saturating_add(delta.len()) > MAX_BYTES {
            return Err(());
        }
        self.raw.push_str(delta);
        let mut parts = Vec::new();
        if self.state == State::Opening {
            parts.extend(self.open());
        }
        let more = match self.state {
            State::Json(json) => self.json(json),
            State::Text => self.text(),
            State::Opening | State::Odd | State::Over => String::new(),
        };
        if !more.is_empty() {
            parts.push(Part::Delta(more));
        }
        Ok(parts)
    }

    /// The end of it, with what becomes clear only now.
    pub(super) fn end(&mut self) -> (End, Vec<Part>) {
        let whole = Whole::of(&self.raw, &self.forms);
        let end = match &whole {
            None => End::Formless,
            Some(Whole::Call(..)) => End::Called,
            Some(Whole::Text(_) | Whole::Json(_)) => End::Answered,
        };
        if self.is_clear() {
            return (end, Vec::new());
        }
        let parts = match whole {
            None => Vec::new(),
            Some(Whole::Call(name, arguments)) => vec![
                Part::Call(name.into_owned()),
                Part::Delta(arguments.to_owned()),
            ],
            Some(Whole::Text(text)) => vec![Part::Answer, Part::Delta(text)],
            Some(Whole::Json(json)) => vec![Part::Answer, Part::Delta(json.to_owned())],
        };
        (end, parts)
    }

    fn open(&mut self) -> Option<Part> {
        match opening(&self.raw) {
            Opening::More if self.raw.len() <= MAX_OPENING => None,
            Opening::Call { name, at } if self.forms.has(name) => {
                let name = name.to_owned();
                (self.at, self.state) = (at, State::Json(Json::default()));
                Some(Part::Call(name))
            }
            Opening::Answer { at } => match (self.forms.answer, self.raw.as_bytes().get(at)) {
                (Answer::Text, Some(b'"')) => {
                    (self.at, self.state) = (at.saturating_add(1), State::Text);
                    Some(Part::Answer)
                }
                (Answer::Json, _) => {
                    (self.at, self.state) = (at, State::Json(Json::default()));
                    Some(Part::Answer)
                }
                _ => {
                    self.state = State::Odd;
                    None
                }
            },
            Opening::More | Opening::Call { .. } | Opening::Odd => {
                self.state = State::Odd;
                None
            }
        }
    }

    /// What has come of a JSON value.
    fn json(&mut self, mut json: Json) -> String {
        let rest = self.raw.get(self.at..).unwrap_or_default();
        let mut end = rest.len();
        let mut is_over = false;
        for (index, byte) in rest.bytes().enumerate() {
            match json.take(byte) {
                Taken::Inside => {}
                Taken::Last => {
                    (end, is_over) = (index.saturating_add(1), true);
                    break;
                }
                Taken::Outside => {
                    (end, is_over) = (index, true);
                    break;
                }
            }
        }
        let more = rest.get(..end).unwrap_or_default().to_owned();
        self.at = self.at.saturating_add(end);
        self.state = if is_over {
            State::Over
        } else {
            State::Json(json)
        };
        more
    }

    /// What has come of a text, up to an escape that is not complete.
    fn text(&mut self) -> String {
        let mut more = String::new();
        loop {
            let rest = self.raw.get(self.at..).unwrap_or_default();
            let plain = rest.find(['"', '\\']).unwrap_or(rest.len());
            more.push_str(rest.get(..plain).unwrap_or_default());
            let special = rest.get(plain..).unwrap_or_default();
            let step = match special.as_bytes() {
                [] => None,
                [b'"', ..] => {
                    self.state = State::Over;
                    None
                }
                _ => match escape(special) {
                    Escape::Stands(character, length) => {
                        more.push(character);
                        Some(length)
                    }
                    Escape::More => None,
                    // The whole is no JSON, which its end will tell.
                    Escape::Wrong => {
                        self.state = State::Over;
                        None
                    }
                },
            };
            self.at = self.at.saturating_add(plain);
            match step {
                Some(length) => self.at = self.at.saturating_add(length),
                None => return more,
            }
        }
    }
}

enum Taken {
    Inside,
    Last,
    Outside,
}

impl Json {
    fn take(&mut self, byte: u8) -> Taken {
        let had_begun = std::mem::replace(&mut self.has_begun, true);
        if self.in_text {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => {
                    self.in_text = false;
                    return self.closed();
                }
                _ => {}
            }
            return Taken::Inside;
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' | b',' | b' ' | b'\n' | b'\r' | b'\t' if self.depth == 0 && had_begun => {
                return Taken::Outside;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.closed();
            }
            _ => {}
        }
        Taken::Inside
    }

    const fn closed(&self) -> Taken {
        if self.depth == 0 {
            Taken::Last
        } else {
            Taken::Inside
        }
    }
}

enum Escape {
    Stands(char, usize),
    More,
    Wrong,
}

/// What the escape at the beginning of `text` stands for, and its length.
fn escape(text: &str) -> Escape {
    let unit = |at: usize| match text.get(at..at.saturating_add(4)) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).map_err(|_error| Escape::Wrong)
        }
        Some(_) => Err(Escape::Wrong),
        None if text.len() < at.saturating_add(4) => Err(Escape::More),
        None => Err(Escape::Wrong),
    };
    let stands = |code: u32, length| {
        char::from_u32(code).map_or(Escape::Wrong, |character| Escape::Stands(character, length))
    };
    match text.as_bytes().get(1) {
        None => Escape::More,
        Some(b'u') => match unit(2) {
            Err(escape) => escape,
            Ok(high @ 0xD800..=0xDBFF) => {
                let marker = text
                    .as_bytes()
                    .get(6..8.min(text.len()))
                    .unwrap_or_default();
                if !b"\\u".starts_with(marker) {
                    return Escape::Wrong;
                }
                match unit(8) {
                    Err(escape) => escape,
                    Ok(low @ 0xDC00..=0xDFFF) => {
                        stands(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00), 12)
                    }
                    Ok(_) => Escape::Wrong,
                }
            }
            Ok(code) => stands(code, 6),
        },
        Some(b'b') => Escape::Stands('\u{8}', 2),
        Some(b'f') => Escape::Stands('\u{c}', 2),
        Some(b'n') => Escape::Stands('\n', 2),
        Some(b'r') => Escape::Stands('\r', 2),
        Some(b't') => Escape::Stands('\t', 2),
        Some(plain @ (b'"' | b'\\' | b'/')) => Escape::Stands(char::from(*plain), 2),
        Some(_) => Escape::Wrong,
    }
}

/// What an answer begins with.
enum Opening<'a> {
    /// Not enough to tell.
    More,
    Call {
        name: &'a str,
        /// Where its arguments begin.
        at: usize,
    },
    Answer {
        /// Where it begins.
        at: usize,
    },
    Odd,
}

fn opening(raw: &str) -> Opening<'_> {
    let mut cursor = Cursor { raw, at: 0 };
    match cursor.opening() {
        Ok(opening) => opening,
        Err(Missing::More) => Opening::More,
        Err(Missing::Other) => Opening::Odd,
    }
}

struct Cursor<'a> {
    raw: &'a str,
    at: usize,
}

/// What is there instead of what was expected.
enum Missing {
    /// Nothing yet.
    More,
    Other,
}

impl<'a> Cursor<'a> {
    fn opening(&mut self) -> Result<Opening<'a>, Missing> {
        self.expect(b'{')?;
        let first = self.name()?;
        self.expect(b':')?;
        if first == ANSWER {
            self.next()?;
            return Ok(Opening::Answer { at: self.at });
        }
        if first != NAME {
            return Ok(Opening::Odd);
        }
        let name = self.name()?;
        self.expect(b',')?;
        if self.name()? != PARAMETERS {
            return Ok(Opening::Odd);
        }
        self.expect(b':')?;
        match self.next()? {
            b'{' => Ok(Opening::Call { name, at: self.at }),
            _ => Ok(Opening::Odd),
        }
    }

    /// The next byte that is no space.
    fn next(&mut self) -> Result<u8, Missing> {
        let rest = self.raw.get(self.at..).unwrap_or_default();
        let spaces = rest
            .bytes()
            .take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'));
        self.at = self.at.saturating_add(spaces.count());
        self.raw
            .as_bytes()
            .get(self.at)
            .copied()
            .ok_or(Missing::More)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Missing> {
        if self.next()? != byte {
            return Err(Missing::Other);
        }
        self.at = self.at.saturating_add(1);
        Ok(())
    }

    /// A text without escapes: names of tools and members have none.
    fn name(&mut self) -> Result<&'a str, Missing> {
        self.expect(b'"')?;
        let rest = self.raw.get(self.at..).unwrap_or_default();
        let end = rest.find(['"', '\\']).ok_or(Missing::More)?;
        if rest.as_bytes().get(end) != Some(&b'"') {
            return Err(Missing::Other);
        }
        self.at = self.at.saturating_add(end).saturating_add(1);
        Ok(rest.get(..end).unwrap_or_default())
    }
}

/// A whole answer, in whatever order its members are. Members that come twice, or that no form has, make it none.
enum Whole<'a> {
    Call(Cow<'a, str>, &'a str),
    Text(String),
    Json(&'a str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    answer: Option<&'a RawValue>,
}

impl<'a> Whole<'a> {
    fn of(raw: &'a str, forms: &Forms) -> Option<Self> {
        // A derived struct would take a list for its members.
        if !raw.trim_start().starts_with('{') {
            return None;
        }
        let members: Members<'a> = serde_json::from_str(raw).ok()?;
        match (members.name, members.parameters, members.answer) {
            (Some(name), Some(parameters), None) => {
                let is_there = forms.has(&name);
                let arguments = parameters.get();
                (is_there && arguments.starts_with('{')).then_some(Self::Call(name, arguments))
            }
            (None, None, Some(answer)) => match forms.answer {
                Answer::Never => None,
                Answer::Text => serde_json::from_str(answer.get()).ok().map(Self::Text),
                Answer::Json => Some(Self::Json(answer.get())),
            },
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
