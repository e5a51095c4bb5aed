//! One exchange: sends a request, keeps to the caller's limits, reads what a failure says.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, Url};
use seaworthy_ports::Latch;
use seaworthy_ports::model_provider::{Kind, ModelError, RateLimits};
use serde_json::Value;

use crate::client::Connection;
use crate::failure::{Complaint, complained, failed, refused, transport, without};
use crate::headers::{Advice, advice, rate_limits, request_id};
use crate::provider::Dialect;

/// The most bytes that are read of an error's body.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// A request as it is sent: a `POST` of JSON.
pub struct Outgoing {
    /// Where to.
    pub url: Url,
    /// What.
    pub body: Vec<u8>,
}

impl fmt::Debug for Outgoing {
    /// Without content: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({} bytes)", self.body.len())
    }
}

/// A request of either kind.
pub(crate) enum Sent {
    Get(Url),
    Post(Outgoing),
}

impl From<Outgoing> for Sent {
    fn from(outgoing: Outgoing) -> Self {
        Self::Post(outgoing)
    }
}

/// A provider and the way to it.
pub(crate) struct Line {
    pub(crate) dialect: Box<dyn Dialect>,
    pub(crate) connection: Connection,
}

impl Line {
    /// The provider's id, in every error.
    pub(crate) const fn adapter(&self) -> &'static str {
        self.connection.adapter()
    }
}

/// One call of a line, with what bounds it.
pub(crate) struct Exchange {
    pub(crate) line: Arc<Line>,
    /// What the caller asked for, in every error.
    pub(crate) operation: &'static str,
    pub(crate) idle_timeout: Duration,
    pub(crate) cancel: Latch,
    /// From when the backend has named the request.
    pub(crate) request_id: Option<String>,
}

/// What came before the body of an answer.
pub(crate) struct Opened {
    pub(crate) response: Response,
    pub(crate) limits: Option<RateLimits>,
    pub(crate) advice: Advice,
}

impl Exchange {
    /// Sends a request. An answer that is none fails here.
    pub(crate) async fn open(&mut self, sent: impl Into<Sent>) -> Result<Opened, ModelError> {
        let connection = &self.line.connection;
        let http = connection.http()?;
        let sending = match sent.into() {
            Sent::Get(url) => http.get(url),
            Sent::Post(Outgoing { url, body }) => http
                .post(url)
                .header(CONTENT_TYPE, "application/json")
                .body(body),
        };
        let sending = sending.send();
        let response = self
            .guarded(sending)
            .await?
            .map_err(|error| self.broken(error))?;
        let (headers, now) = (response.headers(), SystemTime::now());
        let names = &connection.names;
        let limits = rate_limits(headers, names, now);
        let advice = advice(headers, limits.as_ref(), now);
        self.request_id = without(request_id(headers, names), connection.key.as_ref());
        if !response.status().is_success() {
            return Err(self.complaint(response, &advice).await);
        }
        Ok(Opened {
            response,
            limits,
            advice,
        })
    }

    /// Sends a request whose answer is one document, and reads it.
    pub(crate) async fn whole(&mut self, sent: impl Into<Sent>) -> Result<Vec<u8>, ModelError> {
        self.named_whole(sent.into()).await.map_err(|mut error| {
            error.request_id.clone_from(&self.request_id);
            error
        })
    }

    async fn named_whole(&mut self, sent: Sent) -> Result<Vec<u8>, ModelError> {
        self.must_go_on()?;
        let mut response = self.open(sent).await?.response;
        let mut body = Vec::new();
        loop {
            match self.guarded(response.chunk()).await? {
                Ok(Some(bytes)) => body.extend_from_slice(&bytes),
                Ok(None) => return Ok(body),
                Err(error) => return Err(self.broken(error)),
            }
            if body.len() > self.line.connection.caps.stream_bytes {
                return Err(self.failed(Kind::Truncated));
            }
        }
    }

    /// Fails where the caller has ended the call before it is sent.
    pub(crate) fn must_go_on(&self) -> Result<(), ModelError> {
        if self.cancel.is_set() {
            let why = "the caller ended the call before it was sent";
            return Err(self.refused(Kind::Cancelled, why));
        }
        Ok(())
    }

    /// What an answer that is none says. Where its body cannot be read, the status says enough.
    async fn complaint(&self, mut response: Response, advice: &Advice) -> ModelError {
        let mut body = Vec::new();
        while body.len() < MAX_ERROR_BYTES {
            match self.guarded(response.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    let room = MAX_ERROR_BYTES.saturating_sub(body.len());
                    body.extend(bytes.iter().take(room));
                }
                Ok(Ok(None) | Err(_)) => break,
                Err(error) if error.kind() == Kind::Cancelled => return error,
                Err(_silent) => break,
            }
        }
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let status = Some(response.status().as_u16());
        self.complained(self.line.dialect.complaint(&body, status), advice)
    }

    pub(crate) fn complained(&self, complaint: Complaint, advice: &Advice) -> ModelError {
        let complaint = complaint.without(self.line.connection.key.as_ref());
        complained(self.line.adapter(), self.operation, complaint, advice)
    }

    pub(crate) fn failed(&self, kind: Kind) -> ModelError {
        failed(self.line.adapter(), self.operation, kind)
    }

    pub(crate) fn refused(&self, kind: Kind, why: impl Into<String>) -> ModelError {
        refused(self.line.adapter(), kind, self.operation, why)
    }

    /// An answer that is not what it must be, after all of it came.
    pub(crate) fn undecodable(&self, why: &'static str) -> ModelError {
        let mut error = self.refused(Kind::Decode, why);
        error.request_id.clone_from(&self.request_id);
        error
    }

    pub(crate) fn broken(&self, error: reqwest::Error) -> ModelError {
        transport(self.line.adapter(), self.operation, error)
    }

    /// `work`, unless the caller ends the call or the backend is silent for too long.
    pub(crate) async fn guarded<T>(&self, work: impl Future<Output = T>) -> Result<T, ModelError> {
        tokio::select! {
            biased;
            () = self.cancel.wait() => Err(self.failed(Kind::Cancelled)),
            done = tokio::time::timeout(self.idle_timeout, work) => {
                done.map_err(|_silent| self.failed(Kind::Timeout))
            }
        }
    }
}
