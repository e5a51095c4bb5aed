//! The contract suites that every Seaworthy adapter passes.
