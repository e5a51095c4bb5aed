//! `read`: the lines of a text file.

use serde::Deserialize;
use serde_json::{Value, json};

use super::arguments::{head, parse, tidy};
use super::builtin::builtin;
use super::failure::Trouble;
use super::{ToolContext, ToolFailure, code};

pub(super) const DESCRIPTION: &str = "Read a text file of the workspace, from line `offset` (the first is 1) on, at most \
`limit` lines and 256 KiB. `cut` says whether there is more: go on with `offset` = `first_line` + `lines`. Text that is \
not UTF-8 is shown with replacement characters; binary files are refused.";

/// The most bytes of one result.
const MAX_BYTES: usize = 256 * 1024;
/// The most lines of one result, and how many it has unless `limit` says otherwise.
const MAX_LINES: u64 = 10_000;
const DEFAULT_LINES: u64 = 2000;
/// How much is read at once, and how far into a file the tool looks for a line.
const CHUNK: u64 = 1024 * 1024;
const MAX_SCANNED: u64 = 256 * 1024 * 1024;

pub(super) fn input_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["path"],
        "properties": {
            "path": { "type": "string", "description": "The file, relative to the workspace." },
            "offset": { "type": "integer", "minimum": 1, "description": "The first line to show; by default 1." },
            "limit": { "type": "integer", "minimum": 1, "maximum": MAX_LINES, "description": "How many lines to show; by default 2000." }
        }
    })
}

builtin!(
    /// Reads a file.
    Read
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    path: String,
    offset: Option<u64>,
    limit: Option<u64>,
}

/// Takes the wanted lines out of the chunks of a file.
struct Lines {
    /// The number of the line that the next byte belongs to.
    line: u64,
    first: u64,
    /// One more than the last wanted line.
    end: u64,
    kept: Vec<u8>,
    is_full: bool,
}

impl Lines {
    fn take(&mut self, chunk: &[u8]) {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            if self.line >= self.end {
                self.is_full = true;
                return;
            }
            if self.line >= self.first {
                let room = MAX_BYTES.saturating_sub(self.kept.len());
                self.kept
                    .extend_from_slice(piece.get(..room).unwrap_or(piece));
                if piece.len() > room {
                    self.is_full = true;
                    return;
                }
            }
            if piece.ends_with(b"\n") {
                self.line = self.line.saturating_add(1);
            }
        }
    }
}

async fn run(context: &ToolContext, arguments: Value) -> Result<Value, Trouble> {
    let arguments: Arguments = parse(arguments)?;
    let path = tidy(&arguments.path);
    let first = arguments.offset.unwrap_or(1).max(1);
    let limit = arguments.limit.unwrap_or(DEFAULT_LINES).clamp(1, MAX_LINES);
    let mut lines = Lines {
        line: 1,
        first,
        end: first.saturating_add(limit),
        kept: Vec::new(),
        is_full: false,
    };
    let mut offset = 0;
    let size = loop {
        if context.cancel.is_set() {
            return Err(Trouble::cancelled());
        }
        let part = context
            .session
            .read(&path, offset, CHUNK)
            .await
            .map_err(|error| Trouble::at(&path, &error))?;
        lines.take(&part.bytes);
        offset = offset.saturating_add(part.bytes.len() as u64);
        if lines.is_full || part.bytes.is_empty() || offset >= part.size {
            break part.size;
        }
        if offset >= MAX_SCANNED {
            return Err(Trouble::invalid(format!(
                "Line {first} of {path:?} is more than 256 MiB into the file. Use `grep`, or `shell` with a program for large files."
            )));
        }
    };
    if lines.kept.contains(&0) {
        return Err(Trouble::invalid(format!(
            "{path:?} is a binary file of {size} bytes; only text can be read."
        )));
    }
    if lines.kept.is_empty() && first > 1 {
        return Err(Trouble::NoEffect(ToolFailure::new(
            code::INVALID,
            format!("{path:?} has no line {first}: it ends before. Use a smaller `offset`."),
        )));
    }
    let text = String::from_utf8_lossy(&lines.kept);
    // Replacement characters are longer than what they replace, and the bytes may end within a character.
    let content = head(&text, MAX_BYTES);
    // Whole lines only, so that `offset` = `first_line` + `lines` goes on where this ends; a single line that is longer
    // than a result is shown as far as it goes.
    let is_short = lines.is_full && !content.ends_with('\n');
    let content = match content.rfind('\n') {
        Some(end) if is_short => content.get(..=end).unwrap_or(content),
        _ => content,
    };
    let shown = content.matches('\n').count() as u64
        + u64::from(!content.is_empty() && !content.ends_with('\n'));
    Ok(json!({
        "path": path,
        "content": content,
        "first_line": first,
        "lines": shown,
        "size": size,
        "cut": lines.is_full,
    }))
}
