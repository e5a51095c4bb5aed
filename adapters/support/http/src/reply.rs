//! An answer as it comes in, in the port's words. Knows no network and no provider.

use std::fmt;

use seaworthy_ports::model_provider::{
    BlockKind, Finish, FinishReason, ModelEvent, OpaqueItem, Usage,
};
use serde_json::Value;

use crate::failure::Fault;
use crate::schema::OutputSchema;

/// The most blocks of one answer.
const MAX_BLOCKS: usize = 4096;
/// The longest name of a model that is passed on.
const MAX_NAME_BYTES: usize = 256;
/// The most letters of a raw reason that are kept.
const MAX_REASON_LETTERS: usize = 64;

/// What readers of frames write into: it numbers blocks, keeps their order, and works out how the answer ended.
pub struct Reply {
    adapter: &'static str,
    request_id: Option<String>,
    schema: Option<OutputSchema>,
    is_started: bool,
    blocks: Vec<Block>,
    usage: Usage,
    finish: Option<(FinishReason, String)>,
    is_spoilt: bool,
    skipped: u64,
    events: Vec<ModelEvent>,
}

struct Block {
    content: Content,
    is_open: bool,
}

enum Content {
    /// Kept only where it must fit a schema.
    Text(String),
    Reasoning,
    /// With its arguments so far.
    Call(String),
    Refusal,
}

impl fmt::Debug for Reply {
    /// Without content: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("blocks", &self.blocks.len())
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}

impl Reply {
    pub(crate) fn new(
        adapter: &'static str,
        request_id: Option<String>,
        schema: Option<OutputSchema>,
    ) -> Self {
        Self {
            adapter,
            request_id,
            schema,
            is_started: false,
            blocks: Vec::new(),
            usage: Usage::default(),
            finish: None,
            is_spoilt: false,
            skipped: 0,
            events: Vec::new(),
        }
    }

    /// The backend answered; says so once.
    pub fn start(&mut self, model: Option<&str>) {
        if !self.is_started {
            self.is_started = true;
            let model = model.filter(|model| model.len() <= MAX_NAME_BYTES);
            self.events.push(ModelEvent::Started {
                request_id: self.request_id.take(),
                model: model.map(str::to_owned),
            });
        }
    }

    /// Begins a block; its number.
    ///
    /// # Errors
    ///
    /// [`Fault::TooMany`].
    pub fn open(&mut self, kind: BlockKind) -> Result<u32, Fault> {
        if self.blocks.len() >= MAX_BLOCKS {
            return Err(Fault::TooMany);
        }
        self.start(None);
        let block = u32::try_from(self.blocks.len()).map_err(|_error| Fault::TooMany)?;
        self.blocks.push(Block {
            content: match kind {
                BlockKind::Text => Content::Text(String::new()),
                BlockKind::Reasoning => Content::Reasoning,
                BlockKind::ToolCall { .. } => Content::Call(String::new()),
                BlockKind::Refusal => Content::Refusal,
            },
            is_open: true,
        });
        self.events.push(ModelEvent::BlockStarted { block, kind });
        Ok(block)
    }

    /// More of an open block; nothing is no event.
    pub fn delta(&mut self, block: u32, delta: String) {
        let has_schema = self.schema.is_some();
        let Some(open) = self.open_block(block).filter(|_open| !delta.is_empty()) else {
            return;
        };
        match &mut open.content {
            Content::Text(said) if has_schema => said.push_str(&delta),
            Content::Call(arguments) => arguments.push_str(&delta),
            Content::Text(_) | Content::Reasoning | Content::Refusal => {}
        }
        self.events.push(ModelEvent::BlockDelta { block, delta });
    }

    /// More of the block in `place`, which is opened where there is none and `delta` is something.
    ///
    /// # Errors
    ///
    /// [`Fault::TooMany`].
    pub fn extend(
        &mut self,
        place: &mut Option<u32>,
        kind: BlockKind,
        delta: String,
    ) -> Result<(), Fault> {
        if delta.is_empty() {
            return Ok(());
        }
        let block = match *place {
            Some(block) => block,
            None => *place.insert(self.open(kind)?),
        };
        self.delta(block, delta);
        Ok(())
    }

    /// Data that must return with an open block.
    pub fn opaque(&mut self, block: u32, data: Value) {
        if self.open_block(block).is_some() {
            let provider = self.adapter.to_owned();
            let item = OpaqueItem { provider, data };
            self.events.push(ModelEvent::BlockOpaque { block, item });
        }
    }

    /// The block is complete.
    pub fn close(&mut self, block: u32) {
        if let Some(open) = self.open_block(block) {
            open.is_open = false;
            self.events.push(ModelEvent::BlockEnded { block });
        }
    }

    /// The arguments of a call so far.
    #[must_use]
    pub fn arguments(&self, block: u32) -> Option<&str> {
        match &self.blocks.get(usize::try_from(block).ok()?)?.content {
            Content::Call(arguments) => Some(arguments),
            Content::Text(_) | Content::Reasoning | Content::Refusal => None,
        }
    }

    fn open_block(&mut self, block: u32) -> Option<&mut Block> {
        let block = self.blocks.get_mut(usize::try_from(block).ok()?)?;
        block.is_open.then_some(block)
    }

    /// What the call used so far; replaces what came before.
    pub fn usage(&mut self, usage: Usage) {
        if usage != self.usage {
            self.start(None);
            self.usage = usage;
            self.events.push(ModelEvent::Usage(usage));
        }
    }

    /// A frame or a part of one that nobody here knows. It is no error: backends add what they like.
    pub fn skip(&mut self) {
        self.skipped = self.skipped.saturating_add(1);
    }

    /// How many of them.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The answer is not what it must be, however it ends.
    pub fn spoil(&mut self) {
        self.is_spoilt = true;
    }

    /// The backend says why the model stopped. Of `Stop` and `ToolCalls` the content decides which it is, or whether it
    /// is a refusal or malformed.
    pub fn finish(&mut self, reason: FinishReason, raw: &str) {
        let raw = raw.chars().take(MAX_REASON_LETTERS).collect();
        self.finish = Some((reason, raw));
    }

    /// Whether the backend said why the model stopped.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether any content came.
    #[must_use]
    pub fn has_content(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// The last events. An answer that ends before the backend said why the model stopped was interrupted.
    pub(crate) fn end(&mut self) {
        self.start(None);
        let finish = match self.finish.take() {
            None => Finish {
                reason: FinishReason::Interrupted,
                raw_reason: None,
            },
            Some((reason, raw)) => {
                for (block, open) in (0..).zip(&mut self.blocks) {
                    if std::mem::take(&mut open.is_open) {
                        self.events.push(ModelEvent::BlockEnded { block });
                    }
                }
                let reason = match reason {
                    FinishReason::Stop | FinishReason::ToolCalls => self.stopped(),
                    other => other,
                };
                Finish {
                    reason,
                    raw_reason: Some(raw),
                }
            }
        };
        self.events.push(ModelEvent::Finish(finish));
    }

    /// What it comes to that the model was done.
    fn stopped(&self) -> FinishReason {
        let is_json = |text: &str| {
            text.trim().is_empty() || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
        };
        let (mut has_calls, mut is_refused, mut is_malformed) = (false, false, self.is_spoilt);
        let mut said = String::new();
        for block in &self.blocks {
            match &block.content {
                Content::Text(text) => said.push_str(text),
                Content::Reasoning => {}
                Content::Call(arguments) => {
                    has_calls = true;
                    is_malformed |= !is_json(arguments);
                }
                Content::Refusal => is_refused = true,
            }
        }
        let is_misfit = || {
            let schema = self.schema.as_ref();
            schema.is_some_and(|schema| !schema.fits(&said))
        };
        if is_refused {
            FinishReason::Refusal
        } else if is_malformed {
            FinishReason::Malformed
        } else if has_calls {
            FinishReason::ToolCalls
        } else if is_misfit() {
            FinishReason::Malformed
        } else {
            FinishReason::Stop
        }
    }

    /// Moves what came to what `events` has already.
    pub(crate) fn move_events(&mut self, events: &mut Vec<ModelEvent>) {
        if events.is_empty() {
            std::mem::swap(&mut self.events, events);
        } else {
            events.append(&mut self.events);
        }
    }
}
