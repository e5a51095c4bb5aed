//! One exchange: sends the request, reads the answer, keeps the limits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use seaworthy_ports::Latch;
use seaworthy_ports::model_provider::{Kind, ModelError, ModelEvent, ModelRequest, check_history};
use serde_json::Value;

use crate::answer::{Answer, Fault, Progress};
use crate::client::Endpoint;
use crate::error::{Complaint, complained, failed, refused, transport, without};
use crate::headers::{Advice, advice, rate_limits, request_id};
use crate::request::body;
use crate::schema::OutputSchema;
use crate::sse::{self, Decoder};

/// The most bytes that are read of an error's body.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// A call, from before it is sent until its last event is taken. Dropping it closes the connection.
pub(crate) struct Call {
    endpoint: Arc<Endpoint>,
    idle_timeout: Duration,
    cancel: Latch,
    phase: Phase,
    /// What one read brought; bounded by the size of a read.
    events: VecDeque<ModelEvent>,
    request_id: Option<String>,
    has_content: bool,
}

enum Phase {
    Ready(Box<ModelRequest>),
    Reading(Box<Reading>),
    Failed(Box<ModelError>),
    Ended,
}

struct Reading {
    response: Response,
    form: Form,
    answer: Answer,
    advice: Advice,
    bytes: usize,
}

/// How the answer is written.
enum Form {
    Events(Decoder),
    /// One JSON document, from endpoints that do not stream.
    Whole(Vec<u8>),
}

/// Where a read led.
enum Step {
    Reading(Box<Reading>),
    Ended,
}

impl Call {
    pub(crate) fn new(endpoint: Arc<Endpoint>, request: ModelRequest) -> Self {
        Self {
            endpoint,
            idle_timeout: request.idle_timeout,
            cancel: request.cancel.clone(),
            phase: Phase::Ready(Box::new(request)),
            events: VecDeque::new(),
            request_id: None,
            has_content: false,
        }
    }

    /// The next item of the stream.
    pub(crate) async fn next(&mut self) -> Option<Result<ModelEvent, ModelError>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(Ok(event));
            }
            let step = match std::mem::replace(&mut self.phase, Phase::Ended) {
                Phase::Ended => return None,
                Phase::Failed(error) => return Some(Err(*error)),
                Phase::Ready(request) => self.open(&request).await,
                Phase::Reading(reading) => self.read(reading).await,
            };
            self.phase = match step {
                Ok(Step::Reading(reading)) => Phase::Reading(reading),
                Ok(Step::Ended) => Phase::Ended,
                Err(mut error) => {
                    error.response_started = self.has_content;
                    error.request_id.clone_from(&self.request_id);
                    Phase::Failed(Box::new(error))
                }
            };
        }
    }

    async fn open(&mut self, request: &ModelRequest) -> Result<Step, ModelError> {
        let invalid = |why: String| refused(Kind::InvalidRequest, "stream", why);
        if self.cancel.is_set() {
            return Err(refused(
                Kind::Cancelled,
                "stream",
                "the caller ended the call before it was sent",
            ));
        }
        check_history(&request.messages).map_err(|fault| invalid(fault.to_string()))?;
        let schema = request
            .output_schema
            .as_deref()
            .map(OutputSchema::compile)
            .transpose()?;
        let body = body(request, &self.endpoint.config)
            .map_err(|_error| invalid("the request cannot be written as JSON".to_owned()))?;
        let sending = self
            .endpoint
            .http()?
            .post(self.endpoint.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send();
        let response = self.guarded(sending).await?.map_err(transport)?;
        let headers = response.headers();
        let advice = advice(headers, SystemTime::now());
        self.request_id = without(request_id(headers), self.endpoint.config.api_key.as_ref());
        self.events
            .extend(rate_limits(headers).map(ModelEvent::RateLimits));
        if !response.status().is_success() {
            return Err(self.complaint(response, &advice).await);
        }
        let form = form(headers, self.endpoint.config.max_event_bytes)?;
        let answer = Answer::new(self.request_id.clone(), schema);
        Ok(Step::Reading(Box::new(Reading {
            response,
            form,
            answer,
            advice,
            bytes: 0,
        })))
    }

    /// What an answer that is none says. Where its body cannot be read, the status says enough.
    async fn complaint(&self, mut response: Response, advice: &Advice) -> ModelError {
        let mut body = Vec::new();
        while body.len() < MAX_ERROR_BYTES {
            match self.guarded(response.chunk()).await {
                Ok(Ok(Some(bytes))) => body.extend(bytes.iter().take(MAX_ERROR_BYTES)),
                Ok(Ok(None) | Err(_)) => break,
                Err(error) if error.kind() == Kind::Cancelled => return error,
                Err(_silent) => break,
            }
        }
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        self.complained(
            Complaint::read(&body, Some(response.status().as_u16())),
            advice,
        )
    }

    fn complained(&self, complaint: Complaint, advice: &Advice) -> ModelError {
        complained(
            complaint.without(self.endpoint.config.api_key.as_ref()),
            advice,
        )
    }

    async fn read(&mut self, mut reading: Box<Reading>) -> Result<Step, ModelError> {
        let bytes = match self.guarded(reading.response.chunk()).await? {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return self.end(*reading),
            // The endpoint said why it stopped, so nothing but a farewell is missing.
            Err(_cut) if reading.answer.is_complete() => return self.end(*reading),
            Err(error) => return Err(transport(error)),
        };
        reading.bytes = reading.bytes.saturating_add(bytes.len());
        if reading.bytes > self.endpoint.config.max_stream_bytes {
            return Err(failed(Kind::Truncated));
        }
        let decoder = match &mut reading.form {
            Form::Whole(body) => {
                body.extend_from_slice(&bytes);
                return Ok(Step::Reading(reading));
            }
            Form::Events(decoder) => decoder,
        };
        let mut events = Vec::new();
        let fed = decoder.feed(&bytes, &mut events);
        for event in &events {
            match self.take(&mut reading, |answer, out| answer.event(event, out))? {
                Progress::More => {}
                Progress::Done => {
                    // Most often the end of the body is there already; having seen it lets the connection be used again.
                    let _end = reading.response.chunk().now_or_never();
                    reading.answer.end(&mut self.events);
                    return Ok(Step::Ended);
                }
            }
        }
        fed.map_err(|fault| match fault {
            sse::Fault::TooLong => failed(Kind::Truncated),
            sse::Fault::NotUtf8 => failed(Kind::Decode),
        })?;
        Ok(Step::Reading(reading))
    }

    /// The body has ended without its terminal frame, or was no stream.
    fn end(&mut self, mut reading: Reading) -> Result<Step, ModelError> {
        match std::mem::replace(&mut reading.form, Form::Whole(Vec::new())) {
            Form::Whole(body) => {
                let text = String::from_utf8(body).map_err(|_error| failed(Kind::Decode))?;
                self.take(&mut reading, |answer, out| answer.json(&text, out))?;
            }
            Form::Events(decoder) => {
                if let Some(event) = decoder.rest() {
                    // What was cut off in its middle is no frame.
                    self.take(&mut reading, |answer, out| {
                        match answer.event(&event, out) {
                            Err(Fault::Malformed) => Ok(Progress::More),
                            taken => taken,
                        }
                    })?;
                }
            }
        }
        reading.answer.end(&mut self.events);
        Ok(Step::Ended)
    }

    fn take<T>(
        &mut self,
        reading: &mut Reading,
        take: impl FnOnce(&mut Answer, &mut VecDeque<ModelEvent>) -> Result<T, Fault>,
    ) -> Result<T, ModelError> {
        let taken = take(&mut reading.answer, &mut self.events);
        self.has_content = reading.answer.has_content();
        taken.map_err(|fault| match fault {
            Fault::Complaint(complaint) => {
                let mut error = self.complained(complaint, &reading.advice);
                error.status = error.status.or(Some(reading.response.status().as_u16()));
                error
            }
            Fault::Malformed => {
                let skipped = reading.answer.skipped();
                let why = format!(
                    "a frame of the answer is malformed; {skipped} unknown ones came before it"
                );
                refused(Kind::Decode, "stream", why)
            }
            Fault::TooManyCalls => failed(Kind::Truncated),
        })
    }

    /// `work`, unless the caller ends the call or the endpoint is silent for too long.
    async fn guarded<T>(&self, work: impl Future<Output = T>) -> Result<T, ModelError> {
        tokio::select! {
            biased;
            () = self.cancel.wait() => Err(failed(Kind::Cancelled)),
            done = tokio::time::timeout(self.idle_timeout, work) => done.map_err(|_silent| failed(Kind::Timeout)),
        }
    }
}

/// How the answer is written; what is neither a stream nor JSON comes from no endpoint.
fn form(headers: &HeaderMap, max_event_bytes: usize) -> Result<Form, ModelError> {
    let written = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let name = written
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    match name.as_str() {
        "application/json" => Ok(Form::Whole(Vec::new())),
        "text/event-stream" | "" | "text/plain" | "application/octet-stream" => {
            Ok(Form::Events(Decoder::new(max_event_bytes)))
        }
        _ => Err(refused(
            Kind::Decode,
            "stream",
            "the answer is neither an event stream nor JSON",
        )),
    }
}
