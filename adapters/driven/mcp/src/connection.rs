//! One connection: requests go out, answers come back to whoever sent them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::header::HeaderMap;
use seaworthy_ports::mcp::{MAX_MESSAGE_BYTES, ProgressSink};
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::error::Fault;
use crate::handshake;
use crate::headers;
use crate::http::Link;
use crate::inbox::{Answer, Inbox};
use crate::lists::Lists;
use crate::modern::{self, Modern};
#[cfg(unix)]
use crate::stdio::Pipe;

/// Takes messages that want no answer.
#[async_trait]
pub(crate) trait Outbox: fmt::Debug + Send + Sync {
    /// Hands a message over. It may wait for room.
    async fn send(&self, message: Bytes) -> Result<(), Fault>;
}

/// The way to a server and back.
#[derive(Debug)]
pub(crate) enum Wire {
    #[cfg(unix)]
    Stdio(Pipe),
    Http(Arc<Link>),
}

/// A connection. Dropping it ends its server at once.
#[derive(Debug)]
pub(crate) struct Connection {
    inbox: Arc<Inbox>,
    outbox: Arc<dyn Outbox>,
    wire: Wire,
    pub(crate) lists: Lists,
    /// What every request says, where the connection has none who remembers it.
    pub(crate) modern: OnceLock<Modern>,
}

/// What is asked, and how long it may take.
#[derive(Clone)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    pub(crate) until: Instant,
    pub(crate) progress: Option<ProgressSink>,
    /// Whether the answer may be a task, where the server decides that.
    pub(crate) may_be_task: bool,
    /// Is set as soon as the server may have heard of it.
    pub(crate) was_sent: &'a AtomicBool,
}

#[derive(Serialize)]
struct Message<P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'static str,
    params: P,
}

/// Whether a method is one of the extension for tasks.
fn is_about_task(method: &str) -> bool {
    method.starts_with("tasks/")
}

pub(crate) fn written<P: Serialize>(
    id: u64,
    method: &'static str,
    params: P,
) -> Result<Vec<u8>, Fault> {
    let message = Message {
        jsonrpc: "2.0",
        id,
        method,
        params,
    };
    serde_json::to_vec(&message)
        .map_err(|_error| Fault::Rejected("the request cannot be written as JSON"))
}

impl Connection {
    pub(crate) fn new(inbox: Arc<Inbox>, outbox: Arc<dyn Outbox>, wire: Wire) -> Self {
        Self {
            lists: Lists::default(),
            modern: OnceLock::new(),
            inbox,
            outbox,
            wire,
        }
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    pub(crate) fn shared_inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    pub(crate) fn outbox(&self) -> &Arc<dyn Outbox> {
        &self.outbox
    }

    /// Whether it began without `initialize`, so that every request stands alone.
    pub(crate) fn is_stateless(&self) -> bool {
        self.modern.get().is_some()
    }

    /// Whether requests carry headers that repeat what they say.
    pub(crate) fn has_headers(&self) -> bool {
        self.is_stateless() && matches!(self.wire, Wire::Http(_))
    }

    /// Sends a request that is answered by its result and nothing else, as [`turn`](Self::turn) does.
    pub(crate) async fn request<P: Serialize>(
        &self,
        request: Request<'_>,
        params: impl FnOnce(u64) -> P,
    ) -> Answer {
        let result = self.turn(request, HeaderMap::new(), params).await?;
        if self.is_stateless() {
            modern::must_be_whole(&result)?;
        }
        Ok(result)
    }

    /// Sends a request whose parameters may hold its number, and waits for the answer. Dropping the future tells the
    /// server that nobody waits any longer.
    pub(crate) async fn turn<P: Serialize>(
        &self,
        request: Request<'_>,
        mut headers: HeaderMap,
        params: impl FnOnce(u64) -> P,
    ) -> Answer {
        let (id, answer) = self.inbox.enter(request.progress, request.until)?;
        let mut open = Open {
            connection: self,
            id,
            is_known: false,
            // Over HTTP the newest version calls off by hanging up.
            may_be_called_off: request.method != handshake::INITIALIZE && !self.has_headers(),
        };
        let method = request.method;
        let message = match self.modern.get() {
            None => written(id, method, params(id))?,
            Some(modern) => {
                let params =
                    modern.dressed(params(id), request.may_be_task || is_about_task(method))?;
                if self.has_headers() {
                    headers::name(&mut headers, method, &params)?;
                }
                written(id, method, params)?
            }
        };
        if message.len() > MAX_MESSAGE_BYTES {
            return Err(Fault::TooLarge);
        }
        let was_sent = request.was_sent;
        let exchanged = self.exchange(message.into(), &headers, answer, &mut open, was_sent);
        match timeout_at(request.until, exchanged).await {
            Ok(Err(fault)) if self.is_stateless() => Err(modern::meant(fault)),
            Ok(answer) => answer,
            Err(_late) => Err(Fault::Timeout),
        }
    }

    async fn exchange(
        &self,
        message: Bytes,
        headers: &HeaderMap,
        mut answer: oneshot::Receiver<Answer>,
        open: &mut Open<'_>,
        was_sent: &AtomicBool,
    ) -> Answer {
        const CUT_OFF: Fault = Fault::Gone("the connection ended before the server answered");
        match &self.wire {
            #[cfg(unix)]
            Wire::Stdio(pipe) => {
                let room = pipe.room().await?;
                was_sent.store(true, Ordering::Relaxed);
                open.is_known = true;
                room.send(message);
                answer.await.unwrap_or(Err(CUT_OFF))
            }
            Wire::Http(link) => {
                was_sent.store(true, Ordering::Relaxed);
                open.is_known = true;
                let posted = tokio::select! {
                    biased;
                    answer = &mut answer => return answer.unwrap_or(Err(CUT_OFF)),
                    posted = link.ask(message, open.id, headers) => posted,
                };
                // The answer may have come with the last bytes.
                match answer.try_recv() {
                    Ok(answer) => answer,
                    Err(_none) => {
                        // The server has finished with it: there is nothing to call off.
                        self.inbox.strike(open.id);
                        posted.and(Err(CUT_OFF))
                    }
                }
            }
        }
    }

    /// Tells the server something that wants no answer.
    pub(crate) async fn notify(&self, method: &str, until: Instant) -> Result<(), Fault> {
        let message = json!({"jsonrpc": "2.0", "method": method}).to_string();
        match timeout_at(until, self.outbox.send(message.into())).await {
            Ok(sent) => sent,
            Err(_late) => Err(Fault::Timeout),
        }
    }

    /// Ends it: whoever waits is told, and the server has `grace` for each step of going.
    pub(crate) async fn close(&self, grace: Duration) {
        self.inbox.end(Fault::Gone("the session was closed"));
        match &self.wire {
            #[cfg(unix)]
            Wire::Stdio(pipe) => pipe.close().await,
            Wire::Http(link) => link.close(grace).await,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        match &self.wire {
            // Its keeper sees that it is dropped.
            #[cfg(unix)]
            Wire::Stdio(_) => {}
            Wire::Http(link) => link.stop_listening(),
        }
        self.inbox.end(Fault::Gone("the session was dropped"));
    }
}

/// A request that is not answered yet. Dropping it calls it off.
struct Open<'a> {
    connection: &'a Connection,
    id: u64,
    /// The server may know of it.
    is_known: bool,
    /// The protocol allows it.
    may_be_called_off: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let was_open = self.connection.inbox.strike(self.id);
        let is_called_off = was_open && self.is_known && self.may_be_called_off;
        if !is_called_off {
            return;
        }
        let message = json!({
            "jsonrpc": "2.0",
            "method": "notifications/cancelled",
            "params": {"requestId": self.id, "reason": "nobody waits for it any longer"},
        });
        let outbox = Arc::clone(&self.connection.outbox);
        // Without a runtime there is no connection either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _gone = outbox.send(message.to_string().into()).await;
            });
        }
    }
}
