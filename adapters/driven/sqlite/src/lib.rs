//! State store, durable runtime and checkpoint store on SQLite.
//!
//! One database file holds all three. Every write that waits is committed in one transaction with `synchronous = FULL`
//! (group commit), so that many runs share the cost of reaching the disk; each member of a group fails on its own.
//! Any number of processes of one machine may work on the file at once.
//!
//! ```no_run
//! # async fn example(clock: std::sync::Arc<dyn seaworthy_ports::clock::Clock>)
//! # -> Result<(), seaworthy_ports::state_store::StateStoreError> {
//! use seaworthy_sqlite::{Sqlite, SqliteConfig};
//!
//! let config = SqliteConfig::new("state.db");
//! Sqlite::migrate(&config).await?;
//! let sqlite = Sqlite::connect(config, clock).await?;
//! let _state_store = sqlite.state_store();
//! # Ok(())
//! # }
//! ```

mod append;
mod bodies;
mod checkpoint_store;
mod config;
mod connection;
mod durable_runtime;
mod error;
mod heads;
mod lease_storage;
mod liveness;
mod queues;
mod read;
mod readers;
mod schema;
mod sql;
mod state_store;
mod store;
mod writer;

pub use config::SqliteConfig;
pub use store::Sqlite;

const INFO: seaworthy_ports::AdapterInfo = seaworthy_ports::AdapterInfo {
    id: error::ADAPTER,
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
};
