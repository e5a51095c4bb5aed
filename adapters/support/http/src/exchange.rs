//! One exchange: sends the request, reads the answer, keeps the limits.

use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, Url};
use seaworthy_ports::model_provider::{Kind, ModelError, ModelEvent, ModelRequest, check_history};
use seaworthy_ports::{BoxStream, Latch};
use serde_json::Value;

use crate::client::Connection;
use crate::failure::{Complaint, Fault, complained, failed, refused, transport, without};
use crate::frames::{Form, Frame, Frames, Rest, Unreadable};
use crate::headers::{Advice, Names, advice, rate_limits, request_id};
use crate::reply::Reply;
use crate::schema::OutputSchema;

/// The most bytes that are read of an error's body.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How a provider is spoken to.
pub trait Wire: Send + Sync + 'static {
    /// Reads one answer.
    type Reader: Reader;

    /// The adapter's id, in every error.
    fn adapter(&self) -> &'static str;

    /// Where calls go.
    fn connection(&self) -> &Connection;

    /// How answers are written where their headers do not say.
    fn form(&self) -> Form;

    /// What the provider calls its headers.
    fn names(&self) -> &'static Names;

    /// Writes a request whose history and schema are valid.
    ///
    /// # Errors
    ///
    /// The provider cannot be asked this.
    fn outgoing(&self, request: &ModelRequest) -> Result<Outgoing, ModelError>;

    /// What the body of a failure says, which is null where it is no JSON.
    fn complaint(&self, body: &Value, status: Option<u16>) -> Complaint;

    /// Reads the answer to `request`.
    fn reader(&self, request: &ModelRequest) -> Self::Reader;
}

/// Reads the frames of one answer.
pub trait Reader: Send + Sync + 'static {
    /// Takes a frame.
    ///
    /// # Errors
    ///
    /// Why the answer ends here.
    fn frame(&mut self, frame: Frame<'_>, reply: &mut Reply) -> Result<Progress, Fault>;

    /// Takes an answer that came as one JSON document instead of a stream.
    ///
    /// # Errors
    ///
    /// Why it is none.
    fn whole(&mut self, text: &str, reply: &mut Reply) -> Result<(), Fault>;

    /// The answer has ended, with its terminal frame or without.
    fn end(&mut self, reply: &mut Reply);
}

/// What a frame means for the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More may come.
    More,
    /// It was the terminal frame.
    Done,
}

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

/// Performs one call. Dropping the stream closes the connection.
pub fn stream<W: Wire>(
    wire: Arc<W>,
    request: ModelRequest,
) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
    let call = Call::new(wire, request);
    stream::unfold(
        call,
        |mut call| async move { Some((call.next().await?, call)) },
    )
    .boxed()
}

/// A call, from before it is sent until its last event is taken.
struct Call<W: Wire> {
    wire: Arc<W>,
    idle_timeout: Duration,
    cancel: Latch,
    phase: Phase<W::Reader>,
    /// What one read brought; bounded by the size of a read.
    events: VecDeque<ModelEvent>,
    request_id: Option<String>,
    has_content: bool,
}

enum Phase<R> {
    Ready(Box<ModelRequest>),
    Reading(Box<Reading<R>>),
    Failed(Box<ModelError>),
    Ended,
}

struct Reading<R> {
    response: Response,
    frames: Frames,
    reader: R,
    reply: Reply,
    advice: Advice,
}

impl<W: Wire> Call<W> {
    fn new(wire: Arc<W>, request: ModelRequest) -> Self {
        Self {
            wire,
            idle_timeout: request.idle_timeout,
            cancel: request.cancel.clone(),
            phase: Phase::Ready(Box::new(request)),
            events: VecDeque::new(),
            request_id: None,
            has_content: false,
        }
    }

    /// The next item of the stream.
    async fn next(&mut self) -> Option<Result<ModelEvent, ModelError>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(Ok(event));
            }
            let step = match std::mem::replace(&mut self.phase, Phase::Ended) {
                Phase::Ended => return None,
                Phase::Failed(error) => return Some(Err(*error)),
                Phase::Ready(request) => self.open(&request).await.map(Some),
                Phase::Reading(reading) => self.read(reading).await,
            };
            self.phase = match step {
                Ok(Some(reading)) => Phase::Reading(reading),
                Ok(None) => Phase::Ended,
                Err(mut error) => {
                    error.response_started = self.has_content;
                    error.request_id.clone_from(&self.request_id);
                    Phase::Failed(Box::new(error))
                }
            };
        }
    }

    async fn open(
        &mut self,
        request: &ModelRequest,
    ) -> Result<Box<Reading<W::Reader>>, ModelError> {
        let adapter = self.wire.adapter();
        let invalid = |why: String| refused(adapter, Kind::InvalidRequest, "stream", why);
        if self.cancel.is_set() {
            let why = "the caller ended the call before it was sent";
            return Err(refused(adapter, Kind::Cancelled, "stream", why));
        }
        check_history(&request.messages).map_err(|fault| invalid(fault.to_string()))?;
        let schema = match request.output_schema.as_deref() {
            None => None,
            Some(schema) => Some(
                OutputSchema::compile(schema)
                    .ok_or_else(|| invalid("the output schema is no JSON schema".to_owned()))?,
            ),
        };
        let Outgoing { url, body } = self.wire.outgoing(request)?;
        let connection = self.wire.connection();
        let sending = connection
            .http()?
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send();
        let response = self
            .guarded(sending)
            .await?
            .map_err(|error| transport(adapter, error))?;
        let (headers, now) = (response.headers(), SystemTime::now());
        let limits = rate_limits(headers, self.wire.names(), now);
        let advice = advice(headers, limits.as_ref(), now);
        self.request_id = without(
            request_id(headers, self.wire.names()),
            connection.key.as_ref(),
        );
        self.events.extend(limits.map(ModelEvent::RateLimits));
        if !response.status().is_success() {
            return Err(self.complaint(response, &advice).await);
        }
        let frames = Frames::of(headers, self.wire.form(), connection.caps).ok_or_else(|| {
            let why = "the answer is neither a stream nor JSON";
            refused(adapter, Kind::Decode, "stream", why)
        })?;
        let reply = Reply::new(adapter, self.request_id.clone(), schema);
        Ok(Box::new(Reading {
            response,
            frames,
            reader: self.wire.reader(request),
            reply,
            advice,
        }))
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
        self.complained(self.wire.complaint(&body, status), advice)
    }

    fn complained(&self, complaint: Complaint, advice: &Advice) -> ModelError {
        let complaint = complaint.without(self.wire.connection().key.as_ref());
        complained(self.wire.adapter(), complaint, advice)
    }

    async fn read(
        &mut self,
        mut reading: Box<Reading<W::Reader>>,
    ) -> Result<Option<Box<Reading<W::Reader>>>, ModelError> {
        let bytes = match self.guarded(reading.response.chunk()).await? {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return self.end(*reading),
            // The backend said why the model stopped, so nothing but a farewell is missing.
            Err(_cut) if reading.reply.is_finished() => return self.end(*reading),
            Err(error) => return Err(transport(self.wire.adapter(), error)),
        };
        let Reading {
            frames,
            reader,
            reply,
            ..
        } = &mut *reading;
        let fed = frames.feed(&bytes, |frame| match reader.frame(frame, reply) {
            Ok(Progress::More) => ControlFlow::Continue(()),
            Ok(Progress::Done) => ControlFlow::Break(Ok(())),
            Err(fault) => ControlFlow::Break(Err(fault)),
        });
        self.take(&mut reading);
        match fed.map_err(|unreadable| self.unreadable(unreadable))? {
            ControlFlow::Continue(()) => Ok(Some(reading)),
            ControlFlow::Break(Err(fault)) => Err(self.fault(fault, &reading)),
            ControlFlow::Break(Ok(())) => {
                // Most often the end of the body is there already; having seen it lets the connection be used again.
                let _end = reading.response.chunk().now_or_never();
                self.finish(&mut reading);
                Ok(None)
            }
        }
    }

    /// The body has ended without its terminal frame, or was no stream.
    fn end(
        &mut self,
        mut reading: Reading<W::Reader>,
    ) -> Result<Option<Box<Reading<W::Reader>>>, ModelError> {
        let Reading {
            frames,
            reader,
            reply,
            ..
        } = &mut reading;
        let rest = frames.rest(|rest| {
            let taken = match rest {
                // What was cut off in its middle is no frame.
                Rest::Frame(frame) => match reader.frame(frame, reply) {
                    Err(Fault::Malformed) => Ok(()),
                    taken => taken.map(|_progress| ()),
                },
                Rest::Whole(text) => reader.whole(text, reply),
            };
            taken.map_or_else(ControlFlow::Break, ControlFlow::Continue)
        });
        self.take(&mut reading);
        match rest.map_err(|unreadable| self.unreadable(unreadable))? {
            ControlFlow::Break(fault) => Err(self.fault(fault, &reading)),
            ControlFlow::Continue(()) => {
                self.finish(&mut reading);
                Ok(None)
            }
        }
    }

    fn finish(&mut self, reading: &mut Reading<W::Reader>) {
        reading.reader.end(&mut reading.reply);
        reading.reply.end();
        self.take(reading);
    }

    /// Takes what the frames brought, also those before a fault.
    fn take(&mut self, reading: &mut Reading<W::Reader>) {
        self.has_content = reading.reply.has_content();
        self.events.extend(reading.reply.take_events());
    }

    fn unreadable(&self, unreadable: Unreadable) -> ModelError {
        let kind = match unreadable {
            Unreadable::TooLong => Kind::Truncated,
            Unreadable::NotUtf8 => Kind::Decode,
        };
        failed(self.wire.adapter(), kind)
    }

    fn fault(&self, fault: Fault, reading: &Reading<W::Reader>) -> ModelError {
        let adapter = self.wire.adapter();
        match fault {
            Fault::Complaint(complaint) => {
                let mut error = self.complained(complaint, &reading.advice);
                error.status = error.status.or(Some(reading.response.status().as_u16()));
                error
            }
            Fault::Malformed => {
                let skipped = reading.reply.skipped();
                let why = format!(
                    "a frame of the answer is malformed; {skipped} unknown ones came before it"
                );
                refused(adapter, Kind::Decode, "stream", why)
            }
            Fault::TooMany => failed(adapter, Kind::Truncated),
        }
    }

    /// `work`, unless the caller ends the call or the backend is silent for too long.
    async fn guarded<T>(&self, work: impl Future<Output = T>) -> Result<T, ModelError> {
        let adapter = self.wire.adapter();
        tokio::select! {
            biased;
            () = self.cancel.wait() => Err(failed(adapter, Kind::Cancelled)),
            done = tokio::time::timeout(self.idle_timeout, work) => {
                done.map_err(|_silent| failed(adapter, Kind::Timeout))
            }
        }
    }
}
