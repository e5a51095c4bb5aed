//! A durable runtime on a [Restate](https://restate.dev) server.
//!
//! Restate keeps what is scheduled, delivers timers, and calls handlers: nobody asks a database again and again whether
//! there is something to do. A fixed set of handlers ([`Handlers`]), registered once, is called by the server; workers and
//! everybody else call the server's ingress ([`Restate`]). Three kinds of virtual objects do it all:
//!
//! * one for each run: its schedule, its mailbox and the ids of the signals it ever took. It alone changes any of that;
//! * one that gives due runs to workers that wait, oldest first, as far as sessions and limits of queues allow;
//! * one for each worker, which tells it which of its live turns have new signals.
//!
//! A worker waits for work with a call that is answered when there is some. It needs no address of its own, and one that was
//! killed is nowhere registered.
//!
//! ```no_run
//! # async fn example(clock: std::sync::Arc<dyn seaworthy_ports::clock::Clock>)
//! # -> Result<(), seaworthy_ports::durable_runtime::RuntimeError> {
//! use seaworthy_restate::{Handlers, Restate, RestateConfig, register};
//!
//! // Somewhere, once:
//! let handlers = Handlers::bind(([127, 0, 0, 1], 9080).into()).await?;
//! let (_stop, stopped) = seaworthy_ports::Latch::new();
//! tokio::spawn(handlers.serve(std::sync::Arc::clone(&clock), None, stopped));
//! register("http://127.0.0.1:9070", None, "http://127.0.0.1:9080").await?;
//!
//! // Wherever runs are submitted or served:
//! let _runtime = Restate::new(RestateConfig::new("http://127.0.0.1:8080"), clock)?;
//! # Ok(())
//! # }
//! ```

mod config;
mod durable_runtime;
mod error;
mod handlers;
mod ingress;
mod lease_storage;
mod limits;
mod line;
mod objects;
mod run;
mod wire;

pub use config::RestateConfig;
pub use durable_runtime::Restate;
pub use handlers::{Handlers, register};

const INFO: seaworthy_ports::AdapterInfo = seaworthy_ports::AdapterInfo {
    id: error::ADAPTER,
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
};
