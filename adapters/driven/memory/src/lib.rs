//! Volatile adapters: state store, durable runtime, blob store and checkpoint store in memory.
//!
//! Each is a handle; clones share what is stored, and it is gone with the last of them. They keep every clause of their
//! ports but survive nothing, and say so.

mod blob_store;
mod checkpoint_store;
mod durable_runtime;
mod error;
mod state_store;

pub use blob_store::MemoryBlobStore;
pub use checkpoint_store::MemoryCheckpointStore;
pub use durable_runtime::MemoryRuntime;
pub use state_store::MemoryStateStore;

use std::sync::{Mutex, MutexGuard, PoisonError};

use seaworthy_ports::AdapterInfo;

const INFO: AdapterInfo = AdapterInfo {
    id: "memory",
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
};

/// Nothing in this crate can panic between two halves of a change, so a poisoned lock guards whole data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
