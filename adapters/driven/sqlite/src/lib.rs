//! State store, durable runtime and checkpoint store on SQLite.
