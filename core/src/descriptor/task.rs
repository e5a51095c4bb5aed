//! How calls of a server's tool become tasks.

use std::time::Duration;

use seaworthy_ports::mcp::TaskSupport;

/// How long a task may take of which nobody has said anything.
pub const TASK_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// How calls of a tool become tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskRule {
    /// Whether they do where the server leaves it to the caller.
    pub is_wanted: bool,
    /// How long a task may take before it is ended.
    pub timeout: Duration,
}

impl TaskRule {
    /// Whether a call becomes a task of a tool whose server says this.
    #[must_use]
    pub const fn wants(&self, support: TaskSupport) -> bool {
        match support {
            TaskSupport::Forbidden => false,
            TaskSupport::Optional => self.is_wanted,
            TaskSupport::Required | TaskSupport::ServerDecides => true,
        }
    }
}

pub(super) const fn usual_timeout() -> Duration {
    TASK_TIMEOUT
}

/// What nobody has said is not written, so that descriptors are written as they always were.
pub(super) fn is_usual_timeout(timeout: &Duration) -> bool {
    *timeout == TASK_TIMEOUT
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde asks with a reference"
)]
pub(super) const fn is_unwanted(task: &bool) -> bool {
    !*task
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_insists_has_its_way_and_one_that_does_not_is_told() {
        let rule = |is_wanted| TaskRule {
            is_wanted,
            timeout: TASK_TIMEOUT,
        };
        let wants = |rule: TaskRule| {
            use TaskSupport::{Forbidden, Optional, Required, ServerDecides};
            [Forbidden, Optional, Required, ServerDecides].map(|support| rule.wants(support))
        };
        assert_eq!(wants(rule(false)), [false, false, true, true]);
        assert_eq!(wants(rule(true)), [false, true, true, true]);
    }
}
