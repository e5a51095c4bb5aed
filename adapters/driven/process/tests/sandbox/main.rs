//! What the contract suite does not know: the supervisor, the state directory, and what they leave.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "clippy allows it in tests, but not in their helpers"
)]

mod bench;
mod commands;
mod files;
mod orphans;
