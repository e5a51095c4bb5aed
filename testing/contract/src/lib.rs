//! The contract suites that every Seaworthy adapter passes.
//!
//! One module per port holds its `Harness`, which an adapter's author implements, and its scenarios: each is a sentence,
//! belongs to one numbered clause of the port, and runs against a harness of its own. One macro per port turns the whole
//! list into tests, so that a scenario that is added reaches every adapter:
//!
//! ```
//! use std::sync::Arc;
//!
//! use seaworthy_contract::entropy as en;
//! use seaworthy_ports::async_trait;
//! use seaworthy_ports::entropy::Entropy;
//! # use seaworthy_ports::AdapterInfo;
//! # #[derive(Debug)]
//! # struct Dice;
//! # impl Entropy for Dice {
//! #     fn info(&self) -> AdapterInfo { AdapterInfo { id: "dice", package: "dice", version: "0" } }
//! #     fn bits(&self) -> u128 { 4 }
//! # }
//!
//! struct Harness;
//!
//! #[async_trait]
//! impl en::Harness for Harness {
//!     async fn start() -> Self {
//!         Self
//!     }
//!
//!     fn entropy(&self) -> Arc<dyn Entropy> {
//!         Arc::new(Dice)
//!     }
//! }
//!
//! seaworthy_contract::entropy_contract! { harness: Harness }
//! # fn main() {}
//! ```
//!
//! What a harness cannot do (lose a reply where there is none) makes a scenario *not checkable*; what the adapter does not
//! declare and does not hold (to survive, where it lives in memory) makes it *not declared*. Neither is a pass: the test
//! fails until it is listed with a reason, and then shows as ignored. Listing one that could be checked fails too.
//!
//! ```text
//! seaworthy_contract::state_store_contract! {
//!     harness: Memory,
//!     not_checkable: {
//!         an_acknowledged_append_survives_reopening: "it lives in memory",
//!     }
//! }
//! ```
//!
//! Underneath is `run::<Harness>()` of each module, which needs no test runner and returns a [`Report`]: a table for
//! people, JSON for programs, and a [`Level`]. The test `report` of each list prints it; the environment variable
//! `SEAWORTHY_CONTRACT_REPORT` names a folder in which every test keeps its verdict.

#![expect(
    clippy::missing_errors_doc,
    reason = "a scenario is a sentence; its error is what contradicts it"
)]

pub mod blob_store;
mod chance;
pub mod checkpoint_store;
pub mod clock;
pub mod durable_runtime;
pub mod entropy;
pub mod http;
pub mod mcp;
pub mod model_provider;
pub mod observer;
mod outcome;
pub mod process;
pub mod profile;
#[doc(hidden)]
pub mod record;
mod report;
pub mod sandbox;
pub mod state_store;
#[doc(hidden)]
pub mod suite;
pub mod workspace_store;

pub use outcome::{Halt, Outcome, Violation};
pub use report::{Adapter, Clause, Counts, Level, REPORT_SCHEMA, Report, Standing, Verdict};
pub use suite::Step;
