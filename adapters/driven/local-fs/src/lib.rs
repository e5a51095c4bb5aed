//! Blob store in a local directory.
