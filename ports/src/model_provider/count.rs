//! Counting tokens.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{ModelError, ModelRequest};

/// Counts the tokens of requests that are not sent yet.
#[async_trait]
pub trait CountTokens: Send + Sync {
    /// The tokens of input that `request` has.
    ///
    /// # Errors
    ///
    /// Those of a call; a request that the model would refuse may be refused here too.
    ///
    /// # Cancellation
    ///
    /// Dropping it changes nothing; its `cancel` latch ends it.
    async fn count(&self, request: &ModelRequest) -> Result<Tokens, ModelError>;
}

/// How many tokens something has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// How many.
    pub count: u64,
    /// Whether that is a guess, and not what the provider counts.
    pub estimated: bool,
}
