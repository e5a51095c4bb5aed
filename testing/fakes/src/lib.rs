//! Test doubles that a test can steer: a driven clock, seeded chance, a model and a sandbox that do as they are told,
//! a runtime that delivers by hand, and faults in front of any port.
//!
//! Nothing here needs a runtime: everything runs under any executor, virtual time included.

use seaworthy_ports::AdapterInfo;

mod clock;
mod entropy;
mod faults;
mod model;
mod observer;
mod runtime;
mod sandbox;

pub use clock::FakeClock;
pub use entropy::SeededEntropy;
pub use faults::{
    Fault, Faults, FaultyBlobs, FaultyCheckpoints, FaultyClock, FaultyLogs, FaultyModel,
    FaultySandbox,
};
pub use model::{TableModel, TableTurn};
pub use observer::SilentObserver;
pub use runtime::FakeRuntime;
pub use sandbox::{ExpectedCommand, FakeSandbox, RanCommand, ScriptedSandbox};

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
