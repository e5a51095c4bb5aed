//! Vectors for texts, and the ordering of documents by a query: what some providers have besides models that speak.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{ModelError, Usage};
use crate::Latch;

/// Vectors for texts.
///
/// # Cancellation
///
/// Dropping the future closes the connection; the provider may still charge for what it has begun.
#[async_trait]
pub trait Embeddings: Send + Sync {
    /// One vector for each text, in order, all of one length. As many calls are made as the provider's limits demand; if
    /// one fails, all do. No texts are no call.
    ///
    /// # Errors
    ///
    /// As of a call of a model; [`Kind::Decode`](super::Kind::Decode) also for vectors that are too few, too many or of
    /// another length.
    async fn embed(&self, request: EmbedRequest) -> Result<Embedded, ModelError>;
}

/// Ordering of documents by a query.
///
/// # Cancellation
///
/// Dropping the future closes the connection; the provider may still charge for what it has begun.
#[async_trait]
pub trait Rerank: Send + Sync {
    /// A score for each document, in the documents' order; the greater, the closer to the query. Scores of one request
    /// compare, those of two may not. No documents are no call.
    ///
    /// # Errors
    ///
    /// As of a call of a model; [`Kind::InvalidRequest`](super::Kind::InvalidRequest) for more documents than the provider
    /// takes, [`Kind::Decode`](super::Kind::Decode) for scores that are not one for each document.
    async fn rerank(&self, request: RerankRequest) -> Result<Reranked, ModelError>;
}

/// Texts that want vectors.
#[derive(Clone)]
pub struct EmbedRequest {
    /// The provider's name of the model.
    pub model: String,
    /// The texts.
    pub texts: Arc<Vec<String>>,
    /// How long the vectors are to be; `None` leaves it to the model.
    pub dimensions: Option<u32>,
    /// The longest silence of the provider.
    pub idle_timeout: Duration,
    /// Ends the call.
    pub cancel: Latch,
}

impl fmt::Debug for EmbedRequest {
    /// Without the texts: they are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbedRequest")
            .field("model", &self.model)
            .field("texts", &self.texts.len())
            .finish_non_exhaustive()
    }
}

/// The vectors of texts.
#[derive(Clone, PartialEq)]
pub struct Embedded {
    /// One for each text, in order.
    pub vectors: Vec<Vec<f32>>,
    /// What all calls together used.
    pub usage: Usage,
}

impl fmt::Debug for Embedded {
    /// Without the numbers: a text can be guessed from them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded")
            .field("vectors", &self.vectors.len())
            .field("usage", &self.usage)
            .finish_non_exhaustive()
    }
}

/// Documents to order.
#[derive(Clone)]
pub struct RerankRequest {
    /// The provider's name of the model.
    pub model: String,
    /// What they are compared with.
    pub query: String,
    /// The documents.
    pub documents: Arc<Vec<String>>,
    /// The longest silence of the provider.
    pub idle_timeout: Duration,
    /// Ends the call.
    pub cancel: Latch,
}

impl fmt::Debug for RerankRequest {
    /// Without query and documents: they are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RerankRequest")
            .field("model", &self.model)
            .field("documents", &self.documents.len())
            .finish_non_exhaustive()
    }
}

/// The scores of documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Reranked {
    /// One for each document, in the documents' order.
    pub scores: Vec<f32>,
    /// What the call used.
    pub usage: Usage,
}
