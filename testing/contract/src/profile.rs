//! Under what circumstances a list of scenarios runs. The macros take the name of one of these functions: a list passes
//! under each, or depends on luck.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};

/// As usual: each scenario on a runtime of its own with two threads.
///
/// # Panics
///
/// When the operating system gives no threads.
pub fn two_threads<T>(future: impl Future<Output = T>) -> T {
    of(Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build())
    .block_on(future)
}

/// All tasks of a scenario on the one thread of the test: what blocks it blocks everything.
///
/// # Panics
///
/// When the operating system gives no thread for timers and files.
pub fn one_thread<T>(future: impl Future<Output = T>) -> T {
    of(Builder::new_current_thread().enable_all().build()).block_on(future)
}

/// Many threads, more than most machines have processors for: tasks stop at odd places.
///
/// # Panics
///
/// When the operating system gives no threads.
pub fn many_threads<T>(future: impl Future<Output = T>) -> T {
    let runtime = of(Builder::new_multi_thread()
        .worker_threads(16)
        .enable_all()
        .build());
    runtime.block_on(future)
}

#[expect(
    clippy::expect_used,
    reason = "without a runtime no test can run, and a test fails by panicking"
)]
fn of(runtime: io::Result<Runtime>) -> Runtime {
    runtime.expect("a runtime")
}
