//! Reads the records of a chat.

use seaworthy_http::frames::Frame;
use seaworthy_http::{Fault, Lent, Progress, Reader, Reply};
use seaworthy_ports::model_provider::{BlockKind, FinishReason, Usage};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::complaint;
use crate::think::{Side, Splitter};

/// An answer as it comes in.
#[derive(Default)]
pub(crate) struct Answer {
    thought: Option<u32>,
    text: Option<u32>,
    calls: u32,
    splitter: Splitter,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    model: Option<Lent<'a>>,
    message: Option<Message>,
    done: Option<bool>,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    prompt_eval_cached_count: Option<u64>,
    eval_count: Option<u64>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    thinking: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    arguments: Option<Box<RawValue>>,
}

impl Reader for Answer {
    fn frame(&mut self, frame: Frame<'_>, reply: &mut Reply) -> Result<Progress, Fault> {
        // A derived struct would take a list for its fields.
        if !frame.data.trim_start().starts_with('{') {
            return Err(Fault::Malformed);
        }
        let record: Record<'_> =
            serde_json::from_str(frame.data).map_err(|_error| Fault::Malformed)?;
        if record.error.is_some() {
            return Err(Fault::Complaint(complaint(None)));
        }
        if record.message.is_none() && record.done.is_none() {
            reply.skip();
            return Ok(Progress::More);
        }
        reply.start(record.model.as_deref());
        if let Some(message) = record.message {
            self.message(message, reply)?;
        }
        if record.done != Some(true) {
            return Ok(Progress::More);
        }
        let (side, rest) = self.splitter.end();
        self.extend(side, rest, reply)?;
        reply.usage(Usage {
            input_tokens: record.prompt_eval_count,
            cache_read_tokens: record.prompt_eval_cached_count,
            cache_write_tokens: None,
            output_tokens: record.eval_count,
            reasoning_tokens: None,
        });
        // Older servers give no reason.
        let raw = record.done_reason.as_deref().unwrap_or("stop");
        reply.finish(reason(raw), raw);
        Ok(Progress::Done)
    }

    /// A server that does not stream sends one record, which is done.
    fn whole(&mut self, text: &str, reply: &mut Reply) -> Result<(), Fault> {
        let frame = Frame {
            name: "",
            data: text,
        };
        match self.frame(frame, reply)? {
            Progress::Done => Ok(()),
            Progress::More => Err(Fault::Malformed),
        }
    }

    fn end(&mut self, reply: &mut Reply) {
        // Interrupted: what may have been a tag was none.
        let (side, rest) = self.splitter.end();
        // One block more than allowed cannot matter now.
        let _full = self.extend(side, rest, reply);
    }
}

impl Answer {
    fn message(&mut self, message: Message, reply: &mut Reply) -> Result<(), Fault> {
        let thinking = message.thinking.unwrap_or_default();
        self.extend(Side::Thought, thinking, reply)?;
        let content = message.content.unwrap_or_default();
        if self.splitter.is_past() {
            self.extend(Side::Said, content, reply)?;
        } else {
            for (side, text) in self.splitter.take(&content) {
                self.extend(side, text, reply)?;
            }
        }
        for call in message.tool_calls.into_iter().flatten() {
            let Function { name, arguments } = call.function;
            let id = format!("call_{}", self.calls);
            self.calls = self.calls.saturating_add(1);
            let block = reply.open(BlockKind::ToolCall { id, name })?;
            let arguments = arguments.map_or("{}".to_owned(), |given| given.get().to_owned());
            reply.delta(block, arguments);
            reply.close(block);
        }
        Ok(())
    }

    fn extend(&mut self, side: Side, text: String, reply: &mut Reply) -> Result<(), Fault> {
        match side {
            Side::Thought => reply.extend(&mut self.thought, BlockKind::Reasoning, text),
            Side::Said => reply.extend(&mut self.text, BlockKind::Text, text),
        }
    }
}

fn reason(raw: &str) -> FinishReason {
    match raw {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        _ => FinishReason::Other,
    }
}
