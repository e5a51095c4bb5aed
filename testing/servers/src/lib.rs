//! Nothing but tests: adapters on servers that nobody here wrote, which `cargo xtask services` starts.
//!
//! `tests/aimock.rs` is about formats: one server speaks those of four providers and answers as `aimock.json` says.
//! `tests/litellm.rs` asks the same of a proxy that translates them, which is started only on request.
//! `tests/small_model.rs` asks a real model behind llama.cpp; what it says is not looked at, only its shape.
//! `tests/phoenix.rs` sends spans to a backend of OpenTelemetry and reads them back; it, too, is started only on request.
//! `tests/mcp.rs` talks to the reference servers of the Model Context Protocol, over both transports.
