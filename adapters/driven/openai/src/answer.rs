//! Folds frames into model events. Knows no network.

use std::collections::VecDeque;

use seaworthy_ports::model_provider::{
    BlockKind, Finish, FinishReason, ModelEvent, OpaqueItem, Usage,
};
use serde_json::Value;

use crate::error::{ADAPTER, Complaint};
use crate::schema::OutputSchema;
use crate::sse::Event;
use crate::wire::{CallDelta, Chunk, Delta, WireUsage};

/// The most calls of one answer.
const MAX_CALLS: usize = 1024;

/// What a frame means for the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More may come.
    More,
    /// It was the terminal frame.
    Done,
}

/// Why a frame ends the answer early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The endpoint reports a failure in it.
    Complaint(Complaint),
    /// It is none.
    Malformed,
    /// The answer has more calls than is allowed.
    TooManyCalls,
}

/// An answer as it comes in.
#[derive(Default)]
pub(crate) struct Answer {
    request_id: Option<String>,
    schema: Option<OutputSchema>,
    is_started: bool,
    blocks: u32,
    reasoning: Option<u32>,
    text: Option<u32>,
    refusal: Option<u32>,
    /// The text, where it must fit a schema.
    said: String,
    calls: Vec<Call>,
    usage: Option<Usage>,
    finish: Option<String>,
    skipped: u64,
}

struct Call {
    index: Option<u32>,
    id: Option<String>,
    /// From when the name is known.
    block: Option<u32>,
    arguments: String,
}

impl Answer {
    pub(crate) fn new(request_id: Option<String>, schema: Option<OutputSchema>) -> Self {
        Self {
            request_id,
            schema,
            ..Self::default()
        }
    }

    /// Whether any content came.
    pub(crate) fn has_content(&self) -> bool {
        self.blocks > 0
    }

    /// Whether the endpoint said why it stopped: nothing of the content is missing then.
    pub(crate) fn is_complete(&self) -> bool {
        self.finish.is_some()
    }

    /// Events that nobody here knows. They are no errors: endpoints add what they like.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Takes one event of the stream.
    pub(crate) fn event(
        &mut self,
        event: &Event,
        out: &mut VecDeque<ModelEvent>,
    ) -> Result<Progress, Fault> {
        let data = event.data.trim();
        match event.name.as_str() {
            "" | "message" => {}
            "error" => return Err(Fault::Complaint(complaint(data))),
            _ => {
                self.skipped = self.skipped.saturating_add(1);
                return Ok(Progress::More);
            }
        }
        if data == "[DONE]" {
            return Ok(Progress::Done);
        }
        if data.is_empty() {
            self.skipped = self.skipped.saturating_add(1);
            return Ok(Progress::More);
        }
        self.json(data, out)?;
        Ok(Progress::More)
    }

    /// Takes a frame, or a whole answer of an endpoint that does not stream.
    pub(crate) fn json(&mut self, data: &str, out: &mut VecDeque<ModelEvent>) -> Result<(), Fault> {
        let chunk: Chunk = serde_json::from_str(data).map_err(|_error| Fault::Malformed)?;
        let is_error = chunk.error.is_some() || chunk.object.as_deref() == Some("error");
        if is_error {
            return Err(Fault::Complaint(complaint(data)));
        }
        if chunk.choices.is_none() && chunk.usage.is_none() {
            self.skipped = self.skipped.saturating_add(1);
            return Ok(());
        }
        self.chunk(chunk, out)
    }

    fn chunk(&mut self, chunk: Chunk, out: &mut VecDeque<ModelEvent>) -> Result<(), Fault> {
        if !self.is_started {
            self.is_started = true;
            let model = chunk.model.filter(|model| model.len() <= 256);
            out.push_back(ModelEvent::Started {
                request_id: self.request_id.take(),
                model,
            });
        }
        if let Some(usage) = chunk.usage {
            let usage = normalised(&usage);
            self.usage = Some(usage);
            out.push_back(ModelEvent::Usage(usage));
        }
        // Only one choice is asked for.
        for choice in chunk
            .choices
            .into_iter()
            .flatten()
            .filter(|choice| choice.index == 0)
        {
            if let Some(delta) = choice.delta {
                self.delta(delta, out)?;
            }
            if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
                self.finish = Some(reason);
            }
        }
        Ok(())
    }

    fn delta(&mut self, delta: Delta, out: &mut VecDeque<ModelEvent>) -> Result<(), Fault> {
        let Delta {
            content,
            refusal,
            reasoning_content,
            reasoning,
            tool_calls,
        } = delta;
        let thought = reasoning_content.or(reasoning).unwrap_or_default();
        extend(
            &mut self.reasoning,
            &mut self.blocks,
            BlockKind::Reasoning,
            thought,
            out,
        );
        let content = content.unwrap_or_default();
        if self.schema.is_some() {
            self.said.push_str(&content);
        }
        extend(
            &mut self.text,
            &mut self.blocks,
            BlockKind::Text,
            content,
            out,
        );
        extend(
            &mut self.refusal,
            &mut self.blocks,
            BlockKind::Refusal,
            refusal.unwrap_or_default(),
            out,
        );
        for fragment in tool_calls.into_iter().flatten() {
            self.fragment(fragment, out)?;
        }
        Ok(())
    }

    /// A fragment of a call belongs to the call of its index, or of its id where servers leave the index out or give
    /// every call the same.
    fn fragment(
        &mut self,
        fragment: CallDelta,
        out: &mut VecDeque<ModelEvent>,
    ) -> Result<(), Fault> {
        let id = fragment.id.filter(|id| !id.is_empty());
        let is_other =
            |call: &Call| matches!((&call.id, &id), (Some(one), Some(two)) if one != two);
        let found = match (fragment.index, &id) {
            (Some(index), _) => self
                .calls
                .iter()
                .rposition(|call| call.index == Some(index))
                .filter(|at| self.calls.get(*at).is_some_and(|call| !is_other(call))),
            (None, Some(_)) => self.calls.iter().rposition(|call| call.id == id),
            (None, None) => self.calls.len().checked_sub(1),
        };
        let at = match found {
            Some(at) => at,
            None if self.calls.len() >= MAX_CALLS => return Err(Fault::TooManyCalls),
            None => {
                self.calls.push(Call {
                    index: fragment.index,
                    id: None,
                    block: None,
                    arguments: String::new(),
                });
                self.calls.len().saturating_sub(1)
            }
        };
        let taken = id.as_ref().is_some_and(|id| {
            self.calls
                .iter()
                .enumerate()
                .any(|(other, call)| other != at && call.id.as_ref() == Some(id))
        });
        let Some(call) = self.calls.get_mut(at) else {
            return Ok(());
        };
        if call.id.is_none() {
            // Results answer by id, so two calls must not share one.
            call.id = id.map(|id| if taken { format!("{id}_{at}") } else { id });
        }
        let function = fragment.function;
        let (name, arguments) = function
            .map(|function| (function.name, function.arguments))
            .unwrap_or_default();
        let (name, arguments) = (name.unwrap_or_default(), arguments.unwrap_or_default());
        call.arguments.push_str(&arguments);
        let block = match call.block {
            Some(block) => {
                if !arguments.is_empty() {
                    out.push_back(ModelEvent::BlockDelta {
                        block,
                        delta: arguments,
                    });
                }
                block
            }
            None if name.is_empty() => return Ok(()),
            None => {
                let block = next(&mut self.blocks);
                call.block = Some(block);
                let id = call.id.get_or_insert_with(|| format!("call_{at}")).clone();
                out.push_back(ModelEvent::BlockStarted {
                    block,
                    kind: BlockKind::ToolCall { id, name },
                });
                if !call.arguments.is_empty() {
                    out.push_back(ModelEvent::BlockDelta {
                        block,
                        delta: call.arguments.clone(),
                    });
                }
                block
            }
        };
        if let Some(data) = fragment.extra_content {
            let item = OpaqueItem {
                provider: ADAPTER.to_owned(),
                data,
            };
            out.push_back(ModelEvent::BlockOpaque { block, item });
        }
        Ok(())
    }

    /// The last events. A stream that ended before the endpoint said why it stopped was interrupted.
    pub(crate) fn end(&mut self, out: &mut VecDeque<ModelEvent>) {
        if !self.is_started {
            self.is_started = true;
            out.push_back(ModelEvent::Started {
                request_id: self.request_id.take(),
                model: None,
            });
        }
        if self.is_complete() {
            out.extend((0..self.blocks).map(|block| ModelEvent::BlockEnded { block }));
        }
        let raw_reason = self.finish.take();
        let reason = raw_reason
            .as_deref()
            .map_or(FinishReason::Interrupted, |raw| self.reason(raw));
        let raw_reason = raw_reason.map(|raw| raw.chars().take(64).collect());
        out.push_back(ModelEvent::Finish(Finish { reason, raw_reason }));
    }

    fn reason(&self, raw: &str) -> FinishReason {
        match raw {
            "length" => FinishReason::Length,
            "content_filter" => FinishReason::ContentFilter,
            "stop" | "tool_calls" | "function_call" => self.stopped(),
            _ => FinishReason::Other,
        }
    }

    /// What it comes to that the model was done.
    fn stopped(&self) -> FinishReason {
        let is_json = |text: &str| {
            text.trim().is_empty() || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
        };
        if self.refusal.is_some() {
            FinishReason::Refusal
        } else if self
            .calls
            .iter()
            .any(|call| call.block.is_none() || !is_json(&call.arguments))
        {
            FinishReason::Malformed
        } else if !self.calls.is_empty() {
            FinishReason::ToolCalls
        } else if self
            .schema
            .as_ref()
            .is_some_and(|schema| !schema.fits(&self.said))
        {
            FinishReason::Malformed
        } else {
            FinishReason::Stop
        }
    }
}

fn complaint(data: &str) -> Complaint {
    Complaint::read(&serde_json::from_str(data).unwrap_or(Value::Null), None)
}

fn next(blocks: &mut u32) -> u32 {
    let block = *blocks;
    *blocks = blocks.saturating_add(1);
    block
}

/// Adds `delta` to the block in `place`, which it opens if there is none.
fn extend(
    place: &mut Option<u32>,
    blocks: &mut u32,
    kind: BlockKind,
    delta: String,
    out: &mut VecDeque<ModelEvent>,
) {
    if delta.is_empty() {
        return;
    }
    let block = *place.get_or_insert_with(|| {
        let block = next(blocks);
        out.push_back(ModelEvent::BlockStarted { block, kind });
        block
    });
    out.push_back(ModelEvent::BlockDelta { block, delta });
}

/// Input holds what came from a cache already, output the reasoning.
fn normalised(usage: &WireUsage) -> Usage {
    let prompt = usage.prompt_tokens_details.as_ref();
    let completion = usage.completion_tokens_details.as_ref();
    Usage {
        input_tokens: usage.prompt_tokens,
        cache_read_tokens: prompt.and_then(|details| details.cached_tokens),
        cache_write_tokens: prompt.and_then(|details| details.cache_write_tokens),
        output_tokens: usage.completion_tokens,
        reasoning_tokens: completion.and_then(|details| details.reasoning_tokens),
    }
}
