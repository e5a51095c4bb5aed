//! The domain of Seaworthy: what a run is, and how it goes on after any crash.
//!
//! *Safety comes from the log. Liveness comes from the runtime. Everything between them is retried until it agrees with
//! the log.* A run's [`state`] is a fold over its [`event`]s; the [`machine`] says what comes next; the [`driver`] does it
//! through ports and puts it on [`record`]. This crate has no clock, no I/O, no randomness and no threads of its own.

pub mod agent;
pub mod canonical_json;
pub mod compare;
pub mod context;
pub mod descriptor;
pub mod driver;
pub mod event;
pub mod files;
pub mod gateway;
pub mod harness;
pub mod history;
mod limits;
pub mod live;
pub mod log;
pub mod machine;
mod millis;
pub mod output;
mod parameters;
pub mod record;
pub mod replay;
pub mod retry;
pub mod servers;
mod session;
pub mod signal;
pub mod stack;
pub mod state;
pub mod tool;
pub mod trace;

pub use harness::{Harness, Start};
pub use stack::{Model, Models, NoMcp, NoModel, NoSecrets, Ports, Secrets};
