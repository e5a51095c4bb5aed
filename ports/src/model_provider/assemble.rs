//! Folds a stream of model events into a reply.

use futures_core::Stream;
use futures_util::StreamExt as _;

use super::{
    Block, BlockKind, Finish, FinishReason, Message, ModelError, ModelEvent, ModelProvider,
    ModelRequest, OpaqueItem, Role, ToolCallBlock, Usage,
};

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelReply {
    /// What the model said.
    pub message: Message,
    /// How it ended.
    pub finish: Finish,
    /// What it used.
    pub usage: Usage,
    /// The model that answered, as the provider names it.
    pub model: Option<String>,
    /// The provider's id of the request.
    pub request_id: Option<String>,
}

/// Conveniences on every [`ModelProvider`].
pub trait ModelProviderExt: ModelProvider {
    /// The whole answer to one call.
    fn complete(
        &self,
        request: ModelRequest,
    ) -> impl Future<Output = Result<ModelReply, ModelError>> + Send {
        assemble(self.stream(request), |_event| {})
    }
}

impl<P: ModelProvider + ?Sized> ModelProviderExt for P {}

struct Open {
    id: u32,
    kind: BlockKind,
    text: String,
    opaque: Option<OpaqueItem>,
}

impl Open {
    fn close(self) -> Block {
        let Self {
            kind, text, opaque, ..
        } = self;
        match kind {
            BlockKind::Text => Block::Text { text, opaque },
            BlockKind::Reasoning => Block::Reasoning { text, opaque },
            BlockKind::ToolCall { id, name } => Block::ToolCall(ToolCallBlock {
                id,
                name,
                arguments: text,
                opaque,
            }),
            BlockKind::Refusal => Block::Refusal { text },
        }
    }
}

/// Folds `events` into a reply, and shows each to `watch` as it comes.
///
/// Blocks keep the order they were opened in. A stream without a finish is [`FinishReason::Interrupted`]; calls whose
/// arguments are no JSON make the finish [`FinishReason::Malformed`].
///
/// # Errors
///
/// The stream's first error.
pub async fn assemble<S>(
    events: S,
    mut watch: impl FnMut(&ModelEvent) + Send,
) -> Result<ModelReply, ModelError>
where
    S: Stream<Item = Result<ModelEvent, ModelError>> + Send,
{
    let mut events = std::pin::pin!(events);
    let mut blocks: Vec<Open> = Vec::new();
    let mut usage = Usage::default();
    let mut finish = Finish {
        reason: FinishReason::Interrupted,
        raw_reason: None,
    };
    let (mut model, mut request_id) = (None, None);
    while let Some(event) = events.next().await {
        let event = event?;
        watch(&event);
        match event {
            ModelEvent::Started {
                request_id: id,
                model: name,
            } => (request_id, model) = (id, name),
            ModelEvent::RateLimits(_) | ModelEvent::BlockEnded { .. } => {}
            ModelEvent::BlockStarted { block, kind } => {
                blocks.push(Open {
                    id: block,
                    kind,
                    text: String::new(),
                    opaque: None,
                });
            }
            ModelEvent::BlockDelta { block, delta } => {
                if let Some(open) = blocks.iter_mut().find(|open| open.id == block) {
                    open.text.push_str(&delta);
                }
            }
            ModelEvent::BlockOpaque { block, item } => {
                if let Some(open) = blocks.iter_mut().find(|open| open.id == block) {
                    open.opaque = Some(item);
                }
            }
            ModelEvent::Usage(now) => usage = now,
            ModelEvent::Finish(end) => {
                finish = end;
                break;
            }
        }
    }
    let message = Message {
        role: Role::Assistant,
        blocks: blocks.into_iter().map(Open::close).collect(),
    };
    let complete = matches!(
        finish.reason,
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Pause
    );
    if complete && message.tool_calls().any(|call| call.parsed().is_none()) {
        finish.reason = FinishReason::Malformed;
    }
    Ok(ModelReply {
        message,
        finish,
        usage,
        model,
        request_id,
    })
}
