//! A provider made of how it is spoken to.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use seaworthy_ports::model_provider::{
    CountTokens, Directory, EmbedRequest, Embedded, Embeddings, Kind, ListModels, ListedModel,
    LookUpModel, ModelCapabilities, ModelError, ModelEvent, ModelPage, ModelProvider, ModelRequest,
    Rerank, RerankRequest, Reranked, Tokens,
};
use seaworthy_ports::{AdapterInfo, BoxStream};
use serde_json::Value;

use crate::client::{Connection, Settings};
use crate::counting::{Counting, count};
use crate::directory::{Listing, list, look_up};
use crate::exchange::{Line, Outgoing};
use crate::failure::{Complaint, refused};
use crate::streaming::{Reader, stream};
use crate::vectors::{Embedding, Scoring, embed, rerank};

/// How a provider is spoken to. An adapter's configuration is one.
pub trait Dialect: Send + Sync + 'static {
    /// Where calls go, and what is true of all of them.
    fn settings(&self) -> Settings<'_>;

    /// What `model` can do besides vectors and scores.
    fn capabilities(&self, model: &str) -> ModelCapabilities;

    /// Writes a request whose history and schema are valid.
    ///
    /// # Errors
    ///
    /// The provider cannot be asked this.
    fn outgoing(
        &self,
        connection: &Connection,
        request: &ModelRequest,
    ) -> Result<Outgoing, ModelError>;

    /// What the body of a failure says, which is null where it is no JSON.
    fn complaint(&self, body: &Value, status: Option<u16>) -> Complaint;

    /// Reads the answer to `request`.
    fn reader(&self, request: &ModelRequest) -> Box<dyn Reader>;

    /// How the provider is asked for vectors, where it has them.
    fn embedding(&self) -> Option<&dyn Embedding>;

    /// How the provider is asked for scores, where it has them.
    fn scoring(&self) -> Option<&dyn Scoring>;

    /// How the provider is asked for the tokens of a request, where it counts them.
    fn counting(&self) -> Option<&dyn Counting>;

    /// How the provider is asked for its models, where it tells.
    fn listing(&self) -> Option<&dyn Listing>;
}

/// A model behind HTTP. Clones share their connections.
pub struct Provider<D> {
    line: Arc<Line>,
    dialect: PhantomData<fn() -> D>,
}

impl<D> Clone for Provider<D> {
    fn clone(&self) -> Self {
        Self {
            line: Arc::clone(&self.line),
            dialect: PhantomData,
        }
    }
}

impl<D> fmt::Debug for Provider<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("adapter", &self.line.adapter())
            .field("host", &self.line.connection.host())
            .finish_non_exhaustive()
    }
}

impl<D: Dialect> Provider<D> {
    /// Prepares calls. No I/O: the platform's certificates are read with the first call, which fails with
    /// `Kind::Unsupported` where they cannot be used.
    ///
    /// # Errors
    ///
    /// `Kind::InvalidRequest` for an address that is none, `Kind::Authentication` for a key that no header can carry.
    pub fn connect(config: D) -> Result<Self, ModelError> {
        let line = Line {
            connection: Connection::new(&config.settings())?,
            dialect: Box::new(config),
        };
        Ok(Self {
            line: Arc::new(line),
            dialect: PhantomData,
        })
    }
}

#[async_trait]
impl<D: Dialect> ModelProvider for Provider<D> {
    fn info(&self) -> AdapterInfo {
        self.line.connection.about
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        let dialect = &self.line.dialect;
        let mut capabilities = dialect.capabilities(model);
        if dialect.embedding().is_some() {
            capabilities = capabilities.with_embeddings();
        }
        if dialect.scoring().is_some() {
            capabilities = capabilities.with_rerank();
        }
        capabilities
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        stream(Arc::clone(&self.line), request)
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        self.line.dialect.embedding().map(|_there| self as _)
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        self.line.dialect.scoring().map(|_there| self as _)
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        self.line.dialect.counting().map(|_there| self as _)
    }

    fn directory(&self) -> Option<&dyn Directory> {
        self.line.dialect.listing().map(|_there| self as _)
    }
}

impl<D> Provider<D> {
    fn without(&self, operation: &'static str) -> ModelError {
        let why = "the provider does not have this";
        refused(self.line.adapter(), Kind::Unsupported, operation, why)
    }
}

#[async_trait]
impl<D: Dialect> Embeddings for Provider<D> {
    async fn embed(&self, request: EmbedRequest) -> Result<Embedded, ModelError> {
        let embedding = self.line.dialect.embedding();
        let embedding = embedding.ok_or_else(|| self.without("embed"))?;
        embed(&self.line, embedding, request).await
    }
}

#[async_trait]
impl<D: Dialect> Rerank for Provider<D> {
    async fn rerank(&self, request: RerankRequest) -> Result<Reranked, ModelError> {
        let scoring = self.line.dialect.scoring();
        let scoring = scoring.ok_or_else(|| self.without("rerank"))?;
        rerank(&self.line, scoring, request).await
    }
}

#[async_trait]
impl<D: Dialect> CountTokens for Provider<D> {
    async fn count(&self, request: &ModelRequest) -> Result<Tokens, ModelError> {
        let counting = self.line.dialect.counting();
        let counting = counting.ok_or_else(|| self.without("count"))?;
        count(&self.line, counting, request).await
    }
}

#[async_trait]
impl<D: Dialect> Directory for Provider<D> {
    async fn list(&self, request: ListModels) -> Result<ModelPage, ModelError> {
        let listing = self.line.dialect.listing();
        let listing = listing.ok_or_else(|| self.without("list models"))?;
        list(&self.line, listing, request).await
    }

    async fn look_up(&self, request: LookUpModel) -> Result<ListedModel, ModelError> {
        let listing = self.line.dialect.listing();
        let listing = listing.ok_or_else(|| self.without("look up a model"))?;
        look_up(&self.line, listing, request).await
    }
}
