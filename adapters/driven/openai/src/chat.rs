//! Chat Completions: what OpenAI began with, and what every compatible endpoint speaks.

mod answer;
mod request;
mod wire;

pub(crate) use answer::Answer;
pub(crate) use request::body;

/// The adapter's id where it speaks this, in every error and opaque item.
pub(crate) const ADAPTER: &str = "openai";
