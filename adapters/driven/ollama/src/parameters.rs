//! The parameters of a request that the server has in another form, or not at all.

use seaworthy_http::failure::refused;
use seaworthy_ports::model_provider::{
    Effort, Kind, ModelError, ModelRequest, Parameters, PromptCache, ToolChoice,
};
use serde::Serialize;

use crate::config::OllamaConfig;
use crate::error::ADAPTER;

/// Whether the model thinks, or how much.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
pub(crate) enum Think {
    Whether(bool),
    HowMuch(&'static str),
}

fn cannot(why: &'static str) -> ModelError {
    refused(ADAPTER, Kind::Unsupported, "stream", why)
}

/// # Errors
///
/// There are parameters that the server has no way to be asked for.
pub(crate) fn only_what_there_is(request: &ModelRequest) -> Result<(), ModelError> {
    let parameters = &request.parameters;
    if let Some(ToolChoice::Required | ToolChoice::Tool(_)) = parameters.tool_choice {
        return Err(cannot(
            "the server cannot make a model call tools, which the parameter `tool_choice` wants",
        ));
    }
    if parameters.parallel_tool_calls == Some(false) && !request.tools.is_empty() {
        return Err(cannot(
            "the server cannot keep a model from parallel calls, which the parameter `parallel_tool_calls` wants",
        ));
    }
    match parameters.cache {
        Some(PromptCache::Off) => Err(cannot(
            "the server cannot be kept from caching, which the parameter `cache` wants",
        )),
        Some(PromptCache::Long) => Err(cannot("the server has no `long` of the parameter `cache`")),
        // It does so unasked.
        Some(PromptCache::Short) | None => Ok(()),
    }
}

/// Whether the model is told of its tools: what it does not know it does not call.
pub(crate) fn tells_of_tools(parameters: &Parameters) -> bool {
    parameters.tool_choice != Some(ToolChoice::None)
}

/// # Errors
///
/// The server has no such effort.
pub(crate) fn think(
    parameters: &Parameters,
    config: &OllamaConfig,
) -> Result<Option<Think>, ModelError> {
    Ok(match parameters.reasoning {
        None => config.think.map(Think::Whether),
        Some(Effort::None) => Some(Think::Whether(false)),
        Some(effort @ (Effort::Low | Effort::Medium | Effort::High)) => {
            Some(Think::HowMuch(effort.as_str()))
        }
        Some(Effort::Minimal | Effort::XHigh | Effort::Max) => {
            return Err(cannot(
                "the server takes `none`, `low`, `medium` and `high` of the parameter `reasoning`",
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use seaworthy_ports::model_provider::{Message, ToolSpec};
    use seaworthy_ports::{Latch, ToolName};
    use serde_json::{Value, json};

    use super::*;
    use crate::request::body;

    fn request(parameters: Parameters) -> ModelRequest {
        ModelRequest {
            model: "small".to_owned(),
            instructions: Arc::from(""),
            messages: Arc::new(vec![Message::user("go")]),
            tools: Arc::new(vec![ToolSpec {
                name: ToolName::new("read").unwrap(),
                description: "Reads.".to_owned(),
                input_schema: json!({"type": "object"}),
            }]),
            output_schema: None,
            max_output_tokens: None,
            parameters: Arc::new(parameters),
            idle_timeout: Duration::from_secs(1),
            cancel: Latch::never(),
        }
    }

    fn written(parameters: Parameters) -> Result<Value, Kind> {
        let config = OllamaConfig::new().with_context_tokens(4096);
        let body = body(&request(parameters), &config).map_err(|error| error.kind())?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    fn nothing() -> Parameters {
        Parameters::default()
    }

    #[test]
    fn parameters_are_written_among_the_options() {
        let parameters = Parameters {
            cache: Some(PromptCache::Short),
            parallel_tool_calls: Some(true),
            reasoning: Some(Effort::High),
            seed: Some(7),
            stop: vec!["END".to_owned()],
            temperature: Some(1.5),
            tool_choice: Some(ToolChoice::Auto),
            top_p: Some(0.5),
        };
        let now = written(parameters).unwrap();
        assert_eq!(
            now["options"],
            json!({"num_ctx": 4096, "temperature": 1.5, "top_p": 0.5, "seed": 7, "stop": ["END"]})
        );
        assert_eq!(now["think"], json!("high"));
        assert_eq!(now["tools"][0]["function"]["name"], json!("read"));
        let parameters = Parameters {
            reasoning: Some(Effort::None),
            ..nothing()
        };
        assert_eq!(written(parameters).unwrap()["think"], json!(false));
    }

    #[test]
    fn a_model_that_must_call_none_is_told_of_none() {
        let parameters = Parameters {
            tool_choice: Some(ToolChoice::None),
            ..nothing()
        };
        assert_eq!(written(parameters).unwrap().get("tools"), None);
    }

    #[test]
    fn what_the_server_does_not_take_is_refused() {
        for parameters in [
            Parameters {
                tool_choice: Some(ToolChoice::Required),
                ..nothing()
            },
            Parameters {
                tool_choice: ToolName::new("read").ok().map(ToolChoice::Tool),
                ..nothing()
            },
            Parameters {
                parallel_tool_calls: Some(false),
                ..nothing()
            },
            Parameters {
                reasoning: Some(Effort::Max),
                ..nothing()
            },
            Parameters {
                cache: Some(PromptCache::Off),
                ..nothing()
            },
        ] {
            assert_eq!(
                written(parameters.clone()).err(),
                Some(Kind::Unsupported),
                "{parameters:?}"
            );
        }
    }
}
