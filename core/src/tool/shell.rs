//! `shell`: runs a command line.

use std::collections::BTreeMap;

use bytes::Bytes;
use seaworthy_ports::sandbox::{Captured, Exec, ExitStatus};
use serde::Deserialize;
use serde_json::{Value, json};

use super::arguments::{parse, shorten, tidy};
use super::builtin::builtin;
use super::failure::Trouble;
use super::{ToolContext, ToolFailure, code};

pub(super) const DESCRIPTION: &str = "Run a command line with `sh -c` in the workspace, without a terminal and without \
input. The answer has the exit code (which may well be other than 0; 128 + the signal's number if one ended it) and both \
outputs, each at most 64 KiB: longer ones keep their start and their end and `cut` is true. Prefer `read`, `list`, \
`glob`, `grep`, `write` and `edit` for what they do.";

/// The most bytes of each output that a result shows.
const MAX_OUTPUT: usize = 64 * 1024;
/// The most bytes of output that the message of a failure shows.
const MAX_SHOWN: usize = 4 * 1024;

pub(super) fn input_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["command"],
        "properties": {
            "command": { "type": "string", "minLength": 1, "maxLength": 65536, "description": "The command line." },
            "cwd": { "type": "string", "description": "Where to run it, relative to the workspace; by default the workspace itself." }
        }
    })
}

builtin!(
    /// Runs a command line.
    Shell
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    command: String,
    #[serde(default)]
    cwd: String,
}

async fn run(context: &ToolContext, arguments: Value) -> Result<Value, Trouble> {
    let arguments: Arguments = parse(arguments)?;
    if arguments.command.contains('\0') {
        return Err(Trouble::invalid(
            "`command` has a zero byte, which no command line can have.",
        ));
    }
    let exec = Exec {
        argv: vec!["sh".to_owned(), "-c".to_owned(), arguments.command],
        cwd: tidy(&arguments.cwd),
        env: BTreeMap::new(),
        stdin: Bytes::new(),
        timeout: context.timeout,
        cancel: context.cancel.clone(),
        on_output: context.on_output.clone(),
    };
    let cwd = exec.cwd.clone();
    let output = context.session.exec(exec).await.map_err(|error| {
        if cwd == "." {
            Trouble::running("sh", &error)
        } else {
            Trouble::at(&cwd, &error)
        }
    })?;
    let (exit_code, signal) = match output.status {
        ExitStatus::Code(code) => (code, None),
        ExitStatus::Signal(signal) => (signal.saturating_add(128), Some(signal)),
        ExitStatus::TimedOut => {
            let message = format!(
                "The command was killed because it took longer than {:?}. It may have done part of its work.{}",
                context.timeout,
                so_far(&output.stdout, &output.stderr)
            );
            return Err(Trouble::Unknown(ToolFailure::new(code::TIMEOUT, message)));
        }
        ExitStatus::Cancelled => {
            return Err(Trouble::Unknown(ToolFailure::new(
                code::CANCELLED,
                "The command was killed because the run was cancelled.",
            )));
        }
    };
    let (stdout, stdout_cut) = shown(&output.stdout, MAX_OUTPUT);
    let (stderr, stderr_cut) = shown(&output.stderr, MAX_OUTPUT);
    let mut result = json!({
        "exit_code": exit_code,
        "stdout": stdout,
        "stderr": stderr,
        "cut": stdout_cut || stderr_cut,
    });
    if let (Some(signal), Some(fields)) = (signal, result.as_object_mut()) {
        fields.insert("signal".to_owned(), signal.into());
    }
    Ok(result)
}

/// An output as text of at most about `limit` bytes.
pub(super) fn shown(output: &Captured, limit: usize) -> (String, bool) {
    let text = String::from_utf8_lossy(&output.bytes);
    // Replacement characters make text longer than its bytes; what is missing is counted in bytes of output.
    let missing = output.total.saturating_sub(output.bytes.len() as u64);
    shorten(&text, (text.len() as u64).saturating_add(missing), limit)
}

/// What a command printed before it was killed, for the message of its failure.
pub(super) fn so_far(stdout: &Captured, stderr: &Captured) -> String {
    let mut message = String::new();
    for (name, output) in [("standard output", stdout), ("standard error", stderr)] {
        if output.total > 0 {
            let (text, _) = shown(output, MAX_SHOWN);
            message.push_str(&format!("\nIts {name} so far:\n{}", text.trim_end()));
        }
    }
    message
}
