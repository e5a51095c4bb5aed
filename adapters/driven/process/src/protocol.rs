//! What worker and supervisor say to each other over a socket pair, which is the supervisor's standard input.
//!
//! The command never holds an end of it, and a socket cannot be opened through `/proc`, so no output of a command can
//! pass for a report. The worker closing its side, by intention or by dying, means: end everything.
//!
//! Each message is a tag, a length (`u32`, little endian) and that many bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Raised with every change that an older supervisor would misread.
pub(crate) const VERSION: u32 = 1;

/// Tag and length.
pub(crate) const HEADER: usize = 5;

/// Larger jobs are refused. The kernel takes far less for arguments and environment.
pub(crate) const MAX_JOB: usize = 16 * 1024 * 1024;

/// Larger reports are a mistake.
pub(crate) const MAX_REPORT: usize = 4096;

/// How much standard input travels in one message.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Worker to supervisor: what to run. First and once.
pub(crate) const JOB: u8 = b'J';
/// Worker to supervisor: standard input.
pub(crate) const INPUT: u8 = b'I';
/// Worker to supervisor: standard input ends.
pub(crate) const INPUT_END: u8 = b'E';
/// Supervisor to worker: a [`Report`].
pub(crate) const REPORT: u8 = b'R';

/// What to run. The working directory is the supervisor's own.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) version: u32,
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    /// Whether standard input will come; otherwise it is empty.
    pub(crate) input: bool,
    pub(crate) fence: Fence,
}

/// Whose command it is. See [`crate::fence`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fence {
    /// Absolute, without the last extension: `<state>/<run>`.
    pub(crate) stem: PathBuf,
    pub(crate) attempt: u32,
}

/// What became of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// It runs. The only report that another one follows.
    Started,
    /// It ended by itself and nothing of it is left.
    Code(i32),
    /// It was ended by this signal, not by the supervisor, and nothing of it is left.
    Signal(i32),
    /// The worker asked for its end; nothing of it is left.
    Killed,
    /// A later attempt has the run; nothing is left of the command if it ever started.
    Fenced { started: bool },
    /// There is no such program, or no `PATH` to find it in.
    NoProgram { path: bool },
    /// It did not start.
    Failed { step: Step, errno: i32 },
    /// The supervisor is of another release.
    Version(u32),
}

/// Where a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// Taking charge of what the command will start.
    Adopt,
    /// Looking at the fence.
    Fence,
    /// Running the program.
    Run,
    /// Watching it.
    Watch,
}

/// The header of a message of `length` bytes.
pub(crate) fn header(tag: u8, length: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    [tag, a, b, c, d]
}

/// Tag and length of a message.
pub(crate) fn parse(header: [u8; HEADER]) -> (u8, usize) {
    let [tag, a, b, c, d] = header;
    (tag, u32::from_le_bytes([a, b, c, d]) as usize)
}
