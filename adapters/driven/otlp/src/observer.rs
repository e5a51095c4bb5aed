//! The observer itself.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use opentelemetry::logs::LoggerProvider as _;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SpanExporter as _;
use seaworthy_ports::AdapterInfo;
use seaworthy_ports::observer::{Fact, Observer};
use tokio::runtime;
use tokio::sync::mpsc::{Sender, UnboundedSender, channel, unbounded_channel};

use crate::client::OnRuntime;
use crate::config::{Content, OtlpConfig};
use crate::error::OtlpError;
use crate::metrics::Metrics;
use crate::worker::{Command, Contents, Counts, Worker};

/// The most facts with content that wait: each may hold a conversation.
const WAITING_CONTENTS: usize = 64;

/// Sends what it is told to an OpenTelemetry backend. Dropping it sends what waits without waiting for that;
/// [`OtlpObserver::shutdown`] waits.
pub struct OtlpObserver {
    facts: Sender<Fact>,
    commands: UnboundedSender<Command>,
    counts: Arc<Counts>,
    meters: SdkMeterProvider,
    logs: Option<SdkLoggerProvider>,
    content: Content,
    is_over: AtomicBool,
}

/// The runtime of the thread that sends. It may be dropped anywhere, within another runtime too.
struct Own(Option<runtime::Runtime>);

impl Own {
    fn handle(&self) -> Result<runtime::Handle, OtlpError> {
        let runtime = self.0.as_ref();
        let runtime = runtime.ok_or_else(|| OtlpError::Thread("it is gone".to_owned()))?;
        Ok(runtime.handle().clone())
    }

    fn run(self, worker: Worker) {
        if let Some(runtime) = &self.0 {
            runtime.block_on(worker.run());
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for OtlpObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtlpObserver")
            .field("content", &self.content)
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

impl OtlpObserver {
    /// Starts the thread that sends. No I/O: whether the collector is there is found out with the first batch.
    ///
    /// # Errors
    ///
    /// [`OtlpError::Configuration`] for an endpoint or a header that is none, [`OtlpError::Thread`].
    pub fn start(config: &OtlpConfig) -> Result<Self, OtlpError> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| OtlpError::Thread(error.to_string()))?;
        let runtime = Own(Some(runtime));
        let client = OnRuntime::new(config, runtime.handle()?)?;
        // All that can fail comes before anything that has a thread.
        let exporter = exporter(config, client.clone())?;
        let measured = metric_exporter(config, client.clone())?;
        let logged = config
            .content
            .is_on_events()
            .then(|| log_exporter(config, client))
            .transpose()?;
        let scope = InstrumentationScope::builder("seaworthy")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let meters = meters(config, measured);
        let logs = logged.map(|exporter| {
            SdkLoggerProvider::builder()
                .with_resource(resource(config))
                .with_batch_exporter(exporter)
                .build()
        });
        let (facts, waiting) = channel(config.queue.max(1));
        let (commands, asked) = unbounded_channel();
        let counts = Arc::new(Counts::default());
        let meter = meters.meter_with_scope(scope.clone());
        let told = Arc::clone(&counts);
        // Of no use but to be asked when metrics are sent.
        let _dropped = meter
            .u64_observable_counter("seaworthy.observer.dropped")
            .with_unit("{fact}")
            .with_callback(move |dropped| {
                dropped.observe(told.dropped.load(Ordering::Relaxed), &[]);
            })
            .build();
        let worker = Worker {
            facts: waiting,
            commands: asked,
            exporter,
            events: logs
                .as_ref()
                .map(|logs| logs.logger_with_scope(scope.clone())),
            scope,
            metrics: Metrics::new(&meter, config.names),
            names: config.names,
            content: config.content,
            delay: config.delay,
            counts: Arc::clone(&counts),
            batch: Vec::new(),
            due_at: None,
            said: Contents::default(),
        };
        std::thread::Builder::new()
            .name("seaworthy-otlp".to_owned())
            .spawn(move || runtime.run(worker))
            .map_err(|error| OtlpError::Thread(error.to_string()))?;
        Ok(Self {
            facts,
            commands,
            counts,
            meters,
            logs,
            content: config.content,
            is_over: AtomicBool::new(false),
        })
    }

    /// How many facts came to nothing, because there was no room or the backend did not take them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Sends what waits, and waits for that: a blocking call, for `spawn_blocking` where there is a runtime.
    ///
    /// # Errors
    ///
    /// [`OtlpError::Incomplete`] if not all of it has arrived within `patience`.
    pub fn flush(&self, patience: Duration) -> Result<(), OtlpError> {
        let (done, said) = sync_channel(1);
        let sent = self.commands.send(Command::Flush(done)).is_ok()
            && said.recv_timeout(patience).unwrap_or(false);
        let measured = self.meters.force_flush().is_ok();
        let logged = self
            .logs
            .as_ref()
            .is_none_or(|logs| logs.force_flush().is_ok());
        if sent && measured && logged {
            Ok(())
        } else {
            Err(OtlpError::Incomplete)
        }
    }

    /// Sends what waits and ends. A blocking call; later facts are dropped and counted.
    ///
    /// # Errors
    ///
    /// [`OtlpError::Incomplete`] if not all of it has arrived within about `patience`.
    pub fn shutdown(&self, patience: Duration) -> Result<(), OtlpError> {
        if self.is_over.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let flushed = self.flush(patience);
        // They send by way of the thread, which therefore ends last.
        let _flushed_before = self.meters.shutdown_with_timeout(patience);
        if let Some(logs) = &self.logs {
            let _flushed_before = logs.shutdown_with_timeout(patience);
        }
        let _gone_already = self.commands.send(Command::Stop);
        flushed
    }
}

impl Observer for OtlpObserver {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "otlp",
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn wants_content(&self) -> bool {
        self.content != Content::None
    }

    fn observe(&self, fact: &Fact) {
        // It belongs to no span, and there is nothing else that words could go into.
        if matches!(fact, Fact::ServerLogContent { .. }) {
            return;
        }
        let is_content = matches!(
            fact,
            Fact::ModelCallContent { .. } | Fact::ToolCallContent { .. }
        );
        if is_content {
            if !self.wants_content() {
                return;
            }
            let waiting = self.counts.contents.fetch_add(1, Ordering::Relaxed);
            if waiting >= WAITING_CONTENTS {
                self.counts.contents.fetch_sub(1, Ordering::Relaxed);
                self.counts.lose(1);
                return;
            }
        }
        let is_wanted = !self.is_over.load(Ordering::Relaxed);
        if !is_wanted || self.facts.try_send(fact.clone()).is_err() {
            if is_content {
                self.counts.contents.fetch_sub(1, Ordering::Relaxed);
            }
            self.counts.lose(1);
        }
    }
}

fn resource(config: &OtlpConfig) -> Resource {
    // Nothing is looked up in the environment: what is not given here is not told.
    let given = config
        .resource
        .iter()
        .map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("telemetry.sdk.language", "rust"),
            KeyValue::new("telemetry.sdk.name", "opentelemetry"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .with_attributes(given)
        .with_service_name(config.service.clone())
        .build()
}

fn headers(config: &OtlpConfig) -> HashMap<String, String> {
    config
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect()
}

/// The exporter's own words may quote the environment, which holds headers.
fn unusable<E>(_error: E) -> OtlpError {
    OtlpError::Configuration(
        "the exporter cannot be built; look at the variables OTEL_EXPORTER_OTLP_…".to_owned(),
    )
}

fn exporter(config: &OtlpConfig, client: OnRuntime) -> Result<SpanExporter, OtlpError> {
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(config.url("traces")?)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(config.timeout)
        .with_headers(headers(config))
        .build()
        .map_err(unusable)?;
    exporter.set_resource(&resource(config));
    Ok(exporter)
}

fn metric_exporter(config: &OtlpConfig, client: OnRuntime) -> Result<MetricExporter, OtlpError> {
    MetricExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(config.url("metrics")?)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(config.timeout)
        .with_headers(headers(config))
        .build()
        .map_err(unusable)
}

fn meters(config: &OtlpConfig, exporter: MetricExporter) -> SdkMeterProvider {
    let reader = PeriodicReader::builder(exporter)
        .with_interval(config.interval)
        .build();
    SdkMeterProvider::builder()
        .with_resource(resource(config))
        .with_reader(reader)
        .build()
}

fn log_exporter(config: &OtlpConfig, client: OnRuntime) -> Result<LogExporter, OtlpError> {
    LogExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(config.url("logs")?)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(config.timeout)
        .with_headers(headers(config))
        .build()
        .map_err(unusable)
}
