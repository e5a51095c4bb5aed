//! YAML as a tree in which every key and value knows its place.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, Spanned};

use super::error::{Position, Reporter, codes};

/// The most bytes of a descriptor.
const MAX_BYTES: usize = 1024 * 1024;
const MAX_DEPTH: usize = 48;
const MAX_NODES: usize = 50_000;
const NOTHING: &str =
    "there is no descriptor in the file; start with `version: seaworthy.agent_graph.v1`";

/// A value and where it is.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) content: Content,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Sequence(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

/// A key and where it is.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) at: Position,
    pub(super) text: String,
}

impl Node {
    /// Whether it is a list.
    pub(super) const fn is_sequence(&self) -> bool {
        matches!(self.content, Content::Sequence(_))
    }

    /// What it is, for messages.
    pub(super) const fn sort(&self) -> &'static str {
        match self.content {
            Content::Null => "nothing",
            Content::Bool(_) => "true or false",
            Content::Number(_) => "a number",
            Content::Text(_) => "text",
            Content::Sequence(_) => "a list",
            Content::Mapping(_) => "a mapping",
        }
    }

    /// The same as JSON.
    pub(super) fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::Sequence(nodes) => nodes.iter().map(Self::to_json).collect(),
            Content::Mapping(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, node)| (key.text.clone(), node.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// The node that a path of keys and indices leads to, or the last one on the way.
    pub(super) fn find<'s>(&self, path: impl IntoIterator<Item = &'s str>) -> &Self {
        let mut node = self;
        for segment in path {
            let next = match &node.content {
                Content::Mapping(entries) => entries
                    .iter()
                    .find(|(key, _)| key.text == segment)
                    .map(|(_, node)| node),
                Content::Sequence(nodes) => segment
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| nodes.get(index)),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }
}

/// Parses `text`, reporting what is wrong with it as YAML and every duplicate key.
pub(super) fn parse(text: &str, reporter: &mut Reporter<'_>) -> Option<Node> {
    if text.len() > MAX_BYTES {
        let message = format!(
            "the file has {} bytes; a descriptor has at most {MAX_BYTES}",
            text.len()
        );
        reporter.report(Position::START, codes::TOO_LARGE, message);
        return None;
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: MAX_NODES * 3,
            max_aliases: 0,
            max_anchors: 0,
            max_depth: MAX_DEPTH,
            max_documents: 1,
            max_nodes: MAX_NODES,
            max_total_scalar_bytes: MAX_BYTES,
        },
        emit_comments: false,
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(root) => {
            let root = Node::from(root);
            if matches!(root.content, Content::Null) {
                reporter.report(Position::START, codes::EMPTY, NOTHING);
                return None;
            }
            report_duplicates(&root, reporter);
            Some(root)
        }
        Err(error) => {
            let error = error.without_snippet();
            let at = error.location().map_or(Position::START, Position::from);
            let (code, message) = explain(error);
            reporter.report(at, code, message);
            None
        }
    }
}

fn report_duplicates(node: &Node, reporter: &mut Reporter<'_>) {
    match &node.content {
        Content::Sequence(nodes) => {
            for node in nodes {
                report_duplicates(node, reporter);
            }
        }
        Content::Mapping(entries) => {
            let mut seen = std::collections::BTreeMap::new();
            for (key, value) in entries {
                if let Some(line) = seen.insert(key.text.as_str(), key.at.line) {
                    let message = format!(
                        "`{}` is already on line {line}; remove one of them",
                        key.text
                    );
                    reporter.report(key.at, codes::DUPLICATE_KEY, message);
                }
                report_duplicates(value, reporter);
            }
        }
        _ => {}
    }
}

fn explain(error: &Error) -> (&'static str, String) {
    match error {
        Error::MultipleDocuments { .. }
        | Error::Budget {
            breach: BudgetBreach::Documents { .. },
            ..
        } => (
            codes::YAML,
            "a descriptor is one YAML document; remove what follows `---` or `...`".to_owned(),
        ),
        Error::Budget {
            breach: BudgetBreach::Aliases { .. } | BudgetBreach::Anchors { .. },
            ..
        }
        | Error::UnknownAnchor { .. }
        | Error::MergeKeyNotAllowed { .. } => (
            codes::ALIAS,
            "descriptors have no YAML anchors, aliases or merge keys; write the value out (a text that starts with `&` or \
             `*` needs quotes)"
                .to_owned(),
        ),
        Error::Budget { .. } => (
            codes::TOO_LARGE,
            format!(
                "the file is nested deeper than {MAX_DEPTH} levels or has more than {MAX_NODES} values"
            ),
        ),
        Error::UnsupportedTag { tag, .. } => (
            codes::YAML,
            format!("descriptors have no YAML tags such as `{tag}`; remove it"),
        ),
        Error::NonFiniteFloat { .. } => (
            codes::WRONG_TYPE,
            "this is no number that JSON can carry; put text in quotes".to_owned(),
        ),
        Error::Message { msg, .. } | Error::ExternalMessage { msg, .. } => {
            (codes::YAML, format!("this cannot be read as YAML: {msg}"))
        }
        other => (codes::YAML, format!("this cannot be read as YAML: {other}")),
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self {
            line: location.line().max(1),
            column: location.column().max(1),
        }
    }
}

/// A node as serde builds it; its place comes from the [`Spanned`] around it.
enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Sequence(Vec<Spanned<Raw>>),
    Mapping(Vec<(Spanned<RawKey>, Spanned<Raw>)>),
}

impl From<Spanned<Raw>> for Node {
    fn from(raw: Spanned<Raw>) -> Self {
        let at = raw.referenced.into();
        let content = match raw.value {
            Raw::Null => Content::Null,
            Raw::Bool(value) => Content::Bool(value),
            Raw::Number(number) => Content::Number(number),
            Raw::Text(text) => Content::Text(text),
            Raw::Sequence(nodes) => Content::Sequence(nodes.into_iter().map(Self::from).collect()),
            Raw::Mapping(entries) => Content::Mapping(
                entries
                    .into_iter()
                    .map(|(key, node)| {
                        let at = key.referenced.into();
                        let RawKey(text) = key.value;
                        (Key { at, text }, Self::from(node))
                    })
                    .collect(),
            ),
        };
        Self { at, content }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON can carry")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
        Number::from_f64(value)
            .map(Raw::Number)
            .ok_or_else(|| E::custom("this is no number that JSON can carry"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Raw, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = sequence.next_element()? {
            nodes.push(node);
        }
        Ok(Raw::Sequence(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = mapping.next_key()? {
            entries.push((key, mapping.next_value()?));
        }
        Ok(Raw::Mapping(entries))
    }
}

/// A key. Only text will do: the parser drops repeated numbers, which would hide a mistake.
struct RawKey(String);

impl<'de> Deserialize<'de> for RawKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Raw::deserialize(deserializer)? {
            Raw::Text(text) => Ok(Self(text)),
            _ => Err(de::Error::custom(
                "a key must be text; put it in quotes if it looks like a number, true, false or null",
            )),
        }
    }
}
