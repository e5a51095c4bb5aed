//! Bugs in dealing with tokens: a store that an adapter looks at the wrong way, and metadata that it believes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_ports::async_trait;
use seaworthy_ports::mcp::{McpError, OAuth, OAuthTokenLock, OAuthTokenStore, OAuthTokens};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::servers::{EVERYBODY_REFRESHES, KEEPS_LATER, KEEPS_OLD_REFRESH, KNOWS_NO_OTHERS};

#[derive(Debug)]
struct Store {
    bug: u8,
    inner: Arc<dyn OAuthTokenStore>,
    known: Mutex<Option<OAuthTokens>>,
    /// Somebody has read tokens.
    read: Notify,
}

/// How long whoever wants new tokens waits for others who want some too.
const PATIENCE: Duration = Duration::from_millis(200);

/// The store as an adapter with this bug uses it.
pub(crate) fn broken(bug: u8, inner: Arc<dyn OAuthTokenStore>) -> Arc<dyn OAuthTokenStore> {
    Arc::new(Store {
        bug,
        inner,
        known: Mutex::default(),
        read: Notify::new(),
    })
}

#[async_trait]
impl OAuthTokenStore for Store {
    async fn load(&self) -> Result<Option<OAuthTokens>, McpError> {
        let kept = self.inner.load().await?;
        if self.bug == EVERYBODY_REFRESHES {
            // Whoever else wants new tokens reads these meanwhile; nobody may.
            self.read.notify_waiters();
            let _alone = timeout(PATIENCE, self.read.notified()).await;
        }
        if self.bug == KNOWS_NO_OTHERS {
            let mut known = self.known.lock().unwrap();
            if known.is_none() {
                *known = kept;
            }
            return Ok(known.clone());
        }
        Ok(kept)
    }

    async fn save(&self, mut tokens: OAuthTokens) -> Result<(), McpError> {
        *self.known.lock().unwrap() = Some(tokens.clone());
        if self.bug == KEEPS_OLD_REFRESH {
            let old = self.inner.load().await?;
            tokens.refresh = old.and_then(|old| old.refresh);
        }
        match self.inner.save(tokens).await {
            Err(_unkept) if self.bug == KEEPS_LATER => Ok(()),
            other => other,
        }
    }

    async fn lock(&self) -> Result<OAuthTokenLock, McpError> {
        if self.bug == EVERYBODY_REFRESHES {
            return Ok(OAuthTokenLock::new(()));
        }
        self.inner.lock().await
    }
}

/// Sends the refresh token to whomever the server at `url` names.
pub(crate) async fn believe(url: &str, oauth: &OAuth) {
    let ask = async |url: &str, method: &str, path: &str, body: &str| {
        let address = url.strip_prefix("http://")?.split('/').next()?;
        let mut connection = TcpStream::connect(address).await.ok()?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        connection.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    let place = "/.well-known/oauth-protected-resource";
    let Some(described) = ask(url, "GET", place, "").await else {
        return;
    };
    let body = described.split("\r\n\r\n").nth(1).unwrap_or_default();
    let described: Value = serde_json::from_str(body).unwrap_or_default();
    let named = described
        .pointer("/authorization_servers/0")
        .and_then(Value::as_str);
    let kept = oauth.tokens.load().await.ok().flatten();
    let refresh = kept.and_then(|tokens| tokens.refresh);
    if let (Some(named), Some(refresh)) = (named, refresh) {
        let form = format!(
            "grant_type=refresh_token&refresh_token={}",
            refresh.expose()
        );
        let _nothing = ask(named, "POST", "/token", &form).await;
    }
}
