//! Keeps what a model says.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt as _};
use seaworthy_ports::model_provider::{
    CountTokens, Directory, Embeddings, ModelCapabilities, ModelError, ModelEvent, ModelProvider,
    ModelRequest, Rerank,
};
use seaworthy_ports::{AdapterInfo, BoxStream, async_trait};
use serde_json::Value;

use crate::cassette::Cassette;
use crate::exchange::Said;

/// The most items and bytes of text of an answer that is kept.
const MAX_ITEMS: usize = 100_000;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A model whose answers are kept in a [`Cassette`], complete ones and failures. An answer that its caller left is not.
#[derive(Clone, Debug)]
pub struct Record {
    inner: Arc<dyn ModelProvider>,
    cassette: Cassette,
}

impl Record {
    /// Keeps what `inner` says in `cassette`.
    #[must_use]
    pub fn new(inner: Arc<dyn ModelProvider>, cassette: Cassette) -> Self {
        Self { inner, cassette }
    }

    /// Where it is kept.
    #[must_use]
    pub const fn cassette(&self) -> &Cassette {
        &self.cassette
    }
}

#[async_trait]
impl ModelProvider for Record {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        self.inner.capabilities(model)
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let question = self.cassette.question(&request);
        Recording {
            inner: self.inner.stream(request),
            cassette: self.cassette.clone(),
            open: Some(Open {
                question,
                said: Vec::new(),
                bytes: 0,
            }),
        }
        .boxed()
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        self.inner.embeddings()
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        self.inner.rerank()
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        self.inner.tokens()
    }

    fn directory(&self) -> Option<&dyn Directory> {
        self.inner.directory()
    }
}

/// An answer that is not complete.
struct Open {
    question: Value,
    said: Vec<Said>,
    bytes: usize,
}

struct Recording {
    inner: BoxStream<'static, Result<ModelEvent, ModelError>>,
    cassette: Cassette,
    /// `None`: it is kept, or too long.
    open: Option<Open>,
}

impl Recording {
    fn note(&mut self, item: &Result<ModelEvent, ModelError>) {
        let Some(open) = &mut self.open else { return };
        let said = Said::of(item);
        if let Said::BlockDelta { delta, .. } = &said {
            open.bytes = open.bytes.saturating_add(delta.len());
        }
        let is_last = said.is_last();
        open.said.push(said);
        if open.said.len() > MAX_ITEMS || open.bytes > MAX_BYTES {
            self.open = None;
            self.cassette.leave_out();
        } else if is_last && let Some(open) = self.open.take() {
            self.cassette.keep(open.question, open.said);
        }
    }
}

impl Stream for Recording {
    type Item = Result<ModelEvent, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.inner.poll_next_unpin(context);
        if let Poll::Ready(Some(item)) = &polled {
            self.note(item);
        }
        polled
    }
}
