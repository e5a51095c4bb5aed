//! Anthropic Messages, streamed.
//!
//! ```no_run
//! use seaworthy_anthropic::{Anthropic, AnthropicConfig, Cache, Thinking};
//! use seaworthy_ports::Secret;
//!
//! let config = AnthropicConfig::new(Secret::new("sk-ant-example"))
//!     .with_thinking(Thinking::Adaptive)
//!     .with_cache(Cache::OneHour);
//! let model = Anthropic::connect(config)?; // no network I/O yet
//! # drop(model);
//! # Ok::<(), seaworthy_ports::model_provider::ModelError>(())
//! ```
//!
//! * **In**: text, images (PNG, JPEG, GIF, WebP), PDF documents, results of tools. **Out**: text, thinking,
//!   parallel calls of tools. An output schema becomes `output_config.format`, and the answer is checked against it.
//! * **Thinking** returns as it came, with its signature or in its redacted form; thinking of other providers does not.
//! * **Prompt cache**: unless switched off, the end of the instructions and the end of the conversation are marked, so
//!   that each turn reads what the turn before has written. [`Usage`](seaworthy_ports::model_provider::Usage) counts both.
//! * **Failures** after status 200 are errors; `overloaded_error` is what its status 529 would be. A stream without
//!   `message_stop` was interrupted.
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

pub use config::{AnthropicConfig, Cache, Thinking};

/// A model behind Anthropic Messages. Clones share their connections.
pub type Anthropic = seaworthy_http::Provider<AnthropicConfig>;
