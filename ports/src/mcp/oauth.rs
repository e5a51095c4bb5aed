//! Tokens of authorisation servers: how they are got, and where they are kept.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::McpError;
use crate::{Secret, Timestamp};

/// How to get tokens of an authorisation server, by OAuth 2.1.
#[derive(Clone, Debug)]
pub struct OAuth {
    /// The client's id. `None`: it registers itself when a person is asked, and keeps what it was given with the tokens. An
    /// `https://` address is a document that describes the client, for authorisation servers that read one.
    pub client_id: Option<String>,
    /// How the client proves that it is this one.
    pub proof: OAuthProof,
    /// The authorisation server, which gets the proof; `None`: the one that the server names. Whoever gives a secret should
    /// say whom it is for, because the server names whom it likes.
    pub issuer: Option<String>,
    /// What is asked for; none: what the server says it takes.
    pub scopes: Vec<String>,
    /// How tokens are got.
    pub grant: OAuthGrant,
    /// Where tokens are kept between connections and processes.
    pub tokens: Arc<dyn OAuthTokenStore>,
    /// Who can be asked, for [`OAuthGrant::AuthorizationCode`]. With none, tokens are only refreshed.
    pub person: Option<Arc<dyn OAuthPerson>>,
}

/// How a client proves to an authorisation server that it is the one of its id.
#[derive(Clone, Debug)]
pub enum OAuthProof {
    /// Not at all: anybody can be this client.
    None,
    /// By a secret that both know.
    Secret(Secret),
    /// By signing with this key (PKCS #8 in PEM; P-256 or RSA), whose public half the authorisation server has.
    PrivateKey(Secret),
}

/// How tokens are got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OAuthGrant {
    /// A person grants them. With none that work and nobody to ask, a call is
    /// [`Kind::Authentication`](super::Kind::Authentication).
    AuthorizationCode,
    /// For the client itself.
    ClientCredentials,
}

/// Asks a person to grant what a client wants.
#[async_trait]
pub trait OAuthPerson: fmt::Debug + Send + Sync + 'static {
    /// Where the person's browser is sent back to.
    fn redirect(&self) -> String;

    /// Shows the person `address`, waits until the browser is sent back, and returns the query that it came with. Dropping
    /// the future waits no longer.
    async fn ask(&self, address: &str) -> Result<Secret, McpError>;
}

/// Keeps the tokens for one server, because a refresh token that is used may not work again.
#[async_trait]
pub trait OAuthTokenStore: fmt::Debug + Send + Sync + 'static {
    /// The newest tokens, if there are any. What cannot be read is an error.
    async fn load(&self) -> Result<Option<OAuthTokens>, McpError>;

    /// Keeps `tokens`, durable on return; they are not used before. A dropped future leaves the old or the new ones.
    async fn save(&self, tokens: OAuthTokens) -> Result<(), McpError>;

    /// Waits until nobody else, in any process, gets new tokens; nobody does until the lock is dropped or its holder dies.
    /// `load` and `save` do not wait for it.
    async fn lock(&self) -> Result<OAuthTokenLock, McpError>;
}

/// Keeps others from getting new tokens while it is there.
pub struct OAuthTokenLock(
    #[expect(dead_code, reason = "it is there to be dropped")] Box<dyn Send + Sync>,
);

impl OAuthTokenLock {
    /// A lock that ends when `held` is dropped.
    #[must_use]
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self(Box::new(held))
    }
}

impl fmt::Debug for OAuthTokenLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OAuthTokenLock")
    }
}

/// What an authorisation server gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthTokens {
    /// Sent with every request.
    pub access: Secret,
    /// Gets the next tokens.
    pub refresh: Option<Secret>,
    /// When the access token ends, if the authorisation server said.
    pub expires: Option<Timestamp>,
    /// The authorisation server that gave them. The refresh token goes to no other.
    pub issuer: String,
    /// What they are good for, as far as is known.
    pub scopes: Vec<String>,
    /// As whom the client registered itself; `None`: it has its id from elsewhere.
    pub registration: Option<OAuthRegistration>,
}

/// As whom a client registered itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuthRegistration {
    /// Its id.
    pub client_id: String,
    /// Its secret, if it was given one.
    pub secret: Option<Secret>,
    /// How it shows its secret, in the authorisation server's words.
    pub method: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_in_any_debug_output() {
        let canary = || Secret::new("canary");
        let tokens = OAuthTokens {
            access: canary(),
            refresh: Some(canary()),
            expires: None,
            issuer: "https://issuer.example".to_owned(),
            scopes: Vec::new(),
            registration: Some(OAuthRegistration {
                client_id: "client".to_owned(),
                secret: Some(canary()),
                method: None,
            }),
        };
        let proofs = [
            OAuthProof::Secret(canary()),
            OAuthProof::PrivateKey(canary()),
        ];
        let lock = OAuthTokenLock::new("canary");
        let shown = format!("{tokens:?} {tokens:#?} {proofs:?} {lock:?}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}
