//! A server at an address: every message is posted, and answered by a message or by a stream of them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect, retry};
use seaworthy_ports::Secret;
use seaworthy_ports::mcp::{Authorization, Endpoint, MAX_MESSAGE_BYTES};
use seaworthy_tls::Offers;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::connection::Outbox;
use crate::error::Fault;
use crate::headers as said_again;
use crate::inbox::Inbox;
use crate::modern;
use crate::oauth::{Challenge, Keeper};
use crate::sse::Events;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// How often the stream of one answer is taken up again, and how often redirects within the server are followed.
const MOST_RESUMPTIONS: usize = 5;
const MOST_REDIRECTS: usize = 3;
/// How long a message may take to be handed over that wants no answer.
const HANDOVER: Duration = Duration::from_secs(10);
/// How long to wait before a stream is taken up again: the first time unless the server says so, and at most.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// The most bytes of an answer that is an error of HTTP's.
const MOST_COMPLAINT: usize = 64 * 1024;
/// The longest name of a session.
const LONGEST_SESSION: usize = 1024;

const BROKEN: Fault = Fault::Gone("the connection to the server broke before it answered");

/// The way to an address.
#[derive(Debug)]
pub(crate) struct Link {
    client: Client,
    url: Url,
    keeper: Option<Arc<Keeper>>,
    inbox: Arc<Inbox>,
    /// What the server calls the session.
    session: Mutex<Option<HeaderValue>>,
    version: OnceLock<HeaderValue>,
    listener: OnceLock<AbortHandle>,
    me: std::sync::Weak<Self>,
}

impl Link {
    /// The way to `endpoint`. No I/O.
    pub(crate) fn to(
        endpoint: &Endpoint,
        keeper: Option<Arc<Keeper>>,
        connect_timeout: Duration,
        inbox: &Arc<Inbox>,
    ) -> Result<Arc<Self>, Fault> {
        let url = address(&endpoint.url)?;
        let client = client(&url, headers(endpoint)?, connect_timeout)?;
        Ok(Arc::new_cyclic(|me| Self {
            client,
            url,
            keeper,
            inbox: Arc::clone(inbox),
            session: Mutex::default(),
            version: OnceLock::new(),
            listener: OnceLock::new(),
            me: std::sync::Weak::clone(me),
        }))
    }

    /// Names the agreed version of the protocol from now on.
    pub(crate) fn agree(&self, version: &str) -> Result<(), Fault> {
        let version = HeaderValue::from_str(version)
            .map_err(|_error| Fault::Malformed("the server's protocol version is no version"))?;
        let _again = self.version.set(version);
        Ok(())
    }

    /// Whether the server has no session, and no streams but those of its answers.
    fn is_stateless(&self) -> bool {
        self.version
            .get()
            .is_some_and(|version| version == modern::VERSION)
    }

    /// What the server says unasked is heard by this task, for as long as there is a connection.
    pub(crate) fn hears_by(&self, task: AbortHandle) {
        if let Err(second) = self.listener.set(task) {
            second.abort();
        }
    }

    /// Hears from now on what the server says unasked, if it has a stream for that.
    pub(crate) fn listen(&self) {
        let me = std::sync::Weak::clone(&self.me);
        let task = tokio::spawn(async move {
            let mut resumed = Events::default();
            let mut delay = FIRST_DELAY;
            loop {
                let Some(link) = me.upgrade() else { return };
                match link.hear(&mut resumed).await {
                    Ok(true) => delay = FIRST_DELAY,
                    Ok(false) => {}
                    Err(_final) => return,
                }
                drop(link);
                sleep(resumed.delay.unwrap_or(delay).max(FIRST_DELAY)).await;
                delay = delay.saturating_mul(2).min(LONGEST_DELAY);
            }
        });
        self.hears_by(task.abort_handle());
    }

    /// Hears one stream to its end. Whether there was anything in it; a fault if there is no stream to be had.
    async fn hear(&self, events: &mut Events) -> Result<bool, Fault> {
        let sent = self.send_with(|| {
            let request = self.request(Method::GET, EVENTS);
            match &events.last_id {
                Some(id) => request.header(LAST_EVENT, id),
                None => request,
            }
        });
        let Ok(response) = sent.await else {
            return Ok(false);
        };
        if response.status().is_server_error() {
            return Ok(false);
        }
        if !(response.status() == StatusCode::OK && is_of(&response, EVENTS)) {
            return Err(Fault::Status(response.status().as_u16()));
        }
        let mut has_events = false;
        let _end = self.stream(response, events, &mut has_events).await;
        Ok(has_events)
    }

    fn request(&self, method: Method, accepted: &'static str) -> RequestBuilder {
        let mut request = self
            .client
            .request(method, self.url.clone())
            .header(ACCEPT, accepted);
        if let Some(session) = self.session() {
            request = request.header(SESSION, session);
        }
        if let Some(version) = self.version.get() {
            request = request.header(VERSION, version);
        }
        request
    }

    fn session(&self) -> Option<HeaderValue> {
        self.session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sends what `make` makes. Where the server does not take the token, which it says before it looks at anything, it is
    /// sent once more with another; and once more where it wants one that is good for more.
    async fn send_with(
        &self,
        make: impl Fn() -> RequestBuilder + Send + Sync,
    ) -> Result<Response, Fault> {
        let Some(keeper) = &self.keeper else {
            return sent(make()).await;
        };
        let mut token = keeper.token().await?;
        let (mut is_renewed, mut is_stepped) = (false, false);
        loop {
            let request = match &token {
                Some(token) => make().header(AUTHORIZATION, bearer(token)?),
                None => make(),
            };
            let response = sent(request).await?;
            let challenge = || Challenge::of(response.headers());
            match response.status() {
                StatusCode::UNAUTHORIZED if !is_renewed => {
                    is_renewed = true;
                    token = Some(keeper.renew(token, challenge()).await?);
                }
                StatusCode::FORBIDDEN if !is_stepped && challenge().wants_more => {
                    is_stepped = true;
                    token = Some(keeper.step_up(token, challenge()).await?);
                }
                _ => return Ok(response),
            }
        }
    }

    async fn post(&self, message: Bytes, headers: &HeaderMap) -> Result<Response, Fault> {
        let sent = self.send_with(|| {
            self.request(Method::POST, "application/json, text/event-stream")
                .header(CONTENT_TYPE, JSON)
                .headers(headers.clone())
                .body(message.clone())
        });
        let response = sent.await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(match status {
            StatusCode::UNAUTHORIZED => Fault::Unauthorized,
            StatusCode::FORBIDDEN => Fault::Forbidden,
            StatusCode::NOT_FOUND if self.session().is_some() => Fault::SessionLost,
            _ if status.is_redirection() => Fault::Redirected,
            _ => {
                self.complain(response).await;
                Fault::Status(status.as_u16())
            }
        })
    }

    /// Takes what came with an error of HTTP's: it may be a proper message, which says more.
    async fn complain(&self, mut response: Response) {
        if !is_of(&response, JSON) {
            return;
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            if body.len() + chunk.len() > MOST_COMPLAINT {
                return;
            }
            body.extend_from_slice(&chunk);
        }
        self.take(body.into());
    }

    fn take(&self, message: Bytes) {
        if let Some(me) = self.me.upgrade() {
            let outbox: Arc<dyn Outbox> = me;
            self.inbox.take(&message, &outbox);
        }
    }

    /// Posts a request and takes whatever comes back, until that ends. The answer goes to the inbox.
    pub(crate) async fn ask(
        &self,
        message: Bytes,
        id: u64,
        headers: &HeaderMap,
    ) -> Result<(), Fault> {
        let mut response = self.post(message, headers).await?;
        if let Some(session) = response.headers().get(SESSION)
            && self.version.get().is_none()
        {
            self.begin(session.clone())?;
        }
        if is_of(&response, EVENTS) {
            return self.stream_answer(response).await;
        }
        if !is_of(&response, JSON) {
            return Err(Fault::Malformed(
                "the server answers with no message of the protocol",
            ));
        }
        let announced = response.content_length().unwrap_or_default();
        if announced > MAX_MESSAGE_BYTES as u64 {
            return Err(Fault::TooLarge);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_error| BROKEN)? {
            if body.len() + chunk.len() > MAX_MESSAGE_BYTES {
                return Err(Fault::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        self.take(body.into());
        // There is one answer to a request, so what cannot be read was it.
        let unread = Fault::Malformed("the server's answer does not belong to the request");
        self.inbox.answered(id, Err(unread));
        Ok(())
    }

    fn begin(&self, mut session: HeaderValue) -> Result<(), Fault> {
        let is_name = session.as_bytes().iter().all(u8::is_ascii_graphic);
        if !is_name || session.len() > LONGEST_SESSION {
            return Err(Fault::Malformed(
                "the server's name for the session is none",
            ));
        }
        session.set_sensitive(true);
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
        Ok(())
    }

    /// Takes the messages of a stream that holds an answer. Where it breaks, it is taken up again if the server can.
    async fn stream_answer(&self, response: Response) -> Result<(), Fault> {
        let mut events = Events::default();
        let mut is_alive = false;
        self.stream(response, &mut events, &mut is_alive).await?;
        if self.is_stateless() {
            return Err(BROKEN);
        }
        for _time in 0..MOST_RESUMPTIONS {
            let Some(id) = events.last_id.clone() else {
                return Err(BROKEN);
            };
            sleep(events.delay.unwrap_or(FIRST_DELAY)).await;
            let sent = self.send_with(|| {
                self.request(Method::GET, EVENTS)
                    .header(LAST_EVENT, id.clone())
            });
            let Ok(response) = sent.await else {
                continue;
            };
            if response.status() == StatusCode::OK && is_of(&response, EVENTS) {
                // What was left of an event goes with its stream.
                events = events.resumed();
                self.stream(response, &mut events, &mut is_alive).await?;
            } else if !response.status().is_server_error() {
                return Err(BROKEN);
            }
        }
        Err(BROKEN)
    }

    /// Takes the messages of one stream until it ends or breaks.
    async fn stream(
        &self,
        mut response: Response,
        events: &mut Events,
        has_events: &mut bool,
    ) -> Result<(), Fault> {
        while let Ok(Some(chunk)) = response.chunk().await {
            events.feed(&chunk, |message| {
                *has_events = true;
                if !message.is_empty() {
                    self.take(message);
                }
            })?;
        }
        Ok(())
    }

    /// Hears nothing more that the server says unasked.
    pub(crate) fn stop_listening(&self) {
        if let Some(listener) = self.listener.get() {
            listener.abort();
        }
    }

    /// Takes leave of the session.
    pub(crate) async fn close(&self, grace: Duration) {
        self.stop_listening();
        if self.session().is_some() {
            // A server need not understand it.
            let leave = self.send_with(|| self.request(Method::DELETE, JSON));
            let _either = timeout(grace, leave).await;
        }
    }
}

#[async_trait]
impl Outbox for Link {
    async fn send(&self, message: Bytes) -> Result<(), Fault> {
        match timeout(HANDOVER, self.post(message, &HeaderMap::new())).await {
            Ok(sent) => sent.map(drop),
            Err(_late) => Err(Fault::Timeout),
        }
    }
}

async fn sent(request: RequestBuilder) -> Result<Response, Fault> {
    // The error may name the address, whose query may be nobody's business.
    request.send().await.map_err(|error| {
        if error.is_connect() {
            Fault::Unreachable("the server cannot be reached at its address")
        } else {
            BROKEN
        }
    })
}

fn is_of(response: &Response, media_type: &str) -> bool {
    let said = response.headers().get(CONTENT_TYPE);
    let said = said.and_then(|said| said.to_str().ok()).unwrap_or_default();
    let essence = said.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case(media_type)
}

pub(crate) fn address(url: &str) -> Result<Url, Fault> {
    let mut url =
        Url::parse(url).map_err(|_error| Fault::Rejected("the server's address is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(Fault::Rejected(
            "the server's address is neither http:// nor https://",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::Rejected(
            "the server's address holds a user or password; give them as its authorisation instead",
        ));
    }
    url.set_fragment(None);
    Ok(url)
}

fn secret(text: &str) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_error| Fault::Rejected("the credentials hold what no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn bearer(token: &Secret) -> Result<HeaderValue, Fault> {
    secret(&format!("Bearer {}", token.expose()))
}

/// The headers of every request.
fn headers(endpoint: &Endpoint) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::new();
    let named = |name: &str| {
        let name = HeaderName::try_from(name)
            .map_err(|_error| Fault::Rejected("a header has a name that no header has"))?;
        let ours = [
            ACCEPT,
            CONTENT_TYPE,
            SESSION,
            VERSION,
            LAST_EVENT,
            said_again::METHOD,
            said_again::NAME,
            reqwest::header::HOST,
            reqwest::header::CONTENT_LENGTH,
            reqwest::header::TRANSFER_ENCODING,
        ];
        if ours.contains(&name) || name.as_str().starts_with(said_again::PARAMETER) {
            return Err(Fault::Rejected(
                "a header is given that the protocol itself sets",
            ));
        }
        Ok(name)
    };
    for (name, value) in &endpoint.headers {
        headers.insert(named(name)?, secret(value)?);
    }
    let filled = |secret: &Secret| {
        if secret.expose().is_empty() {
            return Err(Fault::Rejected("the credentials are empty"));
        }
        Ok(())
    };
    match &endpoint.authorization {
        Authorization::None => {}
        Authorization::Bearer(token) => {
            filled(token)?;
            headers.insert(
                AUTHORIZATION,
                secret(&format!("Bearer {}", token.expose()))?,
            );
        }
        Authorization::ApiKey { header, value } => {
            filled(value)?;
            headers.insert(named(header)?, secret(value.expose())?);
        }
        Authorization::Basic { user, password } => {
            if user.contains(':') {
                return Err(Fault::Rejected("a user's name cannot hold a colon"));
            }
            let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
            headers.insert(AUTHORIZATION, secret(&format!("Basic {pair}"))?);
        }
        // It changes, and is shown with each request.
        Authorization::OAuth(_) => {
            if headers.contains_key(AUTHORIZATION) {
                return Err(Fault::Rejected("a header is given that carries the token"));
            }
        }
    }
    Ok(headers)
}

fn client(url: &Url, headers: HeaderMap, connect_timeout: Duration) -> Result<Client, Fault> {
    let tls = seaworthy_tls::client(url.scheme() == "https", Offers::Http2)
        .map_err(|_unusable| Fault::Unsupported("the platform's certificates cannot be used"))?;
    Client::builder()
        .tls_backend_preconfigured(tls)
        .default_headers(headers)
        .user_agent(concat!(
            env!("CARGO_PKG_NAME"),
            "/",
            env!("CARGO_PKG_VERSION")
        ))
        .connect_timeout(connect_timeout)
        .redirect(redirects())
        // A proxy from the environment nobody configured here.
        .no_proxy()
        .retry(retry::never())
        .build()
        .map_err(|_error| Fault::Unsupported("the HTTP client cannot be built"))
}

/// Credentials stay with the server's own origin, and a message is posted as it is or not at all.
fn redirects() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let is_whole = matches!(
            attempt.status(),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        let is_own = attempt
            .previous()
            .first()
            .is_some_and(|first| first.origin() == attempt.url().origin());
        if is_whole && is_own && attempt.previous().len() <= MOST_REDIRECTS {
            attempt.follow()
        } else {
            attempt.stop()
        }
    })
}
