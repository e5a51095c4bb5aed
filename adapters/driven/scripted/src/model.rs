//! The model: finds the turn, fills its templates and says it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use futures_util::{StreamExt as _, stream};
use seaworthy_ports::clock::Clock;
use seaworthy_ports::model_provider::{
    BlockKind, CountTokens, Directory, Embeddings, Finish, FinishReason, Kind, ModelCapabilities,
    ModelError, ModelEvent, ModelProvider, ModelRequest, Rerank, Usage, check_history,
    check_parameters,
};
use seaworthy_ports::{AdapterInfo, BoxStream, Latch, PortError};
use serde_json::Value;

use crate::conversation::{Conversation, Scope};
use crate::script::{Arguments, Script, ScriptError, Turn};
use crate::template::{Template, Templates};

const ADAPTER: &str = "scripted";
/// How many pieces a text with latency comes in.
const PIECES: usize = 12;

/// A model that follows a script. Clones share it.
#[derive(Clone)]
pub struct ScriptedModel {
    script: Arc<Script>,
    templates: Arc<Templates>,
    clock: Option<Arc<dyn Clock>>,
}

impl fmt::Debug for ScriptedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ScriptedModel({}, {} turns)",
            self.script.origin,
            self.script.turns.len()
        )
    }
}

/// A turn that is about to be played.
struct Playing<'a> {
    turn: &'a Turn,
    index: usize,
    iteration: usize,
    answer: usize,
}

impl ScriptedModel {
    /// Reads a script; `origin` is what messages call it. Without a clock there is no latency.
    ///
    /// # Errors
    ///
    /// [`ScriptError`] with the place and what is wrong.
    pub fn from_yaml(text: &str, origin: &str) -> Result<Self, ScriptError> {
        let (script, templates) = Script::parse(text, origin)?;
        Ok(Self {
            script: Arc::new(script),
            templates: Arc::new(templates),
            clock: None,
        })
    }

    /// The same model, as slow as its script says.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    fn refuse(why: impl Into<String>) -> ModelError {
        PortError::new(Kind::InvalidRequest, ADAPTER, "stream", why).into()
    }

    /// The events of the answer, and how long it takes.
    fn answer(&self, request: &ModelRequest) -> Result<(Vec<ModelEvent>, Duration), ModelError> {
        if request.cancel.is_set() {
            return Err(PortError::new(
                Kind::Cancelled,
                ADAPTER,
                "stream",
                "the caller ended the call",
            )
            .into());
        }
        if request.output_schema.is_some() {
            let why = "a script keeps to no output schema";
            return Err(PortError::new(Kind::Unsupported, ADAPTER, "stream", why).into());
        }
        check_history(&request.messages).map_err(|fault| Self::refuse(fault.to_string()))?;
        // The others say how a model is to choose its words; a script's are chosen.
        check_parameters(request).map_err(|fault| Self::refuse(fault.to_string()))?;
        let conversation = Arc::new(Conversation::of(&request.messages));
        let playing = self.find(&conversation)?;
        let text = self.fill(&playing.turn.text, &conversation, &playing)?;
        let text = text
            .as_str()
            .map_or_else(|| text.to_string(), str::to_owned);
        let mut calls = Vec::new();
        for (index, call) in playing.turn.calls.iter().enumerate() {
            let arguments = self.arguments(&call.arguments, &conversation, &playing)?;
            // Unique in the conversation, and the same whoever plays the turn.
            let id = format!("call_{}_{index}", request.messages.len());
            calls.push((
                BlockKind::ToolCall {
                    id,
                    name: call.tool.clone(),
                },
                arguments.to_string(),
            ));
        }
        Ok((
            events(&self.script.origin, text, calls),
            playing.turn.latency,
        ))
    }

    /// The turn after those that were answered; turns whose `when` was false at their time do not count.
    fn find(&self, conversation: &Arc<Conversation>) -> Result<Playing<'_>, ModelError> {
        let answers = conversation.answers();
        let mut answer = 0_usize;
        for (index, turn) in self.script.turns.iter().enumerate() {
            let playing = Playing {
                turn,
                index,
                iteration: 0,
                answer,
            };
            if let Some(when) = &turn.when
                && !is_true(&self.fill(when, conversation, &playing)?)
            {
                continue;
            }
            let repeat = usize::try_from(turn.repeat).unwrap_or(usize::MAX);
            let left = answers.saturating_sub(answer);
            if left < repeat {
                return Ok(Playing {
                    turn,
                    index,
                    iteration: left,
                    answer: answers,
                });
            }
            answer = answer.saturating_add(repeat);
        }
        let why = format!(
            "{}: the script has no turn left after {answers} answers",
            self.script.origin
        );
        Err(Self::refuse(why))
    }

    fn fill(
        &self,
        template: &Template,
        conversation: &Arc<Conversation>,
        playing: &Playing<'_>,
    ) -> Result<Value, ModelError> {
        if let Template::Constant(text) = template {
            return Ok(Value::String(text.clone()));
        }
        let context = minijinja::Value::from_object(Scope {
            conversation: Arc::clone(conversation),
            answer: playing.answer,
            turn: playing.index,
            iteration: playing.iteration,
        });
        self.templates.value(template, &context).map_err(|why| {
            Self::refuse(format!(
                "{}: turn {}: {why}",
                self.script.origin,
                playing.index + 1
            ))
        })
    }

    fn arguments(
        &self,
        arguments: &Arguments,
        conversation: &Arc<Conversation>,
        playing: &Playing<'_>,
    ) -> Result<Value, ModelError> {
        Ok(match arguments {
            Arguments::Constant(value) => value.clone(),
            Arguments::Text(template) => self.fill(template, conversation, playing)?,
            Arguments::List(items) => {
                let items: Result<_, _> = items
                    .iter()
                    .map(|item| self.arguments(item, conversation, playing))
                    .collect();
                Value::Array(items?)
            }
            Arguments::Object(fields) => {
                let fields: Result<_, ModelError> = fields
                    .iter()
                    .map(|(name, value)| {
                        Ok((name.clone(), self.arguments(value, conversation, playing)?))
                    })
                    .collect();
                Value::Object(fields?)
            }
        })
    }
}

/// Whether a `when` lets its turn be played.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.trim(), "" | "false" | "0" | "none"),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn events(origin: &str, text: String, calls: Vec<(BlockKind, String)>) -> Vec<ModelEvent> {
    let mut events = vec![ModelEvent::Started {
        request_id: None,
        model: Some(origin.to_owned()),
    }];
    let reason = if calls.is_empty() {
        FinishReason::Stop
    } else {
        FinishReason::ToolCalls
    };
    let mut said = 0_usize;
    let text = (!text.is_empty()).then_some((BlockKind::Text, text));
    for (block, (kind, delta)) in (0_u32..).zip(text.into_iter().chain(calls)) {
        said = said.saturating_add(delta.len());
        events.push(ModelEvent::BlockStarted { block, kind });
        events.push(ModelEvent::BlockDelta { block, delta });
        events.push(ModelEvent::BlockEnded { block });
    }
    // No tokenizer is involved: four bytes to a token is what English text comes to.
    let output_tokens = Some(said.div_ceil(4) as u64);
    events.push(ModelEvent::Usage(Usage {
        output_tokens,
        ..Usage::default()
    }));
    events.push(ModelEvent::Finish(Finish {
        reason,
        raw_reason: None,
    }));
    events
}

/// The same events over `latency`: text comes in pieces, and everything else after it.
fn pieces(events: Vec<ModelEvent>, latency: Duration) -> Vec<(Duration, ModelEvent)> {
    let mut pieces = Vec::new();
    let mut is_text = false;
    for event in events {
        match event {
            ModelEvent::BlockDelta { block, delta } if is_text => {
                let letters: Vec<char> = delta.chars().collect();
                let chunks = letters.chunks(letters.len().div_ceil(PIECES).max(1));
                let delay = latency / u32::try_from(chunks.len()).unwrap_or(1).max(1);
                pieces.extend(chunks.map(|piece| {
                    let delta = piece.iter().collect();
                    (delay, ModelEvent::BlockDelta { block, delta })
                }));
            }
            other => {
                is_text = matches!(
                    &other,
                    ModelEvent::BlockStarted {
                        kind: BlockKind::Text,
                        ..
                    }
                );
                pieces.push((Duration::ZERO, other));
            }
        }
    }
    // A turn without text takes as long, before its end.
    if !pieces.iter().any(|(delay, _event)| !delay.is_zero())
        && let Some((delay, _finish)) = pieces.last_mut()
    {
        *delay = latency;
    }
    pieces
}

/// An answer that takes its time.
struct Slowly {
    pieces: std::vec::IntoIter<(Duration, ModelEvent)>,
    clock: Arc<dyn Clock>,
    idle_timeout: Duration,
    cancel: Latch,
    has_content: bool,
}

impl Slowly {
    async fn next(&mut self) -> Option<Result<ModelEvent, ModelError>> {
        let (delay, event) = self.pieces.next()?;
        if self.is_cancelled_within(delay.min(self.idle_timeout)).await {
            return Some(Err(self.end(Kind::Cancelled, "the caller ended the call")));
        }
        if delay > self.idle_timeout {
            let why = "the script is silent for longer than the call allows";
            return Some(Err(self.end(Kind::Timeout, why)));
        }
        self.has_content |= matches!(event, ModelEvent::BlockStarted { .. });
        Some(Ok(event))
    }

    /// Waits for `delay`, unless the caller ends the call.
    async fn is_cancelled_within(&self, delay: Duration) -> bool {
        if delay.is_zero() {
            return self.cancel.is_set();
        }
        let sleep = self.clock.sleep_until(self.clock.now().plus(delay));
        let cancelled = std::pin::pin!(self.cancel.wait());
        matches!(select(sleep, cancelled).await, Either::Right(_))
    }

    /// The error after which nothing comes.
    fn end(&mut self, kind: Kind, why: &str) -> ModelError {
        self.pieces = Vec::new().into_iter();
        ModelError {
            response_started: self.has_content,
            ..PortError::new(kind, ADAPTER, "stream", why).into()
        }
    }
}

#[async_trait]
impl ModelProvider for ScriptedModel {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: ADAPTER,
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn capabilities(&self, _model: &str) -> ModelCapabilities {
        ModelCapabilities::NONE.with_tool_use()
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        match (self.answer(&request), &self.clock) {
            (Err(error), _) => stream::iter([Err(error)]).boxed(),
            (Ok((events, latency)), Some(clock)) if !latency.is_zero() => {
                let slowly = Slowly {
                    pieces: pieces(events, latency).into_iter(),
                    clock: Arc::clone(clock),
                    idle_timeout: request.idle_timeout,
                    cancel: request.cancel,
                    has_content: false,
                };
                stream::unfold(slowly, |mut slowly| async move {
                    Some((slowly.next().await?, slowly))
                })
                .boxed()
            }
            (Ok((events, _none)), _) => stream::iter(events.into_iter().map(Ok)).boxed(),
        }
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        None
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        None
    }

    fn tokens(&self) -> Option<&dyn CountTokens> {
        None
    }

    fn directory(&self) -> Option<&dyn Directory> {
        None
    }
}
