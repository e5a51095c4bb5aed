//! The parameters of a request, as far as both interfaces write them alike.

use seaworthy_http::failure::refused;
use seaworthy_ports::model_provider::{Kind, ModelError, ModelRequest, PromptCache, ToolChoice};
use serde::Serialize;

/// The most sequences that end an answer.
const MOST_STOPS: usize = 4;

/// What both interfaces have.
#[derive(Serialize)]
pub(crate) struct Common {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_options: Option<CacheOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_retention: Option<&'static str>,
}

#[derive(Serialize)]
struct CacheOptions {
    mode: &'static str,
}

/// One tool, or a word.
pub(crate) enum Choice<'a> {
    Word(&'static str),
    Tool(&'a str),
}

impl Common {
    /// # Errors
    ///
    /// The model is known to take no such parameter.
    pub(crate) fn of(request: &ModelRequest, adapter: &'static str) -> Result<Self, ModelError> {
        let parameters = &request.parameters;
        let samples = parameters.temperature.is_some() || parameters.top_p.is_some();
        if samples && takes_no_sampling(&request.model) {
            let why =
                "the model reasons, and takes neither the parameter `temperature` nor `top_p`";
            return Err(refused(adapter, Kind::Unsupported, "stream", why));
        }
        let has_tools = !request.tools.is_empty();
        Ok(Self {
            temperature: parameters.temperature,
            top_p: parameters.top_p,
            parallel_tool_calls: parameters.parallel_tool_calls.filter(|_asked| has_tools),
            // Only marked places are kept, and none is marked.
            prompt_cache_options: (parameters.cache == Some(PromptCache::Off))
                .then_some(CacheOptions { mode: "explicit" }),
            // What is usually kept needs no asking.
            prompt_cache_retention: (parameters.cache == Some(PromptCache::Long)).then_some("24h"),
        })
    }
}

/// Which tool is called, where there are some.
pub(crate) fn choice(request: &ModelRequest) -> Option<Choice<'_>> {
    let choice = request.parameters.tool_choice.as_ref();
    Some(match choice.filter(|_asked| !request.tools.is_empty())? {
        ToolChoice::Auto => Choice::Word("auto"),
        ToolChoice::None => Choice::Word("none"),
        ToolChoice::Required => Choice::Word("required"),
        ToolChoice::Tool(name) => Choice::Tool(name.as_str()),
    })
}

/// What ends an answer of Chat Completions.
///
/// # Errors
///
/// They are more than it takes.
pub(crate) fn stops<'a>(
    request: &'a ModelRequest,
    adapter: &'static str,
) -> Result<&'a [String], ModelError> {
    let stops = &request.parameters.stop;
    if stops.len() > MOST_STOPS {
        let why = "Chat Completions takes at most 4 texts in the parameter `stop`";
        return Err(refused(adapter, Kind::Unsupported, "stream", why));
    }
    Ok(stops)
}

/// Whether the model is one of those that refuse every temperature. Of others the provider says it.
fn takes_no_sampling(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let is_of = |family: &str| {
        let rest = name.strip_prefix(family);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    ["o1", "o3", "o4", "gpt-5"].into_iter().any(is_of) && !name.starts_with("gpt-5-chat")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use seaworthy_ports::model_provider::{Effort, Message, Parameters, ToolSpec};
    use seaworthy_ports::{Latch, ToolName};
    use serde_json::{Value, json};

    use super::*;
    use crate::config::OpenAiConfig;
    use crate::{chat, responses};

    type Body = fn(&ModelRequest, &OpenAiConfig) -> Result<Vec<u8>, ModelError>;

    const CHAT: Body = chat::body;
    const RESPONSES: Body = responses::body;

    fn written(body: Body, model: &str, parameters: Parameters) -> Result<Value, Kind> {
        let request = ModelRequest {
            model: model.to_owned(),
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
        };
        let config = OpenAiConfig::new(None).with_reasoning_effort(Effort::Low);
        let body = body(&request, &config).map_err(|error| error.kind())?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    fn nothing() -> Parameters {
        Parameters::default()
    }

    #[test]
    fn what_both_have_is_written_alike() {
        let parameters = || Parameters {
            parallel_tool_calls: Some(false),
            temperature: Some(0.25),
            tool_choice: Some(ToolChoice::Required),
            top_p: Some(0.5),
            ..nothing()
        };
        for body in [CHAT, RESPONSES] {
            let now = written(body, "gpt-4o", parameters()).unwrap();
            assert_eq!(now["temperature"], json!(0.25));
            assert_eq!(now["top_p"], json!(0.5));
            assert_eq!(now["parallel_tool_calls"], json!(false));
            assert_eq!(now["tool_choice"], json!("required"));
            let cached = |cache| {
                let parameters = Parameters {
                    cache: Some(cache),
                    ..nothing()
                };
                written(body, "gpt-4o", parameters).unwrap()
            };
            let off = cached(PromptCache::Off);
            assert_eq!(off["prompt_cache_options"], json!({"mode": "explicit"}));
            let long = cached(PromptCache::Long);
            assert_eq!(long["prompt_cache_retention"], json!("24h"));
            let plain = written(body, "gpt-4o", nothing()).unwrap();
            assert_eq!(cached(PromptCache::Short), plain);
            for key in ["temperature", "tool_choice", "stop", "parallel_tool_calls"] {
                assert_eq!(plain.get(key), None, "{key}");
            }
        }
    }

    #[test]
    fn what_differs_is_written_as_each_wants_it() {
        let parameters = || Parameters {
            reasoning: Some(Effort::XHigh),
            tool_choice: ToolName::new("read").ok().map(ToolChoice::Tool),
            ..nothing()
        };
        let now = written(CHAT, "gpt-5.6", parameters()).unwrap();
        assert_eq!(now["reasoning_effort"], json!("xhigh"));
        assert_eq!(
            now["tool_choice"],
            json!({"type": "function", "function": {"name": "read"}})
        );
        let now = written(RESPONSES, "gpt-5.6", parameters()).unwrap();
        assert_eq!(now["reasoning"]["effort"], json!("xhigh"));
        assert_eq!(
            now["tool_choice"],
            json!({"type": "function", "name": "read"})
        );
        let only_chat = || Parameters {
            seed: Some(7),
            stop: vec!["END".to_owned()],
            ..nothing()
        };
        let now = written(CHAT, "gpt-4o", only_chat()).unwrap();
        assert_eq!((&now["seed"], &now["stop"]), (&json!(7), &json!(["END"])));
    }

    #[test]
    fn what_an_interface_or_a_model_does_not_take_is_refused() {
        let stop = |count| Parameters {
            stop: vec!["END".to_owned(); count],
            ..nothing()
        };
        let seed = Parameters {
            seed: Some(7),
            ..nothing()
        };
        let temperature = Parameters {
            temperature: Some(1.0),
            ..nothing()
        };
        for (body, model, parameters) in [
            (CHAT, "gpt-4o", stop(5)),
            (RESPONSES, "gpt-4o", stop(1)),
            (RESPONSES, "gpt-4o", seed),
            (CHAT, "o3", temperature.clone()),
            (RESPONSES, "gpt-5-mini", temperature),
        ] {
            assert_eq!(
                written(body, model, parameters.clone()).err(),
                Some(Kind::Unsupported),
                "{parameters:?}"
            );
        }
    }

    #[test]
    fn models_that_refuse_every_temperature_are_known_by_name() {
        for (model, refuses) in [
            ("o3", true),
            ("o4-mini", true),
            ("gpt-5-mini", true),
            ("openai/gpt-5", true),
            ("gpt-5-chat-latest", false),
            ("gpt-5.1", false),
            ("gpt-4o", false),
            ("olmo-3", false),
            ("qwen3", false),
        ] {
            assert_eq!(takes_no_sampling(model), refuses, "{model}");
        }
    }
}
