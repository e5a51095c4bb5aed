//! What is asked, in no provider's words.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_anthropic::{Anthropic, AnthropicConfig};
use seaworthy_openai::{Api, OpenAi, OpenAiConfig};
use seaworthy_ports::model_provider::{Message, ModelProvider, ModelRequest};
use seaworthy_ports::{Latch, Secret};

/// A key like any other: LiteLLM takes this one, the other servers every one.
pub(crate) fn key() -> Secret {
    Secret::new("sk-test-0123456789")
}

pub(crate) fn openai(url: &str, key: &Secret, api: Api) -> Arc<dyn ModelProvider> {
    let config = OpenAiConfig::new(Some(key.clone()))
        .with_api(api)
        .with_base_url(format!("{url}/v1"));
    Arc::new(OpenAi::connect(config).unwrap())
}

pub(crate) fn anthropic(url: &str, key: &Secret) -> Arc<dyn ModelProvider> {
    let config = AnthropicConfig::new(key.clone()).with_base_url(url);
    Arc::new(Anthropic::connect(config).unwrap())
}

pub(crate) fn request(model: &str, text: &str) -> ModelRequest {
    ModelRequest {
        model: model.to_owned(),
        instructions: Arc::from("Be brief."),
        messages: Arc::new(vec![Message::user(text)]),
        tools: Arc::default(),
        output_schema: None,
        max_output_tokens: None,
        parameters: Arc::default(),
        // A machine that does much else answers late.
        idle_timeout: Duration::from_secs(300),
        cancel: Latch::never(),
    }
}
