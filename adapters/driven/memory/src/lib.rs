//! Volatile adapters: state store, durable runtime, blob store and checkpoint store in memory.
