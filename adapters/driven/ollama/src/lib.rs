//! Ollama: its own chat, streamed as lines of JSON.
//!
//! ```no_run
//! use seaworthy_ollama::{Ollama, OllamaConfig};
//!
//! let config = OllamaConfig::new().with_context_tokens(32_768);
//! let model = Ollama::connect(config)?; // no network I/O yet
//! # drop(model);
//! # Ok::<(), seaworthy_ports::model_provider::ModelError>(())
//! ```
//!
//! * **In**: text, images, results of tools. **Out**: text, thinking, calls of tools. An output schema becomes `format`,
//!   and the answer is checked against it.
//! * **The context** of a model is what the server was told when it loaded it, or
//!   [`with_context_tokens`](OllamaConfig::with_context_tokens): the server silently drops the beginning of a longer
//!   conversation, which no client can see.
//! * **Calls** come whole and without ids. They get one here, which is not sent; results are sent in the order of the calls.
//! * **Thinking** that an older model writes into its answer between `<think>` and `</think>` is told apart from it.
//! * **The end**: a stream without a record that is `done` was interrupted. A record with an `error` is one.
//!
//! * **Vectors** come from `/api/embed`, 256 texts a call. A text longer than the model takes fails the call instead of being
//!   cut.
//!
//! `request` writes what is asked, `answer` reads records; the exchange itself is that of `seaworthy-http`. Nothing in it
//! retries: the core does. No redirect is followed and no proxy is taken from the environment.

mod answer;
mod config;
mod dialect;
mod directory;
mod error;
mod parameters;
mod request;
mod think;
mod vectors;

pub use config::OllamaConfig;

/// A model behind an Ollama server. Clones share their connections.
pub type Ollama = seaworthy_http::Provider<OllamaConfig>;
