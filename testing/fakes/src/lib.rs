//! Test doubles that a test can steer: a driven clock, seeded chance, models and a sandbox that do as they are told,
//! servers of tools that live in the test, a runtime that delivers by hand, and faults in front of any port.
//!
//! Nothing here needs a runtime: everything runs under any executor, virtual time included.

use seaworthy_ports::AdapterInfo;

mod clock;
mod entropy;
mod fake_model;
mod faults;
mod mcp;
mod observer;
mod runtime;
mod sandbox;
mod table_model;

pub use clock::FakeClock;
pub use entropy::SeededEntropy;
pub use fake_model::{FakeModel, Step};
pub use faults::{
    Fault, Faults, FaultyBlobs, FaultyCheckpoints, FaultyClock, FaultyLogs, FaultyMcp, FaultyModel,
    FaultyRuntime, FaultySandbox,
};
pub use mcp::{
    FakeMcp, FakeMcpAnswer, FakeMcpCall, FakeMcpServer, FakeMcpTask, FakeMcpTool, McpFault,
    McpSeen, McpStart, McpTokens,
};
pub use observer::SilentObserver;
pub use runtime::{FakeRuntime, Notifications};
pub use sandbox::{ExpectedCommand, FakeSandbox, RanCommand, ScriptedSandbox};
pub use table_model::{TableModel, TableTurn};

const ADAPTER: &str = "fake";

const fn info() -> AdapterInfo {
    AdapterInfo {
        id: ADAPTER,
        package: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// A test double's own data is whole after every statement, so a poisoned lock is as good as any.
fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
