//! The models that a provider has: calls whose answer is one document.

use std::sync::Arc;

use reqwest::Url;
use seaworthy_ports::model_provider::{
    Kind, ListModels, ListedModel, LookUpModel, MOST_LISTED, ModelError, ModelPage,
};

use crate::client::Connection;
use crate::exchange::{Line, Outgoing, Sent};
use crate::vectors::exchange;

/// How a provider is asked for its models.
pub trait Listing: Send + Sync {
    /// Where a list of at most `limit` models is that begins after `after`. Where lists have no pages, both mean nothing.
    fn page(&self, connection: &Connection, after: Option<&str>, limit: u32) -> Url;

    /// Reads a list. `None`: it is none.
    fn read_page(&self, body: &[u8]) -> Option<Listed>;

    /// How one model is asked for. `None`: all that is said of it is in the list.
    ///
    /// # Errors
    ///
    /// The provider cannot be asked this.
    fn one(&self, connection: &Connection, model: &str) -> Result<Option<Asked>, ModelError>;

    /// Reads what is said of `model` alone. `None`: it is nothing of the kind.
    fn read_one(&self, model: &str, body: &[u8]) -> Option<ListedModel>;
}

/// How one model is asked for.
#[derive(Debug)]
pub enum Asked {
    /// It has an address.
    At(Url),
    /// There is an address for all, which is told which one.
    By(Outgoing),
}

/// What an answer lists.
#[derive(Debug)]
pub enum Listed {
    /// Everything: the provider has no pages.
    All(Vec<ListedModel>),
    /// A page, and what the next is asked for with.
    Page(Vec<ListedModel>, Option<String>),
}

impl From<Asked> for Sent {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::At(url) => Self::Get(url),
            Asked::By(outgoing) => Self::Post(outgoing),
        }
    }
}

pub(crate) async fn list(
    line: &Arc<Line>,
    listing: &dyn Listing,
    request: ListModels,
) -> Result<ModelPage, ModelError> {
    let mut exchange = exchange(line, "list models", request.idle_timeout, &request.cancel);
    let limit = request.limit;
    if !(1..=MOST_LISTED).contains(&limit) {
        let why = format!("a page has from 1 to {MOST_LISTED} models, not {limit}");
        return Err(exchange.refused(Kind::InvalidRequest, why));
    }
    let after = request.after.as_deref();
    let url = listing.page(&line.connection, after, limit);
    let body = exchange.whole(Sent::Get(url)).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    match listing.read_page(&body) {
        Some(Listed::All(models)) => Ok(page(models, after, limit)),
        Some(Listed::Page(models, after)) if models.len() <= limit => {
            Ok(ModelPage { models, after })
        }
        Some(Listed::Page(..)) => {
            Err(exchange.undecodable("the answer holds more models than it was asked for"))
        }
        None => Err(exchange.undecodable("the answer is no list of models")),
    }
}

/// A page of a list that has none: in the order of names, so that it is the same whenever it is asked for.
fn page(mut models: Vec<ListedModel>, after: Option<&str>, limit: usize) -> ModelPage {
    models.sort_by(|one, other| one.id.cmp(&other.id));
    models.dedup_by(|one, other| one.id == other.id);
    models.retain(|model| after.is_none_or(|after| model.id.as_str() > after));
    let has_more = models.len() > limit;
    models.truncate(limit);
    let last = models.last().filter(|_last| has_more);
    ModelPage {
        after: last.map(|last| last.id.clone()),
        models,
    }
}

pub(crate) async fn look_up(
    line: &Arc<Line>,
    listing: &dyn Listing,
    request: LookUpModel,
) -> Result<ListedModel, ModelError> {
    let LookUpModel {
        model,
        idle_timeout,
        cancel,
    } = request;
    let mut exchange = exchange(line, "look up a model", idle_timeout, &cancel);
    if model.is_empty() {
        return Err(exchange.refused(Kind::InvalidRequest, "the model has no name"));
    }
    if let Some(asked) = listing.one(&line.connection, &model)? {
        let body = exchange.whole(Sent::from(asked)).await?;
        let read = listing.read_one(&model, &body);
        return read.ok_or_else(|| exchange.undecodable("the answer says nothing of the model"));
    }
    let url = listing.page(&line.connection, None, MOST_LISTED);
    let body = exchange.whole(Sent::Get(url)).await?;
    let Some(Listed::All(models) | Listed::Page(models, _)) = listing.read_page(&body) else {
        return Err(exchange.undecodable("the answer is no list of models"));
    };
    let mut models = models.into_iter();
    models.find(|listed| listed.id == model).ok_or_else(|| {
        let why = "the model is not among those that the provider lists";
        let mut error = exchange.refused(Kind::NotFound, why);
        error.request_id.clone_from(&exchange.request_id);
        error
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: &str) -> ListedModel {
        ListedModel {
            id: id.to_owned(),
            ..ListedModel::default()
        }
    }

    #[test]
    fn a_list_without_pages_gets_some() {
        let all = || ["b", "d", "a", "c", "b"].map(named).to_vec();
        let ids = |page: &ModelPage| -> String {
            page.models.iter().map(|model| model.id.as_str()).collect()
        };
        let first = page(all(), None, 3);
        assert_eq!(
            (ids(&first).as_str(), first.after.as_deref()),
            ("abc", Some("c"))
        );
        let second = page(all(), Some("c"), 3);
        assert_eq!((ids(&second).as_str(), second.after), ("d", None));
        let whole = page(all(), None, 4);
        assert_eq!((ids(&whole).as_str(), whole.after), ("abcd", None));
    }
}
