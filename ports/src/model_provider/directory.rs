//! The models that a provider has, without asking one anything.

use std::time::Duration;

use async_trait::async_trait;

use super::{ModelCapabilities, ModelError};
use crate::Latch;

/// The models that a provider has.
///
/// # Cancellation
///
/// Dropping a future closes the connection; nothing was changed.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Some of the provider's models, the next after `request.after`.
    ///
    /// # Errors
    ///
    /// As of a call of a model; [`Kind::InvalidRequest`](super::Kind::InvalidRequest) for a limit that is none,
    /// [`Kind::Decode`](super::Kind::Decode) for an answer that is none, or longer than it was asked for.
    async fn list(&self, request: ListModels) -> Result<ModelPage, ModelError>;

    /// One of the provider's models, with what the provider says of it.
    ///
    /// # Errors
    ///
    /// As of a call of a model; [`Kind::NotFound`](super::Kind::NotFound) where the provider has no such model.
    async fn look_up(&self, request: LookUpModel) -> Result<ListedModel, ModelError>;
}

/// The most models that a page can be asked to have.
pub const MOST_LISTED: u32 = 1000;

/// A page of models that is wanted.
#[derive(Clone, Debug)]
pub struct ListModels {
    /// After which; what the page before says in [`ModelPage::after`]. `None`: from the first on.
    pub after: Option<String>,
    /// The most models, from 1 to [`MOST_LISTED`].
    pub limit: u32,
    /// The longest silence of the provider.
    pub idle_timeout: Duration,
    /// Ends the call.
    pub cancel: Latch,
}

/// A model that is looked for.
#[derive(Clone, Debug)]
pub struct LookUpModel {
    /// The provider's name of it.
    pub model: String,
    /// The longest silence of the provider.
    pub idle_timeout: Duration,
    /// Ends the call.
    pub cancel: Latch,
}

/// A page of models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelPage {
    /// The models, in the provider's order or by their names.
    pub models: Vec<ListedModel>,
    /// What the next page is asked for with. `None`: this was the last.
    pub after: Option<String>,
}

/// What a provider says of one of its models. What it does not say is unknown: neither there nor missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedModel {
    /// The provider's name of it, as requests have it.
    pub id: String,
    /// The most tokens of a request, with its answer where the provider counts them together.
    pub context_tokens: Option<u64>,
    /// The most tokens of an answer.
    pub max_output_tokens: Option<u64>,
    /// What the provider says that it can do.
    pub can: ModelCapabilities,
    /// What the provider says that it cannot do.
    pub cannot: ModelCapabilities,
}

impl ListedModel {
    /// Notes what the provider says: of all that it speaks `about`, the model has what it `can`, and nothing else.
    pub fn say(&mut self, can: ModelCapabilities, about: ModelCapabilities) {
        self.can = self.can.and(can);
        self.cannot = self.cannot.and(about.without(can));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_speaks_about_is_unknown() {
        let mut model = ListedModel::default();
        let vision = ModelCapabilities::NONE.with_vision_input();
        model.say(vision, vision.with_audio_input());
        model.say(
            ModelCapabilities::NONE,
            ModelCapabilities::NONE.with_tool_use(),
        );
        assert_eq!(model.can.names(), ["vision_input"]);
        assert_eq!(model.cannot.names(), ["tool_use", "audio_input"]);
    }
}
