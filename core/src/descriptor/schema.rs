//! Input schemas of command tools.

use serde_json::Value;

use super::error::{Reporter, codes};
use super::yaml::{Content, Node};

/// Whole numbers beyond this are not exact in canonical JSON.
const MAX_EXACT: u64 = 1 << 53;

/// The schema as JSON, if it is a JSON schema of an object that stands alone.
pub(super) fn read(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> Option<Value> {
    let Content::Mapping(_) = &node.content else {
        let message = format!(
            "`{path}` must be a JSON schema such as `{{ type: object, properties: {{}} }}`, not {}",
            node.sort()
        );
        reporter.report(node.at, codes::WRONG_TYPE, message);
        return None;
    };
    let schema = node.to_json();
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        let at = node.find(["type"]).at;
        let message = format!("`{path}` must say `type: object`: arguments are always an object");
        reporter.report(at, codes::INVALID_SCHEMA, message);
        return None;
    }
    if !stands_alone(node, path, reporter) {
        return None;
    }
    // Nothing is fetched, whatever features another crate of the build turns on.
    if let Err(error) = jsonschema::options().offline().build(&schema) {
        let pointer = error.instance_path().to_string();
        let segments: Vec<String> = pointer
            .split('/')
            .skip(1)
            .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
            .collect();
        let at = node.find(segments.iter().map(String::as_str)).at;
        let message = format!(
            "`{path}` is no JSON schema: {}",
            super::fields::shown(&error.to_string())
        );
        reporter.report(at, codes::INVALID_SCHEMA, message);
        return None;
    }
    Some(schema)
}

/// Whether the schema refers to itself alone and has no number that canonical JSON would change.
fn stands_alone(node: &Node, path: &str, reporter: &mut Reporter<'_>) -> bool {
    match &node.content {
        Content::Mapping(entries) => {
            let mut stands = true;
            for (key, value) in entries {
                if let ("$ref" | "$dynamicRef", Content::Text(target)) =
                    (key.text.as_str(), &value.content)
                    && !target.starts_with('#')
                {
                    let message = format!(
                        "`{path}` refers to another document; put what it needs under `$defs` and write `#/$defs/…`"
                    );
                    reporter.report(value.at, codes::REMOTE_REFERENCE, message);
                    stands = false;
                }
                stands &= stands_alone(value, path, reporter);
            }
            stands
        }
        Content::Sequence(nodes) => {
            let mut stands = true;
            for node in nodes {
                stands &= stands_alone(node, path, reporter);
            }
            stands
        }
        Content::Number(number) => {
            let size = number
                .as_u64()
                .or_else(|| number.as_i64().map(i64::unsigned_abs));
            let is_exact = size.is_none_or(|size| size <= MAX_EXACT);
            if !is_exact {
                let message = format!(
                    "`{path}` has a whole number beyond 2^53, which JSON does not carry exactly"
                );
                reporter.report(node.at, codes::OUT_OF_RANGE, message);
            }
            is_exact
        }
        _ => true,
    }
}
