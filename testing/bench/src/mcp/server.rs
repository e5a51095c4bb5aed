//! A server of the Model Context Protocol with many tools, on standard input and output, as simple as can be: what it
//! computes is its own process's.

use std::io::{BufRead as _, Write as _};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::Failure;

/// How many tools it has.
pub(crate) const TOOLS: usize = 200;
/// What a call answers: about as much as a line or two of a file.
const ANSWER: &str = "Eighty-one vessels were inspected in the third quarter. Seventy-nine were found seaworthy, one was \
                      repaired within the week, and one was sold for scrap.";

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: &'a str,
}

/// Answers requests until the input ends.
pub(crate) fn serve() -> Result<(), Failure> {
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let call = json!({ "content": [{ "type": "text", "text": ANSWER }] }).to_string();
    for line in input.lines() {
        let line = line?;
        let request: Request<'_> = serde_json::from_str(&line)?;
        let Some(id) = request.id else { continue };
        let result = match request.method {
            "initialize" => about().to_string(),
            "tools/list" => tools().to_string(),
            "tools/call" => call.clone(),
            _ => "{}".to_owned(),
        };
        writeln!(output, r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)?;
        output.flush()?;
    }
    Ok(())
}

fn about() -> Value {
    json!({
        "protocolVersion": "2025-11-25",
        "capabilities": { "tools": {} },
        "serverInfo": { "name": "many", "version": "1" },
    })
}

fn tools() -> Value {
    let tools = (0..TOOLS).map(|number| {
        json!({
            "name": format!("look_up_{number}"),
            "description": "Looks a report up by its quarter and says what it holds, in a sentence or two.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "quarter": { "type": "string", "description": "Which quarter", "maxLength": 64 },
                    "year": { "type": "integer", "minimum": 1900, "maximum": 2100 },
                    "detailed": { "type": "boolean" },
                },
                "required": ["quarter", "year"],
                "additionalProperties": false,
            },
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        })
    });
    json!({ "tools": tools.collect::<Vec<_>>() })
}
