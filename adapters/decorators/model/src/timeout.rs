//! Ends an answer in time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{StreamExt as _, stream};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::model_provider::{
    CountTokens, Directory, Embeddings, Kind, ModelCapabilities, ModelError, ModelEvent,
    ModelProvider, ModelRequest, Rerank,
};
use seaworthy_ports::{AdapterInfo, BoxStream, PortError, Timestamp, async_trait};

/// A model whose answers end with [`Kind::Timeout`] when they fall silent, or take too long altogether.
///
/// Silence is counted while somebody waits for the answer: a slow reader is no silent model. The whole time is counted
/// from the first time anybody waits, whoever is slow. An answer that is ended is dropped, which closes its connection.
#[derive(Clone, Debug)]
pub struct Timeout {
    inner: Arc<dyn ModelProvider>,
    clock: Arc<dyn Clock>,
    idle: Duration,
    total: Duration,
}

impl Timeout {
    /// Ends answers of `inner` after silence of `idle`, or what a request says if that is shorter, and after `total`.
    #[must_use]
    pub fn new(
        inner: Arc<dyn ModelProvider>,
        clock: Arc<dyn Clock>,
        idle: Duration,
        total: Duration,
    ) -> Self {
        Self {
            inner,
            clock,
            idle,
            total,
        }
    }
}

#[async_trait]
impl ModelProvider for Timeout {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        self.inner.capabilities(model)
    }

    fn stream(
        &self,
        mut request: ModelRequest,
    ) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        request.idle_timeout = request.idle_timeout.min(self.idle);
        let timed = Timed {
            idle: request.idle_timeout,
            adapter: self.inner.info().id,
            inner: Some(self.inner.stream(request)),
            clock: Arc::clone(&self.clock),
            total: self.total,
            until: None,
            has_begun: false,
        };
        stream::unfold(timed, |mut timed| async move {
            timed.next().await.map(|item| (item, timed))
        })
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

struct Timed {
    /// `None`: it is over.
    inner: Option<BoxStream<'static, Result<ModelEvent, ModelError>>>,
    adapter: &'static str,
    clock: Arc<dyn Clock>,
    idle: Duration,
    total: Duration,
    until: Option<Timestamp>,
    has_begun: bool,
}

impl Timed {
    async fn next(&mut self) -> Option<Result<ModelEvent, ModelError>> {
        let now = self.clock.now();
        let until = *self.until.get_or_insert_with(|| now.plus(self.total));
        let silent_until = now.plus(self.idle);
        let item = {
            let inner = self.inner.as_mut()?;
            let late = self.clock.sleep_until(until.min(silent_until));
            match select(inner.next(), late).await {
                Either::Left((item, _late)) => Some(item),
                Either::Right(((), _next)) => None,
            }
        };
        if let Some(item) = item {
            self.has_begun |= matches!(item, Some(Ok(_)));
            return item;
        }
        self.inner = None;
        let why = if until <= silent_until {
            format!("no complete answer within {:?}", self.total)
        } else {
            format!("nothing came for {:?}", self.idle)
        };
        let mut error: ModelError = PortError::new(Kind::Timeout, self.adapter, "stream", why)
            .with_unknown_effect()
            .into();
        error.response_started = self.has_begun;
        Some(Err(error))
    }
}
