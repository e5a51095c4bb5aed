//! The port traits of Seaworthy and the vocabulary their signatures need.
//!
//! A *port* is a trait the core calls; an *adapter* implements it; a *clause* (`SS-3`, `DR-5`, …) is a numbered
//! promise of a port, listed in the trait's documentation and checked by `seaworthy-contract`. This crate knows no
//! runtime, no client and no driver: whatever an adapter is built on stays in the adapter.
//!
//! Three things are common to all ports.
//!
//! * **Errors** are [`PortError`] with a closed kind per port, [`Retry`] advice and the [`Effect`] the failed call may
//!   have had. A lost reply is not a failure: only an idempotent call may be repeated after [`Effect::Unknown`].
//! * **Capabilities** are plain data. A required method is the contract; a capability is a clause that may not hold.
//! * **Dropping** a returned future leaves the outcome unknown but never partial.

mod capability;
mod digest;
mod error;
mod id;
mod info;
mod latch;
mod secret;
mod time;
mod trace;

pub mod blob_store;
pub mod checkpoint_store;
pub mod clock;
pub mod durable_runtime;
pub mod entropy;
pub mod mcp;
pub mod model_provider;
pub mod observer;
pub mod sandbox;
pub mod state_store;
pub mod workspace_store;

pub use digest::{Digest, InvalidDigest};
pub use error::{Effect, ErrorKind, PortError, Retry};
pub use id::{
    AppendId, CallId, DocumentPath, InvalidId, LogId, LogKind, LogName, QueueName, RunId,
    ServerAlias, SessionId, SignalId, SnapshotId, StepId, ToolName, WorkerId, WorkspaceId,
    WriterId,
};
pub use info::{AdapterInfo, Durability};
pub use latch::{Latch, LatchSetter};
pub use secret::Secret;
pub use time::{InvalidTimestamp, Timestamp};
pub use trace::{InvalidTraceparent, MAX_TRACESTATE_BYTES, SpanId, TraceContext, TraceId};

pub use async_trait::async_trait;
pub use futures_core::stream::BoxStream;
