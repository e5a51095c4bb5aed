//! Tokens of authorisation servers: those that answer as none should, people who say no, and files on a disk.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

mod answers;
#[cfg(unix)]
mod folder;
mod login;
mod metadata;
mod turns;
mod world;
