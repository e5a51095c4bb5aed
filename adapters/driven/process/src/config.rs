//! What the adapter has to be told.

use std::path::{Path, PathBuf};

use seaworthy_ports::sandbox::{Kind, SandboxError};

use crate::error;
use crate::supervisor;

/// How many commands of one session run at once unless [`ProcessConfig::with_max_commands`] says otherwise.
const MAX_COMMANDS: usize = 64;

/// The settings of a [`ProcessSandbox`](crate::ProcessSandbox).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProcessConfig {
    /// Where fences are kept: one small file and folder for each run that has not ended, or that ended while no session
    /// of it was open, for up to a week.
    pub state_dir: PathBuf,
    /// The program that supervises commands.
    pub supervisor: Supervisor,
    /// How many commands of one session run at once; more wait, each as long as it might take. From one to 65536.
    pub max_commands: usize,
}

impl ProcessConfig {
    /// Fences in `state_dir`, which is created when missing and which all workers of the host share.
    pub fn new(state_dir: impl Into<PathBuf>, supervisor: Supervisor) -> Self {
        Self {
            state_dir: state_dir.into(),
            supervisor,
            max_commands: MAX_COMMANDS,
        }
    }

    /// The same settings with another bound on the commands of one session.
    #[must_use]
    pub fn with_max_commands(mut self, max_commands: usize) -> Self {
        self.max_commands = max_commands;
        self
    }
}

/// The program that supervises commands.
#[derive(Clone, Debug)]
pub struct Supervisor(PathBuf);

impl Supervisor {
    /// The running program, started again.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`] if [`supervise_if_asked`](crate::supervise_if_asked) was not called in this process: the
    /// program started again would not know what is wanted of it.
    pub fn this_program() -> Result<Self, SandboxError> {
        if supervisor::is_hooked() {
            // Not the path it was started by: that may have been replaced or deleted since.
            Ok(Self("/proc/self/exe".into()))
        } else {
            Err(error::new(
                Kind::Unavailable,
                "connect",
                "this program cannot supervise commands: call seaworthy_process::supervise_if_asked() \
                 first thing in its main, or name the seaworthy-supervisor binary with Supervisor::at",
            ))
        }
    }

    /// The program at `path`: `seaworthy-supervisor`, or another one that calls
    /// [`supervise_if_asked`](crate::supervise_if_asked) first. It must come from the same release.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}
