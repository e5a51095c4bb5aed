//! What a server says of its own work, as far as it reaches whoever wants it.

use std::sync::{Arc, Mutex};

use seaworthy_ports::Timestamp;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::mcp::{MAX_LOGS_IN_A_SECOND, McpLog, McpLogLevel, McpLogMessage};

use crate::locked;

/// The log messages of one session.
pub(super) struct Logs {
    wanted: Option<McpLog>,
    clock: Arc<dyn Clock>,
    room: Mutex<Room>,
}

/// How many messages there is room for in a second.
#[derive(Default)]
struct Room {
    second: Option<i64>,
    taken: u32,
    dropped: u64,
}

impl Room {
    /// Lets one more in, and says how many were not let in before it.
    fn enter(&mut self, now: Timestamp) -> Option<u64> {
        let second = Some(now.as_millis().div_euclid(1000));
        if self.second != second {
            self.second = second;
            self.taken = 0;
        }
        if self.taken >= MAX_LOGS_IN_A_SECOND {
            self.dropped = self.dropped.saturating_add(1);
            return None;
        }
        self.taken += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

impl Logs {
    pub(super) fn new(wanted: Option<McpLog>, clock: Arc<dyn Clock>) -> Self {
        Self {
            wanted,
            clock,
            room: Mutex::default(),
        }
    }

    /// Passes a message on if it is wanted and there is room.
    pub(super) fn take(&self, level: McpLogLevel, logger: Option<&str>, text: &str) {
        let wanted = self.wanted.as_ref();
        let Some(wanted) = wanted.filter(|wanted| level >= wanted.level) else {
            return;
        };
        let entered = locked(&self.room).enter(self.clock.now());
        if let Some(dropped) = entered {
            (wanted.sink)(McpLogMessage {
                dropped,
                ..McpLogMessage::new(level, logger, text)
            });
        }
    }
}
