//! The directory of the broken model provider.

use std::time::Duration;

use seaworthy_contract::model_provider::Answer;
use seaworthy_ports::model_provider::{
    Directory, Kind, ListModels, ListedModel, LookUpModel, MOST_LISTED, ModelCapabilities,
    ModelError, ModelPage,
};
use seaworthy_ports::{Latch, async_trait};

use super::models::{
    ANY_LIMIT, DEAF_DIRECTORY, FINDS_ANY_MODEL, FIRST_PAGE_ALONE, LONG_PAGES, Model,
    UNKNOWN_IS_MISSING, UNKNOWN_IS_NOTHING, error_of, refused_by,
};

impl Model {
    /// One call of the backend.
    async fn offered(
        &self,
        idle_timeout: Duration,
        cancel: &Latch,
    ) -> Result<Vec<ListedModel>, ModelError> {
        if cancel.is_set() && self.bug() != DEAF_DIRECTORY {
            return Err(error_of(Kind::Cancelled, "cancelled"));
        }
        match self.called("the models".to_owned()) {
            Answer::Stream(_) => Ok(self.models()),
            Answer::Refuse(failure) => Err(refused_by(&failure)),
            Answer::Silence if self.bug() == DEAF_DIRECTORY => Ok(self.models()),
            Answer::Silence => {
                tokio::time::sleep(idle_timeout).await;
                Err(error_of(Kind::Timeout, "silent"))
            }
            _ => Err(error_of(Kind::Network, "broken")),
        }
    }
}

#[async_trait]
impl Directory for Model {
    async fn list(&self, request: ListModels) -> Result<ModelPage, ModelError> {
        if !(1..=MOST_LISTED).contains(&request.limit) && self.bug() != ANY_LIMIT {
            return Err(error_of(Kind::InvalidRequest, "no limit"));
        }
        let mut models = self.offered(request.idle_timeout, &request.cancel).await?;
        let after = request.after;
        models.retain(|model| after.as_ref().is_none_or(|after| model.id > *after));
        let limit = request.limit as usize;
        let more = models.len() > limit && self.bug() != LONG_PAGES;
        if more {
            models.truncate(limit);
        }
        let last = models.last().map(|model| model.id.clone());
        Ok(ModelPage {
            after: last.filter(|_last| more && self.bug() != FIRST_PAGE_ALONE),
            models,
        })
    }

    async fn look_up(&self, request: LookUpModel) -> Result<ListedModel, ModelError> {
        let models = self.offered(request.idle_timeout, &request.cancel).await?;
        let mut models = models.into_iter();
        let found = models.find(|model| model.id == request.model);
        let mut model = match found {
            Some(model) => model,
            None if self.bug() == FINDS_ANY_MODEL => ListedModel {
                id: request.model,
                ..ListedModel::default()
            },
            None => return Err(error_of(Kind::NotFound, "no such model")),
        };
        if self.bug() == UNKNOWN_IS_NOTHING {
            model.context_tokens = model.context_tokens.or(Some(0));
        }
        if self.bug() == UNKNOWN_IS_MISSING {
            model.cannot = ModelCapabilities::ALL.without(model.can);
        }
        Ok(model)
    }
}
