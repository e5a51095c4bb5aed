//! A conversation as a certain model takes it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use seaworthy_ports::model_provider::{
    Block, FileBlock, Message, OpaqueItem, Role, ToolResultBlock,
};

use super::{call_note, file_note, result_note, text};
use crate::output;
#[cfg(doc)]
use crate::output::ANSWER_TOOL;

/// Who gets the conversation, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The adapter's id, as opaque items name it.
    pub provider: &'a str,
    /// Which files it takes.
    pub files: Files,
    /// Which media of tools' results it takes. The results themselves describe those that it does not.
    pub media: Files,
    /// Which calls it takes.
    pub calls: Calls,
    /// Which answers by a tool it takes.
    pub answers: Answers,
}

/// Which answers in a history a model takes that were given by a call of [`ANSWER_TOOL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// All: it knows the tool, or nobody has used it.
    Any,
    /// None: it does not know the tool, so they become text.
    AsText,
}

/// Which files a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// All, or nobody knows: the provider refuses what it does not take.
    Any,
    /// Only those of these kinds.
    Only {
        /// `image/…`.
        images: bool,
        /// `audio/…`.
        audio: bool,
        /// All others.
        others: bool,
    },
}

impl Files {
    /// None at all.
    pub const NONE: Self = Self::Only {
        images: false,
        audio: false,
        others: false,
    };

    fn takes(self, file: &FileBlock) -> bool {
        let Self::Only {
            images,
            audio,
            others,
        } = self
        else {
            return true;
        };
        match file.media_type.split_once('/') {
            Some((kind, _)) if kind.eq_ignore_ascii_case("image") => images,
            Some((kind, _)) if kind.eq_ignore_ascii_case("audio") => audio,
            _ => others,
        }
    }
}

/// Which calls in a history a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// Those of every model.
    Any,
    /// Only its own, which it has signed: a call in a message without any item of its provider becomes text, and its
    /// result too. Google's newest models refuse such calls.
    Signed,
}

/// The conversation as `target` takes it; itself, where that is all the same.
///
/// * Opaque items of other providers are removed: nobody else gets them.
/// * The reasoning of other providers is removed. Reasoning that nobody marked stays in messages that nobody else
///   marked: it may be the target's own.
/// * Files that it does not take become a note that says so; media of results that it does not take go.
/// * Calls that it does not take become text, with their results; so do answers that were given by a call.
///
/// A message of the model of which nothing is left goes too.
#[must_use]
pub fn project<'a>(messages: &'a [Message], target: &Target<'_>) -> Cow<'a, [Message]> {
    let mut projection = Projection::new(*target);
    projection.extend(messages);
    projection.other.map_or(Cow::Borrowed(messages), |other| {
        Cow::Owned(Arc::unwrap_or_clone(other))
    })
}

/// What [`project`] makes of a conversation that grows: each message is looked at once.
#[derive(Clone, Debug)]
pub struct Projection<'a> {
    target: Target<'a>,
    /// How many messages were looked at.
    taken: usize,
    /// The calls of the newest answer that are text now.
    told: BTreeSet<String>,
    /// What became of them, where it is not the same.
    other: Option<Arc<Vec<Message>>>,
}

impl<'a> Projection<'a> {
    /// That of a conversation without messages.
    #[must_use]
    pub const fn new(target: Target<'a>) -> Self {
        Self {
            target,
            taken: 0,
            told: BTreeSet::new(),
            other: None,
        }
    }

    /// For whom it is.
    #[must_use]
    pub const fn target(&self) -> &Target<'a> {
        &self.target
    }

    /// The conversation as the target takes it. `messages` begins with those of the call before.
    #[must_use]
    pub fn of(&mut self, messages: &Arc<Vec<Message>>) -> Arc<Vec<Message>> {
        self.extend(messages);
        Arc::clone(self.other.as_ref().unwrap_or(messages))
    }

    fn extend(&mut self, messages: &[Message]) {
        for (index, message) in messages.iter().enumerate().skip(self.taken) {
            let becomes = self.next(message);
            match (becomes, &mut self.other) {
                (Becomes::Same, None) => {}
                (Becomes::Same, Some(other)) => Arc::make_mut(other).push(message.clone()),
                (Becomes::Other(becomes), None) => {
                    let mut all = messages.get(..index).unwrap_or_default().to_vec();
                    all.extend(becomes);
                    self.other = Some(Arc::new(all));
                }
                (Becomes::Other(becomes), Some(other)) => Arc::make_mut(other).extend(becomes),
            }
        }
        self.taken = messages.len();
    }

    fn next(&mut self, message: &Message) -> Becomes {
        let told = match self.target.answers {
            Answers::AsText => output::told(message),
            Answers::Any => None,
        };
        match told {
            None => self.taken(message),
            Some(told) => match self.taken(&told) {
                Becomes::Same => Becomes::Other(Some(told)),
                other @ Becomes::Other(_) => other,
            },
        }
    }

    fn taken(&mut self, message: &Message) -> Becomes {
        let target = &self.target;
        match message.role {
            Role::Assistant => {
                self.told.clear();
                let author = author(message, target.provider);
                let tells = target.calls == Calls::Signed && author != Author::Target;
                if tells {
                    let ids = message.tool_calls().map(|call| call.id.as_str().to_owned());
                    self.told.extend(ids);
                }
                answer(message, author, tells, target)
            }
            Role::User => user(message, &self.told, target),
        }
    }
}

enum Becomes {
    Same,
    Other(Option<Message>),
}

/// Who wrote a message of the model, as far as its items say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Author {
    Target,
    Other,
    Unknown,
}

fn opaque(block: &Block) -> Option<&OpaqueItem> {
    match block {
        Block::Text { opaque, .. } | Block::Reasoning { opaque, .. } => opaque.as_ref(),
        Block::ToolCall(call) => call.opaque.as_ref(),
        Block::ToolResult(_) | Block::Refusal { .. } | Block::File(_) => None,
    }
}

fn author(message: &Message, provider: &str) -> Author {
    let mut author = Author::Unknown;
    for item in message.blocks.iter().filter_map(opaque) {
        if item.provider == provider {
            return Author::Target;
        }
        author = Author::Other;
    }
    author
}

fn is_foreign(block: &Block, provider: &str) -> bool {
    opaque(block).is_some_and(|item| item.provider != provider)
}

fn answer(message: &Message, author: Author, tells: bool, target: &Target<'_>) -> Becomes {
    let changes = |block: &Block| {
        is_foreign(block, target.provider)
            || match block {
                Block::ToolCall(_) => tells,
                Block::Reasoning { opaque: None, .. } => author == Author::Other,
                _ => false,
            }
    };
    if !message.blocks.iter().any(changes) {
        return Becomes::Same;
    }
    let mut blocks = Vec::new();
    for block in &message.blocks {
        match block {
            Block::ToolCall(call) if tells => {
                blocks.push(text(call_note(&call.name, &call.arguments)));
            }
            block if !changes(block) => blocks.push(block.clone()),
            // An empty text was only there for its item.
            Block::Text { text: said, .. } if !said.is_empty() => blocks.push(text(said.clone())),
            Block::ToolCall(call) => {
                let mut call = call.clone();
                call.opaque = None;
                blocks.push(Block::ToolCall(call));
            }
            _ => {}
        }
    }
    let is_left = !blocks.is_empty();
    Becomes::Other(is_left.then_some(Message {
        role: Role::Assistant,
        blocks,
    }))
}

fn user(message: &Message, told: &BTreeSet<String>, target: &Target<'_>) -> Becomes {
    let changes = |block: &Block| match block {
        Block::ToolResult(result) => {
            told.contains(result.id.as_str())
                || result.media.iter().any(|file| !target.media.takes(file))
        }
        Block::File(file) => !target.files.takes(file),
        block => is_foreign(block, target.provider),
    };
    if !message.blocks.iter().any(changes) {
        return Becomes::Same;
    }
    let mut blocks = Vec::with_capacity(message.blocks.len());
    for block in &message.blocks {
        if !changes(block) {
            blocks.push(block.clone());
            continue;
        }
        blocks.push(match block {
            Block::ToolResult(result) => {
                let taken = result.media.iter().filter(|file| target.media.takes(file));
                let media: Vec<FileBlock> = taken.cloned().collect();
                if told.contains(result.id.as_str()) {
                    let note = result_note(&result.name, &result.content, result.is_error);
                    blocks.push(text(note));
                    blocks.extend(media.into_iter().map(Block::File));
                    continue;
                }
                Block::ToolResult(ToolResultBlock {
                    media,
                    ..result.clone()
                })
            }
            Block::File(file) => text(file_note(file)),
            // A user's message is never dropped, so neither is what is in it.
            Block::Text { text: said, .. } | Block::Reasoning { text: said, .. } => {
                text(said.clone())
            }
            // No provider continues that, but it gets no other's item either.
            Block::ToolCall(call) => {
                let mut call = call.clone();
                call.opaque = None;
                Block::ToolCall(call)
            }
            block @ Block::Refusal { .. } => block.clone(),
        });
    }
    Becomes::Other(Some(Message {
        role: Role::User,
        blocks,
    }))
}
