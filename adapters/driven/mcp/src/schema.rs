//! What arguments and answers must look like, by the server's own schemas.

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// A compiled schema. It fetches nothing, and its patterns take time in proportion to what they are matched with:
/// a schema is the server's word too.
pub(crate) struct Schema(Validator);

impl Schema {
    /// `None` if it is no schema, or one that points to something outside itself.
    pub(crate) fn compile(schema: &Value) -> Option<Self> {
        jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex())
            .build(schema)
            .ok()
            .map(Self)
    }

    pub(crate) fn fits(&self, value: &Value) -> bool {
        self.0.is_valid(value)
    }
}

impl fmt::Debug for Schema {
    /// Without the schema: it is the server's word.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_that_points_elsewhere_is_none() {
        for elsewhere in [
            "http://127.0.0.1:9/schema.json",
            "https://example.org/schema.json",
            "file:///etc/passwd",
            "other.json",
        ] {
            assert!(Schema::compile(&json!({"$ref": elsewhere})).is_none());
            let inner = json!({"properties": {"a": {"items": {"$ref": elsewhere}}}});
            assert!(Schema::compile(&inner).is_none());
        }
        assert!(Schema::compile(&json!({"type": 7})).is_none());
    }

    #[test]
    fn a_schema_may_point_into_itself() {
        let tree = Schema::compile(&json!({
            "$ref": "#/$defs/tree",
            "$defs": {"tree": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
                "required": ["children"],
            }},
        }))
        .unwrap();
        assert!(tree.fits(&json!({"children": [{"children": []}]})));
        assert!(!tree.fits(&json!({"children": [{}]})));
    }

    #[test]
    fn a_schema_that_goes_round_in_circles_ends() {
        for circle in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}]}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            json!({"not": {"$ref": "#"}}),
        ] {
            if let Some(schema) = Schema::compile(&circle) {
                let _either = schema.fits(&json!({"a": 1}));
            }
        }
    }

    #[test]
    fn a_pattern_that_explodes_elsewhere_does_not_here() {
        let schema = Schema::compile(&json!({"type": "string", "pattern": "^(a+)+$"})).unwrap();
        assert!(!schema.fits(&json!(format!("{}!", "a".repeat(10_000)))));
    }
}
