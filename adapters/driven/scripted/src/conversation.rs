//! What a script sees of a conversation.

use seaworthy_ports::model_provider::{Block, Message, Role, ToolResultBlock};
use serde::Serialize;
use serde_json::Value;

/// The conversation since the user last spoke.
#[derive(Debug)]
pub(crate) struct Conversation<'a> {
    /// What the user said.
    pub(crate) input: String,
    since: &'a [Message],
}

/// A tool's answer, as templates see it.
#[derive(Debug, Serialize)]
pub(crate) struct ToolResult<'a> {
    tool: &'a str,
    text: &'a str,
    output: Value,
    is_error: bool,
}

impl<'a> ToolResult<'a> {
    fn of(result: &'a ToolResultBlock) -> Self {
        let text = result.content.as_str();
        let output =
            serde_json::from_str(text).unwrap_or_else(|_error| Value::String(text.to_owned()));
        Self {
            tool: &result.name,
            text,
            output,
            is_error: result.is_error,
        }
    }
}

fn is_spoken(message: &Message) -> bool {
    message.role == Role::User
        && message
            .blocks
            .iter()
            .any(|block| matches!(block, Block::Text { .. }))
}

fn results(message: &Message) -> impl Iterator<Item = ToolResult<'_>> {
    message.blocks.iter().filter_map(|block| match block {
        Block::ToolResult(result) => Some(ToolResult::of(result)),
        Block::Text { .. }
        | Block::Reasoning { .. }
        | Block::ToolCall(_)
        | Block::Refusal { .. } => None,
    })
}

impl<'a> Conversation<'a> {
    pub(crate) fn of(messages: &'a [Message]) -> Self {
        let spoken = messages.iter().rposition(is_spoken);
        let (input, from) =
            match spoken.and_then(|at| messages.get(at).map(|message| (message, at))) {
                Some((message, at)) => (message.text(), at.saturating_add(1)),
                None => (String::new(), 0),
            };
        Self {
            input,
            since: messages.get(from..).unwrap_or_default(),
        }
    }

    /// How often the model has answered.
    pub(crate) fn answers(&self) -> usize {
        self.since
            .iter()
            .filter(|message| message.role == Role::Assistant)
            .count()
    }

    /// The results that were there before the answer number `answer`, from 0.
    pub(crate) fn results_before(&self, answer: usize) -> Vec<ToolResult<'a>> {
        let mut answers = 0_usize;
        self.since
            .iter()
            .take_while(|message| {
                answers = answers.saturating_add(usize::from(message.role == Role::Assistant));
                answers <= answer
            })
            .flat_map(results)
            .collect()
    }

    /// The results right before the answer number `answer`, from 0.
    pub(crate) fn last_before(&self, answer: usize) -> Vec<ToolResult<'a>> {
        let mut answers = 0_usize;
        let mut last = Vec::new();
        for message in self.since {
            match message.role {
                Role::Assistant if answers == answer => break,
                Role::Assistant => answers = answers.saturating_add(1),
                Role::User => last = results(message).collect(),
            }
        }
        last
    }
}
