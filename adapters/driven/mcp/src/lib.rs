//! Servers of the Model Context Protocol: processes that speak it on standard input and output, and addresses that speak
//! it over streamable HTTP.
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use std::time::Duration;
//!
//! use seaworthy_mcp::{McpClient, McpConfig};
//! use seaworthy_ports::mcp::{Beginning, Mcp as _, McpError, McpServer, StdioCommand, Transport};
//! use seaworthy_ports::{Secret, ServerAlias};
//!
//! async fn tools(alias: ServerAlias) -> Result<(), McpError> {
//!     let mcp = McpClient::new(McpConfig::default());
//!     let server = McpServer {
//!         alias,
//!         transport: Transport::Stdio(StdioCommand {
//!             argv: vec!["/usr/bin/notes-server".to_owned()],
//!             cwd: "/srv/notes".into(),
//!             env: BTreeMap::from([("NOTES_TOKEN".to_owned(), Secret::new("…"))]),
//!             sandbox: None,
//!         }),
//!         connect_timeout: Duration::from_secs(30),
//!         request_timeout: Duration::from_secs(30),
//!         host: None,
//!         roots: Vec::new(),
//!         log: None,
//!         beginning: Beginning::default(),
//!     };
//!     let session = mcp.connect(server).await?;
//!     for tool in session.tools().await?.iter() {
//!         println!("{}: {}", tool.name, tool.description);
//!     }
//!     session.close().await
//! }
//! ```
//!
//! The shapes of messages are those of the `rmcp` crate; the connection is this crate's own, because every byte that a
//! server sends is bounded before it is kept, no word of it may reach a log, and a call must be known to have been sent
//! or not (decision 0021).
//!
//! Futures of this crate need a Tokio runtime with time and I/O. What a server's process writes to its standard error is
//! dropped; a server that has something to say says it in an answer.

mod answers;
mod client;
mod completion;
mod config;
mod connection;
mod error;
mod frame;
mod handshake;
mod headers;
mod http;
mod inbox;
mod lists;
mod logs;
mod loopback;
mod modern;
mod oauth;
mod questions;
mod roots;
mod rounds;
#[cfg(unix)]
mod sandboxed;
mod schema;
mod session;
mod sse;
#[cfg(unix)]
mod stdio;
mod subscription;
mod tasks;
mod tokens;

pub use client::McpClient;
pub use config::McpConfig;
pub use loopback::Loopback;
pub use tokens::{FileTokens, TokenFolder};
