//! One open sandbox.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use crate::fence::{Claim, PATIENCE, PAUSE, Progress, Refusal};
use crate::files::Files;
use crate::process::ProcessHandle;
use crate::protocol::{Fence, Job, VERSION};

/// How many file operations of one session run at once; more wait. Each takes a thread.
const MAX_FILE_OPERATIONS: u32 = 16;

/// Commands and files of one workspace, for one attempt of a run.
pub(crate) struct ProcessSession {
    config: Arc<ProcessConfig>,
    files: Arc<Files>,
    fence: Fence,
    /// Keeps the run from being swept while this session may need it.
    _claim: Claim,
    env: BTreeMap<String, String>,
    /// One permit for each command that runs.
    slots: Arc<Semaphore>,
    /// One permit for each file operation that runs.
    operations: Arc<Semaphore>,
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
        claim: Claim,
        env: BTreeMap<String, String>,
    ) -> Self {
        let (close, closing) = Latch::new();
        Self {
            slots: Arc::new(Semaphore::new(config.max_commands)),
            operations: Arc::new(Semaphore::new(MAX_FILE_OPERATIONS as usize)),
            config,
            files: Arc::new(Files::new(root, fence.clone(), closing.clone())),
            fence,
            _claim: claim,
            env,
            close,
            closing,
        }
    }

    /// Waits for a slot, unless the command is cancelled before, at most as long as the command might take.
    async fn slot(
        &self,
        cancel: &Latch,
        patience: Duration,
        operation: &'static str,
    ) -> Result<Option<OwnedSemaphorePermit>, SandboxError> {
        let slot = Arc::clone(&self.slots).acquire_owned();
        tokio::select! {
            biased;
            () = self.closing.wait() => Err(error::closed(operation)),
            () = cancel.wait() => Ok(None),
            slot = slot => slot.map(Some).map_err(|_| error::closed(operation)),
            () = tokio::time::sleep(patience) => Err(error::new(
                Kind::Unavailable,
                operation,
                "as many commands as the session allows are running and none has ended in time; end one, or allow \
                 more with ProcessConfig::with_max_commands",
            )),
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
        let Some(slot) = self.slot(&exec.cancel, exec.timeout, operation).await? else {
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
        let permit = tokio::select! {
            biased;
            () = self.closing.wait() => return Err(error::closed(operation)),
            permit = Arc::clone(&self.operations).acquire_owned() => {
                permit.map_err(|_| error::closed(operation))?
            }
        };
        let files = Arc::clone(&self.files);
        spawn_blocking(move || {
            let done = work(&files);
            drop(permit);
            done
        })
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
                Ok(Progress::Done(())) | Err(Refusal::Fenced) => return Ok(()),
                Ok(Progress::Waiting) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(Progress::Waiting) => return Err(not_ending()),
                Err(Refusal::Io(source)) => {
                    return Err(error::own_means("close", "the state directory", source)
                        .with_unknown_effect());
                }
            }
        }
    }
}

fn not_ending() -> SandboxError {
    error::new(
        Kind::Unavailable,
        "close",
        "commands or file operations do not end; the system may be waiting for a device. Closing again waits again",
    )
    .with_unknown_effect()
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
        // All permits free: every command has ended and has been waited for, and nobody touches a file.
        let idle = async {
            tokio::join!(
                self.slots.acquire_many(all),
                self.operations.acquire_many(MAX_FILE_OPERATIONS)
            )
        };
        let idle = tokio::time::timeout(PATIENCE, idle).await;
        drop(idle.map_err(|_| not_ending())?);
        if last {
            self.forget().await?;
        }
        Ok(())
    }
}
