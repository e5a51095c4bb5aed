//! Runs commands and moves files under an enforced policy.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;

use crate::{AdapterInfo, ErrorKind, Latch, PortError, Retry, RunId};

/// Opens sessions in which commands run and files move.
///
/// # Contract
///
/// * **SB-1** A policy that the adapter cannot enforce is refused at `open` with [`Kind::Unsupported`]; nothing is weakened
///   silently. A missing binary, kernel feature or engine is [`Kind::Unavailable`] with what to install.
/// * **SB-2** `exec` takes argv; exit code, signal, both outputs bounded and marked when cut, duration; standard input;
///   working directory inside the workspace.
/// * **SB-3** Timeout and cancellation kill the whole process group within a second; nothing is left.
/// * **SB-4** The environment is what the spec says and nothing more; secrets of the host are not visible.
/// * **SB-5** File operations stay inside the workspace ([`Kind::Outside`]): parent paths, absolute paths, symbolic links
///   out of it and races between check and use. What commands can escape matches the declared enforcement; forks that
///   outlive the call are killed.
/// * **SB-6** Output streams while the command runs.
/// * **SB-7** Commands die with the process that opened the session, SIGKILL included, grandchildren too: an orphan must
///   not act after another worker has taken the run over.
/// * **SB-8** *(fencing)* Once `open` with a later attempt of the same owner has returned, commands and writes of sessions
///   of earlier attempts are dead or refused with [`Kind::Fenced`], even in a process that was paused.
///
/// # Cancellation
///
/// Dropping `open` leaves nothing. Dropping an `exec` kills its commands.
#[async_trait]
pub trait Sandbox: fmt::Debug + Send + Sync + 'static {
    /// Who this is. No I/O.
    fn info(&self) -> AdapterInfo;

    /// What is really enforced. No I/O.
    fn capabilities(&self) -> Enforcement;

    /// Opens a session on `spec.workspace`, which must be an existing directory.
    async fn open(&self, spec: SandboxSpec) -> Result<Arc<dyn SandboxSession>, SandboxError>;
}

/// One open sandbox. Paths are relative to the workspace, segments joined by `/`; empty or `.` is the workspace itself.
#[async_trait]
pub trait SandboxSession: fmt::Debug + Send + Sync + 'static {
    /// Runs a command to its end, timeout or cancellation. Dropping the future kills it.
    async fn exec(&self, exec: Exec) -> Result<ExecOutput, SandboxError>;

    /// Starts a long-lived command. Its `stdin` is what it reads first; more may follow. Its timeout counts as for `exec`.
    async fn spawn(&self, exec: Exec) -> Result<Box<dyn SandboxProcess>, SandboxError>;

    /// Reads at most `limit` bytes of a file from `offset` on.
    async fn read(&self, path: &str, offset: u64, limit: u64) -> Result<FileContent, SandboxError>;

    /// Replaces a file atomically, with the folders above it. Existing permissions stay.
    async fn write(&self, path: &str, content: Bytes) -> Result<(), SandboxError>;

    /// The entries of a directory by name, at most `limit` of them.
    async fn list(&self, path: &str, limit: usize) -> Result<Listing, SandboxError>;

    /// What is at `path`, if anything is; symbolic links are not followed.
    async fn stat(&self, path: &str) -> Result<Option<Metadata>, SandboxError>;

    /// Removes a file, a link or a directory with all in it. Removing what is absent is fine.
    async fn remove(&self, path: &str) -> Result<(), SandboxError>;

    /// Kills what still runs and gives everything back. `last`: no later attempt of the owner will come. Closing twice
    /// is fine.
    async fn close(&self, last: bool) -> Result<(), SandboxError>;
}

/// A command that runs.
#[async_trait]
pub trait SandboxProcess: fmt::Debug + Send {
    /// Writes to its standard input. Dropping the future before it is done leaves nothing written; after it is done, all is on
    /// its way.
    async fn write(&mut self, bytes: Bytes) -> Result<(), SandboxError>;

    /// Ends its standard input.
    async fn close_stdin(&mut self) -> Result<(), SandboxError>;

    /// The next piece of output; `None` once both outputs have ended. Dropping the future loses nothing.
    async fn output(&mut self) -> Option<OutputChunk>;

    /// How it ended, once it has.
    async fn wait(&mut self) -> Result<ExitStatus, SandboxError>;

    /// Kills it and everything it started.
    async fn kill(&mut self) -> Result<(), SandboxError>;
}

/// What an adapter really enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Enforcement {
    /// What stands between a command and the host.
    pub isolation: Isolation,
    /// Commands cannot read outside the workspace.
    pub filesystem_read: bool,
    /// Commands cannot write outside the workspace.
    pub filesystem_write: bool,
    /// Commands cannot reach the network.
    pub network: bool,
    /// Memory limits hold.
    pub memory: bool,
    /// CPU limits hold.
    pub cpu: bool,
    /// Process count limits hold.
    pub processes: bool,
    /// Time limits hold.
    pub wall_time: bool,
    /// Commands die with the process that opened the session (SB-7).
    pub dies_with_opener: bool,
    /// Earlier attempts are fenced (SB-8).
    pub fencing: bool,
}

/// What stands between a command and the host, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Nothing.
    None,
    /// A process of its own, with the rights of the host's user.
    Process,
    /// Kernel namespaces.
    Namespace,
    /// A WebAssembly runtime.
    Wasm,
    /// A container.
    Container,
    /// A virtual machine.
    MicroVm,
}

/// What commands must not be able to do. [`Policy::UNCONFINED`] asks for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The weakest isolation that will do.
    pub isolation: Isolation,
    /// Reading outside the workspace must be impossible.
    pub deny_read_outside: bool,
    /// Writing outside the workspace must be impossible.
    pub deny_write_outside: bool,
    /// The network must be out of reach.
    pub deny_network: bool,
}

impl Policy {
    /// Commands have the rights of the host's user.
    pub const UNCONFINED: Self = Self {
        isolation: Isolation::None,
        deny_read_outside: false,
        deny_write_outside: false,
        deny_network: false,
    };
}

/// Resources that a command may use. `None`: no limit is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// CPU time.
    pub cpu_time: Option<Duration>,
    /// Processes at once.
    pub processes: Option<u32>,
}

/// Whose session it is, for fencing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The run.
    pub run: RunId,
    /// The attempt that opens the session; a higher one fences the lower ones.
    pub attempt: u32,
}

/// A session to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxSpec {
    /// What must be impossible.
    pub policy: Policy,
    /// The directory to work in.
    pub workspace: PathBuf,
    /// What commands may use.
    pub limits: Limits,
    /// The whole environment of commands.
    pub env: BTreeMap<String, String>,
    /// Whose it is.
    pub owner: Owner,
}

/// How many bytes of each output are kept; the rest is counted and dropped.
pub const MAX_OUTPUT_BYTES: usize = 10 * 1024 * 1024;

/// Shows output as it comes.
pub type OutputSink = Arc<dyn Fn(&OutputChunk) + Send + Sync>;

/// A command to run.
#[derive(Clone)]
pub struct Exec {
    /// Program and arguments. A program without a slash is looked up in the session's `PATH`.
    pub argv: Vec<String>,
    /// Where to run it, relative to the workspace.
    pub cwd: String,
    /// Added to the session's environment.
    pub env: BTreeMap<String, String>,
    /// What it reads.
    pub stdin: Bytes,
    /// How long it may take.
    pub timeout: Duration,
    /// Kills it.
    pub cancel: Latch,
    /// Shows output as it comes. It must not block.
    pub on_output: Option<OutputSink>,
}

impl fmt::Debug for Exec {
    /// The program alone: arguments, environment and input are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec")
            .field("program", &self.argv.first())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A piece of output.
#[derive(Clone, PartialEq, Eq)]
pub struct OutputChunk {
    /// Which output.
    pub stream: OutputStream,
    /// The piece.
    pub bytes: Bytes,
}

impl fmt::Debug for OutputChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "OutputChunk({:?}, {} bytes)",
            self.stream,
            self.bytes.len()
        )
    }
}

/// One of the two outputs of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Captured,
    /// Its standard error.
    pub stderr: Captured,
    /// How long it took.
    pub duration: Duration,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Killed because it took too long.
    TimedOut,
    /// Killed because the caller said so.
    Cancelled,
}

/// An output, as far as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Captured {
    /// At most [`MAX_OUTPUT_BYTES`] from the start.
    pub bytes: Bytes,
    /// How many bytes there were.
    pub total: u64,
}

impl Captured {
    /// Whether some of it was dropped.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.total > self.bytes.len() as u64
    }
}

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Captured({} of {} bytes)", self.bytes.len(), self.total)
    }
}

/// A part of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct FileContent {
    /// The part.
    pub bytes: Bytes,
    /// The size of the whole file.
    pub size: u64,
}

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "FileContent({} of {} bytes)",
            self.bytes.len(),
            self.size
        )
    }
}

/// The entries of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Sorted by name.
    pub entries: Vec<DirEntry>,
    /// Whether there are more than were asked for.
    pub is_cut: bool,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name; what is not UTF-8 is replaced.
    pub name: String,
    /// What it is.
    pub metadata: Metadata,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What sort of thing.
    pub kind: FileKind,
    /// Its size in bytes.
    pub size: u64,
}

/// What sort of thing is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, socket or pipe.
    Other,
}

/// Why a sandbox call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kind {
    /// The adapter cannot enforce the policy or the limits.
    #[error("unsupported")]
    Unsupported,
    /// The sandbox's own means are missing or exhausted.
    #[error("unavailable")]
    Unavailable,
    /// The path leads out of the workspace.
    #[error("outside the workspace")]
    Outside,
    /// There is no such file, directory or program.
    #[error("not found")]
    NotFound,
    /// The path is of another sort than the call needs.
    #[error("wrong file type")]
    WrongType,
    /// The operating system denies it.
    #[error("denied")]
    Denied,
    /// There is no room.
    #[error("no space")]
    NoSpace,
    /// A later attempt of the owner has taken over.
    #[error("fenced")]
    Fenced,
    /// The call is malformed, or the session is closed.
    #[error("rejected")]
    Rejected,
}

impl ErrorKind for Kind {
    fn default_retry(self) -> Retry {
        match self {
            Self::Unavailable | Self::NoSpace => Retry::Backoff,
            Self::Unsupported
            | Self::Outside
            | Self::NotFound
            | Self::WrongType
            | Self::Denied
            | Self::Fenced
            | Self::Rejected => Retry::No,
        }
    }
}

/// Why a sandbox call failed.
pub type SandboxError = PortError<Kind>;
