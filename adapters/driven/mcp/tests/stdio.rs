//! The contract suite on servers that are processes.
#![cfg(unix)]

#[macro_use]
mod processes;

type Processes = processes::Servers<false>;

suite!(Processes);
