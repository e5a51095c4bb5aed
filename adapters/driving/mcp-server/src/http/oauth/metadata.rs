//! What clients are told of how to come in: RFC 9728.

use http::{HeaderValue, StatusCode, header};
use reqwest::Url;
use serde_json::json;

use super::token::{Expected, Refusal};
use crate::http::answer::{Answer, json, plain};

/// Where a server says who issues tokens for it.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What there is to tell, written once.
#[derive(Debug)]
pub(super) struct Metadata {
    document: String,
    /// The path of the resource, below which its document is.
    path: String,
    /// What every challenge begins with.
    challenge: String,
}

impl Metadata {
    pub(super) fn new(expected: &Expected, resource: &Url) -> Self {
        let path = resource.path().trim_end_matches('/').to_owned();
        let mut address = resource.clone();
        address.set_path(&format!("{WELL_KNOWN}{path}"));
        let mut document = json!({
            "resource": expected.audience,
            "authorization_servers": [expected.issuer],
            "bearer_methods_supported": ["header"],
            "resource_name": "seaworthy",
        });
        let mut challenge = format!("Bearer resource_metadata=\"{address}\"");
        if !expected.scopes.is_empty() {
            challenge.push_str(&format!(", scope=\"{}\"", expected.scopes.join(" ")));
            if let Some(document) = document.as_object_mut() {
                document.insert("scopes_supported".to_owned(), json!(expected.scopes));
            }
        }
        Self {
            document: document.to_string(),
            path,
            challenge,
        }
    }

    /// The document, if that is what `path` asks for: that of the resource, of the server, or of the path that is served,
    /// which a proxy may have shortened.
    pub(super) fn at(&self, path: &str) -> Option<Answer> {
        let below = path.strip_prefix(WELL_KNOWN)?;
        let is_ours = ["", crate::http::PATH, self.path.as_str()].contains(&below);
        is_ours.then(|| json(StatusCode::OK, self.document.clone()))
    }

    /// The answer to whoever shows no token.
    pub(super) fn ask(&self) -> Answer {
        let mut refused = plain(
            StatusCode::UNAUTHORIZED,
            "show an access token of this server's issuer: Authorization: Bearer TOKEN\n",
        );
        set_challenge(&mut refused, &self.challenge);
        refused
    }

    /// The answer to whoever shows one that lets nobody in.
    pub(super) fn refuse(&self, why: Refusal) -> Answer {
        let (status, error) = match why {
            Refusal::Scope => (StatusCode::FORBIDDEN, "insufficient_scope"),
            _ => (StatusCode::UNAUTHORIZED, "invalid_token"),
        };
        let words = why.words();
        let mut refused = plain(status, format!("the token lets nobody in: {words}\n"));
        let challenge = format!(
            "{}, error=\"{error}\", error_description=\"{words}\"",
            self.challenge
        );
        set_challenge(&mut refused, &challenge);
        refused
    }
}

fn set_challenge(answer: &mut Answer, challenge: &str) {
    // What it is made of was checked for what a header can carry.
    if let Ok(challenge) = HeaderValue::from_str(challenge) {
        answer
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
}
