//! What an answer with an output schema must look like.

use jsonschema::Validator;
use seaworthy_ports::model_provider::{Kind, ModelError};
use serde_json::Value;

use crate::error::refused;

/// A compiled output schema.
pub(crate) struct OutputSchema(Validator);

impl OutputSchema {
    /// Compiles `schema`; nothing is fetched for it.
    pub(crate) fn compile(schema: &Value) -> Result<Self, ModelError> {
        jsonschema::options()
            .offline()
            .build(schema)
            .map(Self)
            .map_err(|_error| {
                refused(
                    Kind::InvalidRequest,
                    "stream",
                    "the output schema is no JSON schema",
                )
            })
    }

    /// Whether `answer` is JSON that fits.
    pub(crate) fn fits(&self, answer: &str) -> bool {
        serde_json::from_str(answer).is_ok_and(|answer: Value| self.0.is_valid(&answer))
    }
}
