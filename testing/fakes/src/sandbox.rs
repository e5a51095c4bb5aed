//! Sandboxes whose commands are a function of the test, or a list of it.

mod script;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use seaworthy_ports::sandbox::{
    Captured, DirEntry, Enforcement, Exec, ExecOutput, ExitStatus, FileContent, FileKind,
    Isolation, Kind, Listing, Metadata, Owner, Sandbox, SandboxError, SandboxProcess,
    SandboxSession, SandboxSpec,
};
use seaworthy_ports::{AdapterInfo, RunId};

pub use self::script::{ExpectedCommand, ScriptedSandbox};
use crate::{ADAPTER, info, locked};

/// What a command came to.
#[derive(Clone, Debug, Default)]
pub struct RanCommand {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
}

/// What a command came to, with the files that it wrote.
struct Came {
    output: ExecOutput,
    files: Vec<(String, Bytes)>,
}

impl From<RanCommand> for Came {
    fn from(ran: RanCommand) -> Self {
        Self {
            output: ExecOutput {
                status: ExitStatus::Code(ran.code),
                stdout: captured(Bytes::from(ran.stdout)),
                stderr: captured(Bytes::new()),
                duration: Duration::ZERO,
            },
            files: Vec::new(),
        }
    }
}

fn captured(bytes: Bytes) -> Captured {
    Captured {
        total: bytes.len() as u64,
        bytes,
    }
}

type Commands = dyn Fn(&Exec) -> Result<Came, SandboxError> + Send + Sync;

/// Files in memory, and commands that are one function. Later attempts fence earlier ones. Clones share everything.
#[derive(Clone)]
pub struct FakeSandbox {
    commands: Arc<Commands>,
    files: Arc<Mutex<BTreeMap<String, Bytes>>>,
    attempts: Arc<Mutex<BTreeMap<RunId, u32>>>,
}

impl fmt::Debug for FakeSandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeSandbox")
    }
}

impl FakeSandbox {
    /// A sandbox in which `commands` says what each command does.
    pub fn new(commands: impl Fn(&Exec) -> RanCommand + Send + Sync + 'static) -> Self {
        Self::trying(move |exec| Ok(commands(exec).into()))
    }

    fn trying(
        commands: impl Fn(&Exec) -> Result<Came, SandboxError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            commands: Arc::new(commands),
            files: Arc::default(),
            attempts: Arc::default(),
        }
    }
}

fn error(kind: Kind, operation: &'static str, message: &str) -> SandboxError {
    SandboxError::new(kind, ADAPTER, operation, message)
}

#[async_trait]
impl Sandbox for FakeSandbox {
    fn info(&self) -> AdapterInfo {
        info()
    }

    fn capabilities(&self) -> Enforcement {
        Enforcement {
            isolation: Isolation::None,
            filesystem_read: false,
            filesystem_write: false,
            network: false,
            memory: false,
            cpu: false,
            processes: false,
            wall_time: false,
            dies_with_opener: true,
            fencing: true,
        }
    }

    async fn open(&self, spec: SandboxSpec) -> Result<Arc<dyn SandboxSession>, SandboxError> {
        let mut attempts = locked(&self.attempts);
        let newest = attempts.entry(spec.owner.run.clone()).or_default();
        if *newest > spec.owner.attempt {
            return Err(error(Kind::Fenced, "open", "a later attempt has the run"));
        }
        *newest = spec.owner.attempt;
        Ok(Arc::new(Session {
            sandbox: self.clone(),
            owner: spec.owner,
        }))
    }
}

#[derive(Debug)]
struct Session {
    sandbox: FakeSandbox,
    owner: Owner,
}

impl Session {
    fn check(&self, operation: &'static str) -> Result<(), SandboxError> {
        if locked(&self.sandbox.attempts).get(&self.owner.run) == Some(&self.owner.attempt) {
            Ok(())
        } else {
            Err(error(
                Kind::Fenced,
                operation,
                "a later attempt has the run",
            ))
        }
    }
}

#[async_trait]
impl SandboxSession for Session {
    async fn exec(&self, exec: Exec) -> Result<ExecOutput, SandboxError> {
        self.check("exec")?;
        let came = (self.sandbox.commands)(&exec)?;
        locked(&self.sandbox.files).extend(came.files);
        Ok(came.output)
    }

    async fn spawn(&self, _exec: Exec) -> Result<Box<dyn SandboxProcess>, SandboxError> {
        Err(error(
            Kind::Rejected,
            "spawn",
            "this sandbox runs commands to their end",
        ))
    }

    async fn read(&self, path: &str, offset: u64, limit: u64) -> Result<FileContent, SandboxError> {
        let files = locked(&self.sandbox.files);
        let bytes = files
            .get(path)
            .ok_or_else(|| error(Kind::NotFound, "read", "no such file"))?;
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let until = from
            .saturating_add(usize::try_from(limit).unwrap_or(usize::MAX))
            .min(bytes.len());
        Ok(FileContent {
            bytes: bytes.slice(from..until),
            size: bytes.len() as u64,
        })
    }

    async fn write(&self, path: &str, content: Bytes) -> Result<(), SandboxError> {
        self.check("write")?;
        locked(&self.sandbox.files).insert(path.to_owned(), content);
        Ok(())
    }

    async fn list(&self, _path: &str, limit: usize) -> Result<Listing, SandboxError> {
        let files = locked(&self.sandbox.files);
        let entries = files.iter().take(limit).map(|(name, bytes)| DirEntry {
            name: name.clone(),
            metadata: Metadata {
                kind: FileKind::File,
                size: bytes.len() as u64,
            },
        });
        Ok(Listing {
            entries: entries.collect(),
            is_cut: files.len() > limit,
        })
    }

    async fn stat(&self, path: &str) -> Result<Option<Metadata>, SandboxError> {
        let files = locked(&self.sandbox.files);
        Ok(files.get(path).map(|bytes| Metadata {
            kind: FileKind::File,
            size: bytes.len() as u64,
        }))
    }

    async fn remove(&self, path: &str) -> Result<(), SandboxError> {
        self.check("remove")?;
        locked(&self.sandbox.files).remove(path);
        Ok(())
    }

    async fn close(&self, _last: bool) -> Result<(), SandboxError> {
        Ok(())
    }
}
