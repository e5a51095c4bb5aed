//! What the adapter has to be told.

use std::time::Duration;

/// How long each step of ending a server may take unless [`McpConfig::with_grace`] says otherwise.
const GRACE: Duration = Duration::from_secs(2);

/// The settings of an [`McpClient`](crate::McpClient).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct McpConfig {
    /// How long a server's process has to end after its input was closed, and once more after SIGTERM, before it is
    /// killed; and how long an address has to take leave of a session.
    pub grace: Duration,
}

impl Default for McpConfig {
    fn default() -> Self {
        Self { grace: GRACE }
    }
}

impl McpConfig {
    /// The same settings with another time for each step of ending a server.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}
