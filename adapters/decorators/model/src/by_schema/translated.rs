//! The events of an answer: its JSON becomes a call or a text, all else stays.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt as _};
use seaworthy_ports::model_provider::{
    BlockKind, Finish, FinishReason, Kind, ModelError, ModelEvent, OpaqueItem,
};
use seaworthy_ports::{BoxStream, PortError};

use super::forms::Forms;
use super::reading::{End, MAX_BYTES, Part, Reading};

type Item = Result<ModelEvent, ModelError>;

/// An answer on its way. Dropping it drops the model's.
pub(super) struct Translated {
    /// `None`: it is over.
    inner: Option<BoxStream<'static, Item>>,
    adapter: &'static str,
    call_id: String,
    reading: Reading,
    /// What is told next.
    out: VecDeque<Item>,
    /// The model's blocks of text: all of them are one JSON.
    texts: BTreeSet<u32>,
    /// The block that it becomes, which has the id of the first of them.
    block: Option<u32>,
    is_open: bool,
    /// What belongs to the block and came before it was clear what the block is.
    held: Option<OpaqueItem>,
}

impl Translated {
    pub(super) const fn new(
        inner: BoxStream<'static, Item>,
        forms: Forms,
        call_id: String,
        adapter: &'static str,
    ) -> Self {
        Self {
            inner: Some(inner),
            adapter,
            call_id,
            reading: Reading::new(forms),
            out: VecDeque::new(),
            texts: BTreeSet::new(),
            block: None,
            is_open: false,
            held: None,
        }
    }

    fn hear(&mut self, event: ModelEvent) {
        match event {
            ModelEvent::BlockStarted {
                block,
                kind: BlockKind::Text,
            } => {
                self.texts.insert(block);
                self.block.get_or_insert(block);
            }
            ModelEvent::BlockDelta { block, delta } if self.texts.contains(&block) => {
                match self.reading.push(&delta) {
                    Ok(parts) => self.tell(parts),
                    Err(()) => self.fail(),
                }
            }
            ModelEvent::BlockOpaque { block, item } if self.texts.contains(&block) => {
                match self.block {
                    Some(block) if self.is_open => {
                        self.out
                            .push_back(Ok(ModelEvent::BlockOpaque { block, item }));
                    }
                    _ => self.held = Some(item),
                }
            }
            ModelEvent::BlockEnded { block } if self.texts.contains(&block) => {}
            ModelEvent::Finish(finish) => self.finish(finish),
            other => self.out.push_back(Ok(other)),
        }
    }

    fn tell(&mut self, parts: Vec<Part>) {
        let Some(block) = self.block else { return };
        for part in parts {
            match part {
                Part::Call(name) => {
                    let id = std::mem::take(&mut self.call_id);
                    self.open(block, BlockKind::ToolCall { id, name });
                }
                Part::Answer => self.open(block, BlockKind::Text),
                Part::Delta(delta) => {
                    let delta = ModelEvent::BlockDelta { block, delta };
                    self.out.push_back(Ok(delta));
                }
            }
        }
    }

    fn open(&mut self, block: u32, kind: BlockKind) {
        self.is_open = true;
        self.out
            .push_back(Ok(ModelEvent::BlockStarted { block, kind }));
        if let Some(item) = self.held.take() {
            self.out
                .push_back(Ok(ModelEvent::BlockOpaque { block, item }));
        }
    }

    fn finish(&mut self, finish: Finish) {
        let (end, parts) = self.reading.end();
        self.tell(parts);
        let is_done = matches!(
            finish.reason,
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Malformed
        );
        let says = !self.reading.raw().trim().is_empty();
        if end == End::Formless && is_done && says && !self.is_open {
            // Whoever wants it put right has to see what was said.
            let raw = self.reading.raw().to_owned();
            self.tell(vec![Part::Answer, Part::Delta(raw)]);
        }
        let reason = match (finish.reason, end) {
            // All that was said came otherwise: a call of the model's own, or a refusal.
            (reason, _) if !says => reason,
            (FinishReason::Stop | FinishReason::ToolCalls, End::Formless) => {
                FinishReason::Malformed
            }
            (FinishReason::Stop, End::Called) => FinishReason::ToolCalls,
            (reason, _) => reason,
        };
        if let (Some(block), true) = (self.block, self.is_open) {
            self.out.push_back(Ok(ModelEvent::BlockEnded { block }));
        }
        let finish = Finish { reason, ..finish };
        self.out.push_back(Ok(ModelEvent::Finish(finish)));
    }

    fn fail(&mut self) {
        self.inner = None;
        let why = format!("the answer has more than {MAX_BYTES} bytes");
        let mut error: ModelError =
            PortError::new(Kind::Truncated, self.adapter, "stream", why).into();
        error.response_started = true;
        self.out.push_back(Err(error));
    }
}

impl Stream for Translated {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        loop {
            if let Some(item) = self.out.pop_front() {
                return Poll::Ready(Some(item));
            }
            let Some(inner) = &mut self.inner else {
                return Poll::Ready(None);
            };
            match ready!(inner.poll_next_unpin(context)) {
                Some(Ok(event)) => self.hear(event),
                last => {
                    self.inner = None;
                    return Poll::Ready(last);
                }
            }
        }
    }
}
