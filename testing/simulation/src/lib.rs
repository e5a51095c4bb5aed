//! The whole core on doubles: crash after every port call, go on, and compare with an undisturbed run.
//!
//! A [`World`] is what survives a crash: the stores, the runtime's queue, and what commands did to the outside. A
//! [`Process`] is what does not: one harness and one driver in front of the same world, with its own faults. Everything
//! is single-threaded and in virtual time, so that a number or a seed is enough to see a failure again.

mod world;

pub use world::{Ending, Process, World};
