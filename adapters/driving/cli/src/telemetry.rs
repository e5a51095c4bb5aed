//! Who else is told what happens: the log on standard error, an OpenTelemetry collector.

use std::sync::Arc;
use std::time::Duration;

use seaworthy::otlp::{Content, Names, OtlpConfig, OtlpError, OtlpObserver};
use seaworthy::ports::observer::Observer;
use seaworthy::tracing::TracingObserver;

use crate::environment::{Environment, Telemetry};
use crate::error::CliError;

/// How long the end of a command waits for what is still to be sent.
const PATIENCE: Duration = Duration::from_secs(5);

/// Observers that pass facts on to somewhere else.
#[derive(Debug, Default)]
pub(crate) struct Telemetries {
    log: Option<Arc<TracingObserver>>,
    otlp: Option<Arc<OtlpObserver>>,
}

impl Telemetries {
    /// Starts those that the environment asks for.
    pub(crate) fn start(environment: &Environment) -> Result<Self, CliError> {
        let cannot = |part: &'static str, error: &dyn std::fmt::Display| CliError::Stack {
            part,
            why: error.to_string(),
        };
        // Without a filter hardly anything is logged, and a run that cannot go on is shown by whoever follows it.
        let log = environment
            .log_filter
            .as_ref()
            .map(|_filter| TracingObserver::new());
        let log = log.transpose().map_err(|error| cannot("the log", &error))?;
        let otlp = match config(&environment.telemetry)? {
            Some(config) => {
                let started = OtlpObserver::start(&config);
                Some(started.map_err(|error| match error {
                    OtlpError::Configuration(_) => CliError::Usage(error.to_string()),
                    error => cannot("traces and metrics", &error),
                })?)
            }
            None => None,
        };
        Ok(Self {
            log: log.map(Arc::new),
            otlp: otlp.map(Arc::new),
        })
    }

    /// All of them.
    pub(crate) fn observers(&self) -> Vec<Arc<dyn Observer>> {
        let log = self.log.clone().map(|log| log as Arc<dyn Observer>);
        let otlp = self.otlp.clone().map(|otlp| otlp as Arc<dyn Observer>);
        log.into_iter().chain(otlp).collect()
    }

    /// Whether one of them writes the log.
    pub(crate) const fn write_the_log(&self) -> bool {
        self.log.is_some()
    }

    /// Passes on what waits, for a while.
    pub(crate) async fn close(self) {
        let closed = tokio::task::spawn_blocking(move || {
            if let Some(log) = self.log {
                log.flush();
            }
            let sent = self.otlp.map(|otlp| otlp.shutdown(PATIENCE));
            sent.unwrap_or(Ok(()))
        });
        if let Ok(Err(error)) = closed.await {
            tracing::warn!("{error}");
        }
    }
}

/// What the environment asks for, if it asks for a collector.
fn config(telemetry: &Telemetry) -> Result<Option<OtlpConfig>, CliError> {
    let Some(endpoint) = telemetry
        .endpoint
        .as_ref()
        .filter(|_url| !telemetry.is_disabled)
    else {
        return Ok(None);
    };
    let mut config = OtlpConfig::new(endpoint.clone());
    if let Some(service) = &telemetry.service {
        config = config.with_service(service.clone());
    }
    let content = telemetry.content.as_deref().unwrap_or("NO_CONTENT");
    config = config.with_content(match content.to_ascii_uppercase().as_str() {
        "NO_CONTENT" | "FALSE" => Content::None,
        "SPAN_ONLY" => Content::Spans,
        "EVENT_ONLY" => Content::Events,
        "SPAN_AND_EVENT" => Content::Both,
        _ => {
            return Err(CliError::Usage(
                "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is none of NO_CONTENT, SPAN_ONLY, EVENT_ONLY, SPAN_AND_EVENT".to_owned(),
            ));
        }
    });
    config = config.with_names(match telemetry.names.as_deref() {
        None | Some("current") => Names::Current,
        Some("v1.41") => Names::V1_41,
        Some(_) => {
            return Err(CliError::Usage(
                "SEAWORTHY_OTEL_GENAI is neither v1.41 nor current".to_owned(),
            ));
        }
    });
    Ok(Some(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry() -> Telemetry {
        Telemetry {
            endpoint: Some("http://127.0.0.1:4318".to_owned()),
            ..Telemetry::default()
        }
    }

    #[test]
    fn without_an_address_nothing_is_sent() {
        assert!(config(&Telemetry::default()).unwrap().is_none());
        let disabled = Telemetry {
            is_disabled: true,
            ..telemetry()
        };
        assert!(config(&disabled).unwrap().is_none());
    }

    #[test]
    fn content_stays_out_unless_it_is_asked_for() {
        let of = |content: Option<&str>| {
            let content = content.map(ToOwned::to_owned);
            let telemetry = Telemetry {
                content,
                ..telemetry()
            };
            config(&telemetry).map(|config| config.unwrap().content)
        };
        assert_eq!(of(None).unwrap(), Content::None);
        assert_eq!(of(Some("span_and_event")).unwrap(), Content::Both);
        assert!(matches!(of(Some("all")), Err(CliError::Usage(_))));
    }

    #[test]
    fn old_names_are_used_where_they_are_asked_for() {
        let of = |names: &str| {
            let names = Some(names.to_owned());
            let telemetry = Telemetry {
                names,
                ..telemetry()
            };
            config(&telemetry).map(|config| config.unwrap().names)
        };
        assert_eq!(of("v1.41").unwrap(), Names::V1_41);
        assert!(matches!(of("v1"), Err(CliError::Usage(_))));
    }
}
