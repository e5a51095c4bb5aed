//! `write`: replaces a file.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ToolContext;
use super::arguments::{parse, tidy};
use super::builtin::builtin;
use super::failure::Trouble;

pub(super) const DESCRIPTION: &str = "Write a text file of the workspace. Replaces the whole file if there is one, and \
makes the directories above it. To change a part of a file use `edit`.";

pub(super) fn input_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["path", "content"],
        "properties": {
            "path": { "type": "string", "description": "The file, relative to the workspace." },
            "content": { "type": "string", "description": "All of its new text." }
        }
    })
}

builtin!(
    /// Writes a file. Writing the same again is the same as writing it once.
    Write
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    path: String,
    content: String,
}

async fn run(context: &ToolContext, arguments: Value) -> Result<Value, Trouble> {
    let arguments: Arguments = parse(arguments)?;
    let path = tidy(&arguments.path);
    if path == "." {
        return Err(Trouble::invalid(
            "`path` is the workspace itself. Name the file to write.",
        ));
    }
    let bytes = arguments.content.len();
    context
        .session
        .write(&path, Bytes::from(arguments.content))
        .await
        .map_err(|error| Trouble::at(&path, &error))?;
    Ok(json!({ "path": path, "bytes": bytes }))
}
