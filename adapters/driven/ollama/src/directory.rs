//! The models that a server has: `/api/tags`, and `/api/show` for one.

use reqwest::Url;
use seaworthy_http::Outgoing;
use seaworthy_http::client::Connection;
use seaworthy_http::directory::{Asked, Listed, Listing};
use seaworthy_http::failure::refused;
use seaworthy_ports::model_provider::{Kind, ListedModel, ModelCapabilities, ModelError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::OllamaConfig;
use crate::error::ADAPTER;

#[derive(Deserialize)]
struct List {
    models: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
}

#[derive(Serialize)]
struct Show<'a> {
    model: &'a str,
}

#[derive(Deserialize)]
struct Shown {
    /// Older servers leave them out.
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    model_info: Map<String, Value>,
}

impl Listing for OllamaConfig {
    fn page(&self, connection: &Connection, _after: Option<&str>, _limit: u32) -> Url {
        connection.url(&["api", "tags"])
    }

    fn read_page(&self, body: &[u8]) -> Option<Listed> {
        let list: List = serde_json::from_slice(body).ok()?;
        let models = list.models.into_iter().map(|entry| ListedModel {
            id: entry.name,
            ..ListedModel::default()
        });
        Some(Listed::All(models.collect()))
    }

    fn one(&self, connection: &Connection, model: &str) -> Result<Option<Asked>, ModelError> {
        let body = serde_json::to_vec(&Show { model }).map_err(|_error| {
            let why = "the request cannot be written as JSON";
            refused(ADAPTER, Kind::InvalidRequest, "look up a model", why)
        })?;
        Ok(Some(Asked::By(Outgoing {
            url: connection.url(&["api", "show"]),
            body,
        })))
    }

    /// How long a context may be is named after the model's architecture. The server loads less of it unless told.
    fn read_one(&self, model: &str, body: &[u8]) -> Option<ListedModel> {
        let shown: Shown = serde_json::from_slice(body).ok()?;
        let mut info = shown.model_info.iter();
        let context = info.find(|(name, _)| name.ends_with(".context_length"));
        let mut listed = ListedModel {
            id: model.to_owned(),
            context_tokens: context.and_then(|(_, tokens)| tokens.as_u64()),
            ..ListedModel::default()
        };
        if let Some(words) = shown.capabilities {
            let has = |wanted: &str| words.iter().any(|word| word == wanted);
            let mut can = ModelCapabilities::NONE;
            can.tool_use = has("tools");
            can.vision_input = has("vision");
            can.embeddings = has("embedding");
            let about = ModelCapabilities::NONE
                .with_tool_use()
                .with_vision_input()
                .with_embeddings();
            listed.say(can, about);
        }
        Some(listed)
    }
}
