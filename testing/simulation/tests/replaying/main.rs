//! Runs that begin with what another run recorded.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "what cannot be built is a failed test"
)]

mod crashes;
mod otherwise;
mod refused;
mod stage;
mod strict;
