//! Reads the frames of Chat Completions.

use seaworthy_http::frames::Frame;
use seaworthy_http::{Fault, Progress, Reader, Reply};
use seaworthy_ports::model_provider::{BlockKind, FinishReason, Usage};
use serde_json::Value;

use super::wire::{CallDelta, Chunk, Delta, UsualChoice, UsualChunk, WireUsage};
use crate::error::complaint;

/// The most calls of one answer.
const MAX_CALLS: usize = 1024;

/// An answer as it comes in.
#[derive(Default)]
pub(crate) struct Answer {
    reasoning: Option<u32>,
    text: Option<u32>,
    refusal: Option<u32>,
    calls: Vec<Call>,
}

struct Call {
    index: Option<u32>,
    id: Option<String>,
    /// From when the name is known.
    block: Option<u32>,
    /// What came before its name.
    early: String,
}

impl Reader for Answer {
    fn frame(&mut self, frame: Frame<'_>, reply: &mut Reply) -> Result<Progress, Fault> {
        let data = frame.data.trim();
        match frame.name {
            "" | "message" => {}
            "error" => return Err(failed(data)),
            _ => {
                reply.skip();
                return Ok(Progress::More);
            }
        }
        if data == "[DONE]" {
            return Ok(Progress::Done);
        }
        if data.is_empty() {
            reply.skip();
            return Ok(Progress::More);
        }
        self.whole(data, reply)?;
        Ok(Progress::More)
    }

    /// Both have the same shape.
    fn whole(&mut self, text: &str, reply: &mut Reply) -> Result<(), Fault> {
        if let Some(taken) = self.usual(text, reply) {
            return taken;
        }
        let chunk: Chunk<'_> = serde_json::from_str(text).map_err(|_error| Fault::Malformed)?;
        if chunk.error.is_some() || chunk.object.as_deref() == Some("error") {
            return Err(failed(text));
        }
        if chunk.choices.is_none() && chunk.usage.is_none() {
            reply.skip();
            return Ok(());
        }
        self.chunk(chunk, reply)
    }

    fn end(&mut self, reply: &mut Reply) {
        if self.calls.iter().any(|call| call.block.is_none()) {
            // A call of nothing.
            reply.spoil();
        }
    }
}

impl Answer {
    /// Takes a frame that is more text and nothing else. Any other is left alone: what it is, and whether it may be, is
    /// looked at with all its parts.
    fn usual(&mut self, text: &str, reply: &mut Reply) -> Option<Result<(), Fault>> {
        let chunk: UsualChunk<'_> = serde_json::from_str(text).ok()?;
        let [UsualChoice { index, delta, .. }] = chunk.choices;
        if index != 0 || chunk.object.as_deref() == Some("error") {
            return None;
        }
        reply.start(chunk.model.as_deref());
        Some(reply.extend(&mut self.text, BlockKind::Text, delta.content))
    }

    fn chunk(&mut self, chunk: Chunk<'_>, reply: &mut Reply) -> Result<(), Fault> {
        reply.start(chunk.model.as_deref());
        if let Some(usage) = chunk.usage {
            reply.usage(normalised(&usage));
        }
        // Only one choice is asked for.
        for choice in chunk
            .choices
            .into_iter()
            .flatten()
            .filter(|choice| choice.index == 0)
        {
            if let Some(delta) = choice.delta {
                self.delta(delta, reply)?;
            }
            if let Some(raw) = choice.finish_reason.filter(|raw| !raw.is_empty()) {
                reply.finish(reason(&raw), &raw);
            }
        }
        Ok(())
    }

    fn delta(&mut self, delta: Delta, reply: &mut Reply) -> Result<(), Fault> {
        let thought = delta.reasoning_content.or(delta.reasoning);
        for (place, kind, text) in [
            (&mut self.reasoning, BlockKind::Reasoning, thought),
            (&mut self.text, BlockKind::Text, delta.content),
            (&mut self.refusal, BlockKind::Refusal, delta.refusal),
        ] {
            reply.extend(place, kind, text.unwrap_or_default())?;
        }
        for fragment in delta.tool_calls.into_iter().flatten() {
            self.fragment(fragment, reply)?;
        }
        Ok(())
    }

    /// A fragment of a call belongs to the call of its index, or of its id where servers leave the index out or give
    /// every call the same.
    fn fragment(&mut self, fragment: CallDelta, reply: &mut Reply) -> Result<(), Fault> {
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
            None if self.calls.len() >= MAX_CALLS => return Err(Fault::TooMany),
            None => {
                self.calls.push(Call {
                    index: fragment.index,
                    id: None,
                    block: None,
                    early: String::new(),
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
        let block = match call.block {
            Some(block) => {
                reply.delta(block, arguments);
                block
            }
            None if name.is_empty() => {
                call.early.push_str(&arguments);
                return Ok(());
            }
            None => {
                let id = call.id.get_or_insert_with(|| format!("call_{at}")).clone();
                let block = reply.open(BlockKind::ToolCall { id, name })?;
                call.block = Some(block);
                let early = std::mem::take(&mut call.early);
                reply.delta(block, early + &arguments);
                block
            }
        };
        if let Some(data) = fragment.extra_content {
            reply.opaque(block, data);
        }
        Ok(())
    }
}

fn failed(data: &str) -> Fault {
    let body = serde_json::from_str(data).unwrap_or(Value::Null);
    Fault::Complaint(complaint(&body, None))
}

fn reason(raw: &str) -> FinishReason {
    match raw {
        "length" => FinishReason::Length,
        "content_filter" => FinishReason::ContentFilter,
        "stop" | "tool_calls" | "function_call" => FinishReason::Stop,
        _ => FinishReason::Other,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn is_usual(text: &str) -> bool {
        serde_json::from_str::<UsualChunk<'_>>(text).is_ok()
    }

    #[test]
    fn a_frame_is_usual_that_is_more_text_and_nothing_else() {
        let nulls = r#""refusal":null,"reasoning_content":null,"reasoning":null,"tool_calls":null"#;
        for text in [
            r#"{"choices":[{"delta":{"content":"a"}}]}"#.to_owned(),
            r#"{"id":"x","object":"chat.completion.chunk","created":1,"model":"m","service_tier":"d","usage":null,"choices":[{"index":0,"delta":{"role":"assistant","content":"\u00e4"},"logprobs":null,"finish_reason":null}]}"#.to_owned(),
            format!(r#"{{"error":null,"choices":[{{"delta":{{"content":"a",{nulls}}}}}]}}"#),
        ] {
            assert!(is_usual(&text), "{text}");
        }
    }

    #[test]
    fn a_frame_with_anything_else_in_it_is_looked_at_with_all_its_parts() {
        let of_delta =
            |member: &str| format!(r#"{{"choices":[{{"delta":{{"content":"a",{member}}}}}]}}"#);
        let of_frame =
            |member: &str| format!(r#"{{"choices":[{{"delta":{{"content":"a"}}}}],{member}}}"#);
        for text in [
            of_delta(r#""refusal":"no""#),
            of_delta(r#""reasoning_content":"so""#),
            of_delta(r#""reasoning":"so""#),
            of_delta(r#""tool_calls":[]"#),
            of_frame(r#""usage":{"prompt_tokens":1}"#),
            of_frame(r#""error":{"message":"no"}"#),
            r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#.to_owned(),
            r#"{"choices":[{"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]}"#
                .to_owned(),
            r#"{"choices":[{"delta":{"content":"a"},"message":{"content":"b"}}]}"#.to_owned(),
            r#"{"choices":[{"delta":{"content":null}}]}"#.to_owned(),
            r#"{"choices":[]}"#.to_owned(),
        ] {
            assert!(!is_usual(&text), "{text}");
        }
    }
}
