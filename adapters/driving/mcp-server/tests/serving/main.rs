//! The server as clients see it, over both of its transports, with the client of `rmcp`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what fails in a helper fails its test"
)]

mod http;
mod introspection;
mod issuer;
mod oauth;
mod oidc_provider;
mod progress;
mod resources;
mod stage;
mod stdio;
mod tools;
