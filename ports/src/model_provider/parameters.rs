//! How a model is to answer.

use serde::{Deserialize, Serialize};

use super::ModelRequest;
use crate::ToolName;

/// How a model is to answer. What is `None` or empty is left to the provider.
///
/// No provider drops one: what it has no way to ask for it refuses (MP-15).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// What of the request may be kept for the next one that begins with the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<PromptCache>,
    /// Whether one answer may call several tools. Says nothing where there are no tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// How much the model reasons before it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Effort>,
    /// What makes answers to the same request alike, as far as the provider can. From 0 to 2147483647.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// What ends the answer, without being a part of it: at most 16, each of 1 to 256 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// How far the model strays from the likeliest token. From 0 to 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Whether tools are called, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// The part of the likely tokens that is chosen from. From 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
}

/// Whether tools are called, and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// The model decides. Says nothing where there are no tools.
    Auto,
    /// None is called. Says nothing where there are no tools.
    None,
    /// One at least is called.
    Required,
    /// This one is called.
    Tool(ToolName),
}

/// How much a model reasons before it answers. Not every model takes every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as the model can.
    Minimal,
    /// A little.
    Low,
    /// More.
    Medium,
    /// Much.
    High,
    /// Very much.
    XHigh,
    /// As much as the model can.
    Max,
}

impl Effort {
    /// All of them, from the least to the most.
    pub const ALL: [Self; 7] = [
        Self::None,
        Self::Minimal,
        Self::Low,
        Self::Medium,
        Self::High,
        Self::XHigh,
        Self::Max,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }
}

/// What of a request the provider keeps for the next one that begins with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptCache {
    /// Nothing.
    Off,
    /// As long as the provider usually keeps it: minutes.
    Short,
    /// As long as the provider can: an hour or a day. It may cost more.
    Long,
}

/// Parameters that no provider takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterFault {
    /// A value is not one that there is.
    #[error("the parameter `{field}` must be {range}")]
    OutOfRange {
        /// Which.
        field: &'static str,
        /// What it may be.
        range: &'static str,
    },
    /// A tool must be called, and the request has none.
    #[error("the parameter `tool_choice` wants a tool called, and the request has no tools")]
    NoTools,
    /// The tool that must be called is none of the request's.
    #[error("the parameter `tool_choice` names the tool {0:?}, which the request does not have")]
    UnknownTool(ToolName),
}

impl Parameters {
    /// The greatest seed that all providers with seeds take.
    pub const GREATEST_SEED: u32 = i32::MAX.unsigned_abs();
    /// The most sequences that end an answer. Providers take fewer, and say so.
    pub const MOST_STOPS: usize = 16;
    /// The most bytes of one of them.
    pub const MOST_STOP_BYTES: usize = 256;
    /// Where temperatures are.
    pub const TEMPERATURES: std::ops::RangeInclusive<f64> = 0.0..=2.0;
    /// Where parts of the likely tokens are.
    pub const TOP_PS: std::ops::RangeInclusive<f64> = 0.0..=1.0;

    /// Whether all is left to the provider.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is said here, and of the rest what `others` say.
    #[must_use]
    pub fn over(&self, others: &Self) -> Self {
        let stop = if self.stop.is_empty() {
            &others.stop
        } else {
            &self.stop
        };
        let tool_choice = self.tool_choice.as_ref().or(others.tool_choice.as_ref());
        Self {
            cache: self.cache.or(others.cache),
            parallel_tool_calls: self.parallel_tool_calls.or(others.parallel_tool_calls),
            reasoning: self.reasoning.or(others.reasoning),
            seed: self.seed.or(others.seed),
            stop: stop.clone(),
            temperature: self.temperature.or(others.temperature),
            tool_choice: tool_choice.cloned(),
            top_p: self.top_p.or(others.top_p),
        }
    }

    /// Whether each value is one that there is.
    ///
    /// # Errors
    ///
    /// [`ParameterFault::OutOfRange`] with the first that is not.
    pub fn check(&self) -> Result<(), ParameterFault> {
        let fits = |value: Option<f64>, range: std::ops::RangeInclusive<f64>| {
            value.is_none_or(|value| range.contains(&value))
        };
        let is_stop = |stop: &String| (1..=Self::MOST_STOP_BYTES).contains(&stop.len());
        for (fits, field, range) in [
            (
                self.seed.is_none_or(|seed| seed <= Self::GREATEST_SEED),
                "seed",
                "from 0 to 2147483647",
            ),
            (
                self.stop.len() <= Self::MOST_STOPS && self.stop.iter().all(is_stop),
                "stop",
                "at most 16 texts of 1 to 256 bytes",
            ),
            (
                fits(self.temperature, Self::TEMPERATURES),
                "temperature",
                "from 0 to 2",
            ),
            (fits(self.top_p, Self::TOP_PS), "top_p", "from 0 to 1"),
        ] {
            if !fits {
                return Err(ParameterFault::OutOfRange { field, range });
            }
        }
        Ok(())
    }
}

/// Whether the parameters of a request are values that there are and fit its tools. Every provider refuses a request
/// where they do not, before it sends anything.
///
/// # Errors
///
/// [`ParameterFault`] with the first that is wrong.
pub fn check_parameters(request: &ModelRequest) -> Result<(), ParameterFault> {
    request.parameters.check()?;
    let has = |wanted: &ToolName| request.tools.iter().any(|tool| tool.name == *wanted);
    match &request.parameters.tool_choice {
        Some(ToolChoice::Required) if request.tools.is_empty() => Err(ParameterFault::NoTools),
        Some(ToolChoice::Tool(name)) if !has(name) => {
            Err(ParameterFault::UnknownTool(name.clone()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out_of_range(parameters: &Parameters) -> Option<&'static str> {
        match parameters.check() {
            Err(ParameterFault::OutOfRange { field, .. }) => Some(field),
            _ => None,
        }
    }

    #[test]
    fn a_value_beyond_its_range_is_named() {
        for temperature in [-0.1, 2.1, f64::NAN, f64::INFINITY] {
            let parameters = Parameters {
                temperature: Some(temperature),
                ..Parameters::default()
            };
            assert_eq!(out_of_range(&parameters), Some("temperature"));
        }
        let parameters = Parameters {
            top_p: Some(1.5),
            ..Parameters::default()
        };
        assert_eq!(out_of_range(&parameters), Some("top_p"));
        let parameters = Parameters {
            seed: Some(Parameters::GREATEST_SEED + 1),
            ..Parameters::default()
        };
        assert_eq!(out_of_range(&parameters), Some("seed"));
        for stop in [
            vec![String::new()],
            vec!["x".repeat(257)],
            vec!["x".to_owned(); 17],
        ] {
            let parameters = Parameters {
                stop,
                ..Parameters::default()
            };
            assert_eq!(out_of_range(&parameters), Some("stop"));
        }
    }

    #[test]
    fn the_limits_themselves_are_taken() {
        let parameters = Parameters {
            seed: Some(Parameters::GREATEST_SEED),
            stop: vec!["x".repeat(256); 16],
            temperature: Some(2.0),
            top_p: Some(0.0),
            ..Parameters::default()
        };
        assert_eq!(parameters.check(), Ok(()));
    }

    #[test]
    fn what_is_said_goes_before_what_others_say() {
        let own = Parameters {
            temperature: Some(0.0),
            ..Parameters::default()
        };
        let others = Parameters {
            seed: Some(7),
            stop: vec!["END".to_owned()],
            temperature: Some(1.0),
            ..Parameters::default()
        };
        let expected = Parameters {
            temperature: Some(0.0),
            ..others.clone()
        };
        assert_eq!(own.over(&others), expected);
        assert_eq!(Parameters::default().over(&others), others);
    }

    #[test]
    fn names_are_those_of_records() {
        for effort in Effort::ALL {
            let written = serde_json::to_value(effort).unwrap();
            assert_eq!(written, effort.as_str());
        }
        let parameters = Parameters {
            cache: Some(PromptCache::Long),
            tool_choice: ToolName::new("read").ok().map(ToolChoice::Tool),
            ..Parameters::default()
        };
        let written = serde_json::json!({"cache": "long", "tool_choice": {"tool": "read"}});
        assert_eq!(serde_json::to_value(&parameters).unwrap(), written);
        assert_eq!(
            serde_json::from_value::<Parameters>(written).unwrap(),
            parameters
        );
    }
}
