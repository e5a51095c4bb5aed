//! The lease loop of durable runtimes that are built on a store.
//!
//! An adapter implements [`LeaseStorage`]: a handful of atomic steps on its own tables. [`serve`] makes of them the
//! worker that `DurableRuntime` promises: it claims due runs, renews their leases whatever the turns do, brings signals
//! to live turns, catches panics, and drains on stop.
//!
//! One clock, the runtime's, decides everything: due times, expiries, polls and heartbeats. Two kinds of hints shorten
//! the waiting within one process; nothing depends on them.

mod backoff;
mod heartbeat;
mod held;
mod hint;
mod mail;
mod serve;
mod storage;
mod turn;

pub use backoff::redelivery_delay;
pub use hint::{Hint, HintReceiver, Hints};
pub use serve::{MAIL_POLL, MIN_POLL, serve};
pub use storage::{
    Claim, Claimed, Lease, LeaseKey, LeaseStorage, Presence, Renewed, Settle, Settlement,
    SignalsAfter, WaitingSignal,
};
