//! A script served at an address without sessions: every request stands alone, says again in headers what it says, and is
//! called off by hanging up.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::address::{Asked, Out, Router, Session, Site, document, locked, status, take, tell};
use super::script::{STATELESS_PROTOCOL, Seen, Start};
use super::serve::{Server, Stop};

const HEADER_MISMATCH: i64 = -32_020;

/// The one server behind an address, until it dies.
#[derive(Default)]
pub(super) struct Living {
    server: Option<Session>,
    has_died: bool,
}

impl Site {
    pub(super) fn is_stateless(&self) -> bool {
        self.script.protocol.as_deref() == Some(STATELESS_PROTOCOL)
    }

    pub(super) async fn respond_alone(
        &self,
        connection: &mut TcpStream,
        asked: &Asked,
    ) -> io::Result<()> {
        if asked.method != "POST" {
            return status(connection, "405 Method Not Allowed").await;
        }
        let mut message: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        let (Some(id), Some(method)) = (
            message.get("id").cloned(),
            message
                .get("method")
                .and_then(Value::as_str)
                .map(str::to_owned),
        ) else {
            return status(connection, "202 Accepted").await;
        };
        let is_silent = self.script.start == Start::Silent;
        if method != "initialize" && !says_again(asked, &method, &message) {
            let error =
                json!({"code": HEADER_MISMATCH, "message": "the headers say something else"});
            let refusal = json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string();
            return document(connection, "400 Bad Request", &refusal).await;
        }
        let is_open = matches!(
            method.as_str(),
            "initialize" | "server/discover" | "subscriptions/listen"
        );
        let shown = asked.headers.get("authorization");
        if !is_open && !self.authority.lets_in(shown.map(String::as_str)) {
            return status(connection, "401 Unauthorized").await;
        }
        let begins = method == "server/discover" || (is_silent && method == "initialize");
        if begins {
            self.note(&Seen::Started(None))?;
        }
        // Two clients may give two requests one number.
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let inner = json!([id, number]);
        if let Some(message) = message.as_object_mut() {
            message.insert("id".to_owned(), inner.clone());
        }
        let (sender, out) = mpsc::unbounded_channel();
        let server = self.living()?;
        match take(
            &server,
            &message.to_string(),
            Some(inner.to_string()),
            sender,
        ) {
            Ok(()) => {}
            Err(Stop::Dies) => {
                let mut living = locked(&self.living);
                living.server = None;
                living.has_died = true;
                for caller in std::mem::take(&mut locked(&server).out.waiting).into_values() {
                    let _gone = caller.send(Out::Break);
                }
            }
            Err(Stop::Failed(halt)) => return Err(io::Error::other(format!("{halt:?}"))),
        }
        let told = tell(connection, out, None).await;
        if told.is_err() {
            let left = json!({"method": "notifications/cancelled", "params": {"requestId": inner}});
            let mut server = locked(&server);
            let _dead = server.take(&left.to_string());
            server.out.waiting.remove(&inner.to_string());
        }
        // Nothing is kept of whoever begins, so there is nothing to end but what is under way.
        if begins && (told.is_err() || !is_silent) {
            self.note(&Seen::Ended)?;
        }
        told
    }

    fn living(&self) -> io::Result<Session> {
        let mut living = locked(&self.living);
        if let Some(server) = &living.server {
            return Ok(Arc::clone(server));
        }
        if living.has_died {
            self.note(&Seen::Started(None))?;
            self.note(&Seen::Ended)?;
        }
        let server = Server::new(self.script.clone(), self.journal.clone(), Router::default());
        let server = Arc::new(Mutex::new(server));
        living.server = Some(Arc::clone(&server));
        Ok(server)
    }
}

/// Whether the headers say what the request says.
fn says_again(asked: &Asked, method: &str, message: &Value) -> bool {
    let header = |name: &str| asked.headers.get(name).map(String::as_str);
    let named = match method {
        "tools/call" | "prompts/get" => message.pointer("/params/name"),
        "resources/read" => message.pointer("/params/uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => message.pointer("/params/taskId"),
        _ => None,
    };
    let version = message.pointer("/params/_meta/io.modelcontextprotocol~1protocolVersion");
    header("mcp-session-id").is_none()
        && header("mcp-protocol-version") == version.and_then(Value::as_str)
        && header("mcp-method") == Some(method)
        && header("mcp-name").and_then(read) == named.and_then(Value::as_str).map(str::to_owned)
}

/// What a header says, which is in base64 where it could not say it otherwise.
fn read(header: &str) -> Option<String> {
    let encoded = header.strip_prefix("=?base64?");
    let Some(encoded) = encoded.and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(header.to_owned());
    };
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
}
