//! The parameters of a request that the provider has in another form, or not at all.

use seaworthy_http::failure::refused;
use seaworthy_ports::model_provider::{
    Effort, Kind, ModelError, ModelRequest, Parameters, PromptCache, ToolChoice,
};
use serde::Serialize;

use crate::config::{GeminiConfig, Thinking, ThinkingLevel};
use crate::dialect::signs_calls;
use crate::error::ADAPTER;

/// The most sequences that end an answer.
const MOST_STOPS: usize = 5;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolConfig<'a> {
    function_calling_config: Calling<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Calling<'a> {
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_function_names: Option<[&'a str; 1]>,
}

fn cannot(why: &'static str) -> ModelError {
    refused(ADAPTER, Kind::Unsupported, "stream", why)
}

/// # Errors
///
/// There are parameters that the provider has no way to be asked for.
pub(crate) fn only_what_there_is(request: &ModelRequest) -> Result<(), ModelError> {
    let parameters = &request.parameters;
    if parameters.parallel_tool_calls == Some(false) && !request.tools.is_empty() {
        return Err(cannot(
            "the provider cannot be kept from parallel calls, which the parameter `parallel_tool_calls` wants",
        ));
    }
    if parameters.stop.len() > MOST_STOPS {
        return Err(cannot(
            "the provider takes at most 5 texts in the parameter `stop`",
        ));
    }
    match parameters.cache {
        Some(PromptCache::Off) => Err(cannot(
            "the provider cannot be kept from caching, which the parameter `cache` wants",
        )),
        Some(PromptCache::Long) => Err(cannot(
            "the provider has no `long` of the parameter `cache`",
        )),
        // It does so unasked.
        Some(PromptCache::Short) | None => Ok(()),
    }
}

/// Which tool is called, where there are some.
pub(crate) fn choice(request: &ModelRequest) -> Option<ToolConfig<'_>> {
    let choice = request.parameters.tool_choice.as_ref();
    let (mode, allowed_function_names) = match choice.filter(|_asked| !request.tools.is_empty())? {
        ToolChoice::Auto => ("AUTO", None),
        ToolChoice::None => ("NONE", None),
        ToolChoice::Required => ("ANY", None),
        ToolChoice::Tool(name) => ("ANY", Some([name.as_str()])),
    };
    Some(ToolConfig {
        function_calling_config: Calling {
            mode,
            allowed_function_names,
        },
    })
}

/// How much the model thinks. Models before Gemini 3 take tokens; how many an effort is, the provider says itself, for
/// those who speak to it as to OpenAI.
///
/// # Errors
///
/// The model has no such effort.
pub(crate) fn thinking(
    model: &str,
    parameters: &Parameters,
    config: &GeminiConfig,
) -> Result<Option<Thinking>, ModelError> {
    let Some(effort) = parameters.reasoning else {
        return Ok(config.thinking);
    };
    let takes_levels = signs_calls(model);
    Ok(Some(match (effort, takes_levels) {
        (Effort::Minimal, true) => Thinking::Level(ThinkingLevel::Minimal),
        (Effort::Low, true) => Thinking::Level(ThinkingLevel::Low),
        (Effort::Medium, true) => Thinking::Level(ThinkingLevel::Medium),
        (Effort::High, true) => Thinking::Level(ThinkingLevel::High),
        (Effort::XHigh, true) => Thinking::Level(ThinkingLevel::XHigh),
        (Effort::None, true) => {
            return Err(cannot(
                "the model cannot be kept from thinking: the parameter `reasoning` has `minimal` as its least",
            ));
        }
        (Effort::None, false) => Thinking::Budget(0),
        (Effort::Minimal | Effort::Low, false) => Thinking::Budget(1_024),
        (Effort::Medium, false) => Thinking::Budget(8_192),
        (Effort::High, false) => Thinking::Budget(24_576),
        (Effort::XHigh, false) | (Effort::Max, _) => {
            return Err(cannot(
                "the model has no such value of the parameter `reasoning`; try `high`",
            ));
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use seaworthy_ports::model_provider::{Message, ToolSpec};
    use seaworthy_ports::{Latch, Secret, ToolName};
    use serde_json::{Value, json};

    use super::*;
    use crate::request::body;

    fn request(parameters: Parameters) -> ModelRequest {
        ModelRequest {
            model: "gemini-3-test".to_owned(),
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

    fn written(model: &str, parameters: Parameters) -> Result<Value, Kind> {
        let mut request = request(parameters);
        request.model = model.to_owned();
        let config = GeminiConfig::new(Secret::new("k"));
        let body = body(&request, &config).map_err(|error| error.kind())?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    fn nothing() -> Parameters {
        Parameters::default()
    }

    #[test]
    fn parameters_are_written_in_the_words_of_the_provider() {
        let parameters = Parameters {
            cache: Some(PromptCache::Short),
            parallel_tool_calls: Some(true),
            seed: Some(7),
            stop: vec!["END".to_owned()],
            temperature: Some(1.5),
            tool_choice: Some(ToolChoice::Required),
            top_p: Some(0.5),
            ..nothing()
        };
        let now = written("gemini-3-test", parameters).unwrap();
        assert_eq!(
            now["generationConfig"],
            json!({"temperature": 1.5, "topP": 0.5, "seed": 7, "stopSequences": ["END"]})
        );
        assert_eq!(
            now["toolConfig"],
            json!({"functionCallingConfig": {"mode": "ANY"}})
        );
        let choice = |choice| {
            let parameters = Parameters {
                tool_choice: Some(choice),
                ..nothing()
            };
            let now = written("gemini-3-test", parameters).unwrap();
            now["toolConfig"]["functionCallingConfig"].clone()
        };
        let read = ToolName::new("read").unwrap();
        assert_eq!(choice(ToolChoice::Auto), json!({"mode": "AUTO"}));
        assert_eq!(choice(ToolChoice::None), json!({"mode": "NONE"}));
        assert_eq!(
            choice(ToolChoice::Tool(read)),
            json!({"mode": "ANY", "allowedFunctionNames": ["read"]})
        );
        let plain = written("gemini-3-test", nothing()).unwrap();
        assert_eq!(plain.get("toolConfig"), None);
        assert_eq!(plain.get("generationConfig"), None);
    }

    #[test]
    fn an_effort_is_a_level_or_a_number_of_tokens() {
        for (model, effort, field, value) in [
            (
                "gemini-3-test",
                Effort::Minimal,
                "thinkingLevel",
                json!("MINIMAL"),
            ),
            (
                "gemini-3-test",
                Effort::XHigh,
                "thinkingLevel",
                json!("XHIGH"),
            ),
            ("gemini-2.5-flash", Effort::None, "thinkingBudget", json!(0)),
            (
                "gemini-2.5-flash",
                Effort::Low,
                "thinkingBudget",
                json!(1024),
            ),
            (
                "gemini-2.5-flash",
                Effort::High,
                "thinkingBudget",
                json!(24576),
            ),
        ] {
            let parameters = Parameters {
                reasoning: Some(effort),
                ..nothing()
            };
            let now = written(model, parameters).unwrap();
            assert_eq!(now["generationConfig"]["thinkingConfig"][field], value);
        }
    }

    #[test]
    fn what_the_provider_does_not_take_is_refused() {
        let effort = |effort| Parameters {
            reasoning: Some(effort),
            ..nothing()
        };
        let cache = |cache| Parameters {
            cache: Some(cache),
            ..nothing()
        };
        for (model, parameters) in [
            ("gemini-3-test", effort(Effort::None)),
            ("gemini-3-test", effort(Effort::Max)),
            ("gemini-2.5-flash", effort(Effort::XHigh)),
            ("gemini-3-test", cache(PromptCache::Off)),
            ("gemini-3-test", cache(PromptCache::Long)),
            (
                "gemini-3-test",
                Parameters {
                    parallel_tool_calls: Some(false),
                    ..nothing()
                },
            ),
            (
                "gemini-3-test",
                Parameters {
                    stop: vec!["x".to_owned(); 6],
                    ..nothing()
                },
            ),
        ] {
            assert_eq!(
                written(model, parameters.clone()).err(),
                Some(Kind::Unsupported),
                "{parameters:?}"
            );
        }
    }
}
