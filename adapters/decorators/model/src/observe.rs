//! Tells an observer of model calls.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt as _};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::model_provider::{
    CountTokens, Directory, Embeddings, Kind, ModelCapabilities, ModelError, ModelEvent,
    ModelProvider, ModelRequest, Rerank, Usage,
};
use seaworthy_ports::observer::{Fact, ModelAsked, ModelCallEnd, Observer, Span};
use seaworthy_ports::{
    AdapterInfo, BoxStream, RunId, SessionId, SpanId, Timestamp, TraceContext, async_trait,
};

/// What calls are part of.
#[derive(Clone, Debug)]
pub struct About {
    /// What facts name as the run.
    pub run: RunId,
    /// Who asks.
    pub agent: Arc<str>,
    /// The conversation they belong to.
    pub session: Option<SessionId>,
    /// The span they are parts of.
    pub within: TraceContext,
}

/// A model whose calls an observer is told of: for an application that calls models itself. In a harness every call is
/// observed already. Content is not told.
#[derive(Clone, Debug)]
pub struct Observe {
    inner: Arc<dyn ModelProvider>,
    observer: Arc<dyn Observer>,
    clock: Arc<dyn Clock>,
    about: About,
    calls: Arc<AtomicU32>,
}

impl Observe {
    /// Tells `observer` of the calls of `inner`.
    #[must_use]
    pub fn new(
        inner: Arc<dyn ModelProvider>,
        observer: Arc<dyn Observer>,
        clock: Arc<dyn Clock>,
        about: About,
    ) -> Self {
        Self {
            inner,
            observer,
            clock,
            about,
            calls: Arc::default(),
        }
    }
}

#[async_trait]
impl ModelProvider for Observe {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        self.inner.capabilities(model)
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let started = self.clock.now();
        let within = self.about.within.span();
        let name = format!("seaworthy call {within} {} {number}", started.as_millis());
        let observed = Observed {
            observer: Arc::clone(&self.observer),
            clock: Arc::clone(&self.clock),
            about: self.about.clone(),
            provider: self.inner.info().id.into(),
            model: request.model.as_str().into(),
            span: Span {
                context: self.about.within.at(SpanId::of(name.as_bytes())),
                parent: Some(within),
                started,
            },
            asked: ModelAsked::of(&request),
            usage: Usage::default(),
            answered_by: None,
            request_id: None,
            first: None,
            is_over: false,
            inner: self.inner.stream(request),
        };
        observed.observer.observe(&Fact::ModelCallStarted {
            run: observed.about.run.clone(),
            attempt: 1,
            provider: Arc::clone(&observed.provider),
            model: Arc::clone(&observed.model),
            span: observed.span.clone(),
        });
        observed.boxed()
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

struct Observed {
    observer: Arc<dyn Observer>,
    clock: Arc<dyn Clock>,
    about: About,
    provider: Arc<str>,
    model: Arc<str>,
    span: Span,
    asked: ModelAsked,
    usage: Usage,
    answered_by: Option<Arc<str>>,
    request_id: Option<Arc<str>>,
    first: Option<Timestamp>,
    is_over: bool,
    inner: BoxStream<'static, Result<ModelEvent, ModelError>>,
}

impl Observed {
    fn note(&mut self, item: &Result<ModelEvent, ModelError>) {
        match item {
            Ok(ModelEvent::Started { request_id, model }) => {
                self.request_id = request_id.as_deref().map(Into::into);
                self.answered_by = model.as_deref().map(Into::into);
            }
            Ok(ModelEvent::BlockDelta { .. }) => {
                self.first.get_or_insert_with(|| self.clock.now());
            }
            Ok(ModelEvent::Usage(usage)) => self.usage = *usage,
            Ok(ModelEvent::Finish(finish)) => self.end(ModelCallEnd::Finished(finish.reason)),
            Ok(_) => {}
            Err(error) => {
                if let Some(id) = &error.request_id {
                    self.request_id = Some(id.as_str().into());
                }
                self.end(ModelCallEnd::Failed(error.kind()));
            }
        }
    }

    fn end(&mut self, end: ModelCallEnd) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.observer.observe(&Fact::ModelCallEnded {
            run: self.about.run.clone(),
            attempt: 1,
            agent: Arc::clone(&self.about.agent),
            session: self.about.session.clone(),
            provider: Arc::clone(&self.provider),
            model: Arc::clone(&self.model),
            asked: self.asked.clone(),
            answered_by: self.answered_by.clone(),
            request_id: self.request_id.clone(),
            usage: self.usage,
            end,
            span: self.span.clone(),
            first_chunk: self.first.map(|first| first.since(self.span.started)),
            duration: self.clock.now().since(self.span.started),
        });
    }
}

impl Stream for Observed {
    type Item = Result<ModelEvent, ModelError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.inner.poll_next_unpin(context);
        if let Poll::Ready(Some(item)) = &polled {
            self.note(item);
        }
        polled
    }
}

impl Drop for Observed {
    /// Whoever asked has left.
    fn drop(&mut self) {
        self.end(ModelCallEnd::Failed(Kind::Cancelled));
    }
}
