//! The Responses API, without anything kept at the provider: reasoning returns encrypted with the conversation.

mod answer;
mod request;

pub(crate) use answer::Answer;
pub(crate) use request::body;

/// The adapter's id where it speaks this, in every error and opaque item: its items are not those of Chat Completions.
pub(crate) const ADAPTER: &str = "openai-responses";
