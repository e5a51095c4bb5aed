//! What an answer with an output schema must look like.

use std::fmt;

use jsonschema::Validator;
use serde_json::Value;

/// A compiled output schema.
pub(crate) struct OutputSchema(Validator);

impl OutputSchema {
    /// Compiles `schema`; nothing is fetched for it. `None`: it is no schema.
    pub(crate) fn compile(schema: &Value) -> Option<Self> {
        jsonschema::options().offline().build(schema).ok().map(Self)
    }

    /// Whether `answer` is JSON that fits.
    pub(crate) fn fits(&self, answer: &str) -> bool {
        serde_json::from_str(answer).is_ok_and(|answer: Value| self.0.is_valid(&answer))
    }
}

impl fmt::Debug for OutputSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutputSchema")
    }
}
