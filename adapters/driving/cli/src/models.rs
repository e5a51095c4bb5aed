//! Which provider answers for a descriptor's models.

use std::fmt;
use std::sync::{Arc, OnceLock};

use seaworthy::anthropic::{Anthropic, AnthropicConfig};
use seaworthy::descriptor::{Calling, Materialised, ModelSpec};
use seaworthy::gemini::{Gemini, GeminiConfig};
use seaworthy::model_decorators::ToolsBySchema;
use seaworthy::ollama::{Ollama, OllamaConfig};
use seaworthy::openai::{Api, OpenAi, OpenAiConfig};
use seaworthy::ports::Secret;
use seaworthy::ports::clock::Clock;
use seaworthy::ports::model_provider::ModelProvider;
use seaworthy::scripted::ScriptedModel;
use seaworthy::{Model, Models, NoModel};
use serde::Serialize;
use serde_json::Value;

use crate::environment::Environment;

/// The providers that this program was built with.
#[derive(Debug)]
pub(crate) struct CliModels {
    clock: Arc<dyn Clock>,
    anthropic_api_key: Option<Secret>,
    anthropic_base_url: Option<String>,
    gemini_api_key: Option<Secret>,
    gemini_base_url: Option<String>,
    ollama_api_key: Option<Secret>,
    ollama_base_url: Option<String>,
    openai_api_key: Option<Secret>,
    openai_base_url: Option<String>,
    made: Made,
}

/// One of each provider, for all agents, which share its connections.
#[derive(Debug, Default)]
struct Made {
    anthropic: Once,
    gemini: Once,
    ollama: Once,
    openai: Once,
    openai_responses: Once,
}

type Once = OnceLock<Arc<dyn ModelProvider>>;

fn once(
    made: &Once,
    make: impl FnOnce() -> Result<Arc<dyn ModelProvider>, NoModel>,
) -> Result<Arc<dyn ModelProvider>, NoModel> {
    if let Some(provider) = made.get() {
        return Ok(Arc::clone(provider));
    }
    let provider = make()?;
    Ok(Arc::clone(made.get_or_init(|| provider)))
}

impl CliModels {
    pub(crate) fn new(clock: Arc<dyn Clock>, environment: &Environment) -> Self {
        Self {
            clock,
            anthropic_api_key: environment.anthropic_api_key.clone(),
            anthropic_base_url: environment.anthropic_base_url.clone(),
            gemini_api_key: environment.gemini_api_key.clone(),
            gemini_base_url: environment.gemini_base_url.clone(),
            ollama_api_key: environment.ollama_api_key.clone(),
            ollama_base_url: environment.ollama_base_url.clone(),
            openai_api_key: environment.openai_api_key.clone(),
            openai_base_url: environment.openai_base_url.clone(),
            made: Made::default(),
        }
    }

    fn anthropic(&self) -> Result<Arc<dyn ModelProvider>, NoModel> {
        let missing = || {
            let why = "a model of provider anthropic needs a key: set ANTHROPIC_API_KEY";
            NoModel(why.to_owned())
        };
        let key = self.anthropic_api_key.clone().ok_or_else(missing)?;
        let mut config = AnthropicConfig::new(key);
        if let Some(url) = &self.anthropic_base_url {
            config = config.with_base_url(url.clone());
        }
        let provider = Anthropic::connect(config).map_err(|error| NoModel(error.to_string()))?;
        Ok(Arc::new(provider))
    }

    fn gemini(&self) -> Result<Arc<dyn ModelProvider>, NoModel> {
        let missing = || {
            let why = "a model of provider gemini needs a key: set GEMINI_API_KEY";
            NoModel(why.to_owned())
        };
        let key = self.gemini_api_key.clone().ok_or_else(missing)?;
        let mut config = GeminiConfig::new(key);
        if let Some(url) = &self.gemini_base_url {
            config = config.with_base_url(url.clone());
        }
        let provider = Gemini::connect(config).map_err(|error| NoModel(error.to_string()))?;
        Ok(Arc::new(provider))
    }

    /// A server on this machine needs neither key nor address.
    fn ollama(&self) -> Result<Arc<dyn ModelProvider>, NoModel> {
        let mut config = OllamaConfig::new();
        if let Some(key) = &self.ollama_api_key {
            config = config.with_api_key(key.clone());
        }
        if let Some(url) = &self.ollama_base_url {
            config = config.with_base_url(url.clone());
        }
        let provider = Ollama::connect(config).map_err(|error| NoModel(error.to_string()))?;
        Ok(Arc::new(provider))
    }

    fn openai(&self, api: Api) -> Result<Arc<dyn ModelProvider>, NoModel> {
        let mut config = match (&self.openai_api_key, &self.openai_base_url) {
            (None, None) => {
                return Err(NoModel(
                    "a model of provider openai needs a key: set OPENAI_API_KEY (or OPENAI_BASE_URL for an endpoint \
                     that needs none)"
                        .to_owned(),
                ));
            }
            (key, _) => OpenAiConfig::new(key.clone()).with_api(api),
        };
        if let Some(url) = &self.openai_base_url {
            config = config.with_base_url(url.clone());
        }
        let provider = OpenAi::connect(config).map_err(|error| NoModel(error.to_string()))?;
        Ok(Arc::new(provider))
    }
}

impl CliModels {
    /// As its provider has it.
    fn native(&self, spec: &ModelSpec) -> Result<Model, NoModel> {
        match spec {
            ModelSpec::Scripted { script, origin } => {
                let provider = ScriptedModel::from_yaml(script, origin)
                    .map_err(|error| NoModel(error.to_string()))?
                    .with_clock(Arc::clone(&self.clock));
                Ok(Model {
                    provider: Arc::new(provider),
                    name: origin.clone(),
                })
            }
            ModelSpec::OpenAi { model } => Ok(Model {
                provider: once(&self.made.openai, || self.openai(Api::ChatCompletions))?,
                name: model.clone(),
            }),
            ModelSpec::OpenAiResponses { model } => Ok(Model {
                provider: once(&self.made.openai_responses, || self.openai(Api::Responses))?,
                name: model.clone(),
            }),
            ModelSpec::Anthropic { model } => Ok(Model {
                provider: once(&self.made.anthropic, || self.anthropic())?,
                name: model.clone(),
            }),
            ModelSpec::Gemini { model } => Ok(Model {
                provider: once(&self.made.gemini, || self.gemini())?,
                name: model.clone(),
            }),
            ModelSpec::Ollama { model } => Ok(Model {
                provider: once(&self.made.ollama, || self.ollama())?,
                name: model.clone(),
            }),
        }
    }
}

impl Models for CliModels {
    fn find(&self, spec: &ModelSpec, calling: Calling) -> Result<Model, NoModel> {
        let model = self.native(spec)?;
        Ok(match calling {
            Calling::Native => model,
            Calling::BySchema => Model {
                provider: Arc::new(ToolsBySchema::new(model.provider)),
                name: model.name,
            },
        })
    }
}

/// The model that a run's first agent asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Chosen {
    pub(crate) alias: String,
    pub(crate) provider: &'static str,
    pub(crate) name: String,
}

impl Chosen {
    /// Whether no model is asked at all.
    pub(crate) fn is_scripted(&self) -> bool {
        self.provider == "scripted"
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.alias, self.provider, self.name)
    }
}

/// The model of a recorded descriptor, as far as this version can read it.
pub(crate) fn chosen(descriptor: &Value) -> Option<Chosen> {
    let descriptor: Materialised = serde_json::from_value(descriptor.clone()).ok()?;
    let alias = &descriptor.entry().ok()?.model;
    let spec = &descriptor.model(alias).ok()?.model;
    Some(Chosen {
        alias: alias.clone(),
        provider: spec.provider(),
        name: spec.name().to_owned(),
    })
}
