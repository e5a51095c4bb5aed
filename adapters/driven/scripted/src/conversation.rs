//! What a script sees of a conversation. Nothing is copied or parsed before a template asks for it, so that a turn costs
//! the same however long the conversation is.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr, Serde};
use seaworthy_ports::model_provider::{Block, Message, Role, ToolResultBlock};

/// The conversation since the user last spoke.
pub(crate) struct Conversation {
    messages: Arc<Vec<Message>>,
    /// The message in which the user last spoke.
    spoken: Option<usize>,
    results: OnceLock<Vec<Place>>,
}

impl fmt::Debug for Conversation {
    /// Without content: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conversation({} messages)", self.messages.len())
    }
}

/// Where a result is.
#[derive(Clone, Copy, Debug)]
struct Place {
    message: usize,
    block: usize,
    /// How many answers of the model came before it.
    answers: usize,
}

fn is_spoken(message: &Message) -> bool {
    message.role == Role::User
        && message
            .blocks
            .iter()
            .any(|block| matches!(block, Block::Text { .. }))
}

impl Conversation {
    pub(crate) fn of(messages: &Arc<Vec<Message>>) -> Self {
        let spoken = messages.iter().rposition(is_spoken);
        Self {
            messages: Arc::clone(messages),
            spoken,
            results: OnceLock::new(),
        }
    }

    /// The messages after the user's, with their places.
    fn since(&self) -> impl Iterator<Item = (usize, &Message)> {
        self.messages
            .iter()
            .enumerate()
            .skip(self.spoken.map_or(0, |at| at.saturating_add(1)))
    }

    /// How often the model has answered.
    pub(crate) fn answers(&self) -> usize {
        self.since()
            .filter(|(_at, message)| message.role == Role::Assistant)
            .count()
    }

    fn results(&self) -> &[Place] {
        self.results.get_or_init(|| {
            let mut places = Vec::new();
            let mut answers = 0_usize;
            for (message, said) in self.since() {
                answers = answers.saturating_add(usize::from(said.role == Role::Assistant));
                let is_result =
                    |(block, content)| matches!(content, &Block::ToolResult(_)).then_some(block);
                let blocks = said.blocks.iter().enumerate().filter_map(is_result);
                places.extend(blocks.map(|block| Place {
                    message,
                    block,
                    answers,
                }));
            }
            places
        })
    }

    fn result(&self, place: Place) -> Option<&ToolResultBlock> {
        match self.messages.get(place.message)?.blocks.get(place.block)? {
            Block::ToolResult(result) => Some(result),
            Block::Text { .. }
            | Block::Reasoning { .. }
            | Block::ToolCall(_)
            | Block::Refusal { .. }
            | Block::File(_) => None,
        }
    }
}

/// The names that templates know.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) conversation: Arc<Conversation>,
    /// The answer that is to be given, from 0: only what was there before it is seen.
    pub(crate) answer: usize,
    pub(crate) turn: usize,
    pub(crate) iteration: usize,
}

impl Scope {
    fn results(&self, from_answer: usize) -> Value {
        let places = self.conversation.results();
        let first = places.partition_point(|place| place.answers < from_answer);
        let end = places.partition_point(|place| place.answers <= self.answer);
        Value::from_object(Results {
            conversation: Arc::clone(&self.conversation),
            places: first..end,
        })
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "input" => {
                let spoken = self
                    .conversation
                    .spoken
                    .and_then(|at| self.conversation.messages.get(at));
                Some(Value::from(spoken.map(Message::text).unwrap_or_default()))
            }
            "results" => Some(self.results(0)),
            "last" => Some(self.results(self.answer)),
            "turn" => Some(Value::from(self.turn)),
            "iteration" => Some(Value::from(self.iteration)),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["input", "results", "last", "turn", "iteration"])
    }
}

/// A list of results.
#[derive(Debug)]
struct Results {
    conversation: Arc<Conversation>,
    places: Range<usize>,
}

impl Object for Results {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = self.places.clone().nth(key.as_usize()?)?;
        let place = *self.conversation.results().get(at)?;
        Some(Value::from_object(ToolResult {
            conversation: Arc::clone(&self.conversation),
            place,
        }))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.places.len())
    }
}

/// A tool's answer, as templates see it.
#[derive(Debug)]
struct ToolResult {
    conversation: Arc<Conversation>,
    place: Place,
}

impl Object for ToolResult {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let result = self.conversation.result(self.place)?;
        let text = || Value::from(result.content.as_str());
        match key.as_str()? {
            "tool" => Some(Value::from(result.name.as_str())),
            "text" => Some(text()),
            "output" => {
                let parsed = serde_json::from_str::<serde_json::Value>(&result.content);
                Some(parsed.map_or_else(|_error| text(), |json| Value::from(Serde(json))))
            }
            "is_error" => Some(Value::from(result.is_error)),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&["tool", "text", "output", "is_error"])
    }
}
