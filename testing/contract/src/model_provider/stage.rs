//! What the scenarios of this suite share: calls, what came of them, and what is said of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use seaworthy_ports::model_provider::{
    Finish, FinishReason, Kind, Message, ModelError, ModelEvent, ModelReply, ModelRequest, assemble,
};
use seaworthy_ports::{BoxStream, Latch};

use super::{Answer, Harness, Said, Step};
use crate::outcome::{Halt, Outcome, broken, within};

/// The most events of an answer that has an end.
const MOST_EVENTS: usize = 100_000;
/// No answer of a scenario is silent for so long unless it is silent for ever.
pub(super) const LONG: Duration = Duration::from_secs(100);
pub(super) const UNSEEN: Halt = Halt::NotCheckable("what reaches the backend cannot be seen");

/// A call that says hello.
pub(super) fn request<H: Harness>(harness: &H) -> ModelRequest {
    ModelRequest {
        model: harness.model(),
        instructions: Arc::from("Be brief."),
        messages: Arc::new(vec![Message::user("hello")]),
        tools: Arc::default(),
        output_schema: None,
        max_output_tokens: None,
        parameters: Arc::default(),
        idle_timeout: LONG,
        cancel: Latch::never(),
    }
}

/// Has the backend answer like this from now on.
pub(super) async fn set<H: Harness>(harness: &H, answer: &Answer) -> Result<Said, Halt> {
    let said = harness.answer(answer).await;
    said.ok_or(Halt::NotCheckable(
        "the backend cannot be made to answer like this",
    ))
}

/// What a call came to.
#[derive(Debug)]
pub(super) struct Seen {
    /// What came before the error, if there was one.
    pub(super) events: Vec<ModelEvent>,
    pub(super) error: Option<ModelError>,
    /// How many items came after the error.
    pub(super) late: usize,
}

/// Calls, with the answer that the backend was given before.
pub(super) async fn call<H: Harness>(harness: &H, request: ModelRequest) -> Result<Seen, Halt> {
    watch(harness.provider().stream(request)).await
}

/// Has the backend give this answer to a hello.
pub(super) async fn hello<H: Harness>(harness: &H, answer: &Answer) -> Result<(Said, Seen), Halt> {
    let said = set(harness, answer).await?;
    Ok((said, call(harness, request(harness)).await?))
}

/// What of an endless stream comes before its end.
pub(super) async fn watch(
    mut items: BoxStream<'static, Result<ModelEvent, ModelError>>,
) -> Result<Seen, Halt> {
    let watching = async {
        let mut seen = Seen {
            events: Vec::new(),
            error: None,
            late: 0,
        };
        while let Some(item) = items.next().await {
            match item {
                _ if seen.error.is_some() => seen.late = seen.late.saturating_add(1),
                Ok(event) => seen.events.push(event),
                Err(error) => seen.error = Some(error),
            }
            if seen.events.len().saturating_add(seen.late) > MOST_EVENTS {
                return Err(broken(
                    "read the stream of a call",
                    "an end",
                    "a hundred thousand events and more",
                ));
            }
        }
        Ok(seen)
    };
    within("read the stream of a call to its end", watching).await?
}

impl Seen {
    /// The call must not fail.
    pub(super) fn well(self, did: &str) -> Result<Self, Halt> {
        match &self.error {
            None => Ok(self),
            Some(error) => Err(broken(did, "an answer", error.kind())),
        }
    }

    /// The call must fail.
    pub(super) fn failed(self, did: &str) -> Result<ModelError, Halt> {
        let finish = self.finish().cloned();
        self.error.ok_or_else(|| broken(did, "an error", finish))
    }

    /// The call must fail for this reason.
    pub(super) fn failed_as(self, did: &str, kind: Kind) -> Result<ModelError, Halt> {
        let finish = self.finish().cloned();
        match self.error {
            Some(error) if error.kind() == kind => Ok(error),
            other => {
                let seen = other.map(|error| error.kind()).ok_or(finish);
                Err(broken(did, format!("the error {kind:?}"), seen))
            }
        }
    }

    /// The first finish.
    pub(super) fn finish(&self) -> Option<&Finish> {
        self.events.iter().find_map(|event| match event {
            ModelEvent::Finish(finish) => Some(finish),
            _ => None,
        })
    }

    /// How the stream itself says that it ended, not as its reader could put it right.
    pub(super) fn reason(&self) -> Option<FinishReason> {
        self.finish().map(|finish| finish.reason)
    }

    /// The whole answer; the call must not fail.
    pub(super) async fn reply(self, did: &str) -> Result<ModelReply, Halt> {
        let seen = self.well(did)?;
        let events = stream::iter(seen.events.into_iter().map(Ok));
        assemble(events, |_event| {})
            .await
            .map_err(|error| broken(did, "an answer", error.kind()))
    }
}

/// Whether the stream ended this way, which must be.
pub(super) fn ended(did: &str, seen: &Seen, reason: FinishReason) -> Outcome {
    let is = seen.error.as_ref().map(ModelError::kind);
    if is.is_none() && seen.reason() == Some(reason) {
        return Ok(());
    }
    let ending = seen.finish().cloned();
    let seen = is.map_or(Ok(ending), Err);
    Err(broken(did, format!("a finish of {reason:?}"), seen))
}

/// Waits by looking.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) -> Outcome {
    let looking = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(what, looking).await
}

/// `fragments` as calls' arguments or as text.
pub(super) fn texts<'a>(fragments: impl IntoIterator<Item = &'a str>) -> Vec<Step> {
    fragments.into_iter().map(Step::text).collect()
}
