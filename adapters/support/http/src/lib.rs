//! What adapters of models behind HTTP share.
//!
//! From the wire up: [`sse`] and [`ndjson`] split bytes into frames, [`frames`] bounds a whole answer, [`exchange`]
//! sends a request, [`streaming`], [`vectors`], [`counting`] and [`directory`] read the answer, [`reply`] writes down what
//! the frames mean in the port's words, [`failure`] and [`headers`] say what went wrong and what else the backend tells,
//! [`client`] makes the connection. An adapter brings a [`Dialect`], which is its configuration: how its provider writes
//! requests, and a [`Reader`] of its provider's frames. [`Provider`] is all the rest.
//!
//! Nothing in it retries: the core does. Nothing follows a redirect or takes a proxy from the environment, so a key
//! reaches no host but the configured one.

pub mod client;
pub mod counting;
pub mod directory;
pub mod exchange;
pub mod failure;
pub mod frames;
pub mod headers;
mod lent;
pub mod ndjson;
pub mod provider;
pub mod reply;
mod schema;
pub mod sse;
pub mod streaming;
pub mod vectors;

pub use exchange::Outgoing;
pub use failure::{Complaint, Fault};
pub use frames::{Caps, Form};
pub use lent::Lent;
pub use provider::{Dialect, Provider};
pub use reply::Reply;
pub use streaming::{Progress, Reader};
