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

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, stream};
    use serde_json::json;

    use super::super::Kind;
    use super::*;
    use crate::PortError;

    fn started(block: u32, kind: BlockKind) -> ModelEvent {
        ModelEvent::BlockStarted { block, kind }
    }

    fn call(id: &str) -> BlockKind {
        BlockKind::ToolCall {
            id: id.to_owned(),
            name: "read".to_owned(),
        }
    }

    fn delta(block: u32, delta: &str) -> ModelEvent {
        ModelEvent::BlockDelta {
            block,
            delta: delta.to_owned(),
        }
    }

    fn finish(reason: FinishReason) -> ModelEvent {
        ModelEvent::Finish(Finish {
            reason,
            raw_reason: None,
        })
    }

    fn assembled(events: Vec<ModelEvent>) -> ModelReply {
        assemble(stream::iter(events.into_iter().map(Ok)), |_event| {})
            .now_or_never()
            .unwrap()
            .unwrap()
    }

    #[test]
    fn interleaved_calls_keep_their_own_arguments_and_their_order() {
        let reply = assembled(vec![
            started(7, call("a")),
            started(3, call("b")),
            delta(3, "{\"path\":"),
            delta(7, "{\"pa"),
            delta(3, "\"two\"}"),
            delta(7, "th\":\"one\"}"),
            ModelEvent::BlockEnded { block: 3 },
            ModelEvent::BlockEnded { block: 7 },
            finish(FinishReason::ToolCalls),
        ]);
        let calls: Vec<_> = reply
            .message
            .tool_calls()
            .map(|call| (call.id.as_str(), call.parsed().unwrap()))
            .collect();
        assert_eq!(
            calls,
            [("a", json!({"path": "one"})), ("b", json!({"path": "two"}))]
        );
        assert_eq!(reply.finish.reason, FinishReason::ToolCalls);
    }

    #[test]
    fn a_call_without_arguments_has_an_empty_object() {
        let reply = assembled(vec![started(0, call("a")), finish(FinishReason::ToolCalls)]);
        let arguments: Vec<_> = reply
            .message
            .tool_calls()
            .map(ToolCallBlock::parsed)
            .collect();
        assert_eq!(arguments, [Some(json!({}))]);
        assert_eq!(reply.finish.reason, FinishReason::ToolCalls);
    }

    #[test]
    fn arguments_that_are_no_json_make_the_reply_malformed() {
        let reply = assembled(vec![
            started(0, call("a")),
            delta(0, "{\"path\": "),
            finish(FinishReason::ToolCalls),
        ]);
        assert_eq!(reply.finish.reason, FinishReason::Malformed);
    }

    #[test]
    fn arguments_cut_off_by_the_length_limit_keep_that_reason() {
        let reply = assembled(vec![
            started(0, call("a")),
            delta(0, "{"),
            finish(FinishReason::Length),
        ]);
        assert_eq!(reply.finish.reason, FinishReason::Length);
    }

    #[test]
    fn a_stream_without_an_end_is_interrupted() {
        let reply = assembled(vec![started(0, BlockKind::Text), delta(0, "half")]);
        assert_eq!(reply.finish.reason, FinishReason::Interrupted);
        assert_eq!(reply.message.text(), "half");
    }

    #[test]
    fn nothing_after_the_end_counts() {
        let reply = assembled(vec![
            started(0, BlockKind::Text),
            finish(FinishReason::Stop),
            delta(0, "late"),
            finish(FinishReason::Length),
        ]);
        assert_eq!(reply.message.text(), "");
        assert_eq!(reply.finish.reason, FinishReason::Stop);
    }

    #[test]
    fn opaque_items_and_the_newest_usage_are_kept() {
        let item = OpaqueItem {
            provider: "test".to_owned(),
            data: json!({"signature": "x"}),
        };
        let usage = Usage {
            input_tokens: Some(3),
            ..Usage::default()
        };
        let reply = assembled(vec![
            started(0, BlockKind::Reasoning),
            ModelEvent::BlockOpaque {
                block: 0,
                item: item.clone(),
            },
            ModelEvent::Usage(Usage::default()),
            ModelEvent::Usage(usage),
            finish(FinishReason::Stop),
        ]);
        let reasoning = Block::Reasoning {
            text: String::new(),
            opaque: Some(item),
        };
        assert_eq!(reply.message.blocks, [reasoning]);
        assert_eq!(reply.usage, usage);
    }

    #[test]
    fn an_error_ends_the_call_and_every_event_before_it_was_shown() {
        let error = ModelError::from(PortError::new(Kind::Network, "test", "stream", "cut"));
        let events = vec![
            Ok(started(0, BlockKind::Text)),
            Ok(delta(0, "half")),
            Err(error),
            Ok(finish(FinishReason::Stop)),
        ];
        let mut seen = 0;
        let failed = assemble(stream::iter(events), |_event| seen += 1)
            .now_or_never()
            .unwrap();
        assert_eq!(failed.unwrap_err().kind(), Kind::Network);
        assert_eq!(seen, 2);
    }
}
