//! Vectors: `/api/embed`.

use seaworthy_http::Outgoing;
use seaworthy_http::client::Connection;
use seaworthy_http::failure::refused;
use seaworthy_http::vectors::{Batch, Embedding, Vectors};
use seaworthy_ports::model_provider::{Kind, ModelError};
use serde::{Deserialize, Serialize};

use crate::config::OllamaConfig;
use crate::error::ADAPTER;

/// The server has no limit; this keeps requests and answers of a size that can be waited for.
const BATCH: Batch = Batch {
    texts: 256,
    bytes: 1024 * 1024,
};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a [String],
    /// Without it a text that is too long is cut, and nobody is told.
    truncate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Answer {
    embeddings: Vec<Vec<f32>>,
    prompt_eval_count: Option<u64>,
}

impl Embedding for OllamaConfig {
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
        let body = Body {
            model,
            input: texts,
            truncate: false,
            dimensions,
        };
        Ok(Outgoing {
            url: connection.url(&["api", "embed"]),
            body: serde_json::to_vec(&body).map_err(|_error| {
                let why = "the request cannot be written as JSON";
                refused(ADAPTER, Kind::InvalidRequest, "embed", why)
            })?,
        })
    }

    fn read(&self, body: &[u8]) -> Option<Vectors> {
        let answer: Answer = serde_json::from_slice(body).ok()?;
        Some(Vectors {
            vectors: answer.embeddings.into_iter().enumerate().collect(),
            input_tokens: answer.prompt_eval_count,
        })
    }
}
