//! The thread that makes spans and measurements of facts, and sends the spans.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, Severity};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::logs::SdkLogger;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use seaworthy_ports::SpanId;
use seaworthy_ports::observer::{Fact, ModelContent, ToolContent};
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::time::Instant;

use crate::config::Content;
use crate::content::{MAX_BYTES, of_model};
use crate::metrics::Metrics;
use crate::names::Names;
use crate::spans;

/// The most spans of one request.
const BATCH: usize = 512;
/// The most calls whose content waits for their end.
const OPEN_CONTENTS: usize = 256;

/// What was asked of the thread.
pub(crate) enum Command {
    /// Sends what there is and says whether all of it arrived.
    Flush(std::sync::mpsc::SyncSender<bool>),
    /// Ends, after sending what there is.
    Stop,
}

/// What the thread and those who tell it facts have in common.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Facts that came to nothing.
    pub(crate) dropped: AtomicU64,
    /// Facts with content that wait.
    pub(crate) contents: AtomicUsize,
}

impl Counts {
    /// So many facts came to nothing.
    pub(crate) fn lose(&self, facts: usize) {
        let facts = u64::try_from(facts).unwrap_or(u64::MAX);
        self.dropped.fetch_add(facts, Ordering::Relaxed);
    }
}

enum Said {
    Model(ModelContent),
    Tool(ToolContent),
}

pub(crate) struct Worker {
    pub(crate) facts: Receiver<Fact>,
    pub(crate) commands: UnboundedReceiver<Command>,
    pub(crate) exporter: SpanExporter,
    pub(crate) scope: InstrumentationScope,
    pub(crate) metrics: Metrics,
    pub(crate) events: Option<SdkLogger>,
    pub(crate) names: Names,
    pub(crate) content: Content,
    pub(crate) delay: Duration,
    pub(crate) counts: Arc<Counts>,
    pub(crate) batch: Vec<SpanData>,
    /// When the batch is sent at the latest.
    pub(crate) due_at: Option<Instant>,
    pub(crate) said: Contents,
}

/// Content that waits for the end of its call.
#[derive(Default)]
pub(crate) struct Contents(BTreeMap<SpanId, Said>);

impl Worker {
    pub(crate) async fn run(mut self) {
        loop {
            let due_at = self.due_at;
            let due = async {
                match due_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Flush(done)) => {
                        let all = self.drain().await;
                        // Whoever asked may have lost patience.
                        let _told = done.send(all);
                    }
                    Some(Command::Stop) | None => {
                        self.drain().await;
                        return;
                    }
                },
                fact = self.facts.recv() => match fact {
                    Some(fact) => self.take(fact).await,
                    None => {
                        self.drain().await;
                        return;
                    }
                },
                () = due => { self.send().await; }
            }
        }
    }

    /// Sends all that waits. Whether it arrived.
    async fn drain(&mut self) -> bool {
        let mut all = true;
        // What is told meanwhile is for the next time: this must end.
        for _fact in 0..self.facts.len() {
            let Ok(fact) = self.facts.try_recv() else {
                break;
            };
            self.note(fact);
            if self.batch.len() >= BATCH {
                all &= self.send().await;
            }
        }
        self.send().await && all
    }

    async fn take(&mut self, fact: Fact) {
        self.note(fact);
        if self.batch.len() >= BATCH {
            self.send().await;
        }
    }

    fn note(&mut self, fact: Fact) {
        match fact {
            Fact::ModelCallContent { span, content, .. } => {
                self.keep(span.context.span(), Said::Model(content));
            }
            Fact::ToolCallContent { span, content, .. } => {
                self.keep(span.context.span(), Said::Tool(content));
            }
            fact => {
                self.metrics.record(&fact);
                let said = fact
                    .span()
                    .and_then(|span| self.said.0.remove(&span.context.span()));
                if let Some(mut ended) = spans::ended(&fact, self.names, &self.scope) {
                    if let Some(said) = said {
                        self.add_content(&mut ended, &said);
                    }
                    self.batch.push(ended);
                    let due = || Instant::now().checked_add(self.delay);
                    self.due_at = self.due_at.or_else(due);
                }
            }
        }
    }

    fn keep(&mut self, span: SpanId, said: Said) {
        self.counts.contents.fetch_sub(1, Ordering::Relaxed);
        if self.said.0.len() >= OPEN_CONTENTS {
            // The ends of these were dropped.
            self.counts.lose(self.said.0.len());
            self.said.0.clear();
        }
        self.said.0.insert(span, said);
    }

    /// Puts content where it is wanted. Too much of it is left out, and said to be.
    fn add_content(&self, span: &mut SpanData, said: &Said) {
        let contents = match said {
            Said::Model(content) => of_model(content),
            Said::Tool(content) => {
                let arguments = ("gen_ai.tool.call.arguments", (*content.arguments).clone());
                let result = content.result.as_deref().cloned();
                let result = result.map(|result| ("gen_ai.tool.call.result", result));
                std::iter::once(arguments).chain(result).collect()
            }
        };
        let mut shown = Vec::new();
        for (name, content) in contents {
            let json = content.to_string();
            if json.len() <= MAX_BYTES {
                shown.push((name, content, json));
            } else {
                span.attributes
                    .push(KeyValue::new("seaworthy.content.omitted", name));
            }
        }
        if self.content.is_on_events()
            && let (Some(logger), Said::Model(_)) = (&self.events, said)
        {
            emit(logger, span, &shown);
        }
        // The conventions have an event for model calls only.
        if self.content.is_on_spans() {
            let attributes = shown
                .into_iter()
                .map(|(name, _content, json)| KeyValue::new(name, json));
            span.attributes.extend(attributes);
        }
    }

    /// Sends the batch. Whether it arrived.
    async fn send(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let batch = std::mem::take(&mut self.batch);
        self.due_at = None;
        let count = batch.len();
        let arrived = self.exporter.export(batch).await.is_ok();
        if !arrived {
            self.counts.lose(count);
        }
        arrived
    }
}

/// The event with the details of a model call, in the call's span.
fn emit(logger: &SdkLogger, span: &SpanData, contents: &[(&'static str, Value, String)]) {
    let mut record = logger.create_log_record();
    record.set_event_name("gen_ai.client.inference.operation.details");
    record.set_severity_number(Severity::Info);
    record.set_timestamp(span.end_time);
    record.set_trace_context(
        span.span_context.trace_id(),
        span.span_context.span_id(),
        Some(span.span_context.trace_flags()),
    );
    let said = span
        .attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), plain(&attribute.value)));
    record.add_attributes(said);
    for (name, content, _json) in contents {
        record.add_attribute(*name, structured(content));
    }
    logger.emit(record);
}

fn plain(value: &opentelemetry::Value) -> AnyValue {
    use opentelemetry::{Array, Value};
    match value {
        Value::Bool(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::F64(value) => (*value).into(),
        Value::String(value) => value.clone().into(),
        Value::Array(Array::String(values)) => values
            .iter()
            .cloned()
            .map(AnyValue::from)
            .collect::<Vec<_>>()
            .into_iter()
            .collect(),
        other => other.to_string().into(),
    }
}

/// JSON as a log record's values.
fn structured(value: &Value) -> AnyValue {
    match value {
        // There is no null.
        Value::Null => AnyValue::String("null".into()),
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(number)) => number.into(),
            (None, None) => number.to_string().into(),
        },
        Value::String(text) => text.clone().into(),
        Value::Array(items) => items.iter().map(structured).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), structured(value)))
            .collect(),
    }
}
