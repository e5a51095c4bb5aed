//! The names that changed when the conventions for generative AI got a repository of their own.

/// Which names of the conventions are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// Those of the conventions' own repository, `open-telemetry/semantic-conventions-genai`.
    #[default]
    Current,
    /// Those of v1.41 of `open-telemetry/semantic-conventions`, the last version with them, for dashboards that still ask
    /// for these. They go away with the first release after June 2027.
    V1_41,
}

impl Names {
    /// Input written to a provider's cache.
    pub(crate) const fn cache_write(self) -> &'static str {
        match self {
            Self::Current => "gen_ai.usage.cache_write.input_tokens",
            Self::V1_41 => "gen_ai.usage.cache_creation.input_tokens",
        }
    }

    /// How long a model call took.
    pub(crate) const fn inference_duration(self) -> &'static str {
        match self {
            Self::Current => "gen_ai.client.inference.duration",
            Self::V1_41 => "gen_ai.client.operation.duration",
        }
    }

    /// How long the first part of an answer took.
    pub(crate) const fn time_to_first_chunk(self) -> &'static str {
        match self {
            Self::Current => "gen_ai.client.inference.time_to_first_chunk",
            Self::V1_41 => "gen_ai.client.operation.time_to_first_chunk",
        }
    }
}
