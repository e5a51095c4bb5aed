//! Nothing but tests: adapters on servers that nobody here wrote, which `cargo xtask services` starts, and what tests of
//! other crates need to be tried by others' tools.
//!
//! `tests/aimock.rs` is about formats: one server speaks those of four providers and answers as `aimock.json` says.
//! `tests/litellm.rs` asks the same of a proxy that translates them, which is started only on request.
//! `tests/small_model.rs` asks a real model behind llama.cpp; what it says is not looked at, only its shape.
//! `tests/phoenix.rs` sends spans to a backend of OpenTelemetry and reads them back; it, too, is started only on request.
//! `tests/mcp.rs` talks to the reference servers of the Model Context Protocol, over both transports.
//! `tests/mcp_conformance.rs` has the protocol's public suite try the client; the program's tests have it try the server.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails its test")]

pub mod conformance;
mod tools;

pub use tools::Tools;
