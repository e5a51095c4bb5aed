//! `list`: the entries of a directory.

use seaworthy_ports::sandbox::FileKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ToolContext;
use super::arguments::{parse, tidy};
use super::builtin::builtin;
use super::failure::Trouble;
use super::walk::Walk;

pub(super) const DESCRIPTION: &str = "List the entries of a directory of the workspace, by name: files, directories and \
symbolic links with their sizes in bytes. With `depth` above 1 also what is inside its directories (not inside .git, \
.seaworthy, target and node_modules). Shows at most 1000 entries and says in `cut` whether some are missing.";

/// How many entries a result has.
const MAX_ENTRIES: usize = 1000;
/// How deep a listing goes.
const MAX_DEPTH: u32 = 8;

pub(super) fn input_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "path": { "type": "string", "description": "The directory, relative to the workspace; by default the workspace itself." },
            "depth": { "type": "integer", "minimum": 1, "maximum": MAX_DEPTH, "description": "How many levels to show; by default 1." }
        }
    })
}

builtin!(
    /// Lists a directory.
    List
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    #[serde(default)]
    path: String,
    depth: Option<u32>,
}

async fn run(context: &ToolContext, arguments: Value) -> Result<Value, Trouble> {
    let arguments: Arguments = parse(arguments)?;
    let path = tidy(&arguments.path);
    let depth = arguments.depth.unwrap_or(1).clamp(1, MAX_DEPTH);
    let mut walk = Walk::new(context, &path, depth).await?;
    let prefix = if path == "." {
        String::new()
    } else {
        format!("{path}/")
    };
    let mut entries = Vec::new();
    let mut is_cut = false;
    while let Some(found) = walk.next(context).await? {
        if entries.len() == MAX_ENTRIES {
            is_cut = true;
            break;
        }
        entries.push(json!({
            "name": found.path.strip_prefix(&prefix).unwrap_or(&found.path),
            "kind": word(found.metadata.kind),
            "size": found.metadata.size,
        }));
    }
    Ok(json!({ "path": path, "entries": entries, "cut": is_cut || walk.is_cut() }))
}

const fn word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Other => "other",
    }
}
