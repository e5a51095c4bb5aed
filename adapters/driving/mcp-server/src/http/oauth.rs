//! The server as a resource server of OAuth: access tokens of one issuer, for this server, as RFC 9068 has them.
//!
//! Nothing is asked of the issuer about single tokens: a token is checked with the keys that the issuer publishes.

mod fetch;
mod issuer;
mod keys;
mod metadata;
mod token;

use std::fmt::Write as _;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use reqwest::Url;
use seaworthy_ports::clock::Clock;

use super::answer::{Answer, plain};
use fetch::{Fetcher, Trouble};
use issuer::{Issuer, is_local};
use metadata::Metadata;
use token::{Expected, Unverified};

/// The most scopes that a token can be asked for.
const MAX_SCOPES: usize = 32;

/// Whose access tokens let in.
#[derive(Clone, Debug)]
pub struct OAuthSettings {
    /// The issuer, exactly as tokens and its metadata name it: an `https` address, or an `http` one of this machine.
    pub issuer: String,
    /// The address by which clients know this server, `/mcp` and all: what tokens must be for.
    pub audience: String,
    /// What a token must have, all of it.
    pub scopes: Vec<String>,
    /// Tells whether a token has expired.
    pub clock: Arc<dyn Clock>,
}

/// Settings that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOAuth {
    /// The issuer is no address that can be trusted.
    #[error(
        "{0:?} is no issuer: write an https address without query and fragment, or an http one of this machine"
    )]
    Issuer(String),
    /// The audience is no address.
    #[error(
        "{0:?} is no address of this server: write the http or https address that clients use, without a fragment"
    )]
    Audience(String),
    /// A scope is none.
    #[error(
        "{0:?} is no scope: it has no spaces, quotes and backslashes; there are at most {MAX_SCOPES}"
    )]
    Scope(String),
    /// Nothing can be fetched over TLS.
    #[error(
        "the platform's certificates cannot be used, so that the issuer cannot be asked for its keys"
    )]
    Tls,
}

/// Why an issuer's keys are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// It may be there later.
    #[error("{issuer} could not be asked for its keys: {why}")]
    Unreachable {
        /// Who.
        issuer: String,
        /// What was seen.
        why: &'static str,
    },
    /// It is not the issuer that is meant, or none.
    #[error("{issuer} cannot be gone by: {why}")]
    Unfit {
        /// Who.
        issuer: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Who calls: the subject of the token that was shown.
#[derive(Clone, Debug)]
pub(crate) struct Caller(String);

impl Caller {
    /// For the record. Two subjects are never written alike: what is no visible ASCII letter is written as its bytes.
    pub(crate) fn on_record(&self) -> String {
        let mut written = "mcp:".to_owned();
        for byte in self.0.bytes() {
            if byte.is_ascii_graphic() && byte != b'%' {
                written.push(char::from(byte));
            } else {
                // Writing to a string does not fail.
                let _written = write!(written, "%{byte:02X}");
            }
        }
        written
    }
}

/// Checks tokens.
#[derive(Debug)]
pub(super) struct ResourceServer {
    expected: Expected,
    authority: String,
    metadata: Metadata,
    issuer: Arc<Issuer>,
    clock: Arc<dyn Clock>,
}

impl ResourceServer {
    pub(super) fn new(settings: OAuthSettings) -> Result<Self, InvalidOAuth> {
        let OAuthSettings {
            issuer: id,
            audience,
            scopes,
            clock,
        } = settings;
        let is_issuer =
            |url: &Url| (url.scheme() == "https" || is_local(url)) && url.query().is_none();
        let Some(url) = address(&id).filter(is_issuer) else {
            return Err(InvalidOAuth::Issuer(id));
        };
        let Some(resource) = address(&audience) else {
            return Err(InvalidOAuth::Audience(audience));
        };
        if let Some(scope) = scopes.iter().find(|scope| !is_scope(scope)) {
            return Err(InvalidOAuth::Scope(scope.clone()));
        }
        if let Some(scope) = scopes.get(MAX_SCOPES) {
            return Err(InvalidOAuth::Scope(scope.clone()));
        }
        let fetcher = Fetcher::new(url.scheme() == "https", Arc::clone(&clock));
        let fetcher = fetcher.ok_or(InvalidOAuth::Tls)?;
        let expected = Expected {
            issuer: id,
            audience,
            scopes,
        };
        Ok(Self {
            metadata: Metadata::new(&expected, &resource),
            issuer: Issuer::new(&expected.issuer, &url, fetcher, Arc::clone(&clock)),
            authority: resource.authority().to_owned(),
            expected,
            clock,
        })
    }

    /// The name by which clients know this server.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// The answer to a request for `path`, if it asks for how to come in.
    pub(super) fn metadata(&self, path: &str) -> Option<Answer> {
        self.metadata.at(path)
    }

    /// Asks the issuer for its keys.
    pub(super) async fn check(&self) -> Result<(), IssuerError> {
        let issuer = self.expected.issuer.clone();
        self.issuer.check().await.map_err(|trouble| match trouble {
            Trouble::Unreachable(why) => IssuerError::Unreachable { issuer, why },
            Trouble::Unfit(why) => IssuerError::Unfit { issuer, why },
            Trouble::Absent => IssuerError::Unfit {
                issuer,
                why: "it has no keys",
            },
        })
    }

    /// Who shows the token in `headers`.
    pub(super) async fn admit(&self, headers: &HeaderMap) -> Result<Caller, Answer> {
        let token = match super::guard::bearer(headers) {
            Some(token) => token,
            None => return Err(self.metadata.ask()),
        };
        let refuse = |why: token::Refusal| {
            tracing::debug!("a token lets nobody in: {}", why.words());
            self.metadata.refuse(why)
        };
        let token = Unverified::parse(token).map_err(refuse)?;
        let keys = self.issuer.keys(|keys| token.is_known_to(keys)).await;
        let keys = keys.map_err(|_trouble| unknown())?;
        let claims = token.verify(&keys).map_err(refuse)?;
        let subject = claims.check(&self.expected, self.clock.now());
        subject.map(Caller).map_err(refuse)
    }
}

/// The answer where nobody can say whether the token is one.
fn unknown() -> Answer {
    let mut refused = plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "the issuer of tokens cannot be asked for its keys; try again\n",
    );
    let rest = HeaderValue::from(issuer::REST.as_secs());
    refused.headers_mut().insert(header::RETRY_AFTER, rest);
    refused
}

/// An address as it stands in a header and in JSON alike.
fn address(text: &str) -> Option<Url> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if !text.bytes().all(is_plain) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let is_one = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    is_one.then_some(url)
}

fn is_scope(scope: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    !scope.is_empty() && scope.bytes().all(is_plain)
}
