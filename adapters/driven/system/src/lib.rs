//! The operating system as clock and source of randomness.
