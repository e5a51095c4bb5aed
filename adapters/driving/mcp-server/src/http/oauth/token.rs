//! Access tokens as RFC 9068 has them: what one says can be read only once a key of the issuer has signed it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use seaworthy_ports::Timestamp;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::Caller;
use super::keys::{Algorithm, Keys};

/// The most bytes of a token.
pub(super) const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The most characters of a subject.
const MAX_SUBJECT: usize = 255;
/// By how much the issuer's clock may differ from this one.
pub(super) const LEEWAY: Duration = Duration::from_secs(30);

/// Why a token lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    Unspeakable,
    Type,
    Algorithm,
    UnknownKey,
    Signature,
    Inactive,
    Kind,
    Bound,
    Claims,
    Issuer,
    Audience,
    Expired,
    NotYet,
    Subject,
    Scope,
}

impl Refusal {
    /// What the client is told. It has no quotes, and nothing of the token.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Malformed => "it is no signed JWT",
            Self::Unspeakable => {
                "it is longer than a token may be, or has characters that none has"
            }
            Self::Type => "it is no access token: its type is not at+jwt",
            Self::Algorithm => "it is not signed with RS256, PS256, ES256 or EdDSA",
            Self::UnknownKey => "the issuer has no such key",
            Self::Signature => "its signature is not that of the issuer",
            Self::Inactive => "the issuer says that it is not good, or no longer",
            Self::Kind => "the issuer does not say that it is a bearer token",
            Self::Bound => "it is bound to a key or a certificate, which is not checked here",
            Self::Claims => "it does not say what an access token says",
            Self::Issuer => "it is from another issuer",
            Self::Audience => "it is for another server",
            Self::Expired => "it has expired",
            Self::NotYet => "it is not valid yet",
            Self::Subject => "its subject is empty or too long",
            Self::Scope => "it has not the scope that is needed",
        }
    }
}

/// What a token must say.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) scopes: Vec<String>,
}

/// A token of which nobody knows yet who made it.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    algorithm: Algorithm,
    key: Option<String>,
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

/// The head of a token. What it names or brings as a key of its own (`jku`, `jwk`, `x5u`, `x5c`) is not looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    /// What must be understood. Nothing of the kind is.
    crit: Option<IgnoredAny>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    ///
    /// It is none that could be checked.
    pub(super) fn parse(token: &'a str) -> Result<Self, Refusal> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        let header: Header = json(header).ok_or(Refusal::Malformed)?;
        let algorithm = Algorithm::parse(&header.alg).ok_or(Refusal::Algorithm)?;
        if header.crit.is_some() {
            return Err(Refusal::Malformed);
        }
        let is_access_token = header.typ.is_some_and(|kind| {
            let kind = kind.to_ascii_lowercase();
            kind.strip_prefix("application/").unwrap_or(&kind) == "at+jwt"
        });
        if !is_access_token {
            return Err(Refusal::Type);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature);
        Ok(Self {
            algorithm,
            key: header.kid,
            signed,
            payload,
            signature: signature.map_err(|_error| Refusal::Malformed)?,
        })
    }

    /// Whether `keys` have one that the token may be signed with.
    pub(super) fn is_known_to(&self, keys: &Keys) -> bool {
        keys.have(self.algorithm, self.key.as_deref())
    }

    /// What the token says.
    ///
    /// # Errors
    ///
    /// It is not signed with any of `keys`, or says nothing of the kind.
    pub(super) fn verify(self, keys: &Keys) -> Result<Claims, Refusal> {
        if !self.is_known_to(keys) {
            return Err(Refusal::UnknownKey);
        }
        let key = self.key.as_deref();
        if !keys.have_signed(self.algorithm, key, self.signed.as_bytes(), &self.signature) {
            return Err(Refusal::Signature);
        }
        json(self.payload).ok_or(Refusal::Claims)
    }
}

/// What a token says, once it is known that its issuer says it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: Instant,
    nbf: Option<Instant>,
    scope: Option<String>,
    /// The key or certificate whose holder alone may show the token (RFC 7800). Whoever shows it as a bearer has it from
    /// there.
    #[serde(default, rename = "cnf", deserialize_with = "is_there")]
    is_bound: bool,
    /// Nobody is its subject: it is the client's own, and `sub` is what that is called.
    #[serde(skip)]
    is_clients: bool,
}

fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    Option::<IgnoredAny>::deserialize(value).map(|found| found.is_some())
}

/// What an issuer says of a token that is good, where it is asked (RFC 7662).
#[derive(Deserialize)]
struct Told {
    /// Whoever answers is the issuer; what it says all the same has to be so.
    iss: Option<String>,
    sub: Option<String>,
    client_id: Option<String>,
    aud: Audience,
    exp: Instant,
    nbf: Option<Instant>,
    scope: Option<String>,
    token_type: Option<String>,
    #[serde(default, rename = "cnf", deserialize_with = "is_there")]
    is_bound: bool,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn has(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => one == wanted,
            Self::Many(many) => many.iter().any(|one| one == wanted),
        }
    }
}

/// Seconds since 1970, with or without a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
struct Instant(f64);

impl Instant {
    /// In milliseconds, which a float holds exactly for longer than anything lasts.
    fn millis(self) -> f64 {
        self.0 * 1000.0
    }
}

impl Claims {
    /// What `issuer` says of a token.
    ///
    /// # Errors
    ///
    /// It does not say what an access token says, or that it is one: refresh tokens are good as well, for something else.
    pub(super) fn told(told: Map<String, Value>, issuer: &str) -> Result<Self, Refusal> {
        let told: Told = serde_json::from_value(told.into()).map_err(|_error| Refusal::Claims)?;
        let is_bearer = |kind: String| kind.eq_ignore_ascii_case("bearer");
        if !told.token_type.is_some_and(is_bearer) {
            return Err(Refusal::Kind);
        }
        let is_clients = told.sub.is_none();
        Ok(Self {
            iss: told.iss.unwrap_or_else(|| issuer.to_owned()),
            sub: told.sub.or(told.client_id).ok_or(Refusal::Subject)?,
            aud: told.aud,
            exp: told.exp,
            nbf: told.nbf,
            scope: told.scope,
            is_bound: told.is_bound,
            is_clients,
        })
    }

    /// When the token ends.
    pub(super) fn end(&self) -> Timestamp {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what is beyond any time is as good as its end"
        )]
        Timestamp::from_millis(self.exp.millis() as i64)
    }

    /// Who shows the token, if that is as expected.
    ///
    /// # Errors
    ///
    /// What is not.
    pub(super) fn check(&self, expected: &Expected, now: Timestamp) -> Result<Caller, Refusal> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds of this age are exact"
        )]
        let (now, leeway) = (now.as_millis() as f64, LEEWAY.as_millis() as f64);
        if self.iss != expected.issuer {
            return Err(Refusal::Issuer);
        }
        if !self.aud.has(&expected.audience) {
            return Err(Refusal::Audience);
        }
        if now >= self.exp.millis() + leeway {
            return Err(Refusal::Expired);
        }
        if self.nbf.is_some_and(|from| now + leeway < from.millis()) {
            return Err(Refusal::NotYet);
        }
        if self.is_bound {
            return Err(Refusal::Bound);
        }
        if self.sub.is_empty() || self.sub.chars().count() > MAX_SUBJECT {
            return Err(Refusal::Subject);
        }
        let scope = self.scope.as_deref().unwrap_or_default();
        let has = |wanted: &String| scope.split(' ').any(|scope| scope == wanted);
        if !expected.scopes.iter().all(has) {
            return Err(Refusal::Scope);
        }
        Ok(Caller {
            name: self.sub.clone(),
            is_client: self.is_clients,
        })
    }
}

/// Whether `token` says nothing to anybody but its issuer: it does not begin as a JWT does.
pub(super) fn is_opaque(token: &str) -> bool {
    let header = token.split_once('.').map_or("", |(header, _rest)| header);
    json::<IgnoredAny>(header).is_none()
}

/// Whether an opaque token is one that RFC 6750 has.
pub(super) fn is_speakable(token: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    !token.is_empty() && token.len() <= MAX_TOKEN_BYTES && token.bytes().all(is_letter)
}

fn json<T: DeserializeOwned>(part: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_without_a_subject_is_its_clients() {
        let expected = Expected {
            issuer: "i".to_owned(),
            audience: "a".to_owned(),
            scopes: Vec::new(),
        };
        for (sub, written) in [
            (json!("anna"), "mcp:anna"),
            (Value::Null, "mcp-client:robot"),
        ] {
            let told = json!({
                "sub": sub, "client_id": "robot", "aud": "a", "exp": 9, "token_type": "bearer",
            });
            let claims = Claims::told(told.as_object().unwrap().clone(), "i").unwrap();
            let caller = claims.check(&expected, Timestamp::from_millis(0)).unwrap();
            assert_eq!(caller.on_record(), written);
        }
    }
}
