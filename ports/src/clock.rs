//! The time, and waiting for it.

use std::fmt;

use async_trait::async_trait;

use crate::{AdapterInfo, Timestamp};

/// Tells the time.
///
/// # Contract
///
/// * **CL-1** `now` never goes back within one clock.
/// * **CL-2** `sleep_until` never returns before its instant; an instant in the past returns at once.
/// * **CL-3** Any number of sleepers wake independently of each other.
///
/// # Cancellation
///
/// Dropping a sleep leaves nothing behind.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Who this is.
    fn info(&self) -> AdapterInfo;

    /// The time now.
    fn now(&self) -> Timestamp;

    /// Returns when `now` has reached `until`.
    async fn sleep_until(&self, until: Timestamp);
}
