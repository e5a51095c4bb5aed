//! OpenAI Chat Completions and every endpoint compatible with it.
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
//! `request` writes what is asked, `wire` gives frames their shape, `answer` reads them; the exchange itself is that of
//! `seaworthy-http`. Nothing in it retries: the core does.
//!
//! Only `http://` and `https://` as configured is spoken: no redirect is followed and no proxy is taken from the
//! environment, so the key reaches no other host. Certificates are checked by the platform's own rules.

mod answer;
mod client;
mod config;
mod error;
mod request;
mod wire;

pub use client::OpenAi;
pub use config::OpenAiConfig;
