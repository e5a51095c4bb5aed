//! Calls of tools for models that keep to a schema and know no tools.

mod forms;
mod reading;
mod told;
mod translated;

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use seaworthy_ports::model_provider::{
    CountTokens, Directory, Embeddings, Kind, ModelCapabilities, ModelError, ModelEvent,
    ModelProvider, ModelRequest, Rerank, Tokens,
};
use seaworthy_ports::{AdapterInfo, BoxStream, PortError, async_trait};

use told::Told;
use translated::Translated;

/// A model that calls tools, made of one that keeps to an output schema and calls none.
///
/// It is told its tools in the instructions, and each of its answers has to be JSON of one of these forms:
///
/// ```json
/// {"name": "read", "parameters": {"path": "a.txt"}}
/// {"answer": "It is empty."}
/// ```
///
/// The schema of the answer has a form for each tool, with that tool's own schema, so that arguments fit it as far as the
/// model's provider keeps to schemas. Where a tool must be called (`tool_choice`) there is no form for an answer; where a
/// certain one must, there is only its form. An output schema of the request is that of `answer`.
///
/// The answer is streamed as it comes: text as text, a call's arguments as those. Ids of calls are made here, the same for
/// the same conversation, and no two of a conversation are alike. An answer has one call at most, as a request may demand
/// with `parallel_tool_calls: false`. Earlier calls and results are text for the model, whoever made them.
///
/// An answer that keeps to no form ends as [`Malformed`](seaworthy_ports::model_provider::FinishReason::Malformed), with
/// what was said as text; one that was cut off ends as it was. A request that can name texts which end the answer is
/// refused with [`Kind::Unsupported`]: they would cut the JSON. So is one with tools for a model without output schemas.
///
/// A request without tools, in a conversation without calls, goes to the model as it is.
#[derive(Clone, Debug)]
pub struct ToolsBySchema {
    inner: Arc<dyn ModelProvider>,
}

impl ToolsBySchema {
    /// Has the models of `inner` call tools.
    #[must_use]
    pub fn new(inner: Arc<dyn ModelProvider>) -> Self {
        Self { inner }
    }

    fn told(&self, request: ModelRequest, operation: &'static str) -> Result<Told, ModelError> {
        let capabilities = self.inner.capabilities(&request.model);
        Told::new(request, capabilities).map_err(|(kind, why)| {
            PortError::new(kind, self.inner.info().id, operation, why).into()
        })
    }
}

#[async_trait]
impl ModelProvider for ToolsBySchema {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    /// Tools where the model keeps to schemas. What it has signed it need not see again: calls are text.
    fn capabilities(&self, model: &str) -> ModelCapabilities {
        let mut capabilities = self.inner.capabilities(model);
        capabilities.tool_use = capabilities.structured_output;
        capabilities.schema_with_tools = capabilities.structured_output;
        capabilities.forced_calls = capabilities.structured_output;
        capabilities.signed_calls = false;
        capabilities
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        match self.told(request, "stream") {
            Err(error) => stream::iter([Err(error)]).boxed(),
            Ok(Told {
                request,
                forms: None,
                ..
            }) => self.inner.stream(request),
            Ok(Told {
                request,
                forms: Some(forms),
                call_id,
            }) => {
                let adapter = self.inner.info().id;
                Translated::new(self.inner.stream(request), forms, call_id, adapter).boxed()
            }
        }
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        self.inner.embeddings()
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        self.inner.rerank()
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        self.inner.tokens().map(|_counter| self as &dyn CountTokens)
    }

    fn directory(&self) -> Option<&dyn Directory> {
        self.inner.directory()
    }
}

#[async_trait]
impl CountTokens for ToolsBySchema {
    /// Counts what the model is told, tools included.
    async fn count(&self, request: &ModelRequest) -> Result<Tokens, ModelError> {
        let told = self.told(request.clone(), "count")?;
        match self.inner.tokens() {
            Some(counter) => counter.count(&told.request).await,
            None => {
                let why = "the provider does not count tokens";
                Err(PortError::new(Kind::Unsupported, self.inner.info().id, "count", why).into())
            }
        }
    }
}
