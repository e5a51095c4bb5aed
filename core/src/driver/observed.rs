//! What an attempt tells its observer. Each start gives a guard: what is dropped before it was told to have ended is told
//! to have been given up, so that no end is missing, however the attempt ends.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use seaworthy_ports::clock::Clock;
use seaworthy_ports::model_provider::{Kind, Message, ModelError, ModelReply, ModelRequest, Usage};
use seaworthy_ports::observer::{
    AttemptEnd, Execution, Fact, ModelAsked, ModelCallEnd, ModelContent, Observer, ServedBy, Span,
    ToolCallOutcome, ToolContent,
};
use seaworthy_ports::{CallId, RunId, SessionId, Timestamp, ToolName, WorkerId};
use serde_json::Value;

use super::Driver;
use crate::agent::Candidate;
use crate::state::RunState;
use crate::tool::SideEffect;
use crate::trace;

/// What every fact of an attempt has in common.
#[derive(Clone)]
struct About {
    observer: Arc<dyn Observer>,
    clock: Arc<dyn Clock>,
    run: RunId,
    attempt: u32,
    agent: Arc<str>,
    session: Option<SessionId>,
}

/// An attempt that was told to have started.
pub(super) struct Attempt {
    about: About,
    worker: WorkerId,
    nonce: String,
    of_run: Span,
    span: Span,
    end: AttemptEnd,
    /// How many pieces of work have a span so far.
    parts: AtomicU32,
}

impl Attempt {
    /// Tells that the attempt has started.
    pub(super) fn start(driver: &Driver, state: &RunState, nonce: &str) -> Self {
        let about = About {
            observer: Arc::clone(&driver.ports.observer),
            clock: Arc::clone(&driver.ports.clock),
            run: state.run().clone(),
            attempt: state.attempt,
            agent: state.submitted.agent.as_str().into(),
            session: state.submitted.session.clone(),
        };
        let of_run = trace::run_span(state);
        let span = trace::part(&of_run, nonce, 0, about.clock.now());
        about.observer.observe(&Fact::AttemptStarted {
            run: about.run.clone(),
            attempt: about.attempt,
            worker: driver.worker.clone(),
            span: span.clone(),
        });
        Self {
            about,
            worker: driver.worker.clone(),
            nonce: nonce.to_owned(),
            of_run,
            span,
            end: AttemptEnd::Abandoned,
            parts: AtomicU32::new(0),
        }
    }

    /// How it ends. It is told once the attempt is dropped.
    pub(super) fn ends(&mut self, end: AttemptEnd) {
        self.end = end;
    }

    fn part(&self) -> Span {
        let number = self.parts.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        trace::part(&self.of_run, &self.nonce, number, self.about.clock.now())
    }

    /// Tells that a model is being called.
    pub(super) fn model_call(&self, candidate: &Candidate) -> ModelCall {
        let call = ModelCall {
            about: self.about.clone(),
            provider: candidate.provider().into(),
            model: candidate.model.name.as_str().into(),
            span: self.part(),
            chunks: Chunks::default(),
            asked: ModelAsked::default(),
            content: None,
            is_over: false,
        };
        call.about.observer.observe(&Fact::ModelCallStarted {
            run: call.about.run.clone(),
            attempt: call.about.attempt,
            provider: Arc::clone(&call.provider),
            model: Arc::clone(&call.model),
            span: call.span.clone(),
        });
        call
    }

    /// Tells that something is done about a tool call.
    pub(super) fn tool_call(
        &self,
        call: &CallId,
        tool: &ToolName,
        side_effect: SideEffect,
        execution: Execution,
        served_by: Option<ServedBy>,
        arguments: &Value,
    ) -> ToolCall {
        let wants_content = self.about.observer.wants_content();
        let call = ToolCall {
            about: self.about.clone(),
            call: call.clone(),
            tool: tool.clone(),
            side_effect: side_effect.as_str(),
            execution,
            served_by,
            span: self.part(),
            arguments: wants_content.then(|| Arc::new(arguments.clone())),
            is_over: false,
        };
        call.about.observer.observe(&Fact::ToolCallStarted {
            run: call.about.run.clone(),
            attempt: call.about.attempt,
            call: call.call.clone(),
            tool: call.tool.clone(),
            side_effect: call.side_effect,
            execution,
            span: call.span.clone(),
        });
        call
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.about.observer.observe(&Fact::AttemptEnded {
            run: self.about.run.clone(),
            attempt: self.about.attempt,
            worker: self.worker.clone(),
            end: self.end,
            span: self.span.clone(),
            duration: self.about.clock.now().since(self.span.started),
        });
    }
}

/// When the first part of an answer came.
#[derive(Clone, Default)]
pub(super) struct Chunks(Arc<OnceLock<Timestamp>>);

impl Chunks {
    /// A part has come.
    pub(super) fn came(&self, clock: &dyn Clock) {
        self.0.get_or_init(|| clock.now());
    }
}

/// What a model was asked.
struct Content {
    instructions: Arc<str>,
    input: Arc<Vec<Message>>,
    tools: Arc<Vec<seaworthy_ports::model_provider::ToolSpec>>,
}

/// A model call that was told to have started.
pub(super) struct ModelCall {
    about: About,
    provider: Arc<str>,
    model: Arc<str>,
    span: Span,
    chunks: Chunks,
    asked: ModelAsked,
    content: Option<Content>,
    is_over: bool,
}

impl ModelCall {
    /// What to tell of parts of the answer.
    pub(super) fn chunks(&self) -> Chunks {
        self.chunks.clone()
    }

    /// Keeps how it is asked, and what, for an observer that wants it.
    pub(super) fn asks(&mut self, request: &ModelRequest) {
        self.asked = ModelAsked::of(request);
        self.content = self.about.observer.wants_content().then(|| Content {
            instructions: Arc::clone(&request.instructions),
            input: Arc::clone(&request.messages),
            tools: Arc::clone(&request.tools),
        });
    }

    /// Tells what became of it.
    pub(super) fn end(mut self, tried: &Result<ModelReply, ModelError>) {
        match tried {
            Ok(reply) => self.tell(
                ModelCallEnd::Finished(reply.finish.reason),
                reply.usage,
                Some(&reply.message),
                (reply.model.as_deref(), reply.request_id.as_deref()),
            ),
            Err(error) => self.tell(
                ModelCallEnd::Failed(error.kind()),
                Usage::default(),
                None,
                (None, error.request_id.as_deref()),
            ),
        }
    }

    fn give_up(&mut self) {
        let end = ModelCallEnd::Failed(Kind::Cancelled);
        self.tell(end, Usage::default(), None, (None, None));
    }

    fn tell(
        &mut self,
        end: ModelCallEnd,
        usage: Usage,
        output: Option<&Message>,
        (answered_by, request_id): (Option<&str>, Option<&str>),
    ) {
        self.is_over = true;
        let about = &self.about;
        if let Some(content) = self.content.take() {
            about.observer.observe(&Fact::ModelCallContent {
                run: about.run.clone(),
                span: self.span.clone(),
                content: ModelContent {
                    instructions: content.instructions,
                    input: content.input,
                    tools: content.tools,
                    output: output.cloned().map(Arc::new),
                },
            });
        }
        let first = self.chunks.0.get();
        about.observer.observe(&Fact::ModelCallEnded {
            run: about.run.clone(),
            attempt: about.attempt,
            agent: Arc::clone(&about.agent),
            session: about.session.clone(),
            provider: Arc::clone(&self.provider),
            model: Arc::clone(&self.model),
            asked: self.asked.clone(),
            answered_by: answered_by.map(Into::into),
            request_id: request_id.map(Into::into),
            usage,
            end,
            span: self.span.clone(),
            first_chunk: first.map(|first| first.since(self.span.started)),
            duration: about.clock.now().since(self.span.started),
        });
    }
}

impl Drop for ModelCall {
    fn drop(&mut self) {
        if !self.is_over {
            self.give_up();
        }
    }
}

/// A tool call that was told to have started.
pub(super) struct ToolCall {
    about: About,
    call: CallId,
    tool: ToolName,
    side_effect: &'static str,
    execution: Execution,
    served_by: Option<ServedBy>,
    span: Span,
    arguments: Option<Arc<Value>>,
    is_over: bool,
}

impl ToolCall {
    /// Its place in its trace, for the tool.
    pub(super) fn context(&self) -> seaworthy_ports::TraceContext {
        self.span.context.clone()
    }

    /// Tells how it ended.
    pub(super) fn end(
        mut self,
        outcome: ToolCallOutcome,
        error: Option<&str>,
        duration: Duration,
        result: Option<&Value>,
    ) {
        self.tell(outcome, error, duration, result);
    }

    fn tell(
        &mut self,
        outcome: ToolCallOutcome,
        error: Option<&str>,
        duration: Duration,
        result: Option<&Value>,
    ) {
        self.is_over = true;
        let about = &self.about;
        if let Some(arguments) = self.arguments.take() {
            about.observer.observe(&Fact::ToolCallContent {
                run: about.run.clone(),
                span: self.span.clone(),
                content: ToolContent {
                    arguments,
                    result: result.cloned().map(Arc::new),
                },
            });
        }
        about.observer.observe(&Fact::ToolCallEnded {
            run: about.run.clone(),
            attempt: about.attempt,
            agent: Arc::clone(&about.agent),
            call: self.call.clone(),
            tool: self.tool.clone(),
            side_effect: self.side_effect,
            execution: self.execution,
            served_by: self.served_by.clone(),
            outcome,
            error: error.map(Into::into),
            span: self.span.clone(),
            duration,
        });
    }
}

impl Drop for ToolCall {
    fn drop(&mut self) {
        if !self.is_over {
            let duration = self.about.clock.now().since(self.span.started);
            self.tell(ToolCallOutcome::Cancelled, None, duration, None);
        }
    }
}
