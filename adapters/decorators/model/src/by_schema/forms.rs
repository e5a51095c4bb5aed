//! What an answer may look like, as a JSON schema.

use seaworthy_ports::ToolName;
use seaworthy_ports::model_provider::{ModelRequest, ToolChoice, ToolSpec};
use serde_json::{Map, Value, json};

/// The members of a form. Providers write them in the order in which the schema lists them, and a map lists them by name:
/// the tool has to come before its arguments, which depend on it.
pub(super) const NAME: &str = "name";
pub(super) const PARAMETERS: &str = "parameters";
pub(super) const ANSWER: &str = "answer";

/// Which forms an answer may have.
#[derive(Clone, Debug)]
pub(super) struct Forms {
    /// The tools that may be called.
    pub(super) tools: Vec<ToolName>,
    pub(super) answer: Answer,
}

/// What an answer that calls nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// There is none: a tool must be called.
    Never,
    Text,
    /// Any JSON that fits the request's output schema.
    Json,
}

impl Forms {
    /// Those of an answer to `request`. `None`: no tool may be called, so an answer has no form.
    pub(super) fn of(request: &ModelRequest) -> Option<Self> {
        let choice = request.parameters.tool_choice.as_ref();
        if request.tools.is_empty() || choice == Some(&ToolChoice::None) {
            return None;
        }
        let may = |tool: &&ToolSpec| match choice {
            Some(ToolChoice::Tool(only)) => tool.name == *only,
            _ => true,
        };
        let tools = request.tools.iter().filter(may);
        let demands = matches!(choice, Some(ToolChoice::Required | ToolChoice::Tool(_)));
        Some(Self {
            tools: tools.map(|tool| tool.name.clone()).collect(),
            answer: match &request.output_schema {
                _ if demands => Answer::Never,
                None => Answer::Text,
                Some(_) => Answer::Json,
            },
        })
    }

    /// Whether this tool may be called.
    pub(super) fn has(&self, tool: &str) -> bool {
        self.tools.iter().any(|name| name.as_str() == tool)
    }

    /// The schema that has these forms and no other.
    pub(super) fn schema(&self, request: &ModelRequest) -> Value {
        let mut definitions = Definitions::default();
        let mut forms: Vec<Value> = request
            .tools
            .iter()
            .filter(|tool| self.tools.contains(&tool.name))
            .map(|tool| {
                let arguments = definitions.place(&arguments(&tool.input_schema));
                object(&[
                    // Not `const`: fewer providers know it.
                    (NAME, json!({"type": "string", "enum": [tool.name]})),
                    (PARAMETERS, arguments),
                ])
            })
            .collect();
        match (self.answer, &request.output_schema) {
            (Answer::Json, Some(schema)) => {
                forms.push(object(&[(ANSWER, definitions.place(schema))]));
            }
            (Answer::Text, _) => forms.push(object(&[(ANSWER, json!({"type": "string"}))])),
            _ => {}
        }
        let mut schema = if forms.len() == 1 {
            forms.pop().unwrap_or_default()
        } else {
            json!({"anyOf": forms})
        };
        if let Some(members) = schema.as_object_mut()
            && !definitions.0.is_empty()
        {
            members.insert("$defs".to_owned(), Value::Object(definitions.0));
        }
        schema
    }
}

fn object(members: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let members = members.iter().cloned();
    let properties: Map<String, Value> = members
        .map(|(name, schema)| (name.to_owned(), schema))
        .collect();
    json!({
        "type": "object", "properties": properties, "required": names, "additionalProperties": false,
    })
}

/// The schema of a tool's arguments, which are an object whatever it says.
fn arguments(schema: &Value) -> Value {
    let Some(members) = schema.as_object() else {
        return json!({"type": "object"});
    };
    let says = ["$ref", "allOf", "anyOf", "oneOf", "type"];
    let mut members = members.clone();
    if !says.iter().any(|name| members.contains_key(*name)) {
        members.insert("type".to_owned(), json!("object"));
    }
    Value::Object(members)
}

/// Schemas with references into themselves. Within another schema these would lead elsewhere, so such a schema is kept
/// whole below `$defs`, and its references lead there.
#[derive(Default)]
struct Definitions(Map<String, Value>);

impl Definitions {
    /// What stands for `schema` within another one.
    fn place(&mut self, schema: &Value) -> Value {
        let mut schema = schema.clone();
        if let Some(members) = schema.as_object_mut() {
            // Which dialect it is written in is said at the root or nowhere.
            members.remove("$schema");
        }
        let name = format!("form{}", self.0.len());
        let root = format!("#/$defs/{name}");
        if !rebase(&mut schema, &root) {
            return schema;
        }
        self.0.insert(name, schema);
        json!({ "$ref": root })
    }
}

/// Has the references of `schema` into itself lead below `root`. Returns whether there are any.
fn rebase(schema: &mut Value, root: &str) -> bool {
    match schema {
        Value::Array(schemas) => schemas
            .iter_mut()
            .fold(false, |any, schema| rebase(schema, root) | any),
        Value::Object(members) => members.iter_mut().fold(false, |any, (keyword, value)| {
            any | match (keyword.as_str(), value) {
                ("$ref" | "$dynamicRef", Value::String(to)) => lead(to, root),
                // Data, not schemas.
                ("const" | "default" | "enum" | "examples", _) => false,
                // Schemas by names that are no keywords.
                (
                    "$defs" | "definitions" | "dependentSchemas" | "patternProperties"
                    | "properties",
                    Value::Object(named),
                ) => named
                    .iter_mut()
                    .fold(false, |any, (_, schema)| rebase(schema, root) | any),
                (_, value @ (Value::Object(_) | Value::Array(_))) => rebase(value, root),
                _ => false,
            }
        }),
        _ => false,
    }
}

/// Only paths: what is referred to by a name is found by it anywhere.
fn lead(to: &mut String, root: &str) -> bool {
    match to.strip_prefix('#') {
        Some(path) if path.is_empty() || path.starts_with('/') => {
            *to = format!("{root}{path}");
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_a_schema_lead_to_where_it_lies() {
        let tree = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "left": {"$ref": "#"},
                "kind": {"$ref": "#/$defs/kind"},
                // A property of that name, and data that looks like a reference.
                "default": {"type": "object", "properties": {"$ref": {"type": "string"}}},
                "other": {"enum": [{"$ref": "#/kept"}]},
            },
            "$defs": {"kind": {"type": "string"}},
        });
        let mut definitions = Definitions::default();
        assert_eq!(definitions.place(&tree), json!({"$ref": "#/$defs/form0"}));
        let placed = &definitions.0["form0"];
        assert_eq!(placed.get("$schema"), None);
        let properties = &placed["properties"];
        assert_eq!(properties["left"]["$ref"], "#/$defs/form0");
        assert_eq!(properties["kind"]["$ref"], "#/$defs/form0/$defs/kind");
        assert_eq!(properties["other"]["enum"][0]["$ref"], "#/kept");
        assert_eq!(properties["default"], tree["properties"]["default"]);
        let plain = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        assert_eq!(definitions.place(&plain), plain);
    }

    #[test]
    fn arguments_are_an_object() {
        assert_eq!(arguments(&json!({})), json!({"type": "object"}));
        assert_eq!(arguments(&json!(true)), json!({"type": "object"}));
        let given = json!({"anyOf": [{"type": "object"}]});
        assert_eq!(arguments(&given), given);
    }
}
