//! Where the server is.

use std::fmt;
use std::time::Duration;

use seaworthy_ports::Secret;

/// Names a Restate server and how to call it. Plain values; nothing is opened. `Debug` hides the token.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestateConfig {
    /// The address of the server's ingress, `http://host:8080`.
    pub ingress: String,
    /// The bearer token of whoever calls, where the server asks for one.
    pub token: Option<Secret>,
    /// How long an answer may take, except of a call that waits for work; half a minute unless told otherwise.
    pub timeout: Duration,
    /// How long a worker waits for work with one call; thirty seconds unless told otherwise. Shorter than what a proxy
    /// in between allows, at most a minute.
    pub wait: Duration,
}

impl RestateConfig {
    /// The server whose ingress is at `ingress`, with the defaults of each field.
    #[must_use]
    pub fn new(ingress: impl Into<String>) -> Self {
        Self {
            ingress: ingress.into(),
            token: None,
            timeout: Duration::from_secs(30),
            wait: Duration::from_secs(30),
        }
    }

    /// Calls with this bearer token.
    #[must_use]
    pub fn with_token(mut self, token: Secret) -> Self {
        self.token = Some(token);
        self
    }

    /// Gives a call up after `timeout`.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Waits for work so long with one call; at most a minute.
    #[must_use]
    pub fn with_wait(mut self, wait: Duration) -> Self {
        self.wait = wait.min(Duration::from_secs(60));
        self
    }
}

impl fmt::Debug for RestateConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestateConfig")
            .field("ingress", &self.ingress)
            .field("has_token", &self.token.is_some())
            .field("timeout", &self.timeout)
            .field("wait", &self.wait)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let config = RestateConfig::new("http://x").with_token(Secret::new("hush-hush"));
        assert!(!format!("{config:?}").contains("hush-hush"));
    }
}
