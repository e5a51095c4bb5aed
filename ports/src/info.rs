//! What an adapter says about itself.

use serde::Serialize;

/// Names an adapter: its id, and the package and version it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AdapterInfo {
    /// A stable id of the form `[a-z][a-z0-9_.-]{1,63}`, such as `sqlite`.
    pub id: &'static str,
    /// The package that holds the adapter.
    pub package: &'static str,
    /// That package's version.
    pub version: &'static str,
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Nothing: it lives as long as the value that holds it.
    Volatile,
    /// The death of the process at any instant.
    ProcessCrash,
    /// The death of the operating system or the loss of power.
    OsCrash,
}
