//! The clauses of the sandbox port, against real processes.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "clippy allows it in tests, but not in their helpers"
)]

mod bench;
mod commands;
mod files;
mod orphans;
