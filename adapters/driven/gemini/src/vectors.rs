//! Vectors: `batchEmbedContents`.

use seaworthy_http::Outgoing;
use seaworthy_http::client::Connection;
use seaworthy_http::failure::refused;
use seaworthy_http::vectors::{Batch, Embedding, Vectors};
use seaworthy_ports::model_provider::{Kind, ModelError};
use serde::{Deserialize, Serialize};

use crate::config::GeminiConfig;
use crate::error::ADAPTER;
use crate::request::named;

/// The provider takes a hundred texts at once, of some thousand tokens each.
const BATCH: Batch = Batch {
    texts: 100,
    bytes: 4 * 1024 * 1024,
};

#[derive(Serialize)]
struct Body<'a> {
    requests: Vec<Request<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    model: &'a str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u32>,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Part<'a>; 1],
}

#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    embeddings: Vec<Values>,
    usage_metadata: Option<Counted>,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    prompt_token_count: Option<u64>,
}

impl Embedding for GeminiConfig {
    fn batch(&self) -> Batch {
        BATCH
    }

    fn outgoing(
        &self,
        connection: &Connection,
        model: &str,
        texts: &[String],
        dimensions: Option<u32>,
    ) -> Result<Outgoing, ModelError> {
        let model = named(model);
        let requests = texts.iter().map(|text| Request {
            model: &model,
            content: Content {
                parts: [Part { text }],
            },
            output_dimensionality: dimensions,
        });
        let body = Body {
            requests: requests.collect(),
        };
        let path = format!("{model}:batchEmbedContents");
        let segments: Vec<&str> = path.split('/').collect();
        Ok(Outgoing {
            url: connection.url(&segments),
            body: serde_json::to_vec(&body).map_err(|_error| {
                let why = "the request cannot be written as JSON";
                refused(ADAPTER, Kind::InvalidRequest, "embed", why)
            })?,
        })
    }

    fn read(&self, body: &[u8]) -> Option<Vectors> {
        let answer: Answer = serde_json::from_slice(body).ok()?;
        let vectors = answer.embeddings.into_iter().map(|one| one.values);
        Some(Vectors {
            vectors: vectors.enumerate().collect(),
            input_tokens: answer
                .usage_metadata
                .and_then(|counted| counted.prompt_token_count),
        })
    }
}
