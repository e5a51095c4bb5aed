//! Any list of messages as one that a provider continues.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use seaworthy_ports::model_provider::{
    Block, Message, Role, ToolCallBlock, ToolResultBlock, check_history,
};

use super::{call_note, file_note, text};

/// What the model is told of a call that nobody answered.
pub const NEVER_ANSWERED: &str = "the call was never answered";
/// What the user says where a conversation has no beginning.
pub const BEGINNING_MISSING: &str = "(The beginning of this conversation is missing.)";

/// The conversation as one that [`check_history`] accepts; itself, if it is one.
///
/// What can be kept is kept, and what is in order is not touched: of the parts between two messages of the model only
/// those with a fault are rebuilt.
///
/// * A result goes to the nearest call before it that has its id and no result; one without such a call is dropped, as
///   is a second one.
/// * A call that nobody answered gets a failed result: [`NEVER_ANSWERED`].
/// * Of calls of one message with the same id, the later ones get new ids; what their provider marked them with is
///   about the old id and is dropped.
/// * Calls of the user and files of the model become text.
/// * A conversation that the user does not begin gets a first message: [`BEGINNING_MISSING`].
#[must_use]
pub fn repair(messages: &[Message]) -> Cow<'_, [Message]> {
    if check_history(messages).is_ok() {
        return Cow::Borrowed(messages);
    }
    let mut mended = Mended::default();
    let mut rest = messages;
    let begins = |message: &Message| message.role == Role::Assistant;
    let first = rest.iter().position(begins).unwrap_or(rest.len());
    let (before, spans) = rest.split_at_checked(first).unwrap_or((rest, &[]));
    mended.beginning(before);
    rest = spans;
    while let Some((answer, behind)) = rest.split_first() {
        let end = behind.iter().position(begins).unwrap_or(behind.len());
        let (users, next) = behind.split_at_checked(end).unwrap_or((behind, &[]));
        mended.span(answer, users);
        rest = next;
    }
    Cow::Owned(mended.finish())
}

/// The place of a result that was made up: a later one may still take it.
#[derive(Clone, Copy)]
struct Place {
    message: usize,
    block: usize,
}

#[derive(Default)]
struct Mended {
    messages: Vec<Message>,
    /// Calls without a result so far, by their ids as they were.
    unanswered: BTreeMap<String, Place>,
}

/// A call and its result, as far as there is one.
struct Open {
    was: String,
    id: String,
    name: String,
    result: Option<ToolResultBlock>,
}

impl Mended {
    /// What the user says before the model says anything.
    fn beginning(&mut self, users: &[Message]) {
        for message in users {
            let (said, _answers_nothing) = said(message);
            self.messages.extend(said);
        }
    }

    /// A message of the model, and what the user says until the next.
    fn span(&mut self, answer: &Message, users: &[Message]) {
        if is_whole(answer, users) {
            self.messages.push(answer.clone());
            self.messages.extend_from_slice(users);
            return;
        }
        let (answer, mut calls, mut results) = asked(answer);
        let mut after = Vec::new();
        for message in users {
            let (said, more) = said(message);
            after.extend(said);
            results.extend(more);
        }
        for result in results {
            let open = calls
                .iter_mut()
                .find(|call| call.was == result.id && call.result.is_none());
            match open {
                Some(call) => {
                    call.result = Some(ToolResultBlock {
                        id: call.id.clone(),
                        ..result
                    });
                }
                None => self.late(result),
            }
        }
        self.messages.extend(answer);
        if !calls.is_empty() {
            self.answer(calls);
        }
        self.messages.extend(after);
    }

    /// One message with the results of all calls.
    fn answer(&mut self, calls: Vec<Open>) {
        let message = self.messages.len();
        let mut blocks = Vec::new();
        for call in calls {
            let result = call.result.unwrap_or_else(|| {
                let block = blocks.len();
                self.unanswered.insert(call.was, Place { message, block });
                ToolResultBlock {
                    id: call.id,
                    name: call.name,
                    content: NEVER_ANSWERED.to_owned(),
                    is_error: true,
                    media: Vec::new(),
                }
            });
            blocks.push(Block::ToolResult(result));
        }
        self.messages.push(Message {
            role: Role::User,
            blocks,
        });
    }

    /// A result that comes after the conversation has gone on.
    fn late(&mut self, result: ToolResultBlock) {
        let Some(place) = self.unanswered.remove(&result.id) else {
            return;
        };
        let made_up = self
            .messages
            .get_mut(place.message)
            .and_then(|message| message.blocks.get_mut(place.block));
        if let Some(Block::ToolResult(made_up)) = made_up {
            // The id may be a new one.
            made_up.content = result.content;
            made_up.is_error = result.is_error;
            made_up.media = result.media;
        }
    }

    fn finish(mut self) -> Vec<Message> {
        let begins = self.messages.first().map(|message| message.role);
        if begins != Some(Role::User) {
            self.messages.insert(0, Message::user(BEGINNING_MISSING));
        }
        self.messages
    }
}

/// Whether a provider would continue this part for itself.
fn is_whole(answer: &Message, users: &[Message]) -> bool {
    let mut part = vec![Message::user(String::new()), answer.clone()];
    part.extend_from_slice(users);
    check_history(&part).is_ok()
}

/// The model's message, its calls, and the results that it has no right to.
fn asked(answer: &Message) -> (Option<Message>, Vec<Open>, Vec<ToolResultBlock>) {
    let mut calls = Vec::new();
    let mut results = Vec::new();
    let mut blocks = Vec::new();
    let taken: BTreeSet<&str> = answer.tool_calls().map(|call| call.id.as_str()).collect();
    let mut given = BTreeSet::new();
    for block in &answer.blocks {
        match block {
            Block::ToolCall(call) => {
                let mut call = call.clone();
                let was = call.id.clone();
                if given.contains(&call.id) {
                    rename(&mut call, &taken, &given);
                }
                given.insert(call.id.clone());
                calls.push(Open {
                    was,
                    id: call.id.clone(),
                    name: call.name.clone(),
                    result: None,
                });
                blocks.push(Block::ToolCall(call));
            }
            Block::ToolResult(result) => results.push(result.clone()),
            Block::File(file) => blocks.push(text(file_note(file))),
            Block::Text { .. } | Block::Reasoning { .. } | Block::Refusal { .. } => {
                blocks.push(block.clone());
            }
        }
    }
    let message = Message {
        role: Role::Assistant,
        blocks,
    };
    (kept(message, answer.blocks.is_empty()), calls, results)
}

/// Gives the call an id that no other of its message has.
fn rename(call: &mut ToolCallBlock, taken: &BTreeSet<&str>, given: &BTreeSet<String>) {
    let free = (2_u64..)
        .map(|number| format!("{}_{number}", call.id))
        .find(|id| !taken.contains(id.as_str()) && !given.contains(id));
    if let Some(free) = free {
        call.id = free;
        call.opaque = None;
    }
}

/// What a user's message says beside results, and the results.
fn said(message: &Message) -> (Option<Message>, Vec<ToolResultBlock>) {
    let mut results = Vec::new();
    let mut blocks = Vec::new();
    for block in &message.blocks {
        match block {
            Block::ToolResult(result) => results.push(result.clone()),
            Block::ToolCall(call) => blocks.push(text(call_note(&call.name, &call.arguments))),
            Block::Text { .. }
            | Block::Reasoning { .. }
            | Block::Refusal { .. }
            | Block::File(_) => blocks.push(block.clone()),
        }
    }
    let said = Message {
        role: message.role,
        blocks,
    };
    (kept(said, message.blocks.is_empty()), results)
}

/// A message, unless nothing is left of it.
fn kept(message: Message, was_empty: bool) -> Option<Message> {
    (was_empty || !message.blocks.is_empty()).then_some(message)
}
