//! One open sandbox.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::fs::Dir;
use seaworthy_ports::sandbox::{
    Captured, Exec, ExecOutput, ExitStatus, FileContent, Kind, Listing, Metadata, SandboxError,
    SandboxProcess, SandboxSession,
};
use seaworthy_ports::{Latch, LatchSetter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use crate::command::{self, Ends, Outcome, Running};
use crate::config::ProcessConfig;
use crate::error;
use crate::exec;
use crate::fence::{PATIENCE, PAUSE, Refusal, Taking};
use crate::files::Files;
use crate::process::ProcessHandle;
use crate::protocol::{Fence, Job, VERSION};

/// Commands and files of one workspace, for one attempt of a run.
pub(crate) struct ProcessSession {
    config: Arc<ProcessConfig>,
    files: Arc<Files>,
    fence: Fence,
    env: BTreeMap<String, String>,
    /// One permit for each command that runs.
    slots: Arc<Semaphore>,
    close: LatchSetter,
    closing: Latch,
}

impl fmt::Debug for ProcessSession {
    /// The environment may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessSession")
            .field("attempt", &self.fence.attempt)
            .finish_non_exhaustive()
    }
}

pub(crate) fn shutting_down(operation: &'static str) -> SandboxError {
    error::new(Kind::Unavailable, operation, "the runtime is shutting down").with_unknown_effect()
}

/// What the system could not pass on is refused.
pub(crate) fn check_env(
    env: &BTreeMap<String, String>,
    operation: &'static str,
) -> Result<(), SandboxError> {
    let is_bad = |(name, value): (&String, &String)| {
        name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
    };
    if env.iter().any(is_bad) {
        return Err(error::new(
            Kind::Rejected,
            operation,
            "a variable of the environment has an empty name, or `=` or a zero byte in it",
        ));
    }
    Ok(())
}

impl ProcessSession {
    pub(crate) fn new(
        config: Arc<ProcessConfig>,
        root: Dir,
        fence: Fence,
        env: BTreeMap<String, String>,
    ) -> Self {
        let (close, closing) = Latch::new();
        Self {
            slots: Arc::new(Semaphore::new(config.max_commands)),
            config,
            files: Arc::new(Files::new(root, fence.clone())),
            fence,
            env,
            close,
            closing,
        }
    }

    /// Waits for a slot, unless the command is cancelled before.
    async fn slot(
        &self,
        cancel: &Latch,
        operation: &'static str,
    ) -> Result<Option<OwnedSemaphorePermit>, SandboxError> {
        let slot = Arc::clone(&self.slots).acquire_owned();
        tokio::select! {
            biased;
            () = self.closing.wait() => Err(error::closed(operation)),
            () = cancel.wait() => Ok(None),
            slot = slot => slot.map(Some).map_err(|_| error::closed(operation)),
        }
    }

    /// Starts a command; `None` if it was cancelled before.
    async fn start(
        &self,
        exec: Exec,
        input: bool,
        operation: &'static str,
    ) -> Result<Option<Running>, SandboxError> {
        if exec.argv.iter().any(|argument| argument.contains('\0')) || exec.argv.is_empty() {
            return Err(error::new(
                Kind::Rejected,
                operation,
                "a command needs a program, and arguments without zero bytes",
            ));
        }
        check_env(&exec.env, operation)?;
        let Some(slot) = self.slot(&exec.cancel, operation).await? else {
            return Ok(None);
        };
        let mut env = self.env.clone();
        env.extend(exec.env);
        let job = Job {
            version: VERSION,
            argv: exec.argv,
            env,
            input,
            fence: self.fence.clone(),
        };
        let ends = Ends {
            timeout: exec.timeout,
            cancel: exec.cancel,
            closing: self.closing.clone(),
        };
        let files = Arc::clone(&self.files);
        let config = Arc::clone(&self.config);
        // A caller that goes away meanwhile drops what comes back, which kills it.
        let running = spawn_blocking(move || {
            let folder = files.folder(&exec.cwd, operation)?;
            let supervisor = &config.supervisor;
            command::start(supervisor, &folder, &job, exec.stdin, ends, slot, operation)
        });
        running
            .await
            .map_err(|_| shutting_down(operation))?
            .map(Some)
    }

    /// Runs a file operation on a thread that may block. Dropping the future does not stop it.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Files) -> Result<T, SandboxError> + Send + 'static,
    ) -> Result<T, SandboxError> {
        if self.closing.is_set() {
            return Err(error::closed(operation));
        }
        let files = Arc::clone(&self.files);
        spawn_blocking(move || work(&files))
            .await
            .map_err(|_| shutting_down(operation))?
    }

    /// Removes the run from the state directory.
    async fn forget(&self) -> Result<(), SandboxError> {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let step = self.fence.clone();
            let forgetting = spawn_blocking(move || step.forget())
                .await
                .map_err(|_| shutting_down("close"))?;
            match forgetting {
                Ok(Taking::Done) | Err(Refusal::Fenced) => return Ok(()),
                Ok(Taking::Waiting) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(Taking::Waiting) => return Err(not_ending()),
                Err(Refusal::Io(source)) => {
                    return Err(error::io("close", "the state directory", source));
                }
            }
        }
    }
}

fn not_ending() -> SandboxError {
    error::new(Kind::Unavailable, "close", "commands do not end").with_unknown_effect()
}

fn nothing() -> Captured {
    Captured {
        bytes: Bytes::new(),
        total: 0,
    }
}

#[async_trait]
impl SandboxSession for ProcessSession {
    async fn exec(&self, exec: Exec) -> Result<ExecOutput, SandboxError> {
        let begun = Instant::now();
        let on_output = exec.on_output.clone();
        let input = !exec.stdin.is_empty();
        match self.start(exec, input, "exec").await? {
            Some(running) => exec::finish(running, begun, on_output).await,
            None => Ok(ExecOutput {
                status: ExitStatus::Cancelled,
                stdout: nothing(),
                stderr: nothing(),
                duration: begun.elapsed(),
            }),
        }
    }

    async fn spawn(&self, exec: Exec) -> Result<Box<dyn SandboxProcess>, SandboxError> {
        let Some(running) = self.start(exec, true, "spawn").await? else {
            return Err(error::new(
                Kind::Rejected,
                "spawn",
                "it was cancelled before it started",
            ));
        };
        match running.started().await {
            // It runs, or ran.
            None | Some(Outcome::Ended(_)) => {}
            Some(outcome) => {
                outcome.into_result("spawn")?;
            }
        }
        Ok(Box::new(ProcessHandle::new(running)))
    }

    async fn read(&self, path: &str, offset: u64, limit: u64) -> Result<FileContent, SandboxError> {
        let path = path.to_owned();
        self.blocking("read", move |files| files.read(&path, offset, limit))
            .await
    }

    async fn write(&self, path: &str, content: Bytes) -> Result<(), SandboxError> {
        let path = path.to_owned();
        self.blocking("write", move |files| files.write(&path, &content))
            .await
    }

    async fn list(&self, path: &str, limit: usize) -> Result<Listing, SandboxError> {
        let path = path.to_owned();
        self.blocking("list", move |files| files.list(&path, limit))
            .await
    }

    async fn stat(&self, path: &str) -> Result<Option<Metadata>, SandboxError> {
        let path = path.to_owned();
        self.blocking("stat", move |files| files.stat(&path)).await
    }

    async fn remove(&self, path: &str) -> Result<(), SandboxError> {
        let path = path.to_owned();
        self.blocking("remove", move |files| files.remove(&path))
            .await
    }

    async fn close(&self, last: bool) -> Result<(), SandboxError> {
        self.close.set();
        let all = u32::try_from(self.config.max_commands).unwrap_or(u32::MAX);
        // All slots free: every command has ended and has been waited for.
        let idle = tokio::time::timeout(PATIENCE, self.slots.acquire_many(all)).await;
        drop(idle.map_err(|_| not_ending())?);
        if last {
            self.forget().await?;
        }
        Ok(())
    }
}
