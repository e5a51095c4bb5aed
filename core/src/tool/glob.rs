//! `glob`: paths by pattern.

use globset::{GlobBuilder, GlobMatcher};
use seaworthy_ports::sandbox::FileKind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ToolContext;
use super::arguments::{parse, tidy};
use super::builtin::builtin;
use super::failure::Trouble;
use super::walk::Walk;

pub(super) const DESCRIPTION: &str = "Find files of the workspace by their path, sorted. `*` matches within one path \
segment, `**` across segments, `{a,b}` either: `**/*.rs` finds every Rust file, `docs/*.md` those directly in docs. Does \
not look into .git, .seaworthy, target and node_modules unless `path` is one of them. Shows at most 1000 paths and says \
in `cut` whether some are missing.";

/// How many paths a result has.
const MAX_PATHS: usize = 1000;
/// How deep a search goes.
pub(super) const MAX_DEPTH: u32 = 64;

pub(super) fn input_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["pattern"],
        "properties": {
            "pattern": { "type": "string", "minLength": 1, "maxLength": 1000, "description": "The pattern, relative to `path`." },
            "path": { "type": "string", "description": "The directory to search, relative to the workspace; by default the workspace itself." }
        }
    })
}

builtin!(
    /// Finds files.
    Glob
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    pattern: String,
    #[serde(default)]
    path: String,
}

/// A pattern for paths relative to a directory.
pub(super) fn matcher(pattern: &str) -> Result<GlobMatcher, Trouble> {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| {
            Trouble::invalid(format!(
                "{pattern:?} is no glob pattern: {}. Examples: `**/*.rs`, `docs/*.md`, `src/{{a,b}}.txt`.",
                error.kind()
            ))
        })
}

async fn run(context: &ToolContext, arguments: Value) -> Result<Value, Trouble> {
    let arguments: Arguments = parse(arguments)?;
    let matcher = matcher(&arguments.pattern)?;
    let path = tidy(&arguments.path);
    let prefix = if path == "." {
        String::new()
    } else {
        format!("{path}/")
    };
    let mut walk = Walk::new(context, &path, MAX_DEPTH).await?;
    let mut paths = Vec::new();
    let mut is_cut = false;
    while let Some(found) = walk.next(context).await? {
        if found.metadata.kind == FileKind::Directory {
            is_cut |= found.depth >= MAX_DEPTH;
            continue;
        }
        let relative = found.path.strip_prefix(&prefix).unwrap_or(&found.path);
        if !matcher.is_match(relative) {
            continue;
        }
        if paths.len() == MAX_PATHS {
            is_cut = true;
            break;
        }
        paths.push(found.path);
    }
    paths.sort_unstable();
    Ok(json!({ "count": paths.len(), "paths": paths, "cut": is_cut || walk.is_cut() }))
}
