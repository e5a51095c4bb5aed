//! A model alias: who answers, and all that goes with it.

use std::collections::BTreeMap;

use seaworthy_ports::model_provider::{ModelCapabilities, Parameters, Usage};
use serde::{Deserialize, Serialize};

use super::model::ModelSpec;
use crate::retry::RetryPolicy;

/// What a model alias stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AliasSpec {
    /// What goes with the model. Read first: what is left is the model's.
    #[serde(flatten)]
    pub settings: AliasSettings,
    /// Who answers.
    #[serde(flatten)]
    pub model: ModelSpec,
}

impl From<ModelSpec> for AliasSpec {
    fn from(model: ModelSpec) -> Self {
        Self {
            settings: AliasSettings::default(),
            model,
        }
    }
}

/// What goes with the model of an alias.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AliasSettings {
    /// What its author says the model can do and cannot, by the names of [`ModelCapabilities`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capabilities: BTreeMap<String, bool>,
    /// Who answers where this model cannot.
    #[serde(default, skip_serializing_if = "Fallback::is_empty")]
    pub fallback: Fallback,
    /// What all workers together keep to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// The most tokens of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u32>,
    /// How the model is to answer, where its agent does not say.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,
    /// What it costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// How patient runs are with it; `None`: as the harness is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// How it calls tools.
    #[serde(default, skip_serializing_if = "Calling::is_native")]
    pub tools: Calling,
}

/// How a model calls tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calling {
    /// As its provider has it.
    #[default]
    Native,
    /// By answers that keep to a schema, for models that know no tools: whoever finds the model
    /// ([`Models`](crate::Models)) has it call them so.
    BySchema,
}

impl Calling {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_native(&self) -> bool {
        *self == Self::Native
    }
}

/// Aliases that answer in another's place, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// Whether they are asked although part of an answer was streamed already.
    pub after_first_chunk: bool,
    /// The aliases.
    pub models: Vec<String>,
}

impl Fallback {
    fn is_empty(&self) -> bool {
        self.models.is_empty()
    }
}

/// What all workers together keep to when they call a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Calls at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// Aliases that name the same group share these limits; `None`: those of the same provider and model do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Calls a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute, input and output. What calls used is known afterwards, so it is the next ones that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
}

/// What a million tokens cost, in millionths of the currency's unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Input read from a cache; `None`: as other input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<u64>,
    /// Input written to a cache; `None`: as other input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<u64>,
    /// The currency's three letters.
    pub currency: String,
    /// Input.
    pub input: u64,
    /// Output, reasoning included.
    pub output: u64,
}

/// What a call cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// The currency's three letters.
    pub currency: String,
    /// How many millionths of its unit, rounded up.
    pub micros: u64,
}

impl Price {
    /// What `usage` costs; `None` where the provider did not say what was used.
    #[must_use]
    pub fn of(&self, usage: Usage) -> Option<Cost> {
        let (input, output) = (usage.input_tokens?, usage.output_tokens?);
        let read = usage.cache_read_tokens.unwrap_or(0);
        let written = usage.cache_write_tokens.unwrap_or(0);
        let other = input.saturating_sub(read).saturating_sub(written);
        let parts = [
            (other, self.input),
            (read, self.cache_read.unwrap_or(self.input)),
            (written, self.cache_write.unwrap_or(self.input)),
            (output, self.output),
        ];
        let total = parts.iter().fold(0_u128, |sum, (tokens, price)| {
            sum.saturating_add(u128::from(*tokens).saturating_mul(u128::from(*price)))
        });
        Some(Cost {
            currency: self.currency.clone(),
            micros: u64::try_from(total.div_ceil(1_000_000)).unwrap_or(u64::MAX),
        })
    }
}

/// Whether a model can do something. Not to know is not to be unable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Support {
    /// It can.
    Present,
    /// It cannot: the adapter has no way to ask for it, or the alias says so.
    Absent,
    /// The adapter can ask for it; whether this model does it, nobody has said.
    Unknown,
}

impl AliasSettings {
    /// What the model can do, as far as its alias and its provider know, by the names of [`ModelCapabilities`].
    #[must_use]
    pub fn supports(&self, provider: ModelCapabilities) -> BTreeMap<&'static str, Support> {
        let can_ask = provider.names();
        ModelCapabilities::ALL
            .names()
            .into_iter()
            .map(|name| {
                let support = match self.capabilities.get(name) {
                    _ if !can_ask.contains(&name) => Support::Absent,
                    Some(true) => Support::Present,
                    Some(false) => Support::Absent,
                    None => Support::Unknown,
                };
                (name, support)
            })
            .collect()
    }
}
