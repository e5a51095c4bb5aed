//! A script served at an address, over streamable HTTP.
//!
//! A request is answered by a message if that is all there is to say, else by a stream of events, on which the server's own
//! questions and what it has to tell come too. The server asks for its session and its protocol version with every message
//! after the first, as the protocol wants it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seaworthy_ports::mcp::{Authorization, Endpoint, Transport};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::address_stateless::Living;
use super::authority::Authority;
use super::script::{Access, Journal, Script, Seen, Start};
use super::serve::{Server, Stop};
use crate::outcome::{Halt, broken};

/// Serves `script` at an address of this machine until the runtime ends, and tells `journal` what happens.
pub async fn listen(script: &Script, journal: &Journal) -> Result<Transport, Halt> {
    let failed = |error: io::Error| broken("listened at an address", "success", error);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let site = Arc::new(Site {
        script: script.clone(),
        authority: Authority::new(script.access, &format!("http://{address}")),
        journal: journal.clone(),
        sessions: Mutex::default(),
        begun: AtomicUsize::new(0),
        forgotten: AtomicUsize::new(0),
        living: Mutex::default(),
    });
    // Where nobody listens, nobody can be reached.
    if script.start != Start::Exits {
        tokio::spawn(async move {
            while let Ok((connection, _peer)) = listener.accept().await {
                tokio::spawn(Arc::clone(&site).attend(connection));
            }
        });
    }
    Ok(Transport::StreamableHttp(Endpoint {
        url: format!("http://{address}/mcp"),
        authorization: Authorization::None,
        headers: BTreeMap::new(),
    }))
}

/// What goes to one request's caller.
pub(super) enum Out {
    Message(String),
    /// The server dies: the connection breaks.
    Break,
}

/// Who waits for an answer, by the number of their request, and what is being written to them.
#[derive(Default)]
pub(super) struct Router {
    pub(super) waiting: BTreeMap<String, mpsc::UnboundedSender<Out>>,
    /// The request that is being dealt with.
    current: Option<String>,
    answered: Vec<String>,
    line: Vec<u8>,
}

impl Write for Router {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// A message is whole: an answer goes to whoever waits for it, all else along with what is being dealt with.
    fn flush(&mut self) -> io::Result<()> {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        let mut message: Value = serde_json::from_str(&line).unwrap_or_default();
        let answered = message.get("id").map(Value::to_string);
        let answered =
            answered.filter(|id| message.get("method").is_none() && self.waiting.contains_key(id));
        let subscription = message.pointer("/params/_meta/io.modelcontextprotocol~1subscriptionId");
        let listening = subscription.map(Value::to_string);
        let to = answered.clone().or(listening);
        let to = to.or_else(|| self.current.clone());
        let to = to.and_then(|id| self.waiting.get(&id));
        // The number that the client gave.
        let id = message.get("id").and_then(Value::as_array);
        let given = id.map(|id| id.first().cloned().unwrap_or_default());
        let line = match (given, message.as_object_mut()) {
            (Some(given), Some(members)) => {
                members.insert("id".to_owned(), given);
                message.to_string()
            }
            _ => line,
        };
        // Whoever has gone does not read.
        let _gone = to.map(|to| to.send(Out::Message(line)));
        self.answered.extend(answered);
        Ok(())
    }
}

pub(super) type Session = Arc<Mutex<Server<Router>>>;

pub(super) struct Site {
    pub(super) script: Script,
    pub(super) journal: Journal,
    pub(super) authority: Authority,
    sessions: Mutex<BTreeMap<String, Session>>,
    pub(super) begun: AtomicUsize,
    forgotten: AtomicUsize,
    /// The server, where there are no sessions.
    pub(super) living: Mutex<Living>,
}

/// A request of HTTP's.
pub(super) struct Asked {
    pub(super) method: String,
    path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Site {
    /// Serves a connection until its client leaves.
    async fn attend(self: Arc<Self>, mut connection: TcpStream) {
        let mut read = Vec::new();
        while let Some(asked) = request(&mut connection, &mut read).await {
            if self.respond(&mut connection, &asked).await.is_err() {
                return;
            }
        }
    }

    async fn respond(&self, connection: &mut TcpStream, asked: &Asked) -> io::Result<()> {
        if let Some((status, body)) = self.authority.answer(&asked.path, &asked.body) {
            if asked.method == "POST" {
                self.note(&Seen::Refreshed)?;
            }
            return document(connection, status, &body).await;
        }
        if self.is_stateless() {
            return self.respond_alone(connection, asked).await;
        }
        let named = asked.headers.get("mcp-session-id").cloned();
        match asked.method.as_str() {
            "POST" => {}
            "DELETE" => {
                let known = named.and_then(|name| locked(&self.sessions).remove(&name));
                if known.is_some() {
                    self.note(&Seen::Ended)?;
                }
                return status(connection, "200 OK").await;
            }
            _ => return status(connection, "405 Method Not Allowed").await,
        }
        let message: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        let id = message.get("id").map(Value::to_string);
        let method = message.get("method").and_then(Value::as_str);
        let is_request = method.is_some() && id.is_some();
        let (name, session) = if method == Some("initialize") {
            self.begin()?
        } else {
            let known = named.and_then(|name| {
                let session = locked(&self.sessions).get(&name).cloned();
                session.map(|session| (name, session))
            });
            let Some((name, session)) = known else {
                return status(connection, "404 Not Found").await;
            };
            if !asked.headers.contains_key("mcp-protocol-version") {
                return status(connection, "400 Bad Request").await;
            }
            let shown = asked.headers.get("authorization");
            if is_request && !self.authority.lets_in(shown.map(String::as_str)) {
                return status(connection, "401 Unauthorized").await;
            }
            if is_request && self.forgets() {
                locked(&self.sessions).remove(&name);
                return status(connection, "404 Not Found").await;
            }
            (name, session)
        };
        let (sender, out) = mpsc::unbounded_channel();
        let taken = take(&session, &asked.body, id.filter(|_| is_request), sender);
        match taken {
            Ok(()) => {}
            Err(Stop::Dies) => {
                locked(&self.sessions).remove(&name);
                let mut server = locked(&session);
                for caller in std::mem::take(&mut server.out.waiting).into_values() {
                    let _gone = caller.send(Out::Break);
                }
            }
            Err(Stop::Failed(halt)) => return Err(io::Error::other(format!("{halt:?}"))),
        }
        if is_request {
            let told = tell(connection, out, Some(&name)).await;
            if told.is_err() && self.script.start == Start::Silent {
                self.note(&Seen::Ended)?;
            }
            told
        } else {
            status(connection, "202 Accepted").await
        }
    }

    pub(super) fn note(&self, seen: &Seen) -> io::Result<()> {
        let noted = self.journal.note(seen);
        noted.map_err(|halt| io::Error::other(format!("{halt:?}")))
    }

    fn begin(&self) -> io::Result<(String, Session)> {
        self.note(&Seen::Started(None))?;
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let name = format!("session-{number}");
        let server = Server::new(self.script.clone(), self.journal.clone(), Router::default());
        let session = Arc::new(Mutex::new(server));
        locked(&self.sessions).insert(name.clone(), Arc::clone(&session));
        Ok((name, session))
    }

    /// Whether the next request finds its session gone.
    fn forgets(&self) -> bool {
        match self.script.access {
            Access::ForgetsOnce => self.forgotten.fetch_add(1, Ordering::Relaxed) == 0,
            Access::AlwaysForgets => true,
            Access::Open
            | Access::Expired
            | Access::ShortLived
            | Access::Revoked
            | Access::NeverAllowed => false,
        }
    }
}

pub(super) fn take(
    session: &Session,
    body: &str,
    id: Option<String>,
    sender: mpsc::UnboundedSender<Out>,
) -> Result<(), Stop> {
    let mut server = locked(session);
    if let Some(id) = &id {
        server.out.waiting.insert(id.clone(), sender);
    }
    server.out.current = id;
    let taken = server.take(body);
    server.out.current = None;
    // Whoever has an answer gets nothing more.
    for id in std::mem::take(&mut server.out.answered) {
        server.out.waiting.remove(&id);
    }
    taken
}

pub(super) async fn status(connection: &mut TcpStream, status: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    connection.write_all(head.as_bytes()).await
}

pub(super) async fn document(
    connection: &mut TcpStream,
    status: &str,
    body: &str,
) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body.as_bytes()).await
}

/// Writes what a request's caller is told: one message as it is, more as a stream.
pub(super) async fn tell(
    connection: &mut TcpStream,
    mut out: mpsc::UnboundedReceiver<Out>,
    session: Option<&str>,
) -> io::Result<()> {
    let broken = || io::Error::from(io::ErrorKind::ConnectionAborted);
    let mut at_once = Vec::new();
    let is_all = loop {
        match out.try_recv() {
            Ok(Out::Message(message)) => at_once.push(message),
            Ok(Out::Break) => return Err(broken()),
            Err(mpsc::error::TryRecvError::Disconnected) => break true,
            Err(mpsc::error::TryRecvError::Empty) => break false,
        }
    };
    let session = session.map(|name| format!("mcp-session-id: {name}\r\n"));
    let head = format!("HTTP/1.1 200 OK\r\n{}", session.unwrap_or_default());
    if let ([message], true) = (at_once.as_slice(), is_all) {
        let length = message.len();
        let head =
            format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        connection.write_all(head.as_bytes()).await?;
        return connection.write_all(message.as_bytes()).await;
    }
    let head =
        format!("{head}content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    connection.write_all(head.as_bytes()).await?;
    for message in at_once {
        event(connection, &message).await?;
    }
    loop {
        let next = tokio::select! {
            next = out.recv() => next,
            // A client that waits for an answer says nothing, so whatever comes is its leaving.
            _left = connection.read_u8() => return Err(broken()),
        };
        match next {
            Some(Out::Message(message)) => event(connection, &message).await?,
            Some(Out::Break) => return Err(broken()),
            None => return connection.write_all(b"0\r\n\r\n").await,
        }
    }
}

async fn event(connection: &mut TcpStream, message: &str) -> io::Result<()> {
    let event = format!("event: message\ndata: {message}\n\n");
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    connection.write_all(chunk.as_bytes()).await
}

/// The next request of a connection; `read` is what was read already.
async fn request(connection: &mut TcpStream, read: &mut Vec<u8>) -> Option<Asked> {
    let (head, start) = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(read.get(..end)?).into_owned();
            break (head, end + 4);
        }
        if connection.read_buf(read).await.unwrap_or(0) == 0 {
            return None;
        }
    };
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let method = words.next()?.to_owned();
    let path = words.next()?.to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length");
    let end = start + length.and_then(|length| length.parse().ok()).unwrap_or(0);
    while read.len() < end {
        if connection.read_buf(read).await.unwrap_or(0) == 0 {
            return None;
        }
    }
    let body = String::from_utf8_lossy(read.get(start..end)?).into_owned();
    read.drain(..end);
    Some(Asked {
        method,
        path,
        headers,
        body,
    })
}
