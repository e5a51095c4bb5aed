//! The protocol over streamable HTTP, at `/mcp`.
//!
//! There are no sessions: each request stands alone, so that a client notices nothing when the server is started again, and
//! any number of servers on one store are one server. A request that is to be told of progress is answered by a stream of
//! events, every other by one JSON object. A client that closes its connection stops waiting, and nothing else.

mod answer;
mod guard;
mod message;
mod oauth;
mod pages;
mod patience;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use seaworthy_ports::{Latch, Secret};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use answer::{Answer, plain};
use guard::Guard;
pub use guard::{InvalidToken, MIN_TOKEN_BYTES};
use message::Fault;
pub(crate) use oauth::Caller;
pub use oauth::{IntrospectionSettings, InvalidOAuth, IssuerError, OAuthSettings};
use patience::Patience;

/// Where the protocol is spoken.
pub const PATH: &str = "/mcp";
/// The most bytes of a request.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;
/// The most connections; further ones wait to be accepted.
pub const MAX_CONNECTIONS: usize = 256;
/// The most requests in flight, over all connections; further ones are refused with 503.
pub const MAX_REQUESTS: usize = 128;
/// How long a client may take for the head of a request, for its body, and until it takes some more of the answer.
pub const MAX_REQUEST_TIME: Duration = Duration::from_secs(30);
/// How long requests in flight may take once the server is to stop.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most bytes of the head of a request.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Who may call.
#[derive(Clone, Debug, Default)]
pub struct HttpSettings {
    /// What callers must show, as a bearer token. Needed on any address that is not this machine's alone.
    pub token: Option<Secret>,
    /// Whose access tokens let in instead.
    pub oauth: Option<OAuthSettings>,
    /// Names that callers may use for this server besides those of the loopback interface, each with a port or for any.
    pub hosts: Vec<String>,
    /// The origins whose web pages may call, such as `https://app.example`, besides this server's own.
    pub origins: Vec<String>,
}

/// The server cannot be reached safely like that.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Anybody could reach it.
    #[error(
        "{0} can be reached from other machines, and whoever reaches it could run agents: require a bearer token or OAuth, or listen on 127.0.0.1"
    )]
    Unprotected(SocketAddr),
    /// The token is none.
    #[error(transparent)]
    Token(#[from] InvalidToken),
    /// Access tokens cannot be checked like that.
    #[error(transparent)]
    OAuth(#[from] InvalidOAuth),
    /// Callers cannot show both.
    #[error("a server takes one token, or those of an issuer, not both")]
    TwoLocks,
    /// An origin or host cannot be meant.
    #[error("{0:?} is no {1}")]
    Name(String, &'static str),
    /// The address of the listener is not known.
    #[error("the address that is listened on is not known: {0}")]
    Address(std::io::Error),
}

/// A listener that may be served: it is this machine's alone, or callers must show a token.
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
    guard: Guard,
    service: StreamableHttpServerConfig,
}

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl HttpServer {
    /// Checks what is to be served on `listener`.
    ///
    /// # Errors
    ///
    /// [`HttpError`]: it would not be safe, or cannot be meant.
    pub fn new(listener: TcpListener, settings: HttpSettings) -> Result<Self, HttpError> {
        let address = listener.local_addr().map_err(HttpError::Address)?;
        if settings.token.is_none() && settings.oauth.is_none() && !address.ip().is_loopback() {
            return Err(HttpError::Unprotected(address));
        }
        let guard = Guard::new(address, settings)?;
        let service = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(MAX_BODY_BYTES)
            // The guard has looked at both, before anything of the request was read.
            .disable_allowed_hosts()
            .disable_allowed_origins();
        Ok(Self {
            listener,
            address,
            guard,
            service,
        })
    }

    /// Where clients find it, as seen from this machine.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Asks the issuer of access tokens for its keys, if there is one, so that what is wrong is said before anybody calls.
    /// Who serves without having asked lets its first caller ask.
    ///
    /// # Errors
    ///
    /// [`IssuerError::Unreachable`] may be over later; with [`IssuerError::Unfit`] nobody ever comes in.
    pub async fn check_issuer(&self) -> Result<(), IssuerError> {
        self.guard.check_issuer().await
    }

    /// Serves `handler` until `stop` is set; requests in flight then have a few seconds. Runs go on.
    ///
    /// Dropping the future closes every connection.
    pub async fn serve<H>(self, handler: H, stop: Latch)
    where
        H: ServerHandler + Clone,
    {
        let service = StreamableHttpService::new(
            move || Ok(handler.clone()),
            Arc::new(NeverSessionManager::default()),
            self.service,
        );
        let door = Arc::new(Door {
            guard: self.guard,
            service,
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
        });
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &places) => accepted,
                () = stop.wait() => break,
            };
            match accepted {
                Ok((stream, place)) => {
                    let (door, stop) = (Arc::clone(&door), stop.clone());
                    connections.spawn(async move {
                        connection(stream, door, stop).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, or the client was gone again: others may still come.
                    tracing::warn!("a connection could not be accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        let drained = tokio::time::timeout(DRAIN, async {
            while connections.join_next().await.is_some() {}
        });
        // What is left is closed with the set.
        let _late = drained.await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.map_err(std::io::Error::other)?;
    let (stream, _from) = listener.accept().await?;
    Ok((stream, place))
}

/// Serves one connection until it ends, or until it is between two requests and the server stops.
async fn connection<H>(stream: TcpStream, door: Arc<Door<H>>, stop: Latch)
where
    H: ServerHandler,
{
    // Small answers should not wait for more.
    let _as_it_is = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let door = Arc::clone(&door);
        async move { Ok::<_, std::convert::Infallible>(door.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_REQUEST_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(
            TokioIo::new(Patience::new(stream, MAX_REQUEST_TIME)),
            service,
        );
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.wait() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // A client that goes away in the middle is nothing unusual.
        tracing::debug!("a connection ended: {error}");
    }
}

/// What every request goes through.
struct Door<H> {
    guard: Guard,
    service: StreamableHttpService<H, NeverSessionManager>,
    requests: Arc<Semaphore>,
}

impl<H: ServerHandler> Door<H> {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if let Err(refused) = self.guard.check(&request) {
            return refused;
        }
        let page = request.headers().get(header::ORIGIN).cloned();
        let mut answer = match pages::asked(&request) {
            Some(told) => told,
            None => self.answer_to_ours(request).await,
        };
        if let Some(origin) = page {
            pages::open(&mut answer, origin);
        }
        answer
    }

    /// The answer to whoever means this server, from nowhere that may not.
    async fn answer_to_ours(&self, mut request: Request<Incoming>) -> Answer {
        if let Some(told) = self.guard.metadata(&request) {
            return told;
        }
        match self.guard.admit(request.headers()).await {
            Ok(Some(caller)) => drop(request.extensions_mut().insert(caller)),
            Ok(None) => {}
            Err(refused) => return refused,
        }
        // Nothing behind this point needs it, and what is not there is not shown.
        request.headers_mut().remove(header::AUTHORIZATION);
        if request.uri().path() != PATH {
            return plain(
                StatusCode::NOT_FOUND,
                "this server speaks the Model Context Protocol at /mcp\n",
            );
        }
        if request.method() != Method::POST {
            let mut refused = plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "every message is a POST; there are no sessions to open or end\n",
            );
            let post = header::HeaderValue::from_static("POST");
            refused.headers_mut().insert(header::ALLOW, post);
            return refused;
        }
        let Ok(place) = Arc::clone(&self.requests).try_acquire_owned() else {
            let mut refused = plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many requests are in flight; try again\n",
            );
            let second = header::HeaderValue::from_static("1");
            refused.headers_mut().insert(header::RETRY_AFTER, second);
            return refused;
        };
        match whole(request).await {
            Ok(request) => answer::held(self.service.handle(request).await, place),
            Err(refused) => refused,
        }
    }
}

/// The request with all of its body, which is a message.
async fn whole(request: Request<Incoming>) -> Result<Request<Full<Bytes>>, Answer> {
    let (parts, body) = request.into_parts();
    let collected = Limited::new(body, MAX_BODY_BYTES).collect();
    let body = match tokio::time::timeout(MAX_REQUEST_TIME, collected).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let why = format!("a request has at most {MAX_BODY_BYTES} bytes\n");
            return Err(plain(StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        Ok(Err(_broken)) => {
            return Err(plain(
                StatusCode::BAD_REQUEST,
                "the request could not be read\n",
            ));
        }
        Err(_late) => {
            return Err(plain(
                StatusCode::REQUEST_TIMEOUT,
                "the request took too long\n",
            ));
        }
    };
    match message::fault(&body) {
        None => {}
        Some(Fault::NoJson) => return Err(answer::error(-32700, "the request is no JSON")),
        Some(Fault::NoMessage) => {
            let why = "the request is not one message of JSON-RPC 2.0";
            return Err(answer::error(-32600, why));
        }
    }
    Ok(Request::from_parts(parts, Full::new(body)))
}
