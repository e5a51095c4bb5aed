//! OpenAI, and every endpoint compatible with it: Chat Completions and Responses.
//!
//! ```no_run
//! use seaworthy_openai::{OpenAi, OpenAiConfig};
//! use seaworthy_ports::Secret;
//!
//! let config = OpenAiConfig::new(Some(Secret::new("sk-example")));
//! let model = OpenAi::connect(config)?; // no network I/O yet
//! # drop(model);
//! let local = OpenAi::connect(OpenAiConfig::new(None).with_base_url("http://127.0.0.1:8080/v1"))?;
//! # drop(local);
//! # Ok::<(), seaworthy_ports::model_provider::ModelError>(())
//! ```
//!
//! * **Chat Completions** takes no reasoning back; what compatible servers want back with a call returns.
//! * **Responses** ([`Api::Responses`]) is asked to keep nothing (`store: false`). Reasoning comes encrypted, as a whole
//!   item, and returns unchanged in its place; so does what else comes with a message or a call. Items of the one interface
//!   never reach the other: they have different ids, `openai` and `openai-responses`.
//!
//! * **Vectors** come from `/embeddings`, 256 texts a call. **Scores** come from a `/rerank` as Cohere's, where
//!   [`with_rerank_base_url`](OpenAiConfig::with_rerank_base_url) names one; without it they are not declared.
//!
//! `chat` and `responses` each write what is asked (`request`) and read what comes (`answer`), `error` knows the words for
//! failures; the exchange itself is that of `seaworthy-http`. Nothing in it retries: the core does.
//!
//! Only `http://` and `https://` as configured is spoken: no redirect is followed and no proxy is taken from the
//! environment, so the key reaches no other host. Certificates are checked by the platform's own rules.

mod chat;
mod config;
mod dialect;
mod directory;
mod error;
mod parameters;
mod responses;
mod vectors;

pub use config::{Api, OpenAiConfig};
pub use seaworthy_ports::model_provider::Effort;

/// A model behind an OpenAI-compatible endpoint. Clones share their connections.
pub type OpenAi = seaworthy_http::Provider<OpenAiConfig>;
