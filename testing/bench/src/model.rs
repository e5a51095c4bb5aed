//! A model that calls tools for a number of turns and then answers, in constant time.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use seaworthy::descriptor::{Calling, ModelSpec};
use seaworthy::ports::AdapterInfo;
use seaworthy::ports::model_provider::{
    BlockKind, CountTokens, Directory, Embeddings, Finish, FinishReason, ModelCapabilities,
    ModelError, ModelEvent, ModelProvider, ModelRequest, Rerank, Usage,
};
use seaworthy::{Model, Models, NoModel};

/// Calls one tool so many times in each of its turns but the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steady {
    pub(crate) turns: usize,
    pub(crate) calls: u32,
    pub(crate) wish: Wish,
}

/// Which tool, and with what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) tool: &'static str,
    pub(crate) arguments: &'static str,
}

impl Wish {
    /// The built-in tool that looks into a folder.
    pub(crate) const LIST: Self = Self {
        tool: "list",
        arguments: r#"{"path":"."}"#,
    };
}

impl Models for Steady {
    fn find(&self, _spec: &ModelSpec, _calling: Calling) -> Result<Model, NoModel> {
        Ok(Model {
            provider: Arc::new(*self),
            name: "steady".to_owned(),
        })
    }
}

impl ModelProvider for Steady {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "steady",
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn capabilities(&self, _model: &str) -> ModelCapabilities {
        ModelCapabilities::NONE.with_tool_use()
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        // The input, then an answer and its results for each turn.
        let turn = request.messages.len() / 2;
        let is_last = turn.saturating_add(1) >= self.turns;
        let mut events = vec![ModelEvent::Started {
            request_id: None,
            model: None,
        }];
        let mut block = |block: u32, kind: BlockKind, delta: &str| {
            events.push(ModelEvent::BlockStarted { block, kind });
            events.push(ModelEvent::BlockDelta {
                block,
                delta: delta.to_owned(),
            });
            events.push(ModelEvent::BlockEnded { block });
        };
        block(
            0,
            BlockKind::Text,
            "A sentence of about the length that models say before they call a tool.",
        );
        if !is_last {
            for call in 1..=self.calls {
                let kind = BlockKind::ToolCall {
                    id: format!("call_{turn}_{call}"),
                    name: self.wish.tool.to_owned(),
                };
                block(call, kind, self.wish.arguments);
            }
        }
        let reason = if is_last {
            FinishReason::Stop
        } else {
            FinishReason::ToolCalls
        };
        events.push(ModelEvent::Usage(Usage::default()));
        events.push(ModelEvent::Finish(Finish {
            reason,
            raw_reason: None,
        }));
        stream::iter(events.into_iter().map(Ok)).boxed()
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        None
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        None
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        None
    }

    fn directory(&self) -> Option<&dyn Directory> {
        None
    }
}
