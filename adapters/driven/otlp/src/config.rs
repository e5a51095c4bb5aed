//! What an observer needs to know.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use reqwest::Url;
use seaworthy_ports::Secret;

use crate::error::OtlpError;
use crate::names::Names;

/// Where content goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// Nowhere.
    #[default]
    None,
    /// Into attributes of spans.
    Spans,
    /// Into events, which are log records beside the spans.
    Events,
    /// Into both.
    Both,
}

impl Content {
    pub(crate) const fn is_on_spans(self) -> bool {
        matches!(self, Self::Spans | Self::Both)
    }

    pub(crate) const fn is_on_events(self) -> bool {
        matches!(self, Self::Events | Self::Both)
    }
}

/// What an observer needs to know.
#[derive(Clone)]
#[non_exhaustive]
pub struct OtlpConfig {
    /// The address of the collector; `/v1/traces`, `/v1/metrics` and `/v1/logs` are below it.
    pub endpoint: String,
    /// Headers of every request.
    pub headers: BTreeMap<String, Secret>,
    /// What the backend calls this program.
    pub service: String,
    /// Further attributes of this program.
    pub resource: BTreeMap<String, String>,
    /// Which names of the conventions are used.
    pub names: Names,
    /// Where content goes.
    pub content: Content,
    /// How many facts may wait.
    pub queue: usize,
    /// How long spans wait for others to be sent with.
    pub delay: Duration,
    /// How often metrics are sent.
    pub interval: Duration,
    /// How long one request may take.
    pub timeout: Duration,
}

impl fmt::Debug for OtlpConfig {
    /// Without values of headers and without the address's credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = Url::parse(&self.endpoint).ok();
        f.debug_struct("OtlpConfig")
            .field("host", &url.as_ref().and_then(Url::host_str))
            .field("headers", &self.headers.keys())
            .field("service", &self.service)
            .field("names", &self.names)
            .field("content", &self.content)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl OtlpConfig {
    /// For the collector at `endpoint`, such as `http://127.0.0.1:4318`.
    #[must_use]
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            headers: BTreeMap::new(),
            service: "seaworthy".to_owned(),
            resource: BTreeMap::new(),
            names: Names::default(),
            content: Content::default(),
            queue: 4096,
            delay: Duration::from_secs(1),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
        }
    }

    /// With a header of every request.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: Secret) -> Self {
        self.headers.insert(name.into(), value);
        self
    }

    /// With this name of the program.
    #[must_use]
    pub fn with_service(mut self, service: impl Into<String>) -> Self {
        self.service = service.into();
        self
    }

    /// With a further attribute of the program.
    #[must_use]
    pub fn with_resource(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.resource.insert(name.into(), value.into());
        self
    }

    /// With these names of the conventions.
    #[must_use]
    pub fn with_names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// With content going there.
    #[must_use]
    pub fn with_content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// With room for so many facts, at least one.
    #[must_use]
    pub fn with_queue(mut self, queue: usize) -> Self {
        self.queue = queue.max(1);
        self
    }

    /// With spans waiting so long for others.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// With metrics sent so often.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// With so much time for one request.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The address of one signal.
    pub(crate) fn url(&self, signal: &str) -> Result<Url, OtlpError> {
        let no = |why: &str| OtlpError::Configuration(why.to_owned());
        let mut url = Url::parse(&self.endpoint).map_err(|_error| no("the endpoint is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(no("the endpoint is neither http:// nor https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(no(
                "the endpoint holds a user or password; give a header instead",
            ));
        }
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v1", signal]);
        }
        Ok(url)
    }
}
