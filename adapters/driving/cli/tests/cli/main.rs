//! The program from end to end: each test runs the real binary in a folder of its own.

mod bad_input;
mod crash;
mod decisions;
mod outcome;
mod support;
