//! JSON schemas: of the arguments of command tools, and of the answers of agents.

use std::collections::BTreeSet;

use serde_json::Value;

use super::aliases::inside;
use super::error::{Position, Reporter, codes};
use super::fields::shown;
use super::yaml::{Content, Node};

/// Whole numbers beyond this are not exact in canonical JSON.
const MAX_EXACT: u64 = 1 << 53;
/// The most bytes of an output schema: it goes with every call of the model.
pub const MAX_OUTPUT_SCHEMA_BYTES: usize = 64 * 1024;
/// The most levels of an output schema.
pub const MAX_OUTPUT_SCHEMA_DEPTH: usize = 32;

/// What a schema is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Arguments,
    Answer,
}

/// What is wrong with a schema.
struct Fault {
    /// Where in the schema, as a JSON pointer.
    pointer: String,
    code: &'static str,
    /// What follows the schema's name in a message.
    why: String,
}

impl Fault {
    fn new(pointer: impl Into<String>, code: &'static str, why: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            code,
            why: why.into(),
        }
    }
}

/// An output schema as the descriptor has it.
#[derive(Clone, Debug)]
pub(super) enum OutputSource {
    Inline(Value),
    File { path: String, at: Position },
}

/// The schema of a tool's arguments as JSON, if it is a JSON schema of an object that stands alone.
pub(super) fn read(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<Value> {
    let Content::Mapping(_) = &node.content else {
        let message = format!(
            "`{path}` must be a JSON schema such as `{{ type: object, properties: {{}} }}`, not {}",
            node.sort()
        );
        reporter.report(node.at, codes::WRONG_TYPE, message);
        return None;
    };
    inline(node, path, Of::Arguments, reporter)
}

/// The schema of an agent's answer, or the file that has it.
pub(super) fn output(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<OutputSource> {
    match &node.content {
        Content::Mapping(_) => inline(node, path, Of::Answer, reporter).map(OutputSource::Inline),
        Content::Text(file) => match inside(file) {
            Some(file) => Some(OutputSource::File {
                path: file,
                at: node.at,
            }),
            None => {
                let message = format!(
                    "`{path}` must be a path inside the descriptor's folder, relative to it and without `..`"
                );
                reporter.report(node.at, codes::PATH_OUTSIDE, message);
                None
            }
        },
        _ => {
            let message = format!(
                "`{path}` must be a JSON schema such as `{{ type: object, properties: {{}} }}` or the name of a file with \
                 one, not {}",
                node.sort()
            );
            reporter.report(node.at, codes::WRONG_TYPE, message);
            None
        }
    }
}

/// The schema in the file `file`, which `path` names at `at`.
pub(super) fn in_file(
    text: &str,
    file: &str,
    path: &str,
    at: Position,
    reporter: &mut Reporter<'_>,
) -> Option<Value> {
    if text.len() > MAX_OUTPUT_SCHEMA_BYTES {
        let message = format!("`{path}`: {file} {}", too_large(text.len()));
        reporter.report(at, codes::TOO_LARGE, message);
        return None;
    }
    let schema: Value = match serde_json::from_str(text) {
        Ok(schema) => schema,
        Err(error) => {
            let message = format!("`{path}`: {file} is no JSON: {error}");
            reporter.report(at, codes::INVALID_SCHEMA, message);
            return None;
        }
    };
    let faults = faults(&schema, Of::Answer);
    for fault in &faults {
        let place = match fault.pointer.as_str() {
            "" => String::new(),
            pointer => format!(" at {}", shown(pointer)),
        };
        let message = format!("`{path}`: {file}{place} {}", fault.why);
        reporter.report(at, fault.code, message);
    }
    faults.is_empty().then_some(schema)
}

fn inline(node: &Node, path: &str, of: Of, reporter: &mut Reporter<'_>) -> Option<Value> {
    let schema = node.to_json();
    let faults = faults(&schema, of);
    for fault in &faults {
        let segments: Vec<String> = fault
            .pointer
            .split('/')
            .skip(1)
            .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
            .collect();
        let at = node.find(segments.iter().map(String::as_str)).at;
        let message = format!("`{path}` {}", fault.why);
        reporter.report(at, fault.code, message);
    }
    faults.is_empty().then_some(schema)
}

fn too_large(bytes: usize) -> String {
    format!("has {bytes} bytes as JSON; an output schema has at most {MAX_OUTPUT_SCHEMA_BYTES}")
}

/// What is wrong with a schema; of what follows from each other, the first.
fn faults(schema: &Value, of: Of) -> Vec<Fault> {
    if of == Of::Answer {
        let bytes = schema.to_string().len();
        if bytes > MAX_OUTPUT_SCHEMA_BYTES {
            return vec![Fault::new("", codes::TOO_LARGE, too_large(bytes))];
        }
        if let Some(deep) = too_deep(schema, MAX_OUTPUT_SCHEMA_DEPTH) {
            let why = format!(
                "has more than {MAX_OUTPUT_SCHEMA_DEPTH} levels; put what is deep under `$defs` and write `#/$defs/…`"
            );
            return vec![Fault::new(deep, codes::TOO_LARGE, why)];
        }
    }
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        let why = match of {
            Of::Arguments => "must say `type: object`: arguments are always an object",
            Of::Answer => "must say `type: object`: an answer with a schema is always an object",
        };
        return vec![Fault::new("/type", codes::INVALID_SCHEMA, why)];
    }
    let mut faults = Vec::new();
    stands_alone(schema, "", &mut faults);
    if !faults.is_empty() {
        return faults;
    }
    if let Some(pointer) = runs_in_circles(schema) {
        let why = "refers to itself without going into what it describes, so nothing can be held against it";
        return vec![Fault::new(pointer, codes::INVALID_SCHEMA, why)];
    }
    // Nothing is fetched, whatever features another crate of the build turns on.
    if let Err(error) = jsonschema::options().offline().build(schema) {
        let pointer = error.instance_path().to_string();
        let why = format!("is no JSON schema: {}", shown(&error.to_string()));
        return vec![Fault::new(pointer, codes::INVALID_SCHEMA, why)];
    }
    Vec::new()
}

/// The members of an object or the items of a list, each with its pointer.
fn children<'v>(value: &'v Value, pointer: &str) -> Vec<(String, &'v Value)> {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| {
                let key = key.replace('~', "~0").replace('/', "~1");
                (format!("{pointer}/{key}"), value)
            })
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, value)| (format!("{pointer}/{index}"), value))
            .collect(),
        _ => Vec::new(),
    }
}

/// The first place below `levels` levels. What is parsed has few enough for a recursion.
fn too_deep(schema: &Value, levels: usize) -> Option<String> {
    let mut todo = vec![(String::new(), schema, 1_usize)];
    while let Some((pointer, value, level)) = todo.pop() {
        if level > levels {
            return Some(pointer);
        }
        let below = children(value, &pointer).into_iter();
        todo.extend(below.map(|(pointer, value)| (pointer, value, level.saturating_add(1))));
    }
    None
}

/// Reports where the schema refers to another document or has a number that canonical JSON would change.
fn stands_alone(value: &Value, pointer: &str, faults: &mut Vec<Fault>) {
    if let Value::Number(number) = value {
        let size = number
            .as_u64()
            .or_else(|| number.as_i64().map(i64::unsigned_abs));
        if size.is_some_and(|size| size > MAX_EXACT) {
            let why = "has a whole number beyond 2^53, which JSON does not carry exactly";
            faults.push(Fault::new(pointer, codes::OUT_OF_RANGE, why));
        }
    }
    for key in ["$ref", "$dynamicRef"] {
        if let Some(Value::String(target)) = value.get(key)
            && !target.starts_with('#')
        {
            let why =
                "refers to another document; put what it needs under `$defs` and write `#/$defs/…`";
            let pointer = format!("{pointer}/{key}");
            faults.push(Fault::new(pointer, codes::REMOTE_REFERENCE, why));
        }
    }
    for (pointer, value) in children(value, pointer) {
        stands_alone(value, &pointer, faults);
    }
}

/// Where a schema applies itself to the same value again: following only references and the keywords that look at that same
/// value, it comes back to where it was. A check against it would never end.
fn runs_in_circles(schema: &Value) -> Option<String> {
    let mut settled = BTreeSet::new();
    let mut all = vec![(String::new(), schema)];
    while let Some((pointer, value)) = all.pop() {
        if comes_back(schema, &pointer, &mut Vec::new(), &mut settled) {
            return Some(pointer);
        }
        all.extend(children(value, &pointer));
    }
    None
}

fn comes_back(
    root: &Value,
    pointer: &str,
    path: &mut Vec<String>,
    settled: &mut BTreeSet<String>,
) -> bool {
    if path.iter().any(|before| before == pointer) {
        return true;
    }
    if settled.contains(pointer) {
        return false;
    }
    let Some(Value::Object(schema)) = root.pointer(pointer) else {
        return false;
    };
    path.push(pointer.to_owned());
    let mut next = Vec::new();
    for key in ["$ref", "$dynamicRef"] {
        if let Some(target) = schema.get(key).and_then(Value::as_str) {
            next.extend(target.strip_prefix('#').map(str::to_owned));
        }
    }
    for key in ["not", "if", "then", "else"] {
        if schema.contains_key(key) {
            next.push(format!("{pointer}/{key}"));
        }
    }
    for key in ["allOf", "anyOf", "oneOf", "dependentSchemas"] {
        if let Some(all) = schema.get(key) {
            let below = children(all, &format!("{pointer}/{key}"));
            next.extend(below.into_iter().map(|(pointer, _)| pointer));
        }
    }
    let back = next
        .iter()
        .any(|next| comes_back(root, next, path, settled));
    path.pop();
    if !back {
        settled.insert(pointer.to_owned());
    }
    back
}
