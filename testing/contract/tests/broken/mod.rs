//! Adapters with a bug: the memory adapters behind a wrapper that does one thing wrong. A harness starts itself, so
//! the bug is its thread's: a suite makes and runs its harnesses on the thread that calls it.

pub(crate) mod blobs;
pub(crate) mod checkpoints;
pub(crate) mod clocks;
pub(crate) mod deaths;
mod directory;
pub(crate) mod logs;
pub(crate) mod models;
pub(crate) mod observers;
pub(crate) mod runs;
#[cfg(target_os = "linux")]
pub(crate) mod sandboxes;
pub(crate) mod servers;
mod servers_said;
pub(crate) mod sources;
mod tokens;
mod vectors;

use std::cell::Cell;
use std::time::Duration;

/// How long a scenario waits for what a bug keeps from coming.
pub(crate) const PATIENCE: Duration = Duration::from_secs(6);

/// No bug, with any adapter.
pub(crate) const NO_BUG: u8 = 0;
/// A bug of any adapter: it declares less than it holds.
pub(crate) const MODEST: u8 = 200;
/// A bug of any adapter: its processes have a store of their own, so nobody else sees what they were acknowledged.
pub(crate) const ELSEWHERE: u8 = 201;

thread_local! {
    static BUG: Cell<u8> = const { Cell::new(NO_BUG) };
}

/// Gives every adapter that is made on this thread from now on this bug.
pub(crate) fn choose(bug: u8) {
    BUG.set(bug);
}

/// The bug of the adapters that are made on this thread.
fn chosen() -> u8 {
    BUG.get()
}
