//! An answer that is streamed: reads its frames until it is whole, and tells what they mean as it goes.

use std::ops::ControlFlow;
use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use reqwest::Response;
use seaworthy_ports::BoxStream;
use seaworthy_ports::model_provider::{
    Kind, ModelError, ModelEvent, ModelRequest, check_history, check_parameters,
};

use crate::exchange::{Exchange, Line, Opened};
use crate::failure::Fault;
use crate::frames::{Frame, Frames, Rest, Unreadable};
use crate::headers::Advice;
use crate::reply::Reply;
use crate::schema::OutputSchema;

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

/// Performs one call. Dropping the stream closes the connection.
pub(crate) fn stream(
    line: Arc<Line>,
    request: ModelRequest,
) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
    let call = Call::new(line, request);
    // A read may bring many events: what goes on around each of them is not what a read takes.
    stream::unfold(
        call,
        |mut call| async move { Some((call.next().await?, call)) },
    )
    .flat_map(stream::iter)
    .boxed()
}

/// What one step of a call brought; at least one item.
enum Items {
    Events(std::vec::IntoIter<ModelEvent>),
    Failure(Option<ModelError>),
}

impl Iterator for Items {
    type Item = Result<ModelEvent, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Events(events) => events.next().map(Ok),
            Self::Failure(error) => error.take().map(Err),
        }
    }
}

/// A call, from before it is sent until it is over.
struct Call {
    exchange: Exchange,
    phase: Phase,
    /// What one read brought; bounded by the size of a read.
    events: Vec<ModelEvent>,
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
    frames: Frames,
    reader: Box<dyn Reader>,
    reply: Reply,
    advice: Advice,
}

impl Call {
    fn new(line: Arc<Line>, request: ModelRequest) -> Self {
        Self {
            exchange: Exchange {
                line,
                operation: "stream",
                idle_timeout: request.idle_timeout,
                cancel: request.cancel.clone(),
                request_id: None,
            },
            phase: Phase::Ready(Box::new(request)),
            events: Vec::new(),
            has_content: false,
        }
    }

    /// The next items of the stream.
    async fn next(&mut self) -> Option<Items> {
        loop {
            if !self.events.is_empty() {
                let events = std::mem::take(&mut self.events);
                return Some(Items::Events(events.into_iter()));
            }
            let step = match std::mem::replace(&mut self.phase, Phase::Ended) {
                Phase::Ended => return None,
                Phase::Failed(error) => return Some(Items::Failure(Some(*error))),
                Phase::Ready(request) => self.open(&request).await.map(Some),
                Phase::Reading(reading) => self.read(reading).await,
            };
            self.phase = match step {
                Ok(Some(reading)) => Phase::Reading(reading),
                Ok(None) => Phase::Ended,
                Err(mut error) => {
                    error.response_started = self.has_content;
                    error.request_id.clone_from(&self.exchange.request_id);
                    Phase::Failed(Box::new(error))
                }
            };
        }
    }

    async fn open(&mut self, request: &ModelRequest) -> Result<Box<Reading>, ModelError> {
        let exchange = &mut self.exchange;
        exchange.must_go_on()?;
        check_history(&request.messages)
            .map_err(|fault| exchange.refused(Kind::InvalidRequest, fault.to_string()))?;
        check_parameters(request)
            .map_err(|fault| exchange.refused(Kind::InvalidRequest, fault.to_string()))?;
        let schema = match request.output_schema.as_deref() {
            None => None,
            Some(schema) => Some(OutputSchema::compile(schema).ok_or_else(|| {
                let why = "the output schema is no JSON schema";
                exchange.refused(Kind::InvalidRequest, why)
            })?),
        };
        let line = Arc::clone(&exchange.line);
        let outgoing = line.dialect.outgoing(&line.connection, request)?;
        let Opened {
            response,
            limits,
            advice,
        } = exchange.open(outgoing).await?;
        self.events.extend(limits.map(ModelEvent::RateLimits));
        let (form, caps) = (line.connection.form, line.connection.caps);
        let frames = Frames::of(response.headers(), form, caps).ok_or_else(|| {
            let why = "the answer is neither a stream nor JSON";
            exchange.refused(Kind::Decode, why)
        })?;
        let reply = Reply::new(line.adapter(), exchange.request_id.clone(), schema);
        Ok(Box::new(Reading {
            response,
            frames,
            reader: line.dialect.reader(request),
            reply,
            advice,
        }))
    }

    async fn read(
        &mut self,
        mut reading: Box<Reading>,
    ) -> Result<Option<Box<Reading>>, ModelError> {
        let bytes = match self.exchange.guarded(reading.response.chunk()).await? {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return self.end(*reading),
            // The backend said why the model stopped, so nothing but a farewell is missing.
            Err(_cut) if reading.reply.is_finished() => return self.end(*reading),
            Err(error) => return Err(self.exchange.broken(error)),
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
    fn end(&mut self, mut reading: Reading) -> Result<Option<Box<Reading>>, ModelError> {
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

    fn finish(&mut self, reading: &mut Reading) {
        reading.reader.end(&mut reading.reply);
        reading.reply.end();
        self.take(reading);
    }

    /// Takes what the frames brought, also those before a fault.
    fn take(&mut self, reading: &mut Reading) {
        self.has_content = reading.reply.has_content();
        reading.reply.move_events(&mut self.events);
    }

    fn unreadable(&self, unreadable: Unreadable) -> ModelError {
        self.exchange.failed(match unreadable {
            Unreadable::TooLong => Kind::Truncated,
            Unreadable::NotUtf8 => Kind::Decode,
        })
    }

    fn fault(&self, fault: Fault, reading: &Reading) -> ModelError {
        match fault {
            Fault::Complaint(complaint) => {
                let mut error = self.exchange.complained(complaint, &reading.advice);
                error.status = error.status.or(Some(reading.response.status().as_u16()));
                error
            }
            Fault::Malformed => {
                let skipped = reading.reply.skipped();
                let why = format!(
                    "a frame of the answer is malformed; {skipped} unknown ones came before it"
                );
                self.exchange.refused(Kind::Decode, why)
            }
            Fault::TooMany => self.exchange.failed(Kind::Truncated),
        }
    }
}
