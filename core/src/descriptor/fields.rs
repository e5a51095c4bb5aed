//! Takes mappings and values apart, reporting what does not fit.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::{Position, Reporter, codes};
use super::suggest::{advice, listed};
use super::yaml::{Content, Key, Node};

/// A mapping with its name for messages, such as "`agents.reporter`".
#[derive(Debug)]
pub(super) struct Fields<'n> {
    at: Position,
    name: String,
    entries: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    /// The mapping `node`, whatever its keys are.
    pub(super) fn open(
        node: &'n Node,
        name: impl Into<String>,
        reporter: &mut Reporter<'_>,
    ) -> Option<Self> {
        let name = name.into();
        if let Content::Mapping(entries) = &node.content {
            return Some(Self {
                at: node.at,
                name,
                entries,
            });
        }
        let message = format!("{} must be a mapping, not {}", quoted(&name), node.sort());
        reporter.report(node.at, codes::WRONG_TYPE, message);
        None
    }

    /// The mapping `node`, which may have only the keys `known`.
    pub(super) fn known(
        node: &'n Node,
        name: impl Into<String>,
        known: &[&str],
        reporter: &mut Reporter<'_>,
    ) -> Option<Self> {
        let fields = Self::open(node, name, reporter)?;
        for (key, _) in fields.entries {
            if !known.contains(&key.text.as_str()) {
                let message = format!(
                    "{} has no key `{}`; {}",
                    fields.quoted(),
                    shown(&key.text),
                    advice(&key.text, known.iter().copied())
                );
                reporter.report(key.at, codes::UNKNOWN_KEY, message);
            }
        }
        Some(fields)
    }

    fn quoted(&self) -> String {
        quoted(&self.name)
    }

    pub(super) const fn at(&self) -> Position {
        self.at
    }

    /// What the key `key` is called in messages.
    pub(super) fn path(&self, key: &str) -> String {
        if self.name == ROOT {
            shown(key)
        } else {
            format!("{}.{}", self.name, shown(key))
        }
    }

    /// All entries; of a repeated key only the first.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'n Key, &'n Node)> {
        let mut seen = std::collections::BTreeSet::new();
        self.entries
            .iter()
            .filter(move |(key, _)| seen.insert(key.text.as_str()))
            .map(|(key, node)| (key, node))
    }

    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries
            .iter()
            .find(|(candidate, _)| candidate.text == key)
            .map(|(_, node)| node)
    }

    /// The value of `key`, whose absence is reported with the example of how to write it.
    pub(super) fn required(
        &self,
        key: &str,
        example: &str,
        reporter: &mut Reporter<'_>,
    ) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            let message = format!(
                "{} needs the key `{key}`, such as `{example}`",
                self.quoted()
            );
            reporter.report(self.at, codes::MISSING_KEY, message);
        }
        found
    }

    /// Text that is not blank and not optional.
    pub(super) fn required_text(
        &self,
        key: &str,
        example: &str,
        reporter: &mut Reporter<'_>,
    ) -> Option<(&'n str, Position)> {
        let node = self.required(key, example, reporter)?;
        text(node, &self.path(key), reporter).map(|text| (text, node.at))
    }

    /// One of a few words, if it is there at all. The inner `None`: it is there and wrong.
    pub(super) fn word<T: Copy>(
        &self,
        key: &str,
        words: &[(&str, T)],
        reporter: &mut Reporter<'_>,
    ) -> Option<Option<T>> {
        let node = self.get(key)?;
        let path = self.path(key);
        let Some(text) = text(node, &path, reporter) else {
            return Some(None);
        };
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!(
                "`{path}` cannot be `{}`; {}",
                shown(text),
                match advice(text, words.iter().copied()) {
                    advice if advice.starts_with("did") => advice,
                    _ => format!("write one of {}", listed(&words)),
                }
            );
            reporter.report(node.at, codes::INVALID_VALUE, message);
        }
        Some(found.map(|(_, value)| *value))
    }
}

/// The name of the whole descriptor in messages.
pub(super) const ROOT: &str = "the descriptor";

/// A path in back quotes, or the whole descriptor without.
fn quoted(name: &str) -> String {
    if name == ROOT {
        name.to_owned()
    } else {
        format!("`{name}`")
    }
}

/// Text for a message, with an end.
pub(super) fn shown(text: &str) -> String {
    const SHOWN: usize = 80;
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(|character| {
            let printable = !character.is_control();
            std::iter::once(if printable { character } else { ' ' })
        })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Text that is not blank.
pub(super) fn text<'n>(node: &'n Node, path: &str, reporter: &mut Reporter<'_>) -> Option<&'n str> {
    let (code, message) = match &node.content {
        Content::Text(text) if !text.trim().is_empty() => return Some(text),
        Content::Text(_) => (codes::INVALID_VALUE, format!("`{path}` must not be empty")),
        Content::Number(_) | Content::Bool(_) => (
            codes::WRONG_TYPE,
            format!(
                "`{path}` must be text, not {}; put it in quotes",
                node.sort()
            ),
        ),
        _ => (
            codes::WRONG_TYPE,
            format!("`{path}` must be text, not {}", node.sort()),
        ),
    };
    reporter.report(node.at, code, message);
    None
}

/// A list.
pub(super) fn sequence<'n>(
    node: &'n Node,
    path: &str,
    example: &str,
    reporter: &mut Reporter<'_>,
) -> Option<&'n [Node]> {
    if let Content::Sequence(nodes) = &node.content {
        return Some(nodes);
    }
    let message = format!(
        "`{path}` must be a list such as `{example}`, not {}",
        node.sort()
    );
    reporter.report(node.at, codes::WRONG_TYPE, message);
    None
}

/// A whole number from `least` to `most`.
pub(super) fn integer(
    node: &Node,
    path: &str,
    least: u32,
    most: u32,
    reporter: &mut Reporter<'_>,
) -> Option<u32> {
    let Content::Number(number) = &node.content else {
        let message = format!("`{path}` must be a number, not {}", node.sort());
        reporter.report(node.at, codes::WRONG_TYPE, message);
        return None;
    };
    if number.is_f64() {
        let message = format!("`{path}` must be a whole number, not {number}");
        reporter.report(node.at, codes::WRONG_TYPE, message);
        return None;
    }
    let value = number.as_u64().and_then(|value| u32::try_from(value).ok());
    let value = value.filter(|value| (least..=most).contains(value));
    if value.is_none() {
        let message = format!("`{path}` must be from {least} to {most}, not {number}");
        reporter.report(node.at, codes::OUT_OF_RANGE, message);
    }
    value
}

/// Yes or no.
pub(super) fn boolean(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<bool> {
    if let Content::Bool(value) = &node.content {
        return Some(*value);
    }
    let message = format!("`{path}` must be true or false, not {}", node.sort());
    reporter.report(node.at, codes::WRONG_TYPE, message);
    None
}

/// A number from 0 to `most`, in parts of which `parts` make one.
pub(super) fn decimal(
    node: &Node,
    path: &str,
    most: u32,
    parts: u32,
    reporter: &mut Reporter<'_>,
) -> Option<u64> {
    let Content::Number(number) = &node.content else {
        let message = format!("`{path}` must be a number, not {}", node.sort());
        reporter.report(node.at, codes::WRONG_TYPE, message);
        return None;
    };
    let value = number
        .as_f64()
        .filter(|value| (0.0..=f64::from(most)).contains(value));
    let Some(value) = value else {
        let message = format!("`{path}` must be from 0 to {most}, not {number}");
        reporter.report(node.at, codes::OUT_OF_RANGE, message);
        return None;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to the product of two numbers of 32 bits"
    )]
    let counted = (value * f64::from(parts)).round() as u64;
    Some(counted)
}

/// A number in a range whose ends are whole.
pub(super) fn number(
    node: &Node,
    path: &str,
    range: &RangeInclusive<f64>,
    reporter: &mut Reporter<'_>,
) -> Option<f64> {
    let Content::Number(number) = &node.content else {
        let message = format!("`{path}` must be a number, not {}", node.sort());
        reporter.report(node.at, codes::WRONG_TYPE, message);
        return None;
    };
    let value = number.as_f64().filter(|value| range.contains(value));
    if value.is_none() {
        let message = format!(
            "`{path}` must be from {} to {}, not {number}",
            range.start(),
            range.end()
        );
        reporter.report(node.at, codes::OUT_OF_RANGE, message);
    }
    value
}

/// The longest duration a descriptor can ask for.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// A duration such as `500ms`, `30s`, `2m` or `1h`.
pub(super) fn duration(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<Duration> {
    const HOW: &str = "write a whole number and ms, s, m or h, such as `30s`";
    if let Content::Number(number) = &node.content {
        let message = format!("`{path}` needs a unit: {HOW}; did you mean `{number}s`?");
        reporter.report(node.at, codes::INVALID_DURATION, message);
        return None;
    }
    let text = text(node, path, reporter)?;
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60 * 1000),
        "h" => Some(60 * 60 * 1000),
        _ => None,
    };
    let duration = millis
        .zip(number.parse::<u64>().ok())
        .and_then(|(millis, number)| number.checked_mul(millis))
        .map(Duration::from_millis);
    let Some(duration) = duration else {
        let message = format!("`{path}` cannot be `{}`; {HOW}", shown(text));
        reporter.report(node.at, codes::INVALID_DURATION, message);
        return None;
    };
    if duration.is_zero() || duration > MAX_DURATION {
        let message = format!("`{path}` must be more than 0 and at most 24h");
        reporter.report(node.at, codes::OUT_OF_RANGE, message);
        return None;
    }
    Some(duration)
}
