//! The models of the provider: `/v1/models`.

use reqwest::Url;
use seaworthy_http::client::Connection;
use seaworthy_http::directory::{Asked, Listed, Listing};
use seaworthy_ports::model_provider::{ListedModel, ModelCapabilities, ModelError};
use serde::Deserialize;

use crate::config::AnthropicConfig;

#[derive(Deserialize)]
struct List {
    data: Vec<Entry>,
    #[serde(default)]
    has_more: bool,
    last_id: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    max_input_tokens: Option<u64>,
    max_tokens: Option<u64>,
    capabilities: Option<Capabilities>,
}

#[derive(Default, Deserialize)]
struct Capabilities {
    image_input: Option<Supported>,
    pdf_input: Option<Supported>,
    structured_outputs: Option<Supported>,
}

#[derive(Deserialize)]
struct Supported {
    supported: bool,
}

impl From<Entry> for ListedModel {
    fn from(entry: Entry) -> Self {
        let mut model = Self {
            id: entry.id,
            context_tokens: entry.max_input_tokens,
            max_output_tokens: entry.max_tokens,
            ..Self::default()
        };
        let said = entry.capabilities.unwrap_or_default();
        for (said, about) in [
            (
                said.image_input,
                ModelCapabilities::NONE.with_vision_input(),
            ),
            (said.pdf_input, ModelCapabilities::NONE.with_file_input()),
            (
                said.structured_outputs,
                ModelCapabilities::NONE.with_structured_output(),
            ),
        ] {
            match said {
                Some(Supported { supported: true }) => model.say(about, about),
                Some(Supported { supported: false }) => model.say(ModelCapabilities::NONE, about),
                None => {}
            }
        }
        model
    }
}

impl Listing for AnthropicConfig {
    fn page(&self, connection: &Connection, after: Option<&str>, limit: u32) -> Url {
        let mut url = connection.url(&["v1", "models"]);
        url.query_pairs_mut()
            .append_pair("limit", &limit.to_string());
        if let Some(after) = after {
            url.query_pairs_mut().append_pair("after_id", after);
        }
        url
    }

    fn read_page(&self, body: &[u8]) -> Option<Listed> {
        let list: List = serde_json::from_slice(body).ok()?;
        let after = list.last_id.filter(|_last| list.has_more);
        // A page that is not the last must say where it ends.
        if list.has_more && after.is_none() {
            return None;
        }
        let models = list.data.into_iter().map(Into::into).collect();
        Some(Listed::Page(models, after))
    }

    fn one(&self, connection: &Connection, model: &str) -> Result<Option<Asked>, ModelError> {
        Ok(Some(Asked::At(connection.url(&["v1", "models", model]))))
    }

    /// An alias such as one that ends in `-latest` is answered with the model that it means.
    fn read_one(&self, model: &str, body: &[u8]) -> Option<ListedModel> {
        let entry: Entry = serde_json::from_slice(body).ok()?;
        Some(ListedModel {
            id: model.to_owned(),
            ..entry.into()
        })
    }
}
