//! A model that answers from a table.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use seaworthy_ports::model_provider::{
    BlockKind, CountTokens, Directory, Embeddings, Finish, FinishReason, Kind, ModelCapabilities,
    ModelError, ModelEvent, ModelProvider, ModelRequest, Rerank, Role, Usage, check_history,
    check_parameters,
};
use seaworthy_ports::{AdapterInfo, BoxStream, PortError};
use serde_json::Value;

use crate::{ADAPTER, info};

/// What the model says in one turn.
#[derive(Clone, Debug, Default)]
pub struct TableTurn {
    /// Its words.
    pub text: String,
    /// The calls it wants: tool and arguments.
    pub calls: Vec<(String, Value)>,
}

/// A model whose n-th answer of a conversation is the n-th of a table, whoever asks and however often. It refuses
/// conversations that a real provider would refuse.
#[derive(Clone, Debug)]
pub struct TableModel(Arc<Vec<TableTurn>>);

impl TableModel {
    /// A model that says `turns`.
    #[must_use]
    pub fn new(turns: Vec<TableTurn>) -> Self {
        Self(Arc::new(turns))
    }

    fn answer(&self, request: &ModelRequest) -> Result<Vec<ModelEvent>, ModelError> {
        let refuse = |why: String| {
            ModelError::from(PortError::new(Kind::InvalidRequest, ADAPTER, "stream", why))
        };
        check_history(&request.messages).map_err(|fault| refuse(fault.to_string()))?;
        check_parameters(request).map_err(|fault| refuse(fault.to_string()))?;
        let said = request
            .messages
            .iter()
            .filter(|message| message.role == Role::Assistant)
            .count();
        let turn = self
            .0
            .get(said)
            .ok_or_else(|| refuse(format!("the table has no turn {said}")))?;
        let mut events = vec![ModelEvent::Started {
            request_id: None,
            model: None,
        }];
        let mut add = |kind: BlockKind, delta: String| {
            let block = u32::try_from(events.len()).unwrap_or(u32::MAX);
            events.push(ModelEvent::BlockStarted { block, kind });
            events.push(ModelEvent::BlockDelta { block, delta });
            events.push(ModelEvent::BlockEnded { block });
        };
        if !turn.text.is_empty() {
            add(BlockKind::Text, turn.text.clone());
        }
        for (index, (name, arguments)) in turn.calls.iter().enumerate() {
            let kind = BlockKind::ToolCall {
                id: format!("call_{said}_{index}"),
                name: name.clone(),
            };
            add(kind, arguments.to_string());
        }
        let reason = if turn.calls.is_empty() {
            FinishReason::Stop
        } else {
            FinishReason::ToolCalls
        };
        events.push(ModelEvent::Usage(Usage {
            output_tokens: Some(1),
            ..Usage::default()
        }));
        events.push(ModelEvent::Finish(Finish {
            reason,
            raw_reason: None,
        }));
        Ok(events)
    }
}

#[async_trait]
impl ModelProvider for TableModel {
    fn info(&self) -> AdapterInfo {
        info()
    }

    fn capabilities(&self, _model: &str) -> ModelCapabilities {
        ModelCapabilities::NONE.with_tool_use()
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        match self.answer(&request) {
            Ok(events) => stream::iter(events.into_iter().map(Ok)).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
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
