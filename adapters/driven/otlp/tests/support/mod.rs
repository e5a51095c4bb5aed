//! A collector for tests: it takes what comes, and can be lost or held up.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// The longest anything here may take; only a test that fails waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
struct State {
    came: Vec<(String, Vec<u8>)>,
    headers: Vec<String>,
    is_lost: bool,
    is_held: bool,
}

/// A collector on a free port of this machine.
#[derive(Clone)]
pub(crate) struct Collector {
    port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let collector = Self {
            port: listener.local_addr().unwrap().port(),
            state: Arc::default(),
        };
        let serving = collector.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (serving, stream) = (serving.clone(), stream.unwrap());
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        collector
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on no request is answered, and every connection ends.
    pub(crate) fn lose(&self) {
        self.state.0.lock().unwrap().is_lost = true;
        self.state.1.notify_all();
    }

    /// No answer until what this returns is dropped.
    pub(crate) fn hold(&self) -> Held {
        self.state.0.lock().unwrap().is_held = true;
        Held(self.clone())
    }

    /// Whether the request is to be answered.
    fn is_answered(&self) -> bool {
        let (state, changed) = &*self.state;
        let wait = changed.wait_while(state.lock().unwrap(), |state| {
            state.is_held && !state.is_lost
        });
        !wait.unwrap().is_lost
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        while let Some((path, headers, body)) = read(&mut reader) {
            if !self.is_answered() {
                return;
            }
            {
                let mut state = self.state.0.lock().unwrap();
                state.came.push((path, body));
                state.headers.push(headers);
            }
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
            if writer.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn bodies(&self, of: &str) -> Vec<Vec<u8>> {
        let state = self.state.0.lock().unwrap();
        let of = state.came.iter().filter(|(path, _body)| path.ends_with(of));
        of.map(|(_path, body)| body.clone()).collect()
    }

    /// The headers of all requests.
    pub(crate) fn headers(&self) -> String {
        self.state.0.lock().unwrap().headers.concat()
    }

    /// All that came, as text.
    pub(crate) fn text(&self) -> String {
        let state = self.state.0.lock().unwrap();
        let texts = state
            .came
            .iter()
            .map(|(_path, body)| String::from_utf8_lossy(body));
        texts.collect()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self.bodies("/v1/traces").into_iter();
        requests
            .map(|body| ExportTraceServiceRequest::decode(&*body).unwrap())
            .flat_map(|request| request.resource_spans)
            .flat_map(|of| of.scope_spans)
            .flat_map(|of| of.spans)
            .collect()
    }

    /// The metrics as they were last told.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let last = self.bodies("/v1/metrics").pop().unwrap_or_default();
        let request = ExportMetricsServiceRequest::decode(&*last).unwrap();
        let metrics = request.resource_metrics.into_iter();
        metrics
            .flat_map(|of| of.scope_metrics)
            .flat_map(|of| of.metrics)
            .collect()
    }

    pub(crate) fn events(&self) -> Vec<LogRecord> {
        let requests = self.bodies("/v1/logs").into_iter();
        requests
            .map(|body| ExportLogsServiceRequest::decode(&*body).unwrap())
            .flat_map(|request| request.resource_logs)
            .flat_map(|of| of.scope_logs)
            .flat_map(|of| of.log_records)
            .collect()
    }
}

pub(crate) struct Held(Collector);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state.0.lock().unwrap().is_held = false;
        self.0.state.1.notify_all();
    }
}

/// The path, headers and body of a request; `None` at the end.
fn read(reader: &mut BufReader<TcpStream>) -> Option<(String, String, Vec<u8>)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let path = first.split(' ').nth(1)?.to_owned();
    let (mut headers, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        headers.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, headers, body))
}

/// The value of an attribute.
pub(crate) fn value(attributes: &[KeyValue], key: &str) -> Option<Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.clone().and_then(|value| value.value)
}

/// The same as text.
pub(crate) fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// The type of a value, as the conventions call it.
pub(crate) fn type_of(value: &AnyValue) -> &'static str {
    match &value.value {
        Some(Value::StringValue(_)) => "string",
        Some(Value::BoolValue(_)) => "boolean",
        Some(Value::IntValue(_)) => "int",
        Some(Value::DoubleValue(_)) => "double",
        Some(Value::ArrayValue(items)) => {
            let are_texts = items.values.iter().all(|item| type_of(item) == "string");
            if are_texts { "string[]" } else { "array" }
        }
        _ => "other",
    }
}

/// Waits for what other threads bring about.
pub(crate) fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < PATIENCE,
            "it did not come about in time"
        );
        std::thread::sleep(Duration::from_millis(3));
    }
}
