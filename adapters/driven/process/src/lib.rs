//! A sandbox of plain operating-system processes: bounded and supervised, not isolated. Linux only.
//!
//! A command has the rights of the user who runs the worker, and [`capabilities`](ProcessSandbox) says so. What this
//! adapter does enforce: the environment is clean, time and output are bounded, file operations stay in the workspace,
//! and no command outlives its call, its worker or its attempt.
//!
//! Between worker and command stands a *supervisor*, a small process that adopts whatever the command starts and ends
//! all of it when the command ends, when the worker dies, or when a later attempt of the run asks it to. It is the
//! worker's own program, started again, so the first thing that program does must be [`supervise_if_asked`]:
//!
//! ```no_run
//! # use seaworthy_process::{ProcessConfig, ProcessSandbox, Supervisor};
//! fn main() {
//!     seaworthy_process::supervise_if_asked();
//!     // … the rest of the program
//! }
//!
//! # async fn open() -> Result<(), seaworthy_ports::sandbox::SandboxError> {
//! let config = ProcessConfig::new("/var/lib/worker/sandbox", Supervisor::this_program()?);
//! let sandbox = ProcessSandbox::connect(config).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A program that cannot do that names the `seaworthy-supervisor` binary with [`Supervisor::at`].
//!
//! All workers of one host that may take runs over from each other must share the state directory: it holds the
//! fences. It must be on a local file system that no command can write to by accident, and outside of workspaces. The
//! last `close` of a run removes its fence. What other runs leave is removed by an `open`, of any run and at most once a
//! day, when they have had no open session and no command for a week.
#![cfg(target_os = "linux")]

mod command;
mod config;
mod error;
mod exec;
mod fence;
mod files;
mod leftovers;
mod process;
mod protocol;
mod sandbox;
mod session;
mod supervisor;

pub use config::{ProcessConfig, Supervisor};
pub use sandbox::ProcessSandbox;
pub use supervisor::supervise_if_asked;
