//! A call that its server works on as a task.

use std::time::Duration;

use seaworthy_ports::mcp::TaskId;
use seaworthy_ports::{CallId, Timestamp};
use serde::{Deserialize, Serialize};

/// How often the task of a call that may be repeated may get lost before the call fails.
pub const MAX_LOST_TASKS: u32 = 3;
/// The shortest time between two questions about a task.
pub const SHORTEST_POLL: Duration = Duration::from_secs(1);
/// The longest one.
pub const LONGEST_POLL: Duration = Duration::from_secs(5 * 60);
/// The part of the time that has passed which is waited at least, so that a long task costs few records.
const PASSED_PART: u32 = 10;

/// A server has taken a call as a task, or was asked about it and is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolDeferred {
    /// Whether the server wants to be answered something before it goes on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
    /// Which call.
    pub call: CallId,
    /// What the server says of the task, or why it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it is asked next.
    pub poll_at: Timestamp,
    /// When the call was made.
    pub since: Timestamp,
    /// What the server calls the task.
    pub task: TaskId,
    /// When the task is ended.
    pub until: Timestamp,
}

/// Where a call stands that is a task of its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deferred {
    /// What the server calls the task.
    pub task: TaskId,
    /// What the server said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the call was made.
    pub since: Timestamp,
    /// When the task is ended.
    pub until: Timestamp,
    /// When the server is asked next.
    pub poll_at: Timestamp,
    /// The attempt that heard of it last.
    pub polled_in: u32,
    /// How often the server was asked.
    pub polls: u32,
    /// How many of the call's questions the server has gone on from. What they were answered is for none that it asks later,
    /// even in the same words, and those that nobody answered are nobody's any more.
    #[serde(default, skip_serializing_if = "is_none")]
    pub settled: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_none(settled: &usize) -> bool {
    *settled == 0
}

impl Deferred {
    /// A task that was just begun, by a call whose server has asked so many questions.
    pub(super) fn begun(deferred: ToolDeferred, attempt: u32, asked: usize) -> Self {
        Self {
            task: deferred.task,
            message: deferred.message,
            since: deferred.since,
            until: deferred.until,
            poll_at: deferred.poll_at,
            polled_in: attempt,
            polls: 0,
            settled: asked,
        }
    }

    /// The task after the server was asked once more. `None`: it was asked about another one.
    pub(super) fn polled(
        &self,
        deferred: ToolDeferred,
        attempt: u32,
        asked: usize,
    ) -> Option<Self> {
        let settled = if deferred.asks { self.settled } else { asked };
        (self.task == deferred.task).then(|| Self {
            polls: self.polls.saturating_add(1),
            ..Self::begun(deferred, attempt, settled)
        })
    }
}

/// When a server is asked about a task that it has had since then, and that it wants to be left alone for so long.
#[must_use]
pub fn next_poll(
    since: Timestamp,
    now: Timestamp,
    wanted: Option<Duration>,
    until: Timestamp,
) -> Timestamp {
    let passed = now.since(since) / PASSED_PART;
    let delay = wanted
        .unwrap_or_default()
        .max(passed)
        .clamp(SHORTEST_POLL, LONGEST_POLL);
    // The last question is asked when the time is up, unless that is now.
    let at = now.plus(delay);
    if until > now { at.min(until) } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_a_task_takes_the_less_often_its_server_is_asked() {
        let start = Timestamp::from_millis(1_000_000);
        let far = start.plus(Duration::from_secs(1_000_000));
        let delay = |passed: u64, wanted: Option<u64>| {
            let now = start.plus(Duration::from_secs(passed));
            let wanted = wanted.map(Duration::from_secs);
            next_poll(start, now, wanted, far).since(now).as_secs()
        };
        assert_eq!(delay(0, None), 1);
        assert_eq!(delay(5, Some(0)), 1);
        assert_eq!(delay(0, Some(20)), 20);
        assert_eq!(delay(600, Some(20)), 60);
        assert_eq!(delay(600, None), 60);
        assert_eq!(delay(86_400, None), 300);
        assert_eq!(delay(0, Some(u64::MAX / 2000)), 300);
        let asked = {
            let (mut now, mut asked) = (start, 0);
            while now < start.plus(Duration::from_secs(86_400)) {
                now = next_poll(start, now, None, far);
                asked += 1;
            }
            asked
        };
        assert!(asked < 400, "a day costs {asked} questions");
    }

    #[test]
    fn the_last_question_is_asked_when_the_time_is_up() {
        let start = Timestamp::from_millis(1_000_000);
        let until = start.plus(Duration::from_secs(3));
        let long = Some(Duration::from_secs(60));
        assert_eq!(next_poll(start, start, long, until), until);
        assert!(next_poll(start, until, long, until) > until);
    }
}
