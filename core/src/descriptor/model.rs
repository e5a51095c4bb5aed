//! Models: who answers, and how a command line replaces them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Who answers for a model alias.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "provider", deny_unknown_fields)]
pub enum ModelSpec {
    /// A script answers; no model does.
    #[serde(rename = "scripted")]
    Scripted {
        /// The script's text.
        script: String,
        /// Where it came from, for messages: its path relative to the descriptor.
        origin: String,
    },
    /// An endpoint that speaks OpenAI's Chat Completions.
    #[serde(rename = "openai")]
    OpenAi {
        /// What the endpoint calls the model.
        model: String,
    },
    /// An endpoint that speaks OpenAI's Responses.
    #[serde(rename = "openai-responses")]
    OpenAiResponses {
        /// What the endpoint calls the model.
        model: String,
    },
    /// Anthropic Messages.
    #[serde(rename = "anthropic")]
    Anthropic {
        /// What the provider calls the model.
        model: String,
    },
    /// Google Gemini.
    #[serde(rename = "gemini")]
    Gemini {
        /// What the provider calls the model.
        model: String,
    },
    /// An Ollama server.
    #[serde(rename = "ollama")]
    Ollama {
        /// What the server calls the model.
        model: String,
    },
}

impl ModelSpec {
    /// A model that is asked, by its provider's name as descriptors write it. `None`: no such provider asks one.
    #[must_use]
    pub fn asked(provider: &str, model: &str) -> Option<Self> {
        let model = model.to_owned();
        Some(match provider {
            "openai" => Self::OpenAi { model },
            "openai-responses" => Self::OpenAiResponses { model },
            "anthropic" => Self::Anthropic { model },
            "gemini" => Self::Gemini { model },
            "ollama" => Self::Ollama { model },
            _ => return None,
        })
    }

    /// What its provider calls the model; of a script, where it came from.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Scripted { origin, .. } => origin,
            Self::OpenAi { model }
            | Self::OpenAiResponses { model }
            | Self::Anthropic { model }
            | Self::Gemini { model }
            | Self::Ollama { model } => model,
        }
    }

    /// The provider's name as descriptors write it.
    #[must_use]
    pub const fn provider(&self) -> &'static str {
        match self {
            Self::Scripted { .. } => "scripted",
            Self::OpenAi { .. } => "openai",
            Self::OpenAiResponses { .. } => "openai-responses",
            Self::Anthropic { .. } => "anthropic",
            Self::Gemini { .. } => "gemini",
            Self::Ollama { .. } => "ollama",
        }
    }
}

impl fmt::Debug for ModelSpec {
    /// Without the script: it holds prompts and answers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scripted { origin, .. } => write!(f, "Scripted({origin})"),
            Self::OpenAi { model } => write!(f, "OpenAi({model})"),
            Self::OpenAiResponses { model } => write!(f, "OpenAiResponses({model})"),
            Self::Anthropic { model } => write!(f, "Anthropic({model})"),
            Self::Gemini { model } => write!(f, "Gemini({model})"),
            Self::Ollama { model } => write!(f, "Ollama({model})"),
        }
    }
}

/// A replacement of a model alias, written `ALIAS=PROVIDER:MODEL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelOverride {
    /// The alias it replaces.
    pub alias: String,
    /// Who answers instead.
    pub spec: ModelSpec,
}

/// The text is no `ALIAS=PROVIDER:MODEL`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOverride {
    /// Something of the three is missing.
    #[error("{0:?} is not ALIAS=PROVIDER:MODEL; write for example main=openai:gpt-5-mini")]
    Form(String),
    /// There is no such provider.
    #[error(
        "{0:?} is no provider; write ALIAS=PROVIDER:MODEL with openai, openai-responses, anthropic, gemini or ollama, for example main=openai:gpt-5-mini"
    )]
    UnknownProvider(String),
    /// A script cannot be named on a command line.
    #[error(
        "a script is named in the descriptor, as `{{ provider: scripted, script: FILE }}`, not in an override"
    )]
    Script,
}

impl ModelOverride {
    /// Parses `ALIAS=PROVIDER:MODEL`. A model's name may have colons and equals signs of its own.
    ///
    /// # Errors
    ///
    /// [`InvalidOverride`] with what to write instead.
    pub fn parse(text: &str) -> Result<Self, InvalidOverride> {
        let form = || InvalidOverride::Form(super::fields::shown(text));
        let (alias, rest) = text.split_once('=').ok_or_else(form)?;
        let (provider, model) = rest.split_once(':').ok_or_else(form)?;
        let [alias, provider, model] = [alias, provider, model].map(str::trim);
        if alias.is_empty() || provider.is_empty() || model.is_empty() {
            return Err(form());
        }
        if provider == "scripted" {
            return Err(InvalidOverride::Script);
        }
        let unknown = || InvalidOverride::UnknownProvider(super::fields::shown(provider));
        Ok(Self {
            alias: alias.to_owned(),
            spec: ModelSpec::asked(provider, model).ok_or_else(unknown)?,
        })
    }
}

impl FromStr for ModelOverride {
    type Err = InvalidOverride;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}
