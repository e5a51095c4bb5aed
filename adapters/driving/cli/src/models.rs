//! Which provider answers for a descriptor's models.

use std::fmt;
use std::sync::{Arc, OnceLock};

use seaworthy::descriptor::{Materialised, ModelSpec};
use seaworthy::openai::{OpenAi, OpenAiConfig};
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
    openai_api_key: Option<Secret>,
    openai_base_url: Option<String>,
    /// One for all agents, which share its connections.
    openai: OnceLock<OpenAi>,
}

impl CliModels {
    pub(crate) fn new(clock: Arc<dyn Clock>, environment: &Environment) -> Self {
        Self {
            clock,
            openai_api_key: environment.openai_api_key.clone(),
            openai_base_url: environment.openai_base_url.clone(),
            openai: OnceLock::new(),
        }
    }

    fn openai(&self) -> Result<Arc<dyn ModelProvider>, NoModel> {
        if let Some(provider) = self.openai.get() {
            return Ok(Arc::new(provider.clone()));
        }
        let mut config = match (&self.openai_api_key, &self.openai_base_url) {
            (None, None) => {
                return Err(NoModel(
                    "a model of provider openai needs a key: set OPENAI_API_KEY (or OPENAI_BASE_URL for an endpoint \
                     that needs none)"
                        .to_owned(),
                ));
            }
            (key, _) => OpenAiConfig::new(key.clone()),
        };
        if let Some(url) = &self.openai_base_url {
            config = config.with_base_url(url.clone());
        }
        let provider = OpenAi::connect(config).map_err(|error| NoModel(error.to_string()))?;
        Ok(Arc::new(self.openai.get_or_init(|| provider).clone()))
    }
}

impl Models for CliModels {
    fn find(&self, spec: &ModelSpec) -> Result<Model, NoModel> {
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
                provider: self.openai()?,
                name: model.clone(),
            }),
        }
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
    let spec = descriptor.model(alias).ok()?;
    let name = match spec {
        ModelSpec::Scripted { origin, .. } => origin.clone(),
        ModelSpec::OpenAi { model } => model.clone(),
    };
    Some(Chosen {
        alias: alias.clone(),
        provider: spec.provider(),
        name,
    })
}
