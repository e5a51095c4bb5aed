//! Which tokens a server takes, and who gives new ones.

use std::sync::{Mutex, PoisonError};

use seaworthy_ports::Secret;
use seaworthy_ports::mcp::OAuthTokens;

/// What becomes of the tokens that a server is shown, where its callers have any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum McpTokens {
    /// Every one is taken.
    #[default]
    Good,
    /// None is taken but the last that was given, and those that the test named.
    Expired,
    /// The same, and each only once.
    ShortLived,
    /// None is taken, and no new ones are given.
    Revoked,
}

/// An authorisation server. A refresh token works once.
#[derive(Debug, Default)]
pub(super) struct Grants(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    tokens: McpTokens,
    taken: Vec<Secret>,
    given: usize,
    last: Option<OAuthTokens>,
    is_spent: bool,
}

impl Grants {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, tokens: McpTokens) {
        self.state().tokens = tokens;
    }

    pub(super) fn take(&self, token: Secret) {
        self.state().taken.push(token);
    }

    /// Whether a request with this token is let in.
    pub(super) fn lets_in(&self, shown: Option<&OAuthTokens>) -> bool {
        let mut state = self.state();
        let shown = shown.map(|tokens| &tokens.access);
        let is_named = shown.is_some_and(|token| state.taken.contains(token));
        let is_last = shown.is_some() && shown == state.last.as_ref().map(|last| &last.access);
        match state.tokens {
            McpTokens::Good => true,
            McpTokens::Expired => is_named || is_last,
            McpTokens::ShortLived => is_last && !std::mem::replace(&mut state.is_spent, true),
            McpTokens::Revoked => false,
        }
    }

    /// New tokens for `old` ones, or for a client that has none.
    pub(super) fn give(&self, old: Option<&OAuthTokens>) -> Option<OAuthTokens> {
        let mut state = self.state();
        let is_used = state
            .last
            .as_ref()
            .zip(old)
            .is_some_and(|(last, old)| last.refresh != old.refresh);
        if state.tokens == McpTokens::Revoked || is_used {
            return None;
        }
        state.given += 1;
        let number = state.given;
        let fresh = OAuthTokens {
            access: Secret::new(format!("a-token-of-a-fake-server-{number}")),
            refresh: Some(Secret::new(format!(
                "a-refresh-token-of-a-fake-server-{number}"
            ))),
            expires: None,
            issuer: old.map_or_else(
                || "https://issuer.invalid".to_owned(),
                |old| old.issuer.clone(),
            ),
            scopes: Vec::new(),
            registration: old.and_then(|old| old.registration.clone()),
        };
        state.last = Some(fresh.clone());
        state.is_spent = false;
        Some(fresh)
    }
}
