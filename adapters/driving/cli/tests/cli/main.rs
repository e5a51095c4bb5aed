//! The program from end to end: each test runs the real binary in a folder of its own.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what fails in a helper fails its test"
)]

mod answers;
mod asking;
mod asking_crash;
mod asking_tasks;
mod at_terminal;
mod attached;
mod bad_input;
mod chat;
#[cfg(feature = "conform")]
mod conform;
mod crash;
mod decisions;
mod desk;
mod login;
mod mcp_conformance;
mod mcp_inspector;
mod mcp_serve;
mod models;
mod observed;
mod on_postgres;
#[cfg(feature = "restate")]
mod on_restate;
mod outcome;
mod reference_servers;
mod replay;
mod servers;
mod small_model;
mod stateless;
mod support;
mod tasks;
mod tasks_of_rmcp;
mod workers;
