//! Command tools: programs that a descriptor declares.
//!
//! A program gets the arguments as canonical JSON on its standard input and `SEAWORTHY_IDEMPOTENCY_KEY` and
//! `SEAWORTHY_CALL_ID` in its environment, and `TRACEPARENT` and `TRACESTATE` where the call is part of a trace. It runs in
//! the workspace and answers on its standard output: JSON where it parses, else text without the line end. An exit code other than 0 is a failure that may have had an effect.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use seaworthy_ports::sandbox::{Captured, Exec, ExecOutput, ExitStatus};
use seaworthy_ports::{TraceContext, async_trait};
use serde_json::Value;

use super::failure::Trouble;
use super::shell::{shown, so_far};
use super::{Tool, ToolAnswer, ToolContext, ToolDefinition, ToolFailure, Verdict, code};

/// The environment variable with the call's idempotency key.
pub const IDEMPOTENCY_KEY: &str = "SEAWORTHY_IDEMPOTENCY_KEY";
/// The environment variable with the call's id.
pub const CALL_ID: &str = "SEAWORTHY_CALL_ID";
/// The most bytes of a result.
pub const MAX_RESULT_BYTES: usize = 1024 * 1024;

/// The most bytes of output that the message of a failure shows.
const MAX_SHOWN: usize = 8 * 1024;

/// A tool that is a program.
pub struct Command {
    definition: ToolDefinition,
    command: Vec<String>,
    verify: Option<Vec<String>>,
}

impl Command {
    /// The tool that runs `command`, and `verify` to find out about a call in doubt. Whether it is verifiable follows
    /// from that.
    #[must_use]
    pub fn new(
        mut definition: ToolDefinition,
        command: Vec<String>,
        verify: Option<Vec<String>>,
    ) -> Self {
        definition.verifiable = verify.is_some();
        Self {
            definition,
            command,
            verify,
        }
    }

    async fn exec(
        context: &ToolContext,
        argv: &[String],
        arguments: &Value,
    ) -> Result<ExecOutput, Trouble> {
        let argv = resolve(&context.base_dir, argv).map_err(Trouble::invalid)?;
        let stdin = crate::canonical_json::to_vec(arguments).map_err(|_error| {
            Trouble::invalid("The arguments have a number that JSON cannot carry exactly.")
        })?;
        let program = argv.first().cloned().unwrap_or_default();
        let mut env = BTreeMap::from([
            (IDEMPOTENCY_KEY.to_owned(), context.idempotency_key.clone()),
            (CALL_ID.to_owned(), context.call.as_str().to_owned()),
        ]);
        for (name, value) in context.trace.iter().flat_map(TraceContext::entries) {
            env.insert(name.to_ascii_uppercase(), value);
        }
        let exec = Exec {
            argv,
            cwd: ".".to_owned(),
            env,
            stdin: Bytes::from(stdin),
            timeout: context.timeout,
            cancel: context.cancel.clone(),
            on_output: context.on_output.clone(),
        };
        context
            .session
            .exec(exec)
            .await
            .map_err(|error| Trouble::running(&program, &error))
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("name", &self.definition.name)
            .field("program", &self.command.first())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Tool for Command {
    fn definition(&self) -> &ToolDefinition {
        &self.definition
    }

    async fn call(&self, context: ToolContext, arguments: Value) -> ToolAnswer {
        let output = match Self::exec(&context, &self.command, &arguments).await {
            Ok(output) => output,
            Err(trouble) => return trouble.into(),
        };
        let printed = || so_far(&output.stdout, &output.stderr);
        let failure = match output.status {
            ExitStatus::Code(0) => match result(&output.stdout) {
                Ok(result) => return ToolAnswer::Succeeded(result),
                Err(failure) => failure,
            },
            ExitStatus::Code(number) => ToolFailure::new(
                code::EXIT,
                format!("The tool failed with exit code {number}.{}", why(&output)),
            ),
            ExitStatus::Signal(number) => ToolFailure::new(
                code::EXIT,
                format!("The tool was ended by signal {number}.{}", why(&output)),
            ),
            ExitStatus::TimedOut => ToolFailure::new(
                code::TIMEOUT,
                format!(
                    "The tool was killed because it took longer than {:?}. It may have done part of its work.{}",
                    context.timeout,
                    printed()
                ),
            ),
            ExitStatus::Cancelled => ToolFailure::new(
                code::CANCELLED,
                "The tool was killed because the run was cancelled.",
            ),
        };
        ToolAnswer::Failed(failure)
    }

    async fn verify(&self, context: ToolContext, arguments: Value) -> Verdict {
        let Some(verify) = &self.verify else {
            return Verdict::Unknown(format!("{} has no `verify` command", self.definition.name));
        };
        let output = match Self::exec(&context, verify, &arguments).await {
            Ok(output) => output,
            Err(Trouble::NoEffect(failure) | Trouble::Unknown(failure)) => {
                return Verdict::Unknown(format!("the verifier did not run: {}", failure.message));
            }
        };
        match output.status {
            ExitStatus::Code(0) => match result(&output.stdout) {
                Ok(result) => Verdict::Happened(result),
                Err(failure) => Verdict::Unknown(format!("the verifier: {}", failure.message)),
            },
            ExitStatus::Code(1) => Verdict::DidNotHappen,
            ExitStatus::Code(number) => Verdict::Unknown(format!(
                "the verifier ended with exit code {number}.{}",
                why(&output)
            )),
            ExitStatus::Signal(number) => {
                Verdict::Unknown(format!("the verifier was ended by signal {number}"))
            }
            ExitStatus::TimedOut => Verdict::Unknown(format!(
                "the verifier took longer than {:?}",
                context.timeout
            )),
            ExitStatus::Cancelled => Verdict::Unknown("the verifier was cancelled".to_owned()),
        }
    }
}

/// What a program said about its failure: standard error, else standard output.
fn why(output: &ExecOutput) -> String {
    let (name, said) = if output.stderr.total > 0 {
        ("standard error", &output.stderr)
    } else {
        ("standard output", &output.stdout)
    };
    if said.total == 0 {
        return " It printed nothing.".to_owned();
    }
    let (text, _) = shown(said, MAX_SHOWN);
    format!("\nIts {name}:\n{}", text.trim_end())
}

/// Standard output as a result.
fn result(stdout: &Captured) -> Result<Value, ToolFailure> {
    if stdout.is_cut() || stdout.bytes.len() > MAX_RESULT_BYTES {
        return Err(ToolFailure::new(
            code::OUTPUT_TOO_LARGE,
            format!(
                "The tool ended well but printed {} bytes; a result may have {MAX_RESULT_BYTES}. Ask it for less, or \
                 have it write to a file of the workspace.",
                stdout.total
            ),
        ));
    }
    if let Ok(value) = serde_json::from_slice(&stdout.bytes) {
        return Ok(value);
    }
    let text = String::from_utf8_lossy(&stdout.bytes);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Value::String(
        text.strip_suffix('\r').unwrap_or(text).to_owned(),
    ))
}

/// `argv` with its program made absolute if it has a slash, or in words why it cannot be.
pub(crate) fn resolve(base_dir: &Path, argv: &[String]) -> Result<Vec<String>, String> {
    let Some((program, rest)) = argv.split_first() else {
        return Err("The tool has no command.".to_owned());
    };
    let program = if program.contains('/') {
        let path: PathBuf = base_dir
            .join(program)
            .components()
            .filter(|component| *component != Component::CurDir)
            .collect();
        match path.to_str() {
            Some(text) if path.is_absolute() => text.to_owned(),
            _ => {
                return Err(format!(
                    "The program {program:?} cannot be found: the folder of the descriptor is not known as an absolute \
                     UTF-8 path."
                ));
            }
        }
    } else {
        program.clone()
    };
    Ok(std::iter::once(program)
        .chain(rest.iter().cloned())
        .collect())
}
