//! How runs stand, and turns that a test answers.

use seaworthy_ports::durable_runtime::{Advance, DurableRuntime, Next, ScheduleState, Turn};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

use crate::support::{does, run_id};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) async fn state(runtime: &Arc<dyn DurableRuntime>, run: &str) -> ScheduleState {
    let schedule = runtime.describe(&run_id(run)).await.expect("a look");
    schedule.expect("a known run").state
}

pub(crate) async fn is_finished(runtime: &Arc<dyn DurableRuntime>, run: &str) -> bool {
    state(runtime, run).await == ScheduleState::Finished
}

pub(crate) type Taken = (Turn, oneshot::Sender<Next>);

/// Turns that the test answers when it likes.
pub(crate) fn by_hand() -> (Arc<dyn Advance>, mpsc::UnboundedReceiver<Taken>) {
    let (turns, taken) = mpsc::unbounded_channel();
    let advance = does(move |turn| {
        let (answer, answered) = oneshot::channel();
        turns.send((turn, answer)).expect("the test listens");
        async move { answered.await.expect("the test answers") }
    });
    (advance, taken)
}
