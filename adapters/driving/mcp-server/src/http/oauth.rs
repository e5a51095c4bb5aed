//! The server as a resource server of OAuth: access tokens of one issuer, for this server, as RFC 9068 has them.
//!
//! A JWT is checked with the keys that the issuer publishes. About tokens that are none, and if wanted about all, the issuer
//! is asked (RFC 7662).

mod fetch;
mod introspection;
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
use introspection::Introspection;
pub use introspection::IntrospectionSettings;
use issuer::{Issuer, is_local};
use metadata::Metadata;
use token::{Expected, Refusal, Unverified};

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
    /// How the issuer is asked about single tokens. `None`: it is not, and every token is a JWT.
    pub introspection: Option<IntrospectionSettings>,
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
    /// As whom the issuer is to be asked about tokens cannot be sent.
    #[error(
        "{0:?} is no id of a client, or its secret is none: neither is empty or longer than 4096 bytes"
    )]
    Client(String),
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
    #[error("{issuer} could not be asked: {why}")]
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

/// Who calls: the subject of the token that was shown, or the client that it was given to where it has none.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    name: String,
    is_client: bool,
}

impl Caller {
    /// For the record. Two callers are never written alike: what is no visible ASCII letter is written as its bytes, and a
    /// client is not written as a subject.
    pub(crate) fn on_record(&self) -> String {
        let mut written = if self.is_client {
            "mcp-client:"
        } else {
            "mcp:"
        }
        .to_owned();
        for byte in self.name.bytes() {
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
    introspection: Option<Introspection>,
    clock: Arc<dyn Clock>,
}

impl ResourceServer {
    pub(super) fn new(settings: OAuthSettings) -> Result<Self, InvalidOAuth> {
        let OAuthSettings {
            issuer: id,
            audience,
            scopes,
            introspection,
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
        if let Some(unsound) = introspection.as_ref().filter(|it| !it.are_sound()) {
            return Err(InvalidOAuth::Client(unsound.client_id.clone()));
        }
        let fetcher = Fetcher::new(url.scheme() == "https", Arc::clone(&clock));
        let fetcher = fetcher.ok_or(InvalidOAuth::Tls)?;
        let expected = Expected {
            issuer: id,
            audience,
            scopes,
        };
        let issuer = Issuer::new(
            &expected.issuer,
            &url,
            introspection.is_some(),
            fetcher.clone(),
            Arc::clone(&clock),
        );
        let introspection = introspection.map(|settings| {
            let (issuer, clock) = (Arc::clone(&issuer), Arc::clone(&clock));
            Introspection::new(settings, issuer, &expected.issuer, fetcher, clock)
        });
        Ok(Self {
            metadata: Metadata::new(&expected, &resource),
            issuer,
            introspection,
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

    /// Asks the issuer for its keys, and whether this server may ask about tokens.
    pub(super) async fn check(&self) -> Result<(), IssuerError> {
        let issuer = self.expected.issuer.clone();
        let checked = match (self.issuer.check().await, &self.introspection) {
            (Ok(()), Some(introspection)) => introspection.check().await,
            (checked, _) => checked,
        };
        checked.map_err(|trouble| match trouble {
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
        let refuse = |why: Refusal| {
            tracing::debug!("a token lets nobody in: {}", why.words());
            self.metadata.refuse(why)
        };
        let now = || self.clock.now();
        if let Some(introspection) = &self.introspection
            && token::is_opaque(token)
        {
            if !token::is_speakable(token) {
                return Err(refuse(Refusal::Unspeakable));
            }
            let told = introspection.told(token).await.map_err(unsaid)?;
            let checked = told.and_then(|claims| claims.check(&self.expected, now()));
            return checked.map_err(refuse);
        }
        let unverified = Unverified::parse(token).map_err(refuse)?;
        let published = self.issuer.keys(|keys| unverified.is_known_to(keys)).await;
        let published = published.map_err(|_trouble| unknown())?;
        let claims = unverified.verify(&published.keys).map_err(refuse)?;
        let caller = claims.check(&self.expected, now()).map_err(refuse)?;
        // What the token says is known; the issuer is asked whether it still holds.
        if let Some(introspection) = &self.introspection
            && introspection.asks_about_all()
            && introspection.told(token).await.map_err(unsaid)? == Err(Refusal::Inactive)
        {
            return Err(refuse(Refusal::Inactive));
        }
        Ok(caller)
    }
}

/// The answer where the issuer does not say what it is asked.
fn unsaid(trouble: Trouble) -> Answer {
    tracing::warn!("the issuer of tokens does not say what one is good for: {trouble:?}");
    unknown()
}

/// The answer where nobody can say whether the token is one.
fn unknown() -> Answer {
    let mut refused = plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "the issuer of tokens cannot be asked now; try again\n",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_callers_are_written_alike() {
        let of = |name: &str, is_client| {
            let name = name.to_owned();
            Caller { name, is_client }.on_record()
        };
        assert_eq!(of("anna", false), "mcp:anna");
        assert_eq!(of("anna", true), "mcp-client:anna");
        assert_eq!(of("a%\n", false), "mcp:a%25%0A");
    }
}
