//! What a request says again in headers, as the protocol version 2026-07-28 has it, so that proxies need not read bodies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::error::Fault;

pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// What the header of an argument begins with.
pub(crate) const PARAMETER: &str = "mcp-param-";
/// The member of a property's schema that names its header.
const ANNOTATION: &str = "x-mcp-header";
/// The most bytes of a header's value; servers take few more.
const MOST_BYTES: usize = 8 * 1024;

/// Names a request's method and what it is about.
pub(crate) fn name(headers: &mut HeaderMap, method: &str, params: &Value) -> Result<(), Fault> {
    headers.insert(METHOD, value(method)?);
    let member = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return Ok(()),
    };
    if let Some(named) = params.get(member).and_then(Value::as_str) {
        headers.insert(NAME, value(named)?);
    }
    Ok(())
}

/// The headers of the arguments that a tool's schema wants to have there.
pub(crate) fn mirrored(schema: &Value, arguments: &Value) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::new();
    let mut annotations = Vec::new();
    annotated(schema, &mut Vec::new(), &mut annotations);
    for (path, name, _schema) in annotations {
        let given = path.iter().try_fold(arguments, |value, key| value.get(key));
        let text = match given {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Bool(value)) => value.to_string(),
            Some(Value::Number(number)) => number.to_string(),
            _ => continue,
        };
        let name = name.as_str().unwrap_or_default();
        let name = HeaderName::try_from(format!("{PARAMETER}{name}"))
            .map_err(|_error| Fault::Malformed("a tool wants a header that none can be"))?;
        headers.insert(name, value(&text)?);
    }
    Ok(headers)
}

/// Whether a tool's schema names its headers as it may: tokens, each once, for properties of a primitive type that are
/// reached from the root through properties alone.
pub(crate) fn are_usable(schema: &Value) -> bool {
    if schema.get(ANNOTATION).is_some() || is_elsewhere(schema, true) {
        return false;
    }
    let mut annotations = Vec::new();
    annotated(schema, &mut Vec::new(), &mut annotations);
    let mut seen = std::collections::BTreeSet::new();
    annotations.into_iter().all(|(_path, name, schema)| {
        let name = name.as_str().unwrap_or_default();
        let is_primitive = matches!(
            schema.get("type").and_then(Value::as_str),
            Some("string" | "integer" | "boolean")
        );
        // The prefix makes no token of what is none.
        let is_token = !name.is_empty() && HeaderName::try_from(name).is_ok();
        is_token && is_primitive && seen.insert(name.to_ascii_lowercase())
    })
}

type Annotation<'a> = (Vec<&'a str>, &'a Value, &'a Value);

/// The annotated properties that are reached through properties alone: the way there, the annotation, the schema.
fn annotated<'a>(schema: &'a Value, way: &mut Vec<&'a str>, found: &mut Vec<Annotation<'a>>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, schema) in properties.into_iter().flatten() {
        way.push(name);
        if let Some(annotation) = schema.get(ANNOTATION) {
            found.push((way.clone(), annotation, schema));
        }
        annotated(schema, way, found);
        way.pop();
    }
}

/// Whether there is an annotation where none may be. `is_reached`: the schema is the root, or a property that is reached
/// through properties alone.
fn is_elsewhere(schema: &Value, is_reached: bool) -> bool {
    let any = |schemas: &Map<String, Value>, is_reached| {
        schemas
            .values()
            .any(|schema| is_elsewhere(schema, is_reached))
    };
    match schema {
        Value::Object(members) => members.iter().any(|(name, value)| match name.as_str() {
            ANNOTATION => !is_reached,
            "properties" => value
                .as_object()
                .is_some_and(|schemas| any(schemas, is_reached)),
            // A member of these may be called like the annotation.
            "$defs" | "definitions" | "dependentSchemas" | "patternProperties" => {
                value.as_object().is_some_and(|schemas| any(schemas, false))
            }
            // These are no schemas.
            "default" | "const" | "enum" | "examples" => false,
            _ => is_elsewhere(value, false),
        }),
        Value::Array(items) => items.iter().any(|item| is_elsewhere(item, false)),
        _ => false,
    }
}

/// A text as a header carries it: in base64 where it could not arrive as it is.
fn value(text: &str) -> Result<HeaderValue, Fault> {
    let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        && text.trim() == text
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    let written = if is_plain {
        text.to_owned()
    } else {
        format!("=?base64?{}?=", STANDARD.encode(text))
    };
    if written.len() > MOST_BYTES {
        return Err(Fault::InvalidArguments(
            "a name or an argument is too long for the header that repeats it",
        ));
    }
    let mut value = HeaderValue::try_from(written)
        .map_err(|_error| Fault::InvalidArguments("a header cannot carry what it repeats"))?;
    // Arguments are nobody's business.
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(text: &str) -> String {
        value(text).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn what_no_header_can_carry_is_in_base64() {
        for plain in ["", "us-west1", "a b", "{\"a\": 1}", "=?base64?", "?="] {
            assert_eq!(shown(plain), plain);
        }
        assert_eq!(shown(" padded "), "=?base64?IHBhZGRlZCA=?=");
        assert_eq!(shown("line\nbreak"), "=?base64?bGluZQpicmVhaw==?=");
        assert_eq!(shown("日本"), "=?base64?5pel5pys?=");
        assert_eq!(shown("=?base64?eA==?="), "=?base64?PT9iYXNlNjQ/ZUE9PT89?=");
        assert!(value(&"x".repeat(MOST_BYTES)).is_ok());
        assert!(value(&"x".repeat(MOST_BYTES + 1)).is_err());
    }

    #[test]
    fn a_request_names_its_method_and_what_it_is_about() {
        let said = |method: &str, params: Value| {
            let mut headers = HeaderMap::new();
            name(&mut headers, method, &params).unwrap();
            let text = |name| Some(headers.get(name)?.to_str().unwrap().to_owned());
            (text(METHOD).unwrap(), text(NAME))
        };
        let named = |method: &str, name: &str| (method.to_owned(), Some(name.to_owned()));
        assert_eq!(
            said("tools/call", json!({"name": "t"})),
            named("tools/call", "t")
        );
        assert_eq!(
            said("resources/read", json!({"uri": "file:///a", "name": "b"})),
            named("resources/read", "file:///a")
        );
        assert_eq!(
            said("tools/list", json!({"name": "t"})),
            ("tools/list".to_owned(), None)
        );
    }

    #[test]
    fn arguments_are_repeated_where_the_schema_says_so() {
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "many": {"type": "integer", "x-mcp-header": "Many"},
            "sure": {"type": "boolean", "x-mcp-header": "Sure"},
            "none": {"type": "string", "x-mcp-header": "None"},
            "in": {"type": "object", "properties": {"x": {"type": "string", "x-mcp-header": "X"}}},
            "query": {"type": "string"},
        }});
        assert!(are_usable(&schema));
        let arguments = json!({
            "region": "Zürich", "many": 42, "sure": false, "none": null, "in": {"x": "y"}, "query": "q",
        });
        let headers = mirrored(&schema, &arguments).unwrap();
        let mut said: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        said.sort_unstable();
        assert_eq!(
            said,
            [
                ("mcp-param-many", "42"),
                ("mcp-param-region", "=?base64?WsO8cmljaA==?="),
                ("mcp-param-sure", "false"),
                ("mcp-param-x", "y"),
            ]
        );
        assert!(!format!("{headers:?}").contains("42"));
    }

    #[test]
    fn annotations_that_break_the_rules_are_found() {
        let property =
            |schema: Value| json!({"type": "object", "properties": {"p": schema, "q": {}}});
        let of = |name: Value| property(json!({"type": "string", "x-mcp-header": name}));
        for usable in [
            json!({}),
            property(json!({"type": "string"})),
            of(json!("Region")),
            // It is a name, or data.
            json!({"properties": {"x-mcp-header": {"type": "string"}}}),
            property(json!({"default": {"x-mcp-header": ""}})),
        ] {
            assert!(are_usable(&usable), "{usable}");
        }
        for bad in [
            json!({"x-mcp-header": "Root"}),
            of(json!("")),
            of(json!("My Region")),
            of(json!("Ré")),
            of(json!("a\r\nb")),
            of(json!(7)),
            property(json!({"type": "object", "x-mcp-header": "A"})),
            property(json!({"type": "number", "x-mcp-header": "A"})),
            property(json!({"x-mcp-header": "A"})),
            json!({"properties": {
                "a": {"type": "string", "x-mcp-header": "Same"},
                "b": {"type": "string", "x-mcp-header": "sAME"},
            }}),
            property(json!({"type": "array", "items": {"type": "string", "x-mcp-header": "A"}})),
            json!({"anyOf": [{"properties": {"p": {"type": "string", "x-mcp-header": "A"}}}]}),
            json!({"$defs": {"d": {"type": "string", "x-mcp-header": "A"}}}),
        ] {
            assert!(!are_usable(&bad), "{bad}");
        }
    }
}
