//! A sandbox that expects a list of commands.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use seaworthy_ports::AdapterInfo;
use seaworthy_ports::sandbox::{
    Captured, Enforcement, Exec, ExecOutput, ExitStatus, Kind, MAX_OUTPUT_BYTES, OutputChunk,
    OutputStream, Sandbox, SandboxError, SandboxSession, SandboxSpec,
};

use super::{Came, FakeSandbox, captured, error};
use crate::locked;

/// A command that a [`ScriptedSandbox`] expects, and what comes of it: success without a word, unless told otherwise.
#[derive(Clone, Debug)]
pub struct ExpectedCommand {
    argv: Vec<String>,
    status: Result<ExitStatus, Kind>,
    stdout: Bytes,
    stderr: Bytes,
    files: Vec<(String, Bytes)>,
}

impl ExpectedCommand {
    /// Expects exactly this program with these arguments.
    pub fn new<T: Into<String>>(argv: impl IntoIterator<Item = T>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            status: Ok(ExitStatus::Code(0)),
            stdout: Bytes::new(),
            stderr: Bytes::new(),
            files: Vec::new(),
        }
    }

    /// It prints `text` on its standard output.
    #[must_use]
    pub fn printing(mut self, text: impl Into<Bytes>) -> Self {
        self.stdout = text.into();
        self
    }

    /// It prints `text` on its standard error.
    #[must_use]
    pub fn complaining(mut self, text: impl Into<Bytes>) -> Self {
        self.stderr = text.into();
        self
    }

    /// It leaves a file in the workspace.
    #[must_use]
    pub fn writing(mut self, path: impl Into<String>, content: impl Into<Bytes>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// It ends like this.
    #[must_use]
    pub fn ending(mut self, status: ExitStatus) -> Self {
        self.status = Ok(status);
        self
    }

    /// It does not run, for this reason.
    #[must_use]
    pub fn failing(mut self, kind: Kind) -> Self {
        self.status = Err(kind);
        self
    }

    /// What comes of it.
    fn come(self, exec: &Exec) -> Result<Came, SandboxError> {
        let status = self
            .status
            .map_err(|kind| error(kind, "exec", "the script says so"))?;
        if let Some(show) = &exec.on_output {
            for (stream, bytes) in [
                (OutputStream::Stdout, &self.stdout),
                (OutputStream::Stderr, &self.stderr),
            ] {
                if !bytes.is_empty() {
                    let bytes = bytes.clone();
                    show(&OutputChunk { stream, bytes });
                }
            }
        }
        Ok(Came {
            output: ExecOutput {
                status,
                stdout: bounded(self.stdout),
                stderr: bounded(self.stderr),
                duration: Duration::ZERO,
            },
            files: self.files,
        })
    }
}

/// As much of an output as is kept.
fn bounded(bytes: Bytes) -> Captured {
    let kept = bytes.slice(..bytes.len().min(MAX_OUTPUT_BYTES));
    Captured {
        total: bytes.len() as u64,
        ..captured(kept)
    }
}

#[derive(Debug, Default)]
struct Script {
    expected: VecDeque<ExpectedCommand>,
    unexpected: Vec<Vec<String>>,
}

impl Script {
    fn run(&mut self, exec: &Exec) -> Result<Came, SandboxError> {
        if exec.cancel.is_set() {
            return ExpectedCommand::new(&exec.argv)
                .ending(ExitStatus::Cancelled)
                .come(exec);
        }
        let next = self.expected.pop_front_if(|next| next.argv == exec.argv);
        if let Some(next) = next {
            return next.come(exec);
        }
        let expected = self.expected.front().map(|next| &next.argv);
        let expected = expected.map_or_else(|| "none".to_owned(), |argv| format!("{argv:?}"));
        self.unexpected.push(exec.argv.clone());
        Err(error(
            Kind::Rejected,
            "exec",
            &format!(
                "the command {:?} is not expected; the next one would be {expected}",
                exec.argv
            ),
        ))
    }
}

/// Files in memory, and commands that must come as listed, in this order. Any other fails with [`Kind::Rejected`], with
/// its name and that of the one expected. One that was cancelled before does not count. Clones share everything.
#[derive(Clone, Debug)]
pub struct ScriptedSandbox {
    sandbox: FakeSandbox,
    script: Arc<Mutex<Script>>,
}

impl ScriptedSandbox {
    /// A sandbox that expects `commands`.
    pub fn new(commands: impl IntoIterator<Item = ExpectedCommand>) -> Self {
        let script = Arc::new(Mutex::new(Script {
            expected: commands.into_iter().collect(),
            unexpected: Vec::new(),
        }));
        let running = Arc::clone(&script);
        Self {
            sandbox: FakeSandbox::trying(move |exec| locked(&running).run(exec)),
            script,
        }
    }

    /// The same sandbox with a file in its workspace.
    #[must_use]
    pub fn with_file(self, path: impl Into<String>, content: impl Into<Bytes>) -> Self {
        locked(&self.sandbox.files).insert(path.into(), content.into());
        self
    }

    /// A file of the workspace.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<Bytes> {
        locked(&self.sandbox.files).get(path).cloned()
    }

    /// Call it at the end of a test: all that was expected must have come, and nothing else.
    ///
    /// # Panics
    ///
    /// When a command has not come, or one has come that was not expected: that is how a test fails.
    #[track_caller]
    #[expect(clippy::panic, reason = "this is how a test fails")]
    pub fn assert_all_used(&self) {
        let script = locked(&self.script);
        let left: Vec<_> = script.expected.iter().map(|left| &left.argv).collect();
        if !left.is_empty() || !script.unexpected.is_empty() {
            panic!(
                "commands that have not come: {left:?}; commands that were not expected: {:?}",
                script.unexpected
            );
        }
    }
}

#[async_trait]
impl Sandbox for ScriptedSandbox {
    fn info(&self) -> AdapterInfo {
        self.sandbox.info()
    }

    fn capabilities(&self) -> Enforcement {
        self.sandbox.capabilities()
    }

    async fn open(&self, spec: SandboxSpec) -> Result<Arc<dyn SandboxSession>, SandboxError> {
        self.sandbox.open(spec).await
    }
}
