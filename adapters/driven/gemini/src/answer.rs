//! Reads the frames of `streamGenerateContent`.

use seaworthy_http::failure::word;
use seaworthy_http::frames::Frame;
use seaworthy_http::{Complaint, Fault, Lent, Progress, Reader, Reply};
use seaworthy_ports::model_provider::{BlockKind, FinishReason, Kind, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::error::complaint;
use crate::request::{SIGNATURE, UNNAMED};

/// An answer as it comes in: each frame brings whole parts, which continue the text before them.
#[derive(Default)]
pub(crate) struct Answer {
    thought: Option<u32>,
    text: Option<u32>,
    calls: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    candidates: Option<Vec<Candidate>>,
    prompt_feedback: Option<PromptFeedback>,
    usage_metadata: Option<WireUsage>,
    #[serde(borrow)]
    model_version: Option<Lent<'a>>,
    error: Option<Value>,
}

/// What nearly every frame is: more text of the only candidate, and nothing else that is looked at. It is read in one go,
/// without a place in memory for what it might have been; a frame with more in it is not one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsualChunk<'a> {
    candidates: [UsualCandidate; 1],
    usage_metadata: Option<WireUsage>,
    #[serde(borrow)]
    model_version: Option<Lent<'a>>,
    #[serde(rename = "promptFeedback")]
    _prompt_feedback: Nothing,
    #[serde(rename = "error")]
    _error: Nothing,
}

/// `null`, or not there.
type Nothing = Option<()>;

#[derive(Deserialize)]
struct UsualCandidate {
    #[serde(default)]
    index: u32,
    content: UsualContent,
    #[serde(rename = "finishReason")]
    _finish_reason: Nothing,
}

#[derive(Deserialize)]
struct UsualContent {
    parts: [UsualPart; 1],
}

#[derive(Deserialize)]
struct UsualPart {
    text: String,
    #[serde(default)]
    thought: bool,
    #[serde(rename = "functionCall")]
    _function_call: Nothing,
    #[serde(rename = "thoughtSignature")]
    _thought_signature: Nothing,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    #[serde(default)]
    index: u32,
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    parts: Option<Vec<Part>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    text: Option<String>,
    #[serde(default)]
    thought: bool,
    function_call: Option<FunctionCall>,
    thought_signature: Option<String>,
}

#[derive(Deserialize)]
struct FunctionCall {
    id: Option<String>,
    name: String,
    args: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback {
    block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireUsage {
    prompt_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
}

impl Reader for Answer {
    fn frame(&mut self, frame: Frame<'_>, reply: &mut Reply) -> Result<Progress, Fault> {
        let data = frame.data.trim();
        if !matches!(frame.name, "" | "message" | "error") || data.is_empty() {
            reply.skip();
            return Ok(Progress::More);
        }
        self.chunk(data, reply)?;
        Ok(Progress::More)
    }

    /// One response, or a list of them.
    fn whole(&mut self, text: &str, reply: &mut Reply) -> Result<(), Fault> {
        if !text.trim_start().starts_with('[') {
            return self.chunk(text, reply);
        }
        let chunks: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|_error| Fault::Malformed)?;
        chunks
            .into_iter()
            .try_for_each(|chunk| self.chunk(chunk.get(), reply))
    }

    fn end(&mut self, _reply: &mut Reply) {}
}

impl Answer {
    fn chunk(&mut self, data: &str, reply: &mut Reply) -> Result<(), Fault> {
        // A derived struct would take a list for its fields.
        if !data.starts_with('{') {
            return Err(Fault::Malformed);
        }
        if let Some(taken) = self.usual(data, reply) {
            return taken;
        }
        let chunk: Chunk<'_> = serde_json::from_str(data).map_err(|_error| Fault::Malformed)?;
        if chunk.error.is_some() {
            let body = serde_json::from_str(data).unwrap_or(Value::Null);
            return Err(Fault::Complaint(complaint(&body, None)));
        }
        let is_known = chunk.candidates.is_some()
            || chunk.usage_metadata.is_some()
            || chunk.prompt_feedback.is_some();
        if !is_known {
            reply.skip();
            return Ok(());
        }
        reply.start(chunk.model_version.as_deref());
        if let Some(usage) = &chunk.usage_metadata {
            reply.usage(normalised(usage));
        }
        if let Some(reason) = chunk.prompt_feedback.and_then(|told| told.block_reason) {
            return Err(Fault::Complaint(Complaint {
                code: word(&reason),
                ..Complaint::of(Kind::ContentFilter)
            }));
        }
        // Only one candidate is asked for.
        let candidates = chunk.candidates.into_iter().flatten();
        for candidate in candidates.filter(|candidate| candidate.index == 0) {
            let parts = candidate.content.and_then(|content| content.parts);
            for part in parts.into_iter().flatten() {
                self.part(part, reply)?;
            }
            if let Some(raw) = candidate.finish_reason
                && raw != "FINISH_REASON_UNSPECIFIED"
            {
                reply.finish(reason(&raw), &raw);
            }
        }
        Ok(())
    }

    /// Takes a frame that is more text and nothing else. Any other is left alone: what it is, and whether it may be, is
    /// looked at with all its parts.
    fn usual(&mut self, data: &str, reply: &mut Reply) -> Option<Result<(), Fault>> {
        let chunk: UsualChunk<'_> = serde_json::from_str(data).ok()?;
        let [candidate] = chunk.candidates;
        if candidate.index != 0 {
            return None;
        }
        reply.start(chunk.model_version.as_deref());
        if let Some(usage) = &chunk.usage_metadata {
            reply.usage(normalised(usage));
        }
        let [part] = candidate.content.parts;
        let (place, kind) = self.place(part.thought);
        Some(reply.extend(place, kind, part.text))
    }

    /// Where text goes, and as what.
    const fn place(&mut self, is_thought: bool) -> (&mut Option<u32>, BlockKind) {
        if is_thought {
            (&mut self.thought, BlockKind::Reasoning)
        } else {
            (&mut self.text, BlockKind::Text)
        }
    }

    fn part(&mut self, part: Part, reply: &mut Reply) -> Result<(), Fault> {
        if let Some(call) = part.function_call {
            return self.call(call, part.thought_signature, reply);
        }
        let Some(text) = part.text else {
            // Code that the provider runs itself, and whatever is new.
            reply.skip();
            return Ok(());
        };
        let (place, kind) = self.place(part.thought);
        match part.thought_signature {
            None => reply.extend(place, kind, text),
            // It belongs to this part, not to the text before it.
            Some(signature) => {
                if let Some(before) = place.take() {
                    reply.close(before);
                }
                let block = reply.open(kind)?;
                reply.delta(block, text);
                reply.opaque(block, json!({ SIGNATURE: signature }));
                reply.close(block);
                Ok(())
            }
        }
    }

    /// A call comes whole.
    fn call(
        &mut self,
        call: FunctionCall,
        signature: Option<String>,
        reply: &mut Reply,
    ) -> Result<(), Fault> {
        let number = self.calls;
        self.calls = number.saturating_add(1);
        // What is said after a call is not the text before it.
        for place in [&mut self.thought, &mut self.text] {
            if let Some(before) = place.take() {
                reply.close(before);
            }
        }
        let id = call.id.filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| format!("{UNNAMED}{number}"));
        let name = call.name;
        let block = reply.open(BlockKind::ToolCall { id, name })?;
        let arguments = call
            .args
            .map_or("{}".to_owned(), |args| args.get().to_owned());
        reply.delta(block, arguments);
        if let Some(signature) = signature {
            reply.opaque(block, json!({ SIGNATURE: signature }));
        }
        reply.close(block);
        Ok(())
    }
}

/// The prompt holds what came from a cache; candidates do not hold the thoughts.
fn normalised(usage: &WireUsage) -> Usage {
    let sum = |one: Option<u64>, other: Option<u64>| {
        [one, other]
            .into_iter()
            .flatten()
            .reduce(u64::saturating_add)
    };
    Usage {
        input_tokens: sum(usage.prompt_token_count, usage.tool_use_prompt_token_count),
        cache_read_tokens: usage.cached_content_token_count,
        cache_write_tokens: None,
        output_tokens: sum(usage.candidates_token_count, usage.thoughts_token_count),
        reasoning_tokens: usage.thoughts_token_count,
    }
}

fn reason(raw: &str) -> FinishReason {
    match raw {
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "MALFORMED_FUNCTION_CALL" | "MALFORMED_RESPONSE" | "UNEXPECTED_TOOL_CALL" => {
            FinishReason::Malformed
        }
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
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
        for text in [
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"\u00e4","thought":true}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":1,"totalTokenCount":2},"modelVersion":"m","responseId":"r"}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"a","functionCall":null}]},"finishReason":null}],"error":null}"#,
        ] {
            assert!(is_usual(text), "{text}");
        }
    }

    #[test]
    fn a_frame_with_anything_else_in_it_is_looked_at_with_all_its_parts() {
        let of_part = |member: &str| {
            format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a",{member}}}]}}}}]}}"#)
        };
        let of_frame = |member: &str| {
            format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}}}}],{member}}}"#)
        };
        for text in [
            of_part(r#""thoughtSignature":"s""#),
            of_part(r#""functionCall":{"name":"f"}"#),
            of_frame(r#""promptFeedback":{"blockReason":"SAFETY"}"#),
            of_frame(r#""error":{"code":500}"#),
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}"#
                .to_owned(),
            r#"{"candidates":[{"content":{"parts":[{"text":"a"},{"text":"b"}]}}]}"#.to_owned(),
            r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}},{"index":1}]}"#.to_owned(),
            r#"{"candidates":[{"content":{"parts":[{"inlineData":{}}]}}]}"#.to_owned(),
            r#"{"candidates":[]}"#.to_owned(),
        ] {
            assert!(!is_usual(&text), "{text}");
        }
    }
}
