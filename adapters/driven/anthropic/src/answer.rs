//! Reads the frames of Messages.

use std::collections::BTreeMap;

use seaworthy_http::frames::Frame;
use seaworthy_http::{Fault, Lent, Progress, Reader, Reply};
use seaworthy_ports::model_provider::{BlockKind, FinishReason, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::error::complaint;
use crate::request::{REDACTED, SIGNATURE};

/// The most blocks of one answer that nobody here knows.
const MAX_UNKNOWN_BLOCKS: usize = 4096;

/// An answer as it comes in.
#[derive(Default)]
pub(crate) struct Answer {
    /// By the provider's index; `None`: a block that nobody here knows.
    blocks: BTreeMap<u64, Option<Block>>,
    usage: WireUsage,
    /// Why the model stopped, which counts once the message has ended.
    stop: Option<String>,
}

struct Block {
    block: u32,
    /// What came when the block began; some servers send all of a call's arguments there.
    input: Option<String>,
    signature: String,
}

#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(rename = "type", borrow)]
    sort: Lent<'a>,
}

/// What nearly every frame is, so it is read in one go.
#[derive(Deserialize)]
struct UsualDelta<'a> {
    #[serde(rename = "type", borrow)]
    sort: Lent<'a>,
    index: u64,
    #[serde(borrow)]
    delta: UsualPart<'a>,
}

#[derive(Deserialize)]
struct UsualPart<'a> {
    #[serde(rename = "type", borrow)]
    sort: Lent<'a>,
    text: Option<String>,
    partial_json: Option<String>,
    thinking: Option<String>,
}

#[derive(Deserialize)]
struct MessageStart {
    message: StartedMessage,
}

#[derive(Deserialize)]
struct StartedMessage {
    model: Option<String>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct BlockStart<'a> {
    index: u64,
    #[serde(borrow)]
    content_block: &'a RawValue,
}

#[derive(Deserialize)]
struct BlockDelta<'a> {
    index: u64,
    #[serde(borrow)]
    delta: &'a RawValue,
}

#[derive(Deserialize)]
struct BlockStop {
    index: u64,
}

#[derive(Deserialize)]
struct MessageDelta {
    delta: Stop,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Stop {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content {
    Text {
        #[serde(default)]
        text: String,
    },
    Thinking {
        #[serde(default)]
        thinking: String,
        #[serde(default)]
        signature: String,
    },
    RedactedThinking {
        data: String,
    },
    ToolUse {
        id: String,
        name: String,
        input: Option<Value>,
    },
}

#[derive(Deserialize)]
struct TextDelta {
    text: String,
}

#[derive(Deserialize)]
struct InputDelta {
    partial_json: String,
}

#[derive(Deserialize)]
struct ThinkingDelta {
    thinking: String,
}

#[derive(Deserialize)]
struct SignatureDelta {
    signature: String,
}

/// Cumulative: what comes later replaces what came before.
#[derive(Clone, Copy, Default, Deserialize)]
struct WireUsage {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Deserialize)]
struct OutputDetails {
    thinking_tokens: Option<u64>,
}

impl Reader for Answer {
    fn frame(&mut self, frame: Frame<'_>, reply: &mut Reply) -> Result<Progress, Fault> {
        // The type in the data is the name of the event, and the name is there to skip data of any form.
        match frame.name {
            ""
            | "message"
            | "error"
            | "message_start"
            | "content_block_start"
            | "content_block_delta"
            | "content_block_stop"
            | "message_delta"
            | "message_stop" => {}
            _ => {
                reply.skip();
                return Ok(Progress::More);
            }
        }
        if self.usual(frame.data, reply) {
            return Ok(Progress::More);
        }
        let sort = parsed::<Typed<'_>>(frame.data)?.sort;
        match &*sort {
            "message_start" => {
                let start: MessageStart = parsed(frame.data)?;
                reply.start(start.message.model.as_deref());
                self.used(start.message.usage, reply);
            }
            "content_block_start" => self.begin(parsed(frame.data)?, reply)?,
            "content_block_delta" => self.delta(parsed(frame.data)?, reply)?,
            "content_block_stop" => {
                let stop: BlockStop = parsed(frame.data)?;
                self.close(stop.index, reply);
            }
            "message_delta" => {
                let delta: MessageDelta = parsed(frame.data)?;
                self.used(delta.usage, reply);
                if let Some(raw) = delta.delta.stop_reason {
                    self.stop = Some(raw);
                }
            }
            "message_stop" => {
                self.finish(reply);
                return Ok(Progress::Done);
            }
            "error" => return Err(failed(frame.data)),
            _ => reply.skip(),
        }
        Ok(Progress::More)
    }

    /// Only failures come so: every call asks for a stream.
    fn whole(&mut self, text: &str, _reply: &mut Reply) -> Result<(), Fault> {
        let typed: Typed<'_> = parsed(text)?;
        Err(if &*typed.sort == "error" {
            failed(text)
        } else {
            Fault::Malformed
        })
    }

    fn end(&mut self, _reply: &mut Reply) {}
}

fn parsed<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, Fault> {
    serde_json::from_str(data).map_err(|_error| Fault::Malformed)
}

fn failed(data: &str) -> Fault {
    let body = serde_json::from_str(data).unwrap_or(Value::Null);
    Fault::Complaint(complaint(&body, None))
}

impl Answer {
    fn begin(&mut self, start: BlockStart<'_>, reply: &mut Reply) -> Result<(), Fault> {
        if self.blocks.len() > MAX_UNKNOWN_BLOCKS {
            return Err(Fault::TooMany);
        }
        let block = start.content_block.get();
        // A part with a type that is known must have its shape; with another, it is none of ours.
        let content: Content = match &*parsed::<Typed<'_>>(block)?.sort {
            "text" | "thinking" | "redacted_thinking" | "tool_use" => parsed(block)?,
            _ => {
                reply.skip();
                self.blocks.insert(start.index, None);
                return Ok(());
            }
        };
        let mut signed = String::new();
        let mut input = None;
        let block = match content {
            Content::Text { text } => {
                let block = reply.open(BlockKind::Text)?;
                reply.delta(block, text);
                block
            }
            Content::Thinking {
                thinking,
                signature,
            } => {
                let block = reply.open(BlockKind::Reasoning)?;
                reply.delta(block, thinking);
                signed = signature;
                block
            }
            Content::RedactedThinking { data } => {
                let block = reply.open(BlockKind::Reasoning)?;
                reply.opaque(block, json!({ REDACTED: data }));
                block
            }
            Content::ToolUse {
                id,
                name,
                input: given,
            } => {
                let is_something =
                    |given: &Value| given.as_object().is_some_and(|given| !given.is_empty());
                input = given.filter(is_something).map(|given| given.to_string());
                reply.open(BlockKind::ToolCall { id, name })?
            }
        };
        let block = Block {
            block,
            input,
            signature: signed,
        };
        self.blocks.insert(start.index, Some(block));
        Ok(())
    }

    /// Takes a frame that is more of an open block. Any other is left alone: what it is, and whether it may be, is looked
    /// at step by step.
    fn usual(&mut self, data: &str, reply: &mut Reply) -> bool {
        let Ok(delta) = serde_json::from_str::<UsualDelta<'_>>(data) else {
            return false;
        };
        let UsualPart {
            sort,
            text,
            partial_json,
            thinking,
        } = delta.delta;
        let more = match (&*delta.sort, &*sort) {
            ("content_block_delta", "text_delta") => text,
            ("content_block_delta", "input_json_delta") => partial_json,
            ("content_block_delta", "thinking_delta") => thinking,
            _ => None,
        };
        let (Some(Some(open)), Some(more)) = (self.blocks.get(&delta.index), more) else {
            return false;
        };
        reply.delta(open.block, more);
        true
    }

    fn delta(&mut self, delta: BlockDelta<'_>, reply: &mut Reply) -> Result<(), Fault> {
        // A delta of no block is damage; of an unknown block it may be of any form.
        let open = self.blocks.get_mut(&delta.index);
        let Some(open) = open.ok_or(Fault::Malformed)? else {
            reply.skip();
            return Ok(());
        };
        let part = delta.delta.get();
        let more = match &*parsed::<Typed<'_>>(part)?.sort {
            "text_delta" => parsed::<TextDelta>(part)?.text,
            "input_json_delta" => parsed::<InputDelta>(part)?.partial_json,
            "thinking_delta" => parsed::<ThinkingDelta>(part)?.thinking,
            "signature_delta" => {
                let part: SignatureDelta = parsed(part)?;
                open.signature.push_str(&part.signature);
                return Ok(());
            }
            _ => {
                reply.skip();
                return Ok(());
            }
        };
        reply.delta(open.block, more);
        Ok(())
    }

    fn close(&mut self, index: u64, reply: &mut Reply) {
        let Some(Some(open)) = self.blocks.get_mut(&index) else {
            return;
        };
        if let Some(input) = open.input.take()
            && reply.arguments(open.block) == Some("")
        {
            reply.delta(open.block, input);
        }
        if !open.signature.is_empty() {
            let signature = std::mem::take(&mut open.signature);
            reply.opaque(open.block, json!({ SIGNATURE: signature }));
        }
        reply.close(open.block);
    }

    /// A message without a reason is not whole: it stays interrupted.
    fn finish(&mut self, reply: &mut Reply) {
        let open: Vec<u64> = self.blocks.keys().copied().collect();
        for index in open {
            self.close(index, reply);
        }
        if let Some(raw) = &self.stop {
            reply.finish(reason(raw), raw);
        }
    }

    fn used(&mut self, usage: Option<WireUsage>, reply: &mut Reply) {
        let Some(now) = usage else {
            return;
        };
        let before = self.usage;
        self.usage = WireUsage {
            input_tokens: now.input_tokens.or(before.input_tokens),
            cache_creation_input_tokens: now
                .cache_creation_input_tokens
                .or(before.cache_creation_input_tokens),
            cache_read_input_tokens: now
                .cache_read_input_tokens
                .or(before.cache_read_input_tokens),
            output_tokens: now.output_tokens.or(before.output_tokens),
            output_tokens_details: now.output_tokens_details.or(before.output_tokens_details),
        };
        reply.usage(normalised(&self.usage));
    }
}

/// What the provider calls input is what no cache has to do with.
fn normalised(usage: &WireUsage) -> Usage {
    let parts = [
        usage.input_tokens,
        usage.cache_read_input_tokens,
        usage.cache_creation_input_tokens,
    ];
    let input = parts.into_iter().flatten().reduce(u64::saturating_add);
    Usage {
        input_tokens: input,
        cache_read_tokens: usage.cache_read_input_tokens,
        cache_write_tokens: usage.cache_creation_input_tokens,
        output_tokens: usage.output_tokens,
        reasoning_tokens: usage
            .output_tokens_details
            .and_then(|details| details.thinking_tokens),
    }
}

fn reason(raw: &str) -> FinishReason {
    match raw {
        "end_turn" | "stop_sequence" | "tool_use" => FinishReason::Stop,
        "max_tokens" => FinishReason::Length,
        "model_context_window_exceeded" => FinishReason::ContextLimit,
        "refusal" => FinishReason::Refusal,
        "pause_turn" => FinishReason::Pause,
        _ => FinishReason::Other,
    }
}
