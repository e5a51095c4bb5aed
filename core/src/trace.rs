//! The spans of a run: where they lie in which trace, computed from the log alone.
//!
//! No id is minted. That of a run comes from its id and the time of its submission, those of its parts from the run's and
//! the attempt that did the work. Whoever has the log knows them, and whoever takes the run up goes on in its trace.

use seaworthy_ports::observer::{Fact, RunEnd, Span};
use seaworthy_ports::{SpanId, Timestamp, TraceContext, TraceId};

use crate::state::{Outcome, RunState};

/// The run's span.
#[must_use]
pub fn run_span(state: &RunState) -> Span {
    let (run, created) = (state.run(), state.created_at.as_millis());
    // Two stores may have runs of one name.
    let name = format!("seaworthy run {run} {created}");
    let id = SpanId::of(format!("{name} {}", state.reopened).as_bytes());
    let (context, parent) = match &state.submitted.trace {
        Some(within) => (within.at(id), Some(within.span())),
        None => (TraceContext::new(TraceId::of(name.as_bytes()), id), None),
    };
    Span {
        context,
        parent,
        started: state.created_at,
    }
}

/// The span of a part of `run`: of the `number`-th piece of work of the attempt that has `nonce`.
#[must_use]
pub fn part(run: &Span, nonce: &str, number: u32, started: Timestamp) -> Span {
    let within = run.context.span();
    let id = SpanId::of(format!("seaworthy work {within} {nonce} {number}").as_bytes());
    Span {
        context: run.context.at(id),
        parent: Some(within),
        started,
    }
}

/// That the run has ended, if it has.
#[must_use]
pub fn run_ended(state: &RunState) -> Option<Fact> {
    let (status, error) = match state.outcome.as_ref()? {
        Outcome::Succeeded { .. } => (RunEnd::Succeeded, None),
        Outcome::Failed { code, .. } => (RunEnd::Failed, Some(code.as_str().into())),
        Outcome::Cancelled { .. } => (RunEnd::Cancelled, None),
    };
    Some(Fact::RunEnded {
        run: state.run().clone(),
        agent: state.submitted.agent.as_str().into(),
        session: state.submitted.session.clone(),
        attempts: state.attempt,
        status,
        error,
        usage: state.usage,
        model_calls: state.turns,
        tool_calls: u32::try_from(state.calls.len()).unwrap_or(u32::MAX),
        span: run_span(state),
        duration: state.updated_at.since(state.created_at),
    })
}
