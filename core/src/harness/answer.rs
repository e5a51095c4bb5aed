//! The questions of servers, and the answers of persons.

use std::num::NonZeroU32;

use seaworthy_ports::state_store::{Page, PageToken};
use seaworthy_ports::{CallId, RunId};

use super::{Asked, Harness, HarnessError, wrong};
use crate::servers::Reply;
use crate::signal::Told;
use crate::state::Call;

impl Harness {
    /// One page of the calls whose servers wait for an answer, of runs that have parked and of those that a worker has.
    ///
    /// # Errors
    ///
    /// The store's, or a corrupt log.
    pub async fn questions(
        &self,
        limit: NonZeroU32,
        page: Option<PageToken>,
    ) -> Result<Page<Asked>, HarnessError> {
        let is_open = |call: &Call| call.open_question().is_some();
        self.asked(limit, page, is_open).await
    }

    /// Answers the open question of a call's server, once. The run resumes by itself where a worker serves it.
    ///
    /// # Errors
    ///
    /// [`HarnessError::Reply`] for what is no answer to it, [`HarnessError::UnknownCall`], [`HarnessError::Answered`],
    /// [`HarnessError::WrongStatus`], or a failing store or runtime.
    pub async fn answer(
        &self,
        call: &CallId,
        reply: Reply,
        by: &str,
    ) -> Result<RunId, HarnessError> {
        let (state, found) = self.call("call", call).await?;
        if state.outcome.is_some() {
            return Err(wrong(&state, "it has ended, and asks for nothing any more"));
        }
        let Some(question) = found.open_question() else {
            return Err(match found.questions.is_empty() {
                true => HarnessError::UnknownCall {
                    what: "question of call",
                    id: call.clone(),
                },
                false => HarnessError::Answered(call.clone()),
            });
        };
        question.check(&reply)?;
        let told = Told::Answer {
            call: call.clone(),
            question: question.digest,
            reply,
            by: by.to_owned(),
        };
        let round = u32::try_from(found.questions.len()).unwrap_or(u32::MAX);
        self.tell(state.run(), &told, round, call).await
    }
}
