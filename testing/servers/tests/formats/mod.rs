//! What is asked in each of four formats, and what must come of it, whichever server is behind them.

use std::sync::Arc;

use seaworthy_gemini::{Gemini, GeminiConfig};
use seaworthy_openai::Api;
use seaworthy_ports::model_provider::{
    Block, FinishReason, Message, ModelProvider, ModelProviderExt as _, ModelRequest, Role,
    ToolCallBlock, ToolResultBlock, ToolSpec,
};
use seaworthy_ports::{Secret, ToolName};
use serde_json::json;

use crate::asking::{anthropic, openai, request};

/// A model of a server, and a provider that asks for it.
pub(crate) type Format = (&'static str, Arc<dyn ModelProvider>);

/// Chat Completions, Responses, Messages and `generateContent`, each with a model that the server takes for one of it.
pub(crate) fn formats(url: &str, key: &Secret, models: [&'static str; 4]) -> [Format; 4] {
    let [chat, responses, messages, generate] = models;
    let gemini = GeminiConfig::new(key.clone()).with_base_url(format!("{url}/v1beta"));
    [
        (chat, openai(url, key, Api::ChatCompletions)),
        (responses, openai(url, key, Api::Responses)),
        (messages, anthropic(url, key)),
        (generate, Arc::new(Gemini::connect(gemini).unwrap())),
    ]
}

/// How a format is told apart in a failed test.
pub(crate) fn name(provider: &dyn ModelProvider) -> &'static str {
    provider.info().id
}

fn asked(model: &str, messages: Vec<Message>) -> ModelRequest {
    let weather = ToolSpec {
        name: ToolName::new("get_weather").unwrap(),
        description: "The weather.".to_owned(),
        input_schema: json!({"type": "object", "properties": {"city": {"type": "string"}}}),
    };
    ModelRequest {
        messages: Arc::new(messages),
        tools: Arc::new(vec![weather]),
        ..request(model, "")
    }
}

pub(crate) async fn text_is_streamed_whole(formats: [Format; 4]) {
    for (model, provider) in formats {
        let format = name(&*provider);
        let reply = provider
            .complete(request(model, "say hello"))
            .await
            .unwrap();
        let expected = "Hello, Grüße 🦀, from a server that others wrote.";
        assert_eq!(reply.message.text(), expected, "{format}");
        assert_eq!(reply.finish.reason, FinishReason::Stop, "{format}");
    }
}

/// `wants_them_made`: whether the server says in the words of each format that calls are to be made.
pub(crate) async fn calls_are_made_and_their_results_are_taken(
    formats: [Format; 4],
    wants_them_made: impl Fn(&str) -> bool,
) {
    for (model, provider) in formats {
        let format = name(&*provider);
        let ask = Message::user("weather please");
        let reply = provider
            .complete(asked(model, vec![ask.clone()]))
            .await
            .unwrap();
        let calls: Vec<_> = reply.message.tool_calls().collect();
        let arguments: Vec<_> = calls.iter().map(|call| call.parsed().unwrap()).collect();
        let cities = [json!({"city": "Zürich"}), json!({"city": "Oslo"})];
        assert_eq!(arguments, cities, "{format}");
        let raw = reply.finish.raw_reason.as_deref().unwrap_or_default();
        let wanted = reply.finish.reason == FinishReason::ToolCalls;
        assert!(wanted || !wants_them_made(raw), "{format}: {raw:?}");
        let result = |call: &&ToolCallBlock| {
            Block::ToolResult(ToolResultBlock {
                id: call.id.clone(),
                name: call.name.clone(),
                content: "sunny".to_owned(),
                is_error: false,
                media: Vec::new(),
            })
        };
        let results = Message {
            role: Role::User,
            blocks: calls.iter().map(result).collect(),
        };
        let messages = vec![ask, reply.message.clone(), results];
        let last = provider.complete(asked(model, messages)).await.unwrap();
        assert_eq!(last.message.text(), "It is sunny in both.", "{format}");
        assert_eq!(last.finish.reason, FinishReason::Stop, "{format}");
    }
}
