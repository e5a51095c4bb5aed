//! State store, durable runtime and checkpoint store on PostgreSQL.
//!
//! One schema of one database holds all three, and one pool of connections serves them. Every call is one statement, so
//! one round trip, and nothing is ever left open on the server between two messages. Appends of one process that wait at
//! the same time travel as one statement and each fails on its own. Whatever decides about leases is decided by the
//! database, on the database's clock: workers may live on any number of machines, and their clocks do not matter.
//!
//! ```no_run
//! # async fn example(clock: std::sync::Arc<dyn seaworthy_ports::clock::Clock>)
//! # -> Result<(), seaworthy_ports::state_store::StateStoreError> {
//! use seaworthy_postgres::{Postgres, PostgresConfig};
//!
//! let config = PostgresConfig::new("postgres://worker@db.example/app?sslmode=verify-full");
//! Postgres::migrate(&config).await?;
//! let postgres = Postgres::connect(config, clock).await?;
//! let _state_store = postgres.state_store();
//! # Ok(())
//! # }
//! ```

mod append;
mod bodies;
mod checkpoint_store;
mod clock;
mod config;
mod database;
mod documents;
mod durable_runtime;
mod error;
mod labels;
mod lease_storage;
mod listing;
mod notify;
mod read;
mod schema;
mod settings;
mod settle;
mod state_store;
mod store;
mod writer;

pub use config::PostgresConfig;
pub use store::Postgres;

const INFO: seaworthy_ports::AdapterInfo = seaworthy_ports::AdapterInfo {
    id: error::ADAPTER,
    package: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
};
