//! The models of the provider: `models.list` and `models.get`.

use reqwest::Url;
use seaworthy_http::client::Connection;
use seaworthy_http::directory::{Asked, Listed, Listing};
use seaworthy_ports::model_provider::{ListedModel, ModelCapabilities, ModelError};
use serde::Deserialize;

use crate::config::GeminiConfig;
use crate::request::named;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    /// Left out where there is none.
    #[serde(default)]
    models: Vec<Entry>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: String,
    input_token_limit: Option<u64>,
    output_token_limit: Option<u64>,
    supported_generation_methods: Option<Vec<String>>,
}

impl From<Entry> for ListedModel {
    fn from(entry: Entry) -> Self {
        let id = entry.name.strip_prefix("models/").unwrap_or(&entry.name);
        let mut model = Self {
            id: id.to_owned(),
            context_tokens: entry.input_token_limit,
            max_output_tokens: entry.output_token_limit,
            ..Self::default()
        };
        if let Some(methods) = entry.supported_generation_methods {
            let about = ModelCapabilities::NONE.with_embeddings();
            let embeds = methods.iter().any(|method| method == "embedContent");
            let can = if embeds {
                about
            } else {
                ModelCapabilities::NONE
            };
            model.say(can, about);
        }
        model
    }
}

impl Listing for GeminiConfig {
    fn page(&self, connection: &Connection, after: Option<&str>, limit: u32) -> Url {
        let mut url = connection.url(&["models"]);
        url.query_pairs_mut()
            .append_pair("pageSize", &limit.to_string());
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("pageToken", after);
        }
        url
    }

    fn read_page(&self, body: &[u8]) -> Option<Listed> {
        let list: List = serde_json::from_slice(body).ok()?;
        let after = list.next_page_token.filter(|token| !token.is_empty());
        let models = list.models.into_iter().map(Into::into).collect();
        Some(Listed::Page(models, after))
    }

    fn one(&self, connection: &Connection, model: &str) -> Result<Option<Asked>, ModelError> {
        let path = named(model);
        let segments: Vec<&str> = path.split('/').collect();
        Ok(Some(Asked::At(connection.url(&segments))))
    }

    fn read_one(&self, model: &str, body: &[u8]) -> Option<ListedModel> {
        let entry: Entry = serde_json::from_slice(body).ok()?;
        Some(ListedModel {
            id: model.to_owned(),
            ..entry.into()
        })
    }
}
