//! A model provider behind faults.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use seaworthy_ports::model_provider::{
    CountTokens, Directory, Embeddings, Kind, ModelCapabilities, ModelError, ModelEvent,
    ModelProvider, ModelRequest, Rerank,
};
use seaworthy_ports::{AdapterInfo, BoxStream, PortError};

use super::{Faults, wrapper};
use crate::ADAPTER;

wrapper!(
    /// A model provider behind faults. A stream is one call, from its first event to its last.
    FaultyModel, ModelProvider
);

#[async_trait]
impl ModelProvider for FaultyModel {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self, model: &str) -> ModelCapabilities {
        self.inner.capabilities(model)
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let (faults, inner) = (self.faults.clone(), Arc::clone(&self.inner));
        let fail = || PortError::new(Kind::Network, ADAPTER, "stream", "a fault was put here");
        let first = async move {
            let whole = || {
                let events = inner.stream(request.clone());
                async { Ok(events.collect::<Vec<_>>().await) }
            };
            let unknown = || fail().with_unknown_effect().into();
            faults
                .around("model stream", whole, || fail().into(), unknown)
                .await
        };
        first
            .into_stream()
            .flat_map(|whole: Result<_, ModelError>| match whole {
                Ok(events) => stream::iter(events).boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
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
