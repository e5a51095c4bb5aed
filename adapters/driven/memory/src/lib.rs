//! Volatile adapters: state store, durable runtime, blob store and checkpoint store in memory.
//!
//! They keep every clause of their ports but durability: for tests, for examples, and for runs that need not survive.

use std::sync::{Mutex, MutexGuard, PoisonError};

use seaworthy_ports::AdapterInfo;

mod blob_store;
mod checkpoint_store;
mod durable_runtime;
mod state_store;

pub use blob_store::MemoryBlobStore;
pub use checkpoint_store::MemoryCheckpointStore;
pub use durable_runtime::MemoryRuntime;
pub use state_store::MemoryStateStore;

const ADAPTER: &str = "memory";

const fn info() -> AdapterInfo {
    AdapterInfo { id: ADAPTER, package: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") }
}

/// Nothing that holds these locks can leave its data half changed, so a poisoned one is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cuts `items` into a page of `limit`; `token` names the last item of the page.
fn page<T>(
    items: impl Iterator<Item = T>,
    limit: std::num::NonZeroU32,
    token: impl Fn(&T) -> String,
) -> seaworthy_ports::state_store::Page<T> {
    let limit = usize::try_from(limit.get()).unwrap_or(usize::MAX);
    let mut items: Vec<T> = items.take(limit.saturating_add(1)).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_last| more).map(token).map(seaworthy_ports::state_store::PageToken);
    seaworthy_ports::state_store::Page { items, next }
}
