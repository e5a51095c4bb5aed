//! What happens, told to whoever measures it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::model_provider::{self, FinishReason, Usage};
use crate::state_store::Seq;
use crate::{AdapterInfo, CallId, RunId, ToolName};

/// Is told the facts that spans, metrics and live views are made of.
///
/// The core does not know what an observer does with a fact, and nothing depends on it: the log is the record, this is a
/// view of the work while it happens. A fact that is lost is lost; one of an attempt that the log later refuses may have
/// been told all the same.
///
/// # Contract
///
/// * **OB-1** `observe` never fails and never panics; an observer that cannot keep up or lost its backend drops facts and
///   counts them.
/// * **OB-2** `observe` never blocks: no I/O, no waiting for a lock that is held during I/O, no unbounded buffer.
/// * **OB-3** It may be called from any thread, by many at once; the facts of one attempt come in the order they happened.
/// * **OB-4** Facts hold names, counts and durations, never content or a secret, and an observer adds none.
/// * **OB-5** An observer never changes what it observes: a run behaves the same with any observer.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Who this is. No I/O.
    fn info(&self) -> AdapterInfo;

    /// Takes note of `fact`.
    fn observe(&self, fact: &Fact);
}

/// Something that happened. Facts will be added; an observer ignores those it does not know.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fact {
    /// A worker took a run up.
    AttemptStarted {
        /// The run.
        run: RunId,
        /// The attempt, from 1.
        attempt: u32,
    },
    /// A model is being called. An attempt has one model call at a time.
    ModelCallStarted {
        /// The run.
        run: RunId,
        /// The attempt.
        attempt: u32,
        /// The provider's adapter id.
        provider: Arc<str>,
        /// The provider's name of the model.
        model: Arc<str>,
    },
    /// The model call is over.
    ModelCallEnded {
        /// The run.
        run: RunId,
        /// The attempt.
        attempt: u32,
        /// The provider's adapter id.
        provider: Arc<str>,
        /// The provider's name of the model.
        model: Arc<str>,
        /// What it used, as far as the provider said.
        usage: Usage,
        /// How it ended.
        end: ModelCallEnd,
        /// How long it took.
        duration: Duration,
    },
    /// A tool is being executed. Calls of one attempt may overlap.
    ToolCallStarted {
        /// The run.
        run: RunId,
        /// The call.
        call: CallId,
        /// The tool.
        tool: ToolName,
        /// What the tool does to the world: `read_only`, `idempotent` or `non_idempotent`.
        side_effect: &'static str,
    },
    /// The tool call is over for this attempt.
    ToolCallEnded {
        /// The run.
        run: RunId,
        /// The call.
        call: CallId,
        /// The tool.
        tool: ToolName,
        /// What the tool does to the world.
        side_effect: &'static str,
        /// How it ended.
        outcome: ToolCallOutcome,
        /// How long it took.
        duration: Duration,
    },
    /// The run's log has grown.
    RecordsAppended {
        /// The run.
        run: RunId,
        /// The log's head now.
        head: Seq,
        /// How many records the append had.
        records: u32,
        /// How many bytes they have.
        bytes: u64,
        /// How long the append took.
        duration: Duration,
    },
    /// The run waits and occupies no worker.
    RunParked {
        /// The run.
        run: RunId,
        /// What it waits for.
        reason: ParkReason,
    },
    /// The run cannot go on for now: a port fails, or its log cannot be read.
    RunStalled {
        /// The run.
        run: RunId,
        /// What fails, for a person; without content of the run.
        message: Arc<str>,
    },
    /// The run has ended.
    RunEnded {
        /// The run.
        run: RunId,
        /// How.
        status: RunEnd,
    },
}

impl Fact {
    /// The run it is about.
    #[must_use]
    pub const fn run(&self) -> &RunId {
        match self {
            Self::AttemptStarted { run, .. }
            | Self::ModelCallStarted { run, .. }
            | Self::ModelCallEnded { run, .. }
            | Self::ToolCallStarted { run, .. }
            | Self::ToolCallEnded { run, .. }
            | Self::RecordsAppended { run, .. }
            | Self::RunParked { run, .. }
            | Self::RunStalled { run, .. }
            | Self::RunEnded { run, .. } => run,
        }
    }
}

/// How a model call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelCallEnd {
    /// With an answer, for this reason.
    Finished(FinishReason),
    /// With an error of this kind.
    Failed(model_provider::Kind),
}

/// How a tool call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolCallOutcome {
    /// With a result.
    Succeeded,
    /// With an error that the model is told of.
    Failed,
    /// It was never executed: invalid, denied or over the budget.
    Refused,
    /// It was ended because the run was.
    Cancelled,
    /// Nobody knows whether it took effect.
    InDoubt,
}

/// What a parked run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParkReason {
    /// A person's decision on a proposed call.
    Approval,
    /// A person's word on a call in doubt.
    InDoubt,
    /// A time.
    Timer,
    /// A message.
    Signal,
    /// Another run.
    Child,
    /// A provider that said to come back later.
    Provider,
    /// Its share of what may be asked of a model.
    Limit,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunEnd {
    /// With its result.
    Succeeded,
    /// With an error.
    Failed,
    /// Because somebody said so.
    Cancelled,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_names_its_run() {
        let run = RunId::new("run_1").unwrap();
        let facts = [
            Fact::AttemptStarted {
                run: run.clone(),
                attempt: 1,
            },
            Fact::RunParked {
                run: run.clone(),
                reason: ParkReason::Approval,
            },
            Fact::RunEnded {
                run: run.clone(),
                status: RunEnd::Succeeded,
            },
        ];
        assert!(facts.iter().all(|fact| fact.run() == &run));
    }
}
