//! Durable agents for clients of the Model Context Protocol.
//!
//! [`AgentServer`] shows agents as tools, their runs as resources and their instructions as prompts. [`serve_stdio`] and
//! [`http::HttpServer`] speak the protocol, its parsing and its lifecycle being `rmcp`'s. A run belongs to the store, not to a
//! client: no client, connection or server process holds one, so each may go away at any time, and a run is found again by
//! its id. Runs are advanced by workers; this crate has none.

mod agents;
mod arguments;
mod failure;
pub mod http;
mod progress;
mod prompts;
mod report;
mod resources;
mod server;
mod stdio;
mod tools;
mod wait;

pub use agents::{InvalidAgents, ServedAgent};
pub use server::{AgentServer, ServerSettings};
pub use stdio::{MAX_LINE_BYTES, MAX_UNANSWERED, StdioError, serve_stdio};
