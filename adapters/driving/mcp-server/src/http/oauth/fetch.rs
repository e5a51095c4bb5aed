//! Documents of an issuer, fetched within bounds.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Client, RequestBuilder, Url, redirect, retry};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use seaworthy_ports::clock::Clock;
use serde::de::DeserializeOwned;

/// The most bytes of a document.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;
/// The longest time until a connection is there; the clock bounds the whole besides.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest time until a document is there.
pub(super) const MAX_TIME: Duration = Duration::from_secs(5);

/// Why there is no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It may be there another time.
    Unreachable(&'static str),
    /// The server says that there is none.
    Absent,
    /// There is one, which is not to be gone by.
    Unfit(&'static str),
}

/// A document, and for how long it may be kept, if the server says so.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) body: Vec<u8>,
    pub(super) keep: Option<Duration>,
}

impl Fetched {
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        let read = serde_json::from_slice(&self.body);
        read.map_err(|_error| Trouble::Unfit("its metadata is not what RFC 8414 has"))
    }
}

/// Fetches documents. Nothing is sent along but what is asked for, and a form if there is one.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    client: Client,
    clock: Arc<dyn Clock>,
}

impl Fetcher {
    /// `None`: the platform's certificates cannot be used. Without encryption they are not read.
    pub(super) fn new(is_encrypted: bool, clock: Arc<dyn Clock>) -> Option<Self> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls(is_encrypted)?)
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            .connect_timeout(CONNECT)
            // What another server says is not what the issuer says.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .retry(retry::never())
            .build();
        Some(Self {
            client: client.ok()?,
            clock,
        })
    }

    /// The document at `url`.
    ///
    /// # Errors
    ///
    /// [`Trouble`].
    pub(super) async fn get(&self, url: Url) -> Result<Fetched, Trouble> {
        self.in_time(self.client.get(url)).await
    }

    /// What `url` answers to a form.
    ///
    /// # Errors
    ///
    /// [`Trouble`].
    pub(super) async fn post(
        &self,
        url: Url,
        form: String,
        authorization: Option<HeaderValue>,
    ) -> Result<Fetched, Trouble> {
        let asked = self.client.post(url).body(form);
        let asked = asked.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let asked = match authorization {
            Some(value) => asked.header(AUTHORIZATION, value),
            None => asked,
        };
        self.in_time(asked).await
    }

    async fn in_time(&self, asked: RequestBuilder) -> Result<Fetched, Trouble> {
        let late = self.clock.sleep_until(self.clock.now().plus(MAX_TIME));
        tokio::select! {
            fetched = whole(asked) => fetched,
            () = late => Err(Trouble::Unreachable("it took too long to answer")),
        }
    }
}

/// The whole answer.
async fn whole(asked: RequestBuilder) -> Result<Fetched, Trouble> {
    let broken = |_error| Trouble::Unreachable("it could not be reached");
    let asked = asked.header(ACCEPT, "application/json");
    let mut answer = asked.send().await.map_err(broken)?;
    let status = answer.status();
    if status.is_redirection() {
        return Err(Trouble::Unfit(
            "it redirects elsewhere, which is not followed",
        ));
    }
    if status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
    {
        return Err(Trouble::Unreachable("it answered with an error"));
    }
    if status != StatusCode::OK {
        return Err(Trouble::Absent);
    }
    let keep = keep(answer.headers());
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > MAX_DOCUMENT_BYTES {
            return Err(Trouble::Unfit("its answer is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Fetched { body, keep })
}

/// For how long the answer may be kept.
fn keep(headers: &HeaderMap) -> Option<Duration> {
    let mut keep = None;
    for value in headers.get_all(CACHE_CONTROL) {
        for directive in value.to_str().ok()?.split(',') {
            let directive = directive.trim().to_ascii_lowercase();
            match directive.split_once('=') {
                None if directive == "no-store" || directive == "no-cache" => {
                    return Some(Duration::ZERO);
                }
                Some(("max-age", seconds)) => {
                    let seconds = seconds.trim_matches('"').parse().ok();
                    keep = keep.or(seconds.map(Duration::from_secs));
                }
                _ => {}
            }
        }
    }
    keep
}

/// TLS by rustls with ring.
fn tls(is_encrypted: bool) -> Option<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .ok()?;
    Some(if is_encrypted {
        builder.with_platform_verifier().ok()?.with_no_client_auth()
    } else {
        builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_kept_for_as_long_as_its_server_says() {
        for (said, kept) in [
            ("max-age=300", Some(300)),
            ("public, Max-Age=\"60\", must-revalidate", Some(60)),
            ("max-age=300, no-store", Some(0)),
            ("no-cache", Some(0)),
            ("public", None),
            ("max-age=soon", None),
            ("max-age=-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, said.parse().unwrap());
            assert_eq!(keep(&headers), kept.map(Duration::from_secs), "{said}");
        }
        assert_eq!(keep(&HeaderMap::new()), None);
    }
}
