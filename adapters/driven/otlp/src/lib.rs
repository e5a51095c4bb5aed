//! An [`Observer`](seaworthy_ports::observer::Observer) that sends traces and metrics to an OpenTelemetry backend, by OTLP
//! over HTTP with protobuf, in the words of the conventions for generative AI.
//!
//! A run is a span `invoke_agent AGENT`; its model calls are `chat MODEL`, its tool calls `execute_tool TOOL`. Attempts and
//! questions about calls, which the conventions have no word for, are `attempt`, `verify_tool TOOL` and `poll_tool TOOL`.
//! What the conventions have no attribute for is named `seaworthy.…`. Ids come from the run, so a batch that is sent twice
//! is one trace.
//!
//! Facts wait in a bounded queue for a thread of their own; what does not fit is dropped and counted. Content stays out
//! unless [`Content`] says otherwise.
//!
//! What [`OtlpConfig`] leaves open, the exporter's standard variables may say: headers, compression, certificates are those
//! of `OTEL_EXPORTER_OTLP_…`.

mod attributes;
mod client;
mod config;
mod content;
mod error;
mod metrics;
mod names;
mod observer;
mod spans;
mod worker;

pub use config::{Content, OtlpConfig};
pub use error::OtlpError;
pub use names::Names;
pub use observer::OtlpObserver;
