//! `grep`: lines by pattern.

use globset::GlobMatcher;
use regex::{Regex, RegexBuilder};
use seaworthy_ports::sandbox::{FileKind, Kind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ToolContext;
use super::arguments::{head, parse, tidy};
use super::builtin::builtin;
use super::failure::Trouble;
use super::glob::{MAX_DEPTH, matcher};
use super::walk::Walk;

pub(super) const DESCRIPTION: &str = "Find lines of the workspace's text files by a regular expression (no look-around, \
no back references), in all files or those that `glob` names, or in the one file that `path` names. Binary files and the \
directories .git, .seaworthy, target and node_modules are left out. Shows at most 200 lines, each up to 500 bytes, and \
says in `cut` whether some are missing; `count` is how many are shown.";

/// How many lines a result has, and how long each may be.
const MAX_MATCHES: usize = 200;
const MAX_LINE: usize = 500;
/// How much of one file and of all files together is searched.
const MAX_FILE: u64 = 8 * 1024 * 1024;
const MAX_SEARCHED: u64 = 256 * 1024 * 1024;
/// A zero byte this early makes a file binary.
const BINARY_WINDOW: usize = 8 * 1024;

pub(super) fn input_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["pattern"],
        "properties": {
            "pattern": { "type": "string", "minLength": 1, "maxLength": 1000, "description": "The regular expression." },
            "path": { "type": "string", "description": "The directory or file to search, relative to the workspace; by default the workspace itself." },
            "glob": { "type": "string", "minLength": 1, "maxLength": 1000, "description": "Only files whose path, relative to `path`, matches, such as `**/*.rs`." },
            "ignore_case": { "type": "boolean", "description": "Whether upper and lower case are the same; by default not." }
        }
    })
}

builtin!(
    /// Finds lines.
    Grep
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    pattern: String,
    #[serde(default)]
    path: String,
    glob: Option<String>,
    #[serde(default)]
    ignore_case: bool,
}

/// The lines found so far.
struct Search {
    regex: Regex,
    matches: Vec<Value>,
    searched: u64,
    is_cut: bool,
    is_over: bool,
}

async fn run(context: &ToolContext, arguments: Value) -> Result<Value, Trouble> {
    let arguments: Arguments = parse(arguments)?;
    let regex = RegexBuilder::new(&arguments.pattern)
        .case_insensitive(arguments.ignore_case)
        .size_limit(1024 * 1024)
        .dfa_size_limit(4 * 1024 * 1024)
        .build()
        .map_err(|error| {
            Trouble::invalid(format!(
                "The pattern is no regular expression: {error}. Escape characters that stand for themselves with a backslash."
            ))
        })?;
    let glob = arguments.glob.as_deref().map(matcher).transpose()?;
    let path = tidy(&arguments.path);
    let mut search = Search {
        regex,
        matches: Vec::new(),
        searched: 0,
        is_cut: false,
        is_over: false,
    };
    let metadata = context
        .session
        .stat(&path)
        .await
        .map_err(|error| Trouble::at(&path, &error))?;
    if metadata.is_some_and(|metadata| metadata.kind == FileKind::File) {
        search
            .file(context, &path)
            .await
            .map_err(|error| Trouble::at(&path, &error))?;
    } else {
        search.directory(context, &path, glob.as_ref()).await?;
    }
    Ok(json!({ "count": search.matches.len(), "matches": search.matches, "cut": search.is_cut }))
}

impl Search {
    async fn directory(
        &mut self,
        context: &ToolContext,
        path: &str,
        glob: Option<&GlobMatcher>,
    ) -> Result<(), Trouble> {
        let prefix = if path == "." {
            String::new()
        } else {
            format!("{path}/")
        };
        let mut walk = Walk::new(context, path, MAX_DEPTH).await?;
        while !self.is_over
            && let Some(found) = walk.next(context).await?
        {
            if found.metadata.kind == FileKind::Directory {
                self.is_cut |= found.depth >= MAX_DEPTH;
            }
            let relative = found.path.strip_prefix(&prefix).unwrap_or(&found.path);
            if found.metadata.kind != FileKind::File
                || glob.is_some_and(|glob| !glob.is_match(relative))
            {
                continue;
            }
            if let Err(error) = self.file(context, &found.path).await {
                match error.kind() {
                    // Gone or closed to us since it was listed: the rest is still worth having.
                    Kind::NotFound | Kind::WrongType | Kind::Denied => self.is_cut = true,
                    _ => return Err(Trouble::at(&found.path, &error)),
                }
            }
        }
        self.is_cut |= walk.is_cut();
        Ok(())
    }

    async fn file(
        &mut self,
        context: &ToolContext,
        path: &str,
    ) -> Result<(), seaworthy_ports::sandbox::SandboxError> {
        let content = context.session.read(path, 0, MAX_FILE).await?;
        let bytes = content.bytes.as_ref();
        if bytes.get(..BINARY_WINDOW).unwrap_or(bytes).contains(&0) {
            return Ok(());
        }
        self.is_cut |= content.size > bytes.len() as u64;
        // Inclusive, so that what follows the last line end is no line.
        for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let line = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if !self.regex.is_match(line) {
                continue;
            }
            if self.matches.len() == MAX_MATCHES {
                self.is_cut = true;
                self.is_over = true;
                return Ok(());
            }
            self.matches.push(json!({
                "path": path,
                "line": number + 1,
                "text": head(line, MAX_LINE),
            }));
        }
        self.searched = self.searched.saturating_add(bytes.len() as u64);
        if self.searched >= MAX_SEARCHED {
            self.is_cut = true;
            self.is_over = true;
        }
        Ok(())
    }
}
