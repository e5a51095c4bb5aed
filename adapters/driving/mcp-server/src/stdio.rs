//! The protocol over standard input and output: a line for each message.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rmcp::model::{ClientJsonRpcMessage, ClientNotification, RequestId, ServerJsonRpcMessage};
use rmcp::service::serve_server_with_ct;
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{RoleServer, ServerHandler};
use seaworthy_ports::Latch;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The longest line that is read; a longer one is skipped as it comes in.
pub const MAX_LINE_BYTES: usize = 4 * 1024 * 1024;
/// The most requests that were read and not answered. While there are so many, nothing is read: a client that does not take
/// its answers gets no further.
pub const MAX_UNANSWERED: usize = 256;

/// The conversation could not go on.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// The client did not begin as the protocol has it.
    #[error("the client did not begin with what the protocol begins with: {0}")]
    Handshake(String),
    /// The task that served it broke.
    #[error("serving the client broke: {0}")]
    Broken(String),
}

/// Serves one client until its input ends or `stop` is set. Calls in flight are told to return, and have a few seconds for
/// it; runs go on.
///
/// Dropping the future closes the connection.
///
/// # Errors
///
/// [`StdioError`]. A client that goes away before it said anything is none.
pub async fn serve_stdio<H, R, W>(
    handler: H,
    input: R,
    output: W,
    stop: Latch,
) -> Result<(), StdioError>
where
    H: ServerHandler,
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let over = CancellationToken::new();
    let transport = Bounded {
        lines: AsyncRwTransport::new_server(input, output).with_max_line_length(MAX_LINE_BYTES),
        unanswered: Arc::default(),
        over: over.clone(),
    };
    let _stops_what_is_left = over.clone().drop_guard();
    let serving = serve_server_with_ct(handler, transport, over.clone());
    let mut serving = std::pin::pin!(serving);
    let started = tokio::select! {
        started = &mut serving => started,
        () = stop.wait() => return Ok(()),
    };
    let running = match started {
        Ok(running) => running,
        Err(_gone) if over.is_cancelled() => return Ok(()),
        Err(error) => return Err(StdioError::Handshake(error.to_string())),
    };
    let mut waiting = std::pin::pin!(running.waiting());
    let ended = tokio::select! {
        ended = &mut waiting => ended,
        () = stop.wait() => {
            over.cancel();
            waiting.await
        }
    };
    ended
        .map(|_why| ())
        .map_err(|error| StdioError::Broken(error.to_string()))
}

/// Lines with a bound on what is unanswered.
struct Bounded<T> {
    lines: T,
    unanswered: Arc<Unanswered>,
    /// Set once there is nothing more to read: whoever waits for something on behalf of the client need not.
    over: CancellationToken,
}

/// The requests that were read and not answered.
#[derive(Debug, Default)]
struct Unanswered {
    ids: Mutex<HashSet<RequestId>>,
    fewer: Notify,
}

impl Unanswered {
    fn ids(&self) -> std::sync::MutexGuard<'_, HashSet<RequestId>> {
        // A set is whole after every statement.
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        self.ids().len() >= MAX_UNANSWERED
    }

    fn add(&self, id: RequestId) {
        self.ids().insert(id);
    }

    fn remove(&self, id: &RequestId) {
        self.ids().remove(id);
        self.fewer.notify_one();
    }
}

impl<T> Transport<RoleServer> for Bounded<T>
where
    T: Transport<RoleServer, Error = io::Error>,
{
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        let answered = match &message {
            ServerJsonRpcMessage::Response(response) => Some(response.id.clone()),
            ServerJsonRpcMessage::Error(error) => error.id.clone(),
            _ => None,
        };
        let unanswered = Arc::clone(&self.unanswered);
        let sending = self.lines.send(message);
        async move {
            let sent = sending.await;
            if let Some(id) = answered {
                unanswered.remove(&id);
            }
            sent
        }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        while self.unanswered.is_full() {
            self.unanswered.fewer.notified().await;
        }
        let message = self.lines.receive().await;
        match &message {
            None => self.over.cancel(),
            Some(ClientJsonRpcMessage::Request(request)) => {
                self.unanswered.add(request.id.clone());
            }
            Some(ClientJsonRpcMessage::Notification(notification)) => {
                // What was cancelled is not answered.
                if let ClientNotification::CancelledNotification(cancelled) =
                    &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    self.unanswered.remove(id);
                }
            }
            Some(_) => {}
        }
        message
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        self.lines.close().await
    }
}
