//! The models of an endpoint: `/models`.
//!
//! OpenAI says nothing of a model but its name. What compatible endpoints say besides is read where several say it alike
//! enough: OpenRouter, Groq, vLLM and llama.cpp do.

use reqwest::Url;
use seaworthy_http::client::Connection;
use seaworthy_http::directory::{Asked, Listed, Listing};
use seaworthy_ports::model_provider::{ListedModel, ModelCapabilities, ModelError};
use serde::Deserialize;

use crate::config::OpenAiConfig;

#[derive(Deserialize)]
struct List {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    /// OpenRouter.
    context_length: Option<u64>,
    /// Groq.
    context_window: Option<u64>,
    /// vLLM.
    max_model_len: Option<u64>,
    /// llama.cpp.
    meta: Option<Meta>,
    /// Groq.
    max_completion_tokens: Option<u64>,
    /// OpenRouter, and the next two.
    top_provider: Option<Top>,
    supported_parameters: Option<Vec<String>>,
    architecture: Option<Architecture>,
}

#[derive(Deserialize)]
struct Meta {
    /// What the server was started for,
    n_ctx: Option<u64>,
    /// which is at most what the model was made for.
    n_ctx_train: Option<u64>,
}

#[derive(Deserialize)]
struct Top {
    max_completion_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Architecture {
    input_modalities: Option<Vec<String>>,
}

impl From<Entry> for ListedModel {
    fn from(entry: Entry) -> Self {
        let said = [
            entry.supported_parameters.as_deref().map(|words| {
                let tools = has(words, "tools");
                let schema = has(words, "structured_outputs");
                let mut can = ModelCapabilities::NONE;
                can.tool_use = tools;
                can.structured_output = schema;
                (
                    can,
                    ModelCapabilities::NONE
                        .with_tool_use()
                        .with_structured_output(),
                )
            }),
            entry
                .architecture
                .and_then(|architecture| architecture.input_modalities)
                .map(|words| {
                    let mut can = ModelCapabilities::NONE;
                    can.vision_input = has(&words, "image");
                    can.audio_input = has(&words, "audio");
                    can.file_input = has(&words, "file");
                    let about = ModelCapabilities::NONE
                        .with_vision_input()
                        .with_audio_input()
                        .with_file_input();
                    (can, about)
                }),
        ];
        let mut model = Self {
            id: entry.id,
            context_tokens: entry
                .context_length
                .or(entry.context_window)
                .or(entry.max_model_len)
                .or_else(|| entry.meta.and_then(|meta| meta.n_ctx.or(meta.n_ctx_train))),
            max_output_tokens: entry
                .max_completion_tokens
                .or_else(|| entry.top_provider.and_then(|top| top.max_completion_tokens)),
            ..Self::default()
        };
        for (can, about) in said.into_iter().flatten() {
            model.say(can, about);
        }
        model
    }
}

fn has(words: &[String], wanted: &str) -> bool {
    words.iter().any(|word| word == wanted)
}

impl Listing for OpenAiConfig {
    fn page(&self, connection: &Connection, _after: Option<&str>, _limit: u32) -> Url {
        connection.url(&["models"])
    }

    fn read_page(&self, body: &[u8]) -> Option<Listed> {
        let list: List = serde_json::from_slice(body).ok()?;
        Some(Listed::All(list.data.into_iter().map(Into::into).collect()))
    }

    /// Many compatible endpoints have no address for one model, and nobody says more of it there.
    fn one(&self, _connection: &Connection, _model: &str) -> Result<Option<Asked>, ModelError> {
        Ok(None)
    }

    fn read_one(&self, _model: &str, _body: &[u8]) -> Option<ListedModel> {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(entry: Value) -> ListedModel {
        serde_json::from_value::<Entry>(entry).unwrap().into()
    }

    #[test]
    fn what_is_not_said_is_unknown() {
        let said =
            read(json!({"id": "gpt-5", "object": "model", "created": 1, "owned_by": "openai"}));
        let expected = ListedModel {
            id: "gpt-5".to_owned(),
            ..ListedModel::default()
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn compatible_endpoints_say_more() {
        let router = read(json!({
            "id": "a/b", "context_length": 1000, "top_provider": {"max_completion_tokens": 100},
            "supported_parameters": ["tools", "seed"],
            "architecture": {"input_modalities": ["text", "image"]},
        }));
        assert_eq!(
            (router.context_tokens, router.max_output_tokens),
            (Some(1000), Some(100))
        );
        assert_eq!(router.can.names(), ["tool_use", "vision_input"]);
        assert_eq!(
            router.cannot.names(),
            ["structured_output", "audio_input", "file_input"]
        );
        let llama = read(json!({"id": "small", "meta": {"n_ctx": 2048, "n_ctx_train": 8192}}));
        assert_eq!(llama.context_tokens, Some(2048));
        let vllm = read(json!({"id": "big", "max_model_len": 32768}));
        assert_eq!(vllm.context_tokens, Some(32768));
    }
}
