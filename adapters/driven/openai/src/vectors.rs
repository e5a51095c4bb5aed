//! Vectors as OpenAI gives them, and scores as Cohere does.

use seaworthy_http::Outgoing;
use seaworthy_http::client::Connection;
use seaworthy_http::failure::refused;
use seaworthy_http::vectors::{Batch, Embedding, Scores, Scoring, Vectors, elsewhere};
use seaworthy_ports::model_provider::{Kind, ModelError, RerankRequest};
use serde::{Deserialize, Serialize};

use crate::config::OpenAiConfig;

/// The provider takes 2048 texts and 300,000 tokens at once. No token is shorter than a byte, and fewer texts keep the
/// answer below the usual cap.
const BATCH: Batch = Batch {
    texts: 256,
    bytes: 300_000,
};
/// What Cohere advises.
const MOST_DOCUMENTS: usize = 1000;

#[derive(Serialize)]
struct EmbedBody<'a> {
    model: &'a str,
    input: &'a [String],
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Embedded {
    data: Vec<Placed>,
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Placed {
    index: usize,
    embedding: Vec<f32>,
}

#[derive(Serialize)]
struct RerankBody<'a> {
    model: &'a str,
    query: &'a str,
    documents: &'a [String],
    top_n: usize,
}

#[derive(Deserialize)]
struct Reranked {
    results: Vec<Scored>,
    usage: Option<Counted>,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Scored {
    index: usize,
    relevance_score: f32,
}

/// Compatible servers count in one word or the other.
#[derive(Deserialize)]
struct Counted {
    prompt_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Meta {
    tokens: Option<MetaTokens>,
}

#[derive(Deserialize)]
struct MetaTokens {
    /// Cohere writes it as a number with a point.
    input_tokens: Option<f64>,
}

impl Counted {
    fn input(&self) -> Option<u64> {
        self.prompt_tokens.or(self.total_tokens)
    }
}

/// The bytes of a request's body.
fn written(
    connection: &Connection,
    operation: &'static str,
    body: &impl Serialize,
) -> Result<Vec<u8>, ModelError> {
    serde_json::to_vec(body).map_err(|_error| {
        let why = "the request cannot be written as JSON";
        refused(connection.adapter(), Kind::InvalidRequest, operation, why)
    })
}

impl Embedding for OpenAiConfig {
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
        let body = EmbedBody {
            model,
            input: texts,
            encoding_format: "float",
            dimensions,
        };
        Ok(Outgoing {
            url: connection.url(&["embeddings"]),
            body: written(connection, "embed", &body)?,
        })
    }

    fn read(&self, body: &[u8]) -> Option<Vectors> {
        let Embedded { data, usage } = serde_json::from_slice(body).ok()?;
        let vectors = data.into_iter().map(|one| (one.index, one.embedding));
        Some(Vectors {
            vectors: vectors.collect(),
            input_tokens: usage.and_then(|usage| usage.input()),
        })
    }
}

impl Scoring for OpenAiConfig {
    fn most_documents(&self) -> usize {
        MOST_DOCUMENTS
    }

    fn outgoing(
        &self,
        connection: &Connection,
        request: &RerankRequest,
    ) -> Result<Outgoing, ModelError> {
        let base = self.rerank_base_url.as_deref().unwrap_or(&self.base_url);
        let body = RerankBody {
            model: &request.model,
            query: &request.query,
            documents: &request.documents,
            top_n: request.documents.len(),
        };
        Ok(Outgoing {
            url: elsewhere(connection, base, &["rerank"])?,
            body: written(connection, "rerank", &body)?,
        })
    }

    fn read(&self, body: &[u8]) -> Option<Scores> {
        let Reranked {
            results,
            usage,
            meta,
        } = serde_json::from_slice(body).ok()?;
        let scores = results
            .into_iter()
            .map(|one| (one.index, one.relevance_score));
        let whole = |count: f64| format!("{count:.0}").parse().ok();
        let by_meta = || meta?.tokens?.input_tokens.and_then(whole);
        Some(Scores {
            scores: scores.collect(),
            input_tokens: usage.and_then(|usage| usage.input()).or_else(by_meta),
        })
    }
}
