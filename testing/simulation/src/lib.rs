//! The whole core on doubles: crash after every port call, go on, and compare with an undisturbed run.
//!
//! A [`World`] is what survives a crash: the stores, the runtime's queue, and what commands did to the outside. A
//! [`Process`] is what does not: one harness and one driver in front of the same world, with its own faults. Everything
//! is single-threaded and in virtual time, so that a number or a seed is enough to see a failure again.
//!
//! [`simulate`] lives through one random schedule: workers that die, stand still and are taken over, calls that fail,
//! are late or come twice, people who answer and cancel, and every order of what happens at once.

mod asking;
mod chance;
mod ending;
mod executor;
mod outside;
mod plan;
mod process;
mod replaying;
mod simulation;
mod world;

pub use chance::Chance;
pub use ending::{Ending, same};
pub use executor::{Executor, Stuck};
pub use outside::{Effects, ONCE, turn};
pub use plan::{Plan, ProcessPlan};
pub use process::Process;
pub use replaying::{reproduce, run_out};
pub use simulation::{Broken, simulate, simulate_in};
pub use world::World;

/// The environment variable with the one seed to replay.
pub const SEED_VARIABLE: &str = "SEAWORTHY_SIMULATION_SEED";
/// The environment variable with how many new seeds a test run tries.
pub const COUNT_VARIABLE: &str = "SEAWORTHY_SIMULATION_SEEDS";
