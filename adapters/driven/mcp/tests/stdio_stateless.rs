//! The contract suite on servers that are processes and begin without `initialize`.
#![cfg(unix)]

#[macro_use]
mod processes;

type StatelessProcesses = processes::Servers<true>;

suite!(StatelessProcesses);
