//! What goes wrong, said so that it can be mended, and what the process ends with.

use std::io;
use std::process::ExitCode;

use seaworthy::harness::HarnessError;
use seaworthy::log::LogError;
use seaworthy::ports::RunId;
use seaworthy::ports::durable_runtime::RuntimeError;
use seaworthy::ports::state_store::{Kind, StateStoreError};

/// What the process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Succeeded,
    /// The run failed, or its log is faulty.
    Failed,
    /// The command cannot be carried out.
    Usage,
    /// The run waits for a person.
    Waiting,
    /// The run was cancelled.
    Cancelled,
    /// A strict replay does not do what its record says.
    Deviated,
    /// Stopped by this signal.
    Signal(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Succeeded => Self::from(0),
            Exit::Failed => Self::from(1),
            Exit::Usage => Self::from(2),
            Exit::Waiting => Self::from(3),
            Exit::Cancelled => Self::from(4),
            Exit::Deviated => Self::from(5),
            Exit::Signal(signal) => Self::from(128_u8.saturating_add(signal)),
        }
    }
}

/// Why a command cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// What was typed cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// The descriptor is wrong: one line for each fault.
    #[error("{0}")]
    Descriptor(String),
    /// A file or folder cannot be used.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried, with the path.
        doing: String,
        /// Why not.
        source: io::Error,
    },
    /// The store cannot be used.
    #[error("the store {path} cannot be used: {source}\n{advice}")]
    Store {
        /// Where.
        path: String,
        /// Why not.
        source: StateStoreError,
        /// What to do.
        advice: &'static str,
    },
    /// There is no store.
    #[error("there is no store at {0}; `seaworthy run` makes one, or name another with --store")]
    NoStore(String),
    /// The store was made by an older version and may be used by programs of that version.
    #[error(
        "the store {url} has schema version {version}, this program needs {newest}\nstop the workers of older versions, then: seaworthy migrate"
    )]
    OldSchema {
        /// Where.
        url: String,
        /// Its version.
        version: u32,
        /// This program's.
        newest: u32,
    },
    /// A part of the stack cannot be set up.
    #[error("{part} cannot be set up: {why}")]
    Stack {
        /// Which.
        part: &'static str,
        /// Why not.
        why: String,
    },
    /// A failing port keeps a run from going on.
    #[error(
        "run {run} cannot go on here: {why}\nnothing is lost; once that is mended: seaworthy resume {run}"
    )]
    Trouble {
        /// Which run.
        run: RunId,
        /// What fails.
        why: String,
    },
    /// The harness refuses or cannot.
    #[error("{}", explain(.0))]
    Harness(#[from] HarnessError),
    /// A server of the Model Context Protocol cannot be used, or refuses.
    #[error("{0}")]
    Server(String),
    /// Standard output is closed.
    #[error("standard output is closed")]
    OutputClosed,
}

impl From<LogError> for CliError {
    fn from(error: LogError) -> Self {
        Self::Harness(error.into())
    }
}

impl From<RuntimeError> for CliError {
    fn from(error: RuntimeError) -> Self {
        Self::Harness(error.into())
    }
}

impl CliError {
    /// What the process ends with.
    pub(crate) const fn exit(&self) -> Exit {
        match self {
            Self::Server(_) => Exit::Failed,
            _ => Exit::Usage,
        }
    }

    /// A stable name for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::Descriptor(_) => "descriptor",
            Self::Io { .. } => "io",
            Self::Store { .. } | Self::NoStore(_) | Self::OldSchema { .. } => "store",
            Self::Stack { .. } => "stack",
            Self::Trouble { .. } => "trouble",
            Self::Server(_) => "server",
            Self::OutputClosed => "output_closed",
            Self::Harness(error) => match error {
                HarnessError::UnknownRun(_) => "unknown_run",
                HarnessError::UnknownCall { .. } => "unknown_call",
                HarnessError::Mismatch { .. } => "mismatch",
                HarnessError::WrongStatus { .. } => "wrong_status",
                HarnessError::Answered(_) => "answered",
                HarnessError::Contended(_) => "contended",
                HarnessError::File(_) => "file",
                HarnessError::Reply(_) => "reply",
                HarnessError::Id(_) => "id",
                HarnessError::Replay(_) => "replay",
                HarnessError::Log(LogError::Record { .. } | LogError::Fold { .. }) => "corrupt",
                HarnessError::Log(_) => "store",
                HarnessError::Runtime(_) => "runtime",
            },
        }
    }

    /// A file or folder that cannot be used.
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io {
            doing: doing.into(),
            source,
        }
    }
}

/// The harness's words, with what to do where it does not know this program's commands.
fn explain(error: &HarnessError) -> String {
    match error {
        HarnessError::UnknownCall {
            what: "approval", ..
        } => {
            format!("{error}; `seaworthy approvals` lists those that are open")
        }
        HarnessError::UnknownCall {
            what: "question of call",
            ..
        } => {
            format!("{error}; `seaworthy questions` lists those that are open")
        }
        HarnessError::UnknownCall { .. } => {
            format!("{error}; `seaworthy show RUN` lists a run's calls")
        }
        HarnessError::Log(LogError::Record { run, .. } | LogError::Fold { run, .. }) => {
            format!(
                "{error}\n`seaworthy verify {run}` says more; other runs of the store are not affected"
            )
        }
        HarnessError::Log(LogError::Store(store)) if store.kind() == Kind::Unavailable => {
            format!(
                "{error}\nonce that is mended, repeat the command: nothing is lost and nothing happens twice"
            )
        }
        _ => error.to_string(),
    }
}
