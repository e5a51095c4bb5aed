//! The parameters of a request, as Messages writes them.

use seaworthy_http::failure::refused;
use seaworthy_ports::model_provider::{
    Effort, Kind, ModelError, ModelRequest, Parameters, PromptCache, ToolChoice,
};
use serde::Serialize;

use crate::config::{AnthropicConfig, Cache, Thinking};
use crate::error::ADAPTER;

/// What goes only with a request for an answer, not with one for its tokens.
#[derive(Serialize)]
pub(crate) struct Sampling<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [String],
}

#[derive(Clone, Copy, Serialize)]
pub(crate) struct CacheControl {
    #[serde(rename = "type")]
    sort: &'static str,
    ttl: &'static str,
}

#[derive(Serialize)]
pub(crate) struct Choice<'a> {
    #[serde(rename = "type")]
    sort: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum WireThinking {
    Adaptive { display: &'static str },
    Enabled { budget_tokens: u32 },
    Disabled,
}

impl From<Thinking> for WireThinking {
    fn from(thinking: Thinking) -> Self {
        match thinking {
            Thinking::Adaptive => Self::Adaptive {
                display: "summarized",
            },
            Thinking::Budget(budget_tokens) => Self::Enabled { budget_tokens },
            Thinking::Disabled => Self::Disabled,
        }
    }
}

fn cannot(why: &'static str) -> ModelError {
    refused(ADAPTER, Kind::Unsupported, "stream", why)
}

impl<'a> Sampling<'a> {
    /// # Errors
    ///
    /// The provider has no such parameter, or not this value of it, or not while the model thinks.
    pub(crate) fn of(
        request: &'a ModelRequest,
        config: &AnthropicConfig,
    ) -> Result<Self, ModelError> {
        let parameters = &request.parameters;
        let temperature = parameters.temperature;
        if parameters.seed.is_some() {
            return Err(cannot("the provider has no place for the parameter `seed`"));
        }
        if temperature.is_some_and(|temperature| temperature > 1.0) {
            return Err(cannot(
                "the provider takes the parameter `temperature` from 0 to 1",
            ));
        }
        if parameters.stop.iter().any(|stop| stop.trim().is_empty()) {
            return Err(cannot(
                "the provider takes no text in the parameter `stop` that is nothing but space",
            ));
        }
        if thinks(parameters, config) {
            if temperature.is_some_and(|temperature| temperature < 1.0) {
                return Err(cannot(
                    "a model that thinks takes no parameter `temperature` but 1",
                ));
            }
            if parameters.top_p.is_some_and(|top_p| top_p < 0.95) {
                return Err(cannot(
                    "a model that thinks takes the parameter `top_p` from 0.95 to 1",
                ));
            }
        }
        Ok(Self {
            temperature,
            top_p: parameters.top_p,
            stop_sequences: &parameters.stop,
        })
    }
}

/// How the model thinks. Asked for an effort, it thinks as it sees fit unless the configuration says how.
pub(crate) fn thinking(parameters: &Parameters, config: &AnthropicConfig) -> Option<Thinking> {
    match parameters.reasoning {
        None => config.thinking,
        Some(Effort::None) => Some(Thinking::Disabled),
        Some(_) => match config.thinking {
            None | Some(Thinking::Disabled) => Some(Thinking::Adaptive),
            thinking => thinking,
        },
    }
}

pub(crate) fn thinks(parameters: &Parameters, config: &AnthropicConfig) -> bool {
    match thinking(parameters, config) {
        None | Some(Thinking::Disabled) => false,
        Some(Thinking::Adaptive | Thinking::Budget(_)) => true,
    }
}

/// # Errors
///
/// The provider has no such effort.
pub(crate) fn effort(parameters: &Parameters) -> Result<Option<&'static str>, ModelError> {
    Ok(match parameters.reasoning {
        None | Some(Effort::None) => None,
        Some(Effort::Minimal) => {
            return Err(cannot(
                "the provider has no `minimal` of the parameter `reasoning`; its least is `low`",
            ));
        }
        Some(effort) => Some(effort.as_str()),
    })
}

/// # Errors
///
/// A model that thinks cannot be made to call tools.
pub(crate) fn choice<'a>(
    request: &'a ModelRequest,
    config: &AnthropicConfig,
) -> Result<Option<Choice<'a>>, ModelError> {
    let parameters = &request.parameters;
    if request.tools.is_empty()
        || (parameters.tool_choice.is_none() && parameters.parallel_tool_calls.is_none())
    {
        return Ok(None);
    }
    let (sort, name) = match &parameters.tool_choice {
        None | Some(ToolChoice::Auto) => ("auto", None),
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Required) => ("any", None),
        Some(ToolChoice::Tool(name)) => ("tool", Some(name.as_str())),
    };
    if matches!(sort, "any" | "tool") && thinks(parameters, config) {
        return Err(cannot(
            "a model that thinks takes no parameter `tool_choice` that makes it call a tool",
        ));
    }
    let parallel = parameters.parallel_tool_calls;
    Ok(Some(Choice {
        sort,
        name,
        // Where none is called, the provider wants nothing said of several.
        disable_parallel_tool_use: parallel
            .filter(|_asked| sort != "none")
            .map(|parallel| !parallel),
    }))
}

/// The mark that what goes before it may be kept.
pub(crate) fn control(parameters: &Parameters, config: &AnthropicConfig) -> Option<CacheControl> {
    let cache = match parameters.cache {
        None => config.cache,
        Some(PromptCache::Off) => Cache::Off,
        Some(PromptCache::Short) => Cache::FiveMinutes,
        Some(PromptCache::Long) => Cache::OneHour,
    };
    let ttl = match cache {
        Cache::Off => return None,
        Cache::FiveMinutes => "5m",
        Cache::OneHour => "1h",
    };
    Some(CacheControl {
        sort: "ephemeral",
        ttl,
    })
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
            model: "claude-test".to_owned(),
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

    fn config() -> AnthropicConfig {
        AnthropicConfig::new(Secret::new("k"))
    }

    fn written(parameters: Parameters, config: &AnthropicConfig) -> Result<Value, Kind> {
        let body = body(&request(parameters), config).map_err(|error| error.kind())?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    fn nothing() -> Parameters {
        Parameters::default()
    }

    #[test]
    fn parameters_are_written_in_the_words_of_messages() {
        let parameters = Parameters {
            parallel_tool_calls: Some(false),
            stop: vec!["END".to_owned()],
            temperature: Some(0.25),
            tool_choice: Some(ToolChoice::Required),
            top_p: Some(0.5),
            ..nothing()
        };
        let now = written(parameters, &config()).unwrap();
        assert_eq!(now["temperature"], json!(0.25));
        assert_eq!(now["top_p"], json!(0.5));
        assert_eq!(now["stop_sequences"], json!(["END"]));
        assert_eq!(
            now["tool_choice"],
            json!({"type": "any", "disable_parallel_tool_use": true})
        );
        let choice = |choice| {
            let parameters = Parameters {
                tool_choice: Some(choice),
                ..nothing()
            };
            written(parameters, &config()).unwrap()["tool_choice"].clone()
        };
        let read = ToolName::new("read").unwrap();
        assert_eq!(choice(ToolChoice::Auto), json!({"type": "auto"}));
        assert_eq!(choice(ToolChoice::None), json!({"type": "none"}));
        assert_eq!(
            choice(ToolChoice::Tool(read)),
            json!({"type": "tool", "name": "read"})
        );
        let plain = written(nothing(), &config()).unwrap();
        assert_eq!(plain.get("tool_choice"), None);
    }

    #[test]
    fn an_effort_makes_the_model_think_and_none_keeps_it_from_it() {
        let asked = |effort, config: &AnthropicConfig| {
            let parameters = Parameters {
                reasoning: Some(effort),
                ..nothing()
            };
            written(parameters, config)
        };
        let now = asked(Effort::XHigh, &config()).unwrap();
        assert_eq!(now["output_config"], json!({"effort": "xhigh"}));
        assert_eq!(now["thinking"]["type"], json!("adaptive"));
        let budget = config().with_thinking(Thinking::Budget(2_000));
        let now = asked(Effort::Low, &budget).unwrap();
        assert_eq!(now["thinking"]["type"], json!("enabled"));
        let now = asked(Effort::None, &budget).unwrap();
        assert_eq!(now["thinking"], json!({"type": "disabled"}));
        assert_eq!(now.get("output_config"), None);
        assert_eq!(
            asked(Effort::Minimal, &config()).err(),
            Some(Kind::Unsupported)
        );
    }

    #[test]
    fn what_the_provider_does_not_take_is_refused() {
        let read = ToolName::new("read").unwrap();
        for parameters in [
            Parameters {
                seed: Some(1),
                ..nothing()
            },
            Parameters {
                temperature: Some(1.5),
                ..nothing()
            },
            Parameters {
                stop: vec!["\n".to_owned()],
                ..nothing()
            },
        ] {
            assert_eq!(
                written(parameters.clone(), &config()).err(),
                Some(Kind::Unsupported),
                "{parameters:?}"
            );
        }
        let thinking = config().with_thinking(Thinking::Adaptive);
        for parameters in [
            Parameters {
                temperature: Some(0.5),
                ..nothing()
            },
            Parameters {
                top_p: Some(0.5),
                ..nothing()
            },
            Parameters {
                tool_choice: Some(ToolChoice::Required),
                ..nothing()
            },
            Parameters {
                tool_choice: Some(ToolChoice::Tool(read)),
                ..nothing()
            },
        ] {
            assert!(written(parameters.clone(), &config()).is_ok());
            assert_eq!(
                written(parameters.clone(), &thinking).err(),
                Some(Kind::Unsupported),
                "{parameters:?}"
            );
        }
    }

    #[test]
    fn a_request_says_how_long_it_may_be_kept() {
        let kept = |cache| {
            let parameters = Parameters {
                cache: Some(cache),
                ..nothing()
            };
            let now = written(parameters, &config()).unwrap();
            now["messages"][0]["content"][0]["cache_control"]["ttl"].clone()
        };
        assert_eq!(kept(PromptCache::Off), Value::Null);
        assert_eq!(kept(PromptCache::Short), json!("5m"));
        assert_eq!(kept(PromptCache::Long), json!("1h"));
    }
}
