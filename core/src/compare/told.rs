//! What a run did, without what two ways to the same end may differ in.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use seaworthy_ports::RunId;
use seaworthy_ports::model_provider::{Block, Message, Role, Usage};
use seaworthy_ports::state_store::Seq;
use serde_json::Value;

use super::{Amount, SectionName};
use crate::canonical_json;
use crate::descriptor::Cost;
use crate::event::{Event, ModelCalled};
use crate::harness::{Harness, HarnessError};
use crate::log::{Loaded, LogError};
use crate::millis;
use crate::record::Link;
use crate::state::{Call, CallNumber, CallStatus, Outcome, RunState, Stamp, call_number};

/// An entry of a section.
#[derive(Debug)]
pub(super) struct Item {
    /// The record that made it.
    pub(super) seq: Seq,
    /// How many answers the model had given by then.
    pub(super) answers: usize,
    /// What counts of it.
    pub(super) text: String,
}

/// What a run did.
#[derive(Debug, Default)]
pub(super) struct Told {
    sections: BTreeMap<SectionName, Vec<Item>>,
    /// Units and amounts by name.
    pub(super) measures: BTreeMap<String, (&'static str, Amount)>,
    answers: usize,
    /// The newest record about each call, and the answers by then.
    touched: BTreeMap<CallNumber, (Seq, usize)>,
}

impl Told {
    /// Reads a run.
    pub(super) async fn read(harness: &Harness, run: &RunId) -> Result<Self, HarnessError> {
        let mut told = Self::default();
        let mut state: Option<RunState> = None;
        let mut records = harness.records(run, Link::default());
        while let Some(loaded) = records.next().await {
            let Loaded { envelope, link } = loaded?;
            let stamp = Stamp {
                link,
                at: envelope.at,
                attempt: envelope.attempt,
            };
            let corrupt = |source| LogError::Record {
                run: run.to_string(),
                source,
            };
            let event = envelope.into_event().map_err(corrupt)?;
            told.event(&event, link.seq);
            let known = state.as_ref().map_or(0, |state| state.messages.len());
            let applied = match &mut state {
                None => RunState::begin(event, stamp).map(|begun| state = Some(begun)),
                Some(state) => state.apply(event, stamp),
            };
            applied.map_err(|source| LogError::Fold {
                run: run.to_string(),
                source,
            })?;
            let messages = state.iter().flat_map(|state| state.messages.iter());
            for said in messages.skip(known) {
                told.add(SectionName::Messages, link.seq, message(said));
            }
        }
        let state = state.ok_or_else(|| HarnessError::UnknownRun(run.clone()))?;
        told.end(&state);
        Ok(told)
    }

    pub(super) fn section(&self, name: SectionName) -> &[Item] {
        self.sections.get(&name).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, section: SectionName, seq: Seq, text: String) {
        let answers = self.answers;
        let item = Item { seq, answers, text };
        self.sections.entry(section).or_default().push(item);
    }

    fn event(&mut self, event: &Event, seq: Seq) {
        match event {
            Event::ModelCalled(called) => self.answered(called, seq, false),
            Event::ModelReplayed(replayed) => self.answered(&replayed.called, seq, true),
            Event::ContextCompacted(compacted) => {
                self.used(compacted.usage, compacted.cost.as_ref(), false);
                self.measure("model_time", "ms", compacted.duration_ms, false);
            }
            Event::ContextNotCompacted(kept) => self.used(kept.usage, kept.cost.as_ref(), false),
            Event::ToolProposed(proposal) => {
                let text = called(&proposal.tool, &proposal.arguments);
                self.add(SectionName::ToolCalls, seq, text);
                self.touch(call_number(&proposal.call), seq);
            }
            Event::ToolSucceeded {
                call, duration_ms, ..
            } => {
                self.measure("tool_time", "ms", *duration_ms, false);
                self.touch(call_number(call), seq);
            }
            Event::ToolDecided { call, .. }
            | Event::ToolStarted { call }
            | Event::ToolFailed { call, .. }
            | Event::ToolInDoubt { call, .. }
            | Event::ToolResolved { call, .. } => self.touch(call_number(call), seq),
            Event::QuestionAsked { call, .. } | Event::QuestionAnswered { call, .. } => {
                self.touch(call_number(call), seq);
            }
            Event::QuestionSampled(sampled) => {
                self.used(sampled.usage, sampled.cost.as_ref(), false);
                self.measure("model_time", "ms", sampled.duration_ms, false);
                self.touch(call_number(&sampled.call), seq);
            }
            Event::ToolReplayed(replayed) => self.touch(call_number(&replayed.call), seq),
            Event::ToolDeferred(deferred) => self.touch(call_number(&deferred.call), seq),
            _ => {}
        }
    }

    fn answered(&mut self, answer: &ModelCalled, seq: Seq, is_taken: bool) {
        let finish = name_of(&answer.finish.reason);
        let ModelCalled {
            provider, model, ..
        } = answer;
        let text = format!("{provider} {model}, {finish}: {}", said(&answer.message));
        self.add(SectionName::ModelCalls, seq, text);
        self.answers = self.answers.saturating_add(1);
        self.used(answer.usage, answer.cost.as_ref(), is_taken);
        self.measure("model_time", "ms", answer.duration_ms, is_taken);
    }

    fn touch(&mut self, call: Option<CallNumber>, seq: Seq) {
        if let Some(call) = call {
            self.touched.insert(call, (seq, self.answers));
        }
    }

    fn used(&mut self, usage: Usage, cost: Option<&Cost>, is_taken: bool) {
        for (name, amount) in [
            ("input_tokens", usage.input_tokens),
            ("cache_read_tokens", usage.cache_read_tokens),
            ("cache_write_tokens", usage.cache_write_tokens),
            ("output_tokens", usage.output_tokens),
            ("reasoning_tokens", usage.reasoning_tokens),
        ] {
            if let Some(amount) = amount {
                self.measure(name, "tokens", amount, is_taken);
            }
        }
        if let Some(Cost { currency, micros }) = cost {
            let name = format!("cost_{}", currency.to_ascii_lowercase());
            self.measure(&name, "micros", *micros, is_taken);
        }
    }

    fn measure(&mut self, name: &str, unit: &'static str, more: u64, is_taken: bool) {
        let (_unit, amount) = self
            .measures
            .entry(name.to_owned())
            .or_insert((unit, Amount::default()));
        amount.total = amount.total.saturating_add(more);
        if is_taken {
            amount.taken = amount.taken.saturating_add(more);
        }
    }

    fn end(&mut self, state: &RunState) {
        for (number, call) in &state.calls {
            let (seq, answers) = self.touched.get(number).copied().unwrap_or_default();
            let text = result(call);
            let items = self.sections.entry(SectionName::Results).or_default();
            items.push(Item { seq, answers, text });
        }
        let text = match &state.outcome {
            Some(Outcome::Succeeded { output }) => format!("succeeded: {output}"),
            Some(Outcome::Failed { code, message }) => format!("failed: {code}: {message}"),
            Some(Outcome::Cancelled { by, reason }) => {
                format!(
                    "cancelled by {by}: {}",
                    reason.as_deref().unwrap_or_default()
                )
            }
            None => state.status().as_str().to_owned(),
        };
        self.add(SectionName::Answer, state.link.seq, text);
        let wall = millis::of(state.updated_at.since(state.created_at));
        self.measure("wall_time", "ms", wall, false);
    }
}

fn message(message: &Message) -> String {
    let who = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    format!("{who}: {}", said(message))
}

/// What a message says, without ids and without what is for one provider only.
fn said(message: &Message) -> String {
    let blocks: Vec<String> = message
        .blocks
        .iter()
        .map(|block| match block {
            Block::Text { text, .. } => text.clone(),
            Block::Reasoning { text, .. } => format!("[reasons] {text}"),
            Block::ToolCall(call) => match call.parsed() {
                Some(arguments) => format!("[calls] {}", called(&call.name, &arguments)),
                None => format!("[calls] {} {}", call.name, call.arguments),
            },
            Block::ToolResult(result) => {
                let how = if result.is_error { "fails" } else { "answers" };
                format!("[{how}] {}: {}", result.name, result.content)
            }
            Block::Refusal { text } => format!("[declines] {text}"),
            Block::File(file) => format!("[file] {}", name_of(file)),
        })
        .collect();
    blocks.join("\n")
}

fn called(tool: &str, arguments: &Value) -> String {
    format!("{tool} {}", canonical(arguments))
}

fn result(call: &Call) -> String {
    let asked = called(&call.proposal.tool, &call.proposal.arguments);
    let status = call.status.as_str();
    match &call.status {
        CallStatus::Succeeded { media, output } => {
            let shown = media.iter().fold(String::new(), |told, file| {
                format!("{told} [{} {}]", file.media_type, file.digest)
            });
            format!("{asked} {status}: {}{shown}", canonical(output))
        }
        CallStatus::Failed { code, message, .. } => format!("{asked} {status}: {code}: {message}"),
        _ => format!("{asked} {status}"),
    }
}

fn canonical(value: &Value) -> String {
    canonical_json::to_vec(value)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default()
}

fn name_of<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        Ok(other) => canonical(&other),
        Err(_never) => String::new(),
    }
}
