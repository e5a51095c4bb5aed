//! The lease loop on SQLite: with a clock that the test moves, with several handles, and with processes that are killed.

#![expect(clippy::expect_used, reason = "helpers of tests fail tests")]

mod mail;
mod order;
mod serving;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod turns;
mod workers;
