//! A model that follows a script: for examples, tests and benchmarks.
