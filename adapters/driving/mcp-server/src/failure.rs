//! What goes wrong, said to whoever calls, so that it knows what to do next.

use rmcp::ErrorData;
use rmcp::model::{CallToolResult, ContentBlock};
use seaworthy_core::harness::HarnessError;
use seaworthy_ports::RunId;

use crate::arguments::InvalidArguments;

/// Why a call of a tool, or the reading of a resource, failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was passed cannot be meant.
    #[error(transparent)]
    Arguments(#[from] InvalidArguments),
    /// The harness refuses or cannot.
    #[error(transparent)]
    Harness(#[from] HarnessError),
    /// There is too much to do already.
    #[error("the server has {0} calls in flight, which is its limit; call again in a second")]
    Busy(usize),
}

impl Failure {
    /// For whoever calls. What stores and runtimes say of themselves stays here.
    pub(crate) fn advice(&self) -> String {
        match self {
            Self::Arguments(_) | Self::Busy(_) => self.to_string(),
            Self::Harness(error) => match error {
                HarnessError::UnknownRun(run) => unknown_run(run),
                HarnessError::UnknownCall { what, id } => {
                    format!("there is no {what} {id}; `run_status` lists what a run waits for")
                }
                HarnessError::Mismatch { .. }
                | HarnessError::WrongStatus { .. }
                | HarnessError::Answered(_)
                | HarnessError::Contended(_)
                | HarnessError::File(_)
                | HarnessError::Reply(_)
                | HarnessError::Id(_) => error.to_string(),
                HarnessError::Replay(_) | HarnessError::Log(_) | HarnessError::Runtime(_) => {
                    tracing::warn!("a client's call failed: {error}");
                    "what keeps runs cannot be used right now; nothing is lost: with the same `run_id`, the same call may be made again"
                        .to_owned()
                }
            },
        }
    }

    /// As the result of a tool.
    pub(crate) fn into_result(self) -> CallToolResult {
        CallToolResult::error(vec![ContentBlock::text(self.advice())])
    }

    /// As the answer to a request that is no call of a tool.
    pub(crate) fn into_error(self) -> ErrorData {
        let advice = self.advice();
        match self {
            Self::Harness(HarnessError::UnknownRun(_)) => {
                ErrorData::resource_not_found(advice, None)
            }
            Self::Arguments(_) => ErrorData::invalid_params(advice, None),
            Self::Harness(_) | Self::Busy(_) => ErrorData::internal_error(advice, None),
        }
    }
}

/// Also what is said of a run of an agent that this server does not serve.
fn unknown_run(run: &RunId) -> String {
    format!("there is no run {run} of this server's agents; its resources list those there are")
}
