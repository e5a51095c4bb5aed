//! The authorisation server of a server at an address, at the same place.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::script::{Access, RENEWED_TOKEN};
use super::stage::CANARY;

/// Gives tokens. A refresh token works once.
pub(super) struct Authority {
    access: Access,
    origin: String,
    given: Mutex<Given>,
}

#[derive(Default)]
struct Given {
    number: usize,
    is_spent: bool,
}

impl Given {
    fn access(&self) -> String {
        format!("given-{}", self.number)
    }

    fn refresh(&self) -> String {
        match self.number {
            0 => CANARY.to_owned(),
            number => format!("refreshing-{number}"),
        }
    }
}

impl Authority {
    pub(super) fn new(access: Access, origin: &str) -> Self {
        Self {
            access,
            origin: origin.to_owned(),
            given: Mutex::default(),
        }
    }

    /// Its answer to what is asked at `path`. `None`: that is not for it.
    pub(super) fn answer(&self, path: &str, body: &str) -> Option<(&'static str, String)> {
        let origin = &self.origin;
        let found = match path {
            "/.well-known/oauth-protected-resource/mcp" => json!({
                "resource": format!("{origin}/mcp"),
                "authorization_servers": [origin],
            }),
            "/.well-known/oauth-authorization-server" => json!({
                "issuer": origin,
                "authorization_endpoint": format!("{origin}/authorize"),
                "token_endpoint": format!("{origin}/token"),
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            }),
            "/token" => return Some(self.give(body)),
            _ => return None,
        };
        Some(("200 OK", found.to_string()))
    }

    fn give(&self, body: &str) -> (&'static str, String) {
        let refused = |why: &str| ("400 Bad Request", json!({"error": why}).to_string());
        let said = |pair: &str| body.split('&').any(|said| said == pair);
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let is_granted = said("grant_type=client_credentials")
            || said("grant_type=refresh_token")
                && said(&format!("refresh_token={}", given.refresh()));
        if !is_granted || self.access == Access::Revoked {
            return refused("invalid_grant");
        }
        given.number += 1;
        given.is_spent = false;
        let tokens: Value = json!({
            "access_token": given.access(),
            "refresh_token": given.refresh(),
            "token_type": "Bearer",
        });
        ("200 OK", tokens.to_string())
    }

    /// Whether a request with this header is let in.
    pub(super) fn lets_in(&self, shown: Option<&str>) -> bool {
        let token = shown.and_then(|shown| shown.strip_prefix("Bearer "));
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let is_last = given.number > 0 && token == Some(given.access().as_str());
        match self.access {
            Access::Open | Access::ForgetsOnce | Access::AlwaysForgets => true,
            Access::Expired => is_last || token == Some(RENEWED_TOKEN),
            Access::ShortLived => is_last && !std::mem::replace(&mut given.is_spent, true),
            Access::Revoked | Access::NeverAllowed => false,
        }
    }
}
