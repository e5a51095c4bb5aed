//! Who may call: by the name they use for the server, the page they come from, and what they show.

use std::net::SocketAddr;

use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use seaworthy_ports::Secret;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::answer::{Answer, plain};
use super::oauth::{Caller, IssuerError, ResourceServer};
use super::{HttpError, HttpSettings};

/// The fewest bytes of a token: fewer can be guessed.
pub const MIN_TOKEN_BYTES: usize = 16;
/// The names of this machine for itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A token that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It can be guessed.
    #[error(
        "the token has fewer than {MIN_TOKEN_BYTES} bytes and could be guessed; make one with `openssl rand -hex 32`"
    )]
    Short,
    /// No header can carry it.
    #[error("the token has characters that a header cannot carry; use letters, digits and -._~+/=")]
    Unspeakable,
}

/// A host, and a port where only one will do.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    host: String,
    port: Option<u16>,
}

impl Name {
    fn of(authority: &Authority) -> Self {
        let host = authority.host();
        Self {
            host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
            port: authority.port_u16(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        // Names with a user in front name something else than they seem to.
        if text.contains('@') {
            return None;
        }
        text.parse().ok().map(|authority| Self::of(&authority))
    }

    /// Whether `asked` is this, or this on any port.
    fn covers(&self, asked: &Self) -> bool {
        self.host == asked.host && (self.port.is_none() || self.port == asked.port)
    }
}

/// Where a web page comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// `None`: it is none, or `null`, which any page can be.
    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('@') {
            return None;
        }
        let Name { host, port } = Name::of(uri.authority()?);
        let usual = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        Some(Self {
            scheme,
            host,
            port: port.unwrap_or(usual),
        })
    }
}

/// What is checked before anything of a request is read but its head.
pub(super) struct Guard {
    names: Vec<Name>,
    origins: Vec<Origin>,
    lock: Lock,
}

/// What callers must show.
enum Lock {
    /// Nothing.
    Open,
    /// The one token, of which the digest is kept, so that what is compared is always as long.
    Token([u8; 32]),
    /// A token of an issuer.
    OAuth(Box<ResourceServer>),
}

impl Lock {
    fn new(settings: &HttpSettings) -> Result<Self, HttpError> {
        Ok(match (&settings.token, &settings.oauth) {
            (None, None) => Self::Open,
            (Some(token), None) => Self::Token(digest(token)?),
            (None, Some(oauth)) => Self::OAuth(Box::new(ResourceServer::new(oauth.clone())?)),
            (Some(_), Some(_)) => return Err(HttpError::TwoLocks),
        })
    }
}

impl Guard {
    pub(super) fn new(address: SocketAddr, settings: HttpSettings) -> Result<Self, HttpError> {
        let bound = address.ip().to_string();
        let mut names: Vec<Name> = LOOPBACK
            .iter()
            .copied()
            .chain((!address.ip().is_unspecified()).then_some(bound.as_str()))
            .map(|host| Name {
                host: host.to_owned(),
                port: None,
            })
            .collect();
        let lock = Lock::new(&settings)?;
        for host in settings.hosts {
            let name = Name::parse(&host);
            names.push(name.ok_or(HttpError::Name(host, "host name"))?);
        }
        if let Lock::OAuth(server) = &lock {
            names.extend(Name::parse(server.authority()));
        }
        let mut origins: Vec<Origin> = LOOPBACK
            .iter()
            .map(|host| Origin {
                scheme: "http".to_owned(),
                host: (*host).to_owned(),
                port: address.port(),
            })
            .collect();
        for origin in settings.origins {
            let parsed = Origin::parse(&origin);
            origins.push(parsed.ok_or(HttpError::Name(origin, "origin of web pages"))?);
        }
        Ok(Self {
            names,
            origins,
            lock,
        })
    }

    /// Asks the issuer of tokens for its keys, if there is one.
    pub(super) async fn check_issuer(&self) -> Result<(), IssuerError> {
        match &self.lock {
            Lock::OAuth(server) => server.check().await,
            Lock::Open | Lock::Token(_) => Ok(()),
        }
    }

    /// The answer to whoever asks how to come in, which needs no token.
    pub(super) fn metadata<B>(&self, request: &Request<B>) -> Option<Answer> {
        match &self.lock {
            Lock::OAuth(server) if request.method() == Method::GET => {
                server.metadata(request.uri().path())
            }
            _ => None,
        }
    }

    /// Lets the request pass whose token lets in, and says whose it is where tokens say that.
    pub(super) async fn admit(&self, headers: &HeaderMap) -> Result<Option<Caller>, Answer> {
        match &self.lock {
            Lock::Open => Ok(None),
            Lock::Token(expected) if is_token(expected, headers) => Ok(None),
            Lock::Token(_) => {
                let mut refused = plain(
                    StatusCode::UNAUTHORIZED,
                    "show the server's token: Authorization: Bearer TOKEN\n",
                );
                let bearer = HeaderValue::from_static("Bearer realm=\"seaworthy\"");
                refused
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, bearer);
                Err(refused)
            }
            Lock::OAuth(server) => server.admit(headers).await.map(Some),
        }
    }

    /// Lets the request pass that is for this server, from a page that may call it, or says why not.
    #[expect(
        clippy::result_large_err,
        reason = "the answer is what is sent, at once"
    )]
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Answer> {
        if !self.is_for_us(request) {
            return Err(plain(
                StatusCode::FORBIDDEN,
                "this server does not go by that name: the Host header must be one that it was started with\n",
            ));
        }
        if !self.is_from_us(request) {
            return Err(plain(
                StatusCode::FORBIDDEN,
                "web pages of that origin may not call this server\n",
            ));
        }
        Ok(())
    }

    /// A page whose name was made to point here (DNS rebinding) uses that name.
    fn is_for_us<B>(&self, request: &Request<B>) -> bool {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let asked = host.to_str().ok().and_then(Name::parse);
        asked.is_some_and(|asked| self.names.iter().any(|name| name.covers(&asked)))
    }

    /// Browsers say where a page comes from; other programs say nothing.
    fn is_from_us<B>(&self, request: &Request<B>) -> bool {
        request
            .headers()
            .get_all(header::ORIGIN)
            .iter()
            .all(|origin| {
                let origin = origin.to_str().ok().and_then(Origin::parse);
                origin.is_some_and(|origin| self.origins.contains(&origin))
            })
    }
}

/// The one bearer token that is shown.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(shown), None) = (shown.next(), shown.next()) else {
        return None;
    };
    let (scheme, token) = shown.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

fn is_token(expected: &[u8; 32], headers: &HeaderMap) -> bool {
    bearer(headers).is_some_and(|token| {
        let shown = Sha256::digest(token.as_bytes());
        bool::from(expected.ct_eq(shown.as_slice()))
    })
}

fn digest(token: &Secret) -> Result<[u8; 32], InvalidToken> {
    let token = token.expose().as_bytes();
    if token.len() < MIN_TOKEN_BYTES {
        return Err(InvalidToken::Short);
    }
    let is_speakable = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if !token.iter().all(is_speakable) {
        return Err(InvalidToken::Unspeakable);
    }
    Ok(Sha256::digest(token).into())
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn guard(settings: HttpSettings) -> Guard {
        Guard::new("127.0.0.1:8080".parse().unwrap(), settings).unwrap()
    }

    fn asked(guard: &Guard, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::new(());
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        if let Err(refused) = guard.check(&request) {
            return Some(refused.status().as_u16());
        }
        let admitted = guard.admit(request.headers()).now_or_never().unwrap();
        admitted.err().map(|refused| refused.status().as_u16())
    }

    #[test]
    fn a_name_that_is_not_the_servers_is_refused() {
        let guard = guard(HttpSettings {
            hosts: vec!["agents.example".to_owned(), "only.example:443".to_owned()],
            ..HttpSettings::default()
        });
        for host in [
            "127.0.0.1:8080",
            "localhost",
            "LOCALHOST:1",
            "[::1]:8080",
            "agents.example:99",
            "only.example:443",
        ] {
            assert_eq!(asked(&guard, &[("host", host)]), None, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "only.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "",
            "a b",
        ] {
            assert_eq!(asked(&guard, &[("host", host)]), Some(403), "{host}");
        }
        assert_eq!(asked(&guard, &[]), Some(403));
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(asked(&guard, &twice), Some(403));
    }

    #[test]
    fn only_the_servers_own_pages_and_named_ones_may_call() {
        let guard = guard(HttpSettings {
            origins: vec!["https://app.example".to_owned()],
            ..HttpSettings::default()
        });
        let from = |origin| asked(&guard, &[("host", "localhost"), ("origin", origin)]);
        for origin in [
            "http://localhost:8080",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "https://app.example",
            "https://app.example:443",
        ] {
            assert_eq!(from(origin), None, "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://localhost:9999",
            "https://localhost:8080",
            "http://app.example",
            "https://app.example.evil",
            "https://app.example:444",
            "https://app.example@evil.example",
            "file://",
        ] {
            assert_eq!(from(origin), Some(403), "{origin}");
        }
    }

    #[test]
    fn without_the_token_nobody_comes_in() {
        let guard = guard(HttpSettings {
            token: Some(Secret::new(TOKEN)),
            ..HttpSettings::default()
        });
        let host = ("host", "localhost");
        let with = |shown| asked(&guard, &[host, ("authorization", shown)]);
        assert_eq!(with("Bearer 0123456789abcdef"), None);
        assert_eq!(with("bearer 0123456789abcdef"), None);
        for shown in [
            "Bearer 0123456789abcdeg",
            "Bearer 0123456789abcde",
            "Bearer",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert_eq!(with(shown), Some(401), "{shown}");
        }
        assert_eq!(asked(&guard, &[host]), Some(401));
        let right = ("authorization", "Bearer 0123456789abcdef");
        let twice = [host, right, ("authorization", "Bearer x")];
        assert_eq!(asked(&guard, &twice), Some(401));
    }

    #[test]
    fn a_token_that_can_be_guessed_or_not_be_sent_is_refused() {
        for (token, why) in [
            ("", InvalidToken::Short),
            ("0123456789abcde", InvalidToken::Short),
            ("0123456789abcdef\n", InvalidToken::Unspeakable),
        ] {
            assert_eq!(digest(&Secret::new(token)), Err(why));
        }
    }
}
