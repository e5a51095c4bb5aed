//! Google Gemini: `generateContent`, streamed.
//!
//! ```no_run
//! use seaworthy_gemini::{Gemini, GeminiConfig, Thinking};
//! use seaworthy_ports::Secret;
//!
//! let config = GeminiConfig::new(Secret::new("AIza-example")).with_thinking(Thinking::Budget(1024));
//! let model = Gemini::connect(config)?; // no network I/O yet
//! # drop(model);
//! # Ok::<(), seaworthy_ports::model_provider::ModelError>(())
//! ```
//!
//! * **In**: text, images, sound, video, PDF and plain text in line, results of tools. **Out**: text, thoughts, parallel
//!   calls of tools. An output schema becomes `responseJsonSchema`, and the answer is checked against it.
//! * **Signatures** return on the part they came with; a part that is signed is a block of its own for that reason.
//!   Calls of another provider go back without one, which the newest models refuse.
//! * **Calls without an id** get one here, which is not sent; their results are sent in the order of the calls.
//! * **The end**: the format has no terminal frame. An answer is whole once it has a `finishReason`.
//! * **Failures** are told apart by status and details: a quota of the day is no rate limit, and `RetryInfo` says when to
//!   come back. A prompt that is blocked is a failure, an answer that is blocked ends as filtered.
//!
//! * **Vectors** come from `batchEmbedContents`, 100 texts a call.
//!
//! `request` writes what is asked, `answer` reads frames, `error` knows the provider's words for failures; the exchange
//! itself is that of `seaworthy-http`. Nothing in it retries: the core does. No redirect is followed and no proxy is
//! taken from the environment, so the key reaches no other host.

mod answer;
mod config;
mod counting;
mod dialect;
mod directory;
mod error;
mod parameters;
mod request;
mod vectors;

pub use config::{GeminiConfig, Thinking, ThinkingLevel};

/// A model behind Gemini. Clones share their connections.
pub type Gemini = seaworthy_http::Provider<GeminiConfig>;
