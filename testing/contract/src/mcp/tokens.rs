//! Tokens of an authorisation server, as a host keeps them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use seaworthy_ports::Secret;
use seaworthy_ports::mcp::{
    Kind, McpError, OAuth, OAuthGrant, OAuthProof, OAuthTokenLock, OAuthTokenStore, OAuthTokens,
};

use super::stage::CANARY;

/// Tokens that a test looks into.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    kept: Mutex<Kept>,
    lock: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Kept {
    tokens: Option<OAuthTokens>,
    saved: usize,
    is_full: bool,
}

/// Tokens of `issuer` that no server takes, and which new ones are given for.
pub(super) fn first_tokens(issuer: &str) -> OAuthTokens {
    OAuthTokens {
        access: Secret::new(CANARY),
        refresh: Some(Secret::new(CANARY)),
        expires: None,
        issuer: issuer.to_owned(),
        scopes: Vec::new(),
        registration: None,
    }
}

/// A client of the authorisation server that a server names.
pub(super) fn oauth(tokens: &Arc<Tokens>, grant: OAuthGrant) -> OAuth {
    OAuth {
        client_id: Some("contract".to_owned()),
        proof: OAuthProof::Secret(Secret::new(CANARY)),
        issuer: None,
        scopes: Vec::new(),
        grant,
        tokens: Arc::<Tokens>::clone(tokens),
        person: None,
    }
}

impl Tokens {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often new ones were saved.
    pub(super) fn saved(&self) -> usize {
        self.kept().saved
    }

    /// Somebody else has put these here.
    pub(super) fn put(&self, tokens: OAuthTokens) {
        self.kept().tokens = Some(tokens);
    }

    /// From now on nothing can be saved.
    pub(super) fn fill_up(&self) {
        self.kept().is_full = true;
    }
}

#[async_trait]
impl OAuthTokenStore for Tokens {
    async fn load(&self) -> Result<Option<OAuthTokens>, McpError> {
        Ok(self.kept().tokens.clone())
    }

    async fn save(&self, tokens: OAuthTokens) -> Result<(), McpError> {
        let mut kept = self.kept();
        if kept.is_full {
            let why = "there is no room for tokens";
            return Err(McpError::new(Kind::Unavailable, "contract", "save", why));
        }
        kept.tokens = Some(tokens);
        kept.saved += 1;
        Ok(())
    }

    async fn lock(&self) -> Result<OAuthTokenLock, McpError> {
        let held = Arc::clone(&self.lock).lock_owned().await;
        Ok(OAuthTokenLock::new(held))
    }
}
