//! Waiting for a run, for as long as somebody wants to.

use std::time::Duration;

use futures_util::StreamExt as _;
use rmcp::RoleServer;
use rmcp::service::RequestContext;
use seaworthy_core::Harness;
use seaworthy_core::event::WaitReason;
use seaworthy_core::harness::{HarnessError, View};
use seaworthy_core::live::{Live, Watch};
use seaworthy_core::record::Link;
use seaworthy_ports::durable_runtime::ScheduleState;
use seaworthy_ports::{Latch, RunId};
use tokio::time::Instant;

use crate::progress::Progress;

/// How often the log is looked at: another process may write it.
const POLL: Duration = Duration::from_millis(500);
/// The most records that are read at once.
const MAX_READ: usize = 256;

/// Whether nothing happens in the run until a person does something.
pub(crate) fn rests(view: &View) -> bool {
    if view.state.outcome.is_some() {
        return true;
    }
    let needs_person = view.state.waiting.is_some_and(|waiting| {
        matches!(
            waiting.reason,
            WaitReason::Approval | WaitReason::InDoubt | WaitReason::Question
        )
    });
    // A run that was answered is due, or held, until its log says what came of the answer.
    let is_parked = view
        .schedule
        .as_ref()
        .is_none_or(|schedule| matches!(schedule.state, ScheduleState::Parked { .. }));
    needs_person && is_parked
}

/// Who waits, and what ends the waiting before its time: the run never notices.
pub(crate) struct Waiter<'a> {
    pub(crate) harness: &'a Harness,
    pub(crate) context: &'a RequestContext<RoleServer>,
    /// Set when the server stops.
    pub(crate) stop: &'a Latch,
}

impl Waiter<'_> {
    /// Waits until `run` rests, for at most `longest`, and says how it stands.
    pub(crate) async fn settle(
        &self,
        run: &RunId,
        longest: Duration,
    ) -> Result<View, HarnessError> {
        // Watched before it is looked at: an end between the two is not missed.
        let mut watch = Some(self.harness.watch(run));
        let deadline = Instant::now() + longest;
        let mut view = self.harness.view(run).await?;
        let mut progress = Progress::asked_for(self.context);
        let mut link = view.state.link;
        while !rests(&view) && Instant::now() < deadline && !self.is_gone() {
            tokio::select! {
                () = ended(&mut watch) => {}
                () = tokio::time::sleep_until(deadline.min(Instant::now() + POLL)) => {}
                () = self.gone() => {}
            }
            let has_grown = self.follow(run, &mut link, &mut progress, deadline).await?;
            if has_grown || view.state.waiting.is_some() {
                view = self.harness.view(run).await?;
            }
        }
        Ok(view)
    }

    /// Reads on from `link`, tells what is there, and says whether there was anything.
    async fn follow(
        &self,
        run: &RunId,
        link: &mut Link,
        progress: &mut Option<Progress>,
        deadline: Instant,
    ) -> Result<bool, HarnessError> {
        let before = link.seq;
        let mut records = self.harness.records(run, *link).take(MAX_READ);
        while let Some(loaded) = records.next().await {
            let loaded = loaded?;
            *link = loaded.link;
            if let Some(told) = progress {
                // A client that does not read holds up nothing but its own call, and not for longer than it wanted.
                let told = tokio::time::timeout_at(deadline, told.tell(&loaded.envelope)).await;
                if !matches!(told, Ok(true)) {
                    *progress = None;
                }
            }
        }
        Ok(link.seq != before)
    }

    fn is_gone(&self) -> bool {
        self.context.ct.is_cancelled() || self.stop.is_set()
    }

    /// Returns once the client does not want to wait any more, or the server stops.
    async fn gone(&self) {
        tokio::select! {
            () = self.context.ct.cancelled() => {}
            () = self.stop.wait() => {}
        }
    }
}

/// Returns once the run has ended in this process; never again after that.
async fn ended(watch: &mut Option<Watch>) {
    let Some(watching) = watch else {
        return std::future::pending().await;
    };
    while let Some(live) = watching.next().await {
        if matches!(live, Live::Ended { .. }) {
            break;
        }
    }
    *watch = None;
}
