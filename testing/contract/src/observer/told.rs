//! What whoever tells an observer promises, held against the facts that were told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use seaworthy_ports::observer::{Execution, Fact, Observer, Span};
use seaworthy_ports::{AdapterInfo, RunId, SpanId, TraceId};

use crate::outcome::{Outcome, holds, same};

/// Keeps the facts it is told, for [`check`]. For tests: what it keeps has no bound.
#[derive(Debug, Default)]
pub struct Recorder {
    wants_content: bool,
    facts: Mutex<Vec<Fact>>,
}

impl Recorder {
    /// One that wants content too.
    #[must_use]
    pub fn of_content() -> Self {
        Self {
            wants_content: true,
            ..Self::default()
        }
    }

    /// What it was told so far, in the order of telling.
    #[must_use]
    pub fn told(&self) -> Vec<Fact> {
        let facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.clone()
    }
}

impl Observer for Recorder {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "recorder",
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn wants_content(&self) -> bool {
        self.wants_content
    }

    fn observe(&self, fact: &Fact) {
        let mut facts = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        facts.push(fact.clone());
    }
}

/// All of OB-6 to OB-8, and that content is told only where it is wanted.
///
/// # Errors
///
/// The first promise that `facts` do not keep.
pub fn check(facts: &[Fact], wants_content: bool) -> Outcome {
    content(facts, wants_content)?;
    ends(facts)?;
    once(facts)?;
    spans(facts)
}

/// OB-4.
pub(super) fn content(facts: &[Fact], wants_content: bool) -> Outcome {
    let is_content = |fact: &&Fact| {
        matches!(
            fact,
            Fact::ModelCallContent { .. }
                | Fact::ToolCallContent { .. }
                | Fact::ServerLogContent { .. }
        )
    };
    let told = facts.iter().filter(is_content).count();
    if wants_content {
        return Ok(());
    }
    same("counted facts with content that nobody wants", told, 0)
}

/// A piece of work of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Attempt,
    Call,
}

fn started(fact: &Fact) -> Option<(Sort, u32, &Span)> {
    match fact {
        Fact::AttemptStarted { attempt, span, .. } => Some((Sort::Attempt, *attempt, span)),
        Fact::ModelCallStarted { attempt, span, .. }
        | Fact::ToolCallStarted { attempt, span, .. } => Some((Sort::Call, *attempt, span)),
        _ => None,
    }
}

fn ended(fact: &Fact) -> Option<(Sort, u32, &Span)> {
    match fact {
        Fact::AttemptEnded { attempt, span, .. } => Some((Sort::Attempt, *attempt, span)),
        Fact::ModelCallEnded { attempt, span, .. } | Fact::ToolCallEnded { attempt, span, .. } => {
            Some((Sort::Call, *attempt, span))
        }
        _ => None,
    }
}

/// OB-6.
pub(super) fn ends(facts: &[Fact]) -> Outcome {
    let mut open: BTreeMap<SpanId, (Sort, &RunId, u32, &Span)> = BTreeMap::new();
    for fact in facts {
        if let Some((sort, attempt, span)) = started(fact) {
            open.insert(span.context.span(), (sort, fact.run(), attempt, span));
        }
        let Some((sort, attempt, span)) = ended(fact) else {
            continue;
        };
        let began = open.remove(&span.context.span());
        same(
            format!("looked for the start of what ends with {fact:?}"),
            began,
            Some((sort, fact.run(), attempt, span)),
        )?;
        if sort == Sort::Attempt {
            // Two workers may have taken up the same attempt; the log lets one of them go on.
            let of_it = |(_, run, of, _): &&(Sort, &RunId, u32, &Span)| {
                *run == fact.run() && *of == attempt
            };
            let left: Vec<_> = open.values().filter(of_it).collect();
            let is_shared = left.iter().any(|(sort, ..)| *sort == Sort::Attempt);
            holds(
                is_shared || left.is_empty(),
                format!("looked at what is open at the end of attempt {attempt}"),
                "no call",
                &left,
            )?;
        }
    }
    same(
        "told all there was, and looked for what was not told to have ended",
        open.into_values().collect::<Vec<_>>(),
        Vec::new(),
    )
}

/// OB-7.
pub(super) fn once(facts: &[Fact]) -> Outcome {
    let (mut spans, mut calls, mut runs) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for fact in facts {
        let id = match fact {
            Fact::RunEnded { span, .. } => Some(span.context.span()),
            _ => started(fact).map(|(_, _, span)| span.context.span()),
        };
        if let Some(id) = id {
            holds(
                spans.insert(id),
                format!("told {fact:?}"),
                "a span that nothing before it had",
                id,
            )?;
        }
        if let Fact::ToolCallEnded {
            call,
            execution: Execution::Verify,
            ..
        } = fact
        {
            // Whether it happened is known now: if it is executed, it did not.
            calls.remove(call);
        }
        if let Fact::ToolCallStarted {
            call,
            execution: Execution::First,
            ..
        } = fact
        {
            holds(
                calls.insert(call),
                format!("told that call {call} is executed for the first time"),
                "that once",
                "it again",
            )?;
        }
        if let Fact::RunEnded { run, span, .. } = fact {
            holds(
                runs.insert((run, span.context.span())),
                format!("told that {run} has ended"),
                "that once",
                "it again",
            )?;
        }
    }
    Ok(())
}

/// OB-8.
pub(super) fn spans(facts: &[Fact]) -> Outcome {
    let mut traces: BTreeMap<&RunId, TraceId> = BTreeMap::new();
    let mut wholes: BTreeMap<&RunId, BTreeSet<SpanId>> = BTreeMap::new();
    for fact in facts {
        if let Fact::RunEnded { run, span, .. } = fact {
            wholes.entry(run).or_default().insert(span.context.span());
        }
    }
    for fact in facts {
        let Some(span) = fact.span() else { continue };
        let trace = span.context.trace();
        same(
            format!("looked at the trace of {fact:?}"),
            trace,
            *traces.entry(fact.run()).or_insert(trace),
        )?;
        if matches!(fact, Fact::RunEnded { .. }) {
            continue;
        }
        // Of a run that has not ended here, only the last end is missing: its parts still have one whole.
        let wholes = wholes.get(fact.run());
        let is_part = match (span.parent, wholes) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(parent), Some(wholes)) => wholes.contains(&parent),
        };
        holds(
            is_part,
            format!("looked at what {fact:?} is a part of"),
            "its run",
            span.parent,
        )?;
    }
    Ok(())
}
