//! Calls of handlers from outside.

use std::fmt;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Url, redirect, retry};
use seaworthy_ports::Secret;
use seaworthy_ports::durable_runtime::{Kind, RuntimeError};
use seaworthy_tls::Offers;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::RestateConfig;
use crate::error::{of_client, of_status, refusal};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a call whose connection could not be made is tried, and the pauses between.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(250)];

/// The server as a caller sees it. Its connections belong to the runtime of the thread that calls first.
#[derive(Clone)]
pub(crate) struct Ingress {
    client: Client,
    base: Url,
    timeout: Duration,
}

impl fmt::Debug for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingress")
            .field("host", &self.base.host_str())
            .field("port", &self.base.port_or_known_default())
            .finish_non_exhaustive()
    }
}

impl Ingress {
    /// No I/O but for reading the platform's certificates, where the address asks for them.
    pub(crate) fn new(config: &RestateConfig) -> Result<Self, RuntimeError> {
        let base = address(&config.ingress)?;
        let client = client(&base, config.token.as_ref())?;
        Ok(Self {
            client,
            base,
            timeout: config.timeout,
        })
    }

    /// Calls the handler of an object and waits for its answer, as long as every answer may take.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        object: (&str, &str),
        handler: &str,
        message: &(impl Serialize + Sync),
    ) -> Result<T, RuntimeError> {
        let timeout = self.timeout;
        self.call_for(timeout, operation, object, handler, message)
            .await
    }

    /// The same, `timeout` long.
    pub(crate) async fn call_for<T: DeserializeOwned>(
        &self,
        timeout: Duration,
        operation: &'static str,
        object: (&str, &str),
        handler: &str,
        message: &(impl Serialize + Sync),
    ) -> Result<T, RuntimeError> {
        let request = self.client.post(self.url(object, handler)).json(message);
        let body = self.exchange(operation, request.timeout(timeout)).await?;
        // A handler without a result answers with nothing.
        let body = if body.is_empty() {
            b"null".as_slice()
        } else {
            &body
        };
        serde_json::from_slice(body)
            .map_err(|_error| refusal(Kind::Corrupt, operation, "the answer cannot be read"))
    }

    /// The same of a handler that is told nothing.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        timeout: Duration,
        operation: &'static str,
        object: (&str, &str),
        handler: &str,
    ) -> Result<T, RuntimeError> {
        let request = self.client.post(self.url(object, handler));
        let body = self.exchange(operation, request.timeout(timeout)).await?;
        let body = if body.is_empty() {
            b"null".as_slice()
        } else {
            &body
        };
        serde_json::from_slice(body)
            .map_err(|_error| refusal(Kind::Corrupt, operation, "the answer cannot be read"))
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    fn url(&self, (object, key): (&str, &str), handler: &str) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([object, key, handler]);
        }
        url
    }

    async fn exchange(
        &self,
        operation: &'static str,
        request: reqwest::RequestBuilder,
    ) -> Result<Vec<u8>, RuntimeError> {
        let mut pauses = PAUSES.iter();
        loop {
            let Some(attempt) = request.try_clone() else {
                return Err(refusal(Kind::Rejected, operation, "the call has no body"));
            };
            match attempt.send().await {
                Ok(response) if response.status().is_success() => {
                    let body = response.bytes().await;
                    return body
                        .map(|body| body.to_vec())
                        .map_err(|error| of_client(operation, error));
                }
                Ok(response) => return Err(of_status(operation, response.status())),
                // Nothing was sent. A server that restarts is back soon.
                Err(error) if error.is_connect() => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(of_client(operation, error)),
                },
                Err(error) => return Err(of_client(operation, error)),
            }
        }
    }
}

/// The address of a server, in which no secret can hide.
pub(crate) fn address(text: &str) -> Result<Url, RuntimeError> {
    let wrong = |why| refusal(Kind::Rejected, "connect", why);
    let url = Url::parse(text).map_err(|_error| wrong("the address of the server is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong(
            "the address of the server is neither http:// nor https://",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "the address of the server holds a user or password; give a token instead",
        ));
    }
    Ok(url)
}

/// An HTTP client for this server alone.
pub(crate) fn client(base: &Url, token: Option<&Secret>) -> Result<Client, RuntimeError> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let unusable = |_error| {
            refusal(
                Kind::Rejected,
                "connect",
                "the token is not made of visible ASCII letters",
            )
        };
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(unusable)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let tls =
        seaworthy_tls::client(base.scheme() == "https", Offers::Nothing).map_err(|_unusable| {
            refusal(
                Kind::Rejected,
                "connect",
                "the platform's certificates cannot be used",
            )
        })?;
    Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("seaworthy-restate/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .connect_timeout(CONNECT_TIMEOUT)
        // Nobody else must get the token.
        .redirect(redirect::Policy::none())
        .no_proxy()
        .retry(retry::never())
        .build()
        .map_err(|_error| refusal(Kind::Rejected, "connect", "the HTTP client cannot be built"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_no_secret_and_a_key_no_path() {
        for wrong in ["", "host:8080", "ftp://host", "http://me:secret@host"] {
            let error = address(wrong).unwrap_err();
            assert_eq!(error.kind(), Kind::Rejected, "{wrong}");
            assert!(!error.to_string().contains("secret"));
        }
        let ingress = Ingress::new(&RestateConfig::new("http://host:8080/base/")).unwrap();
        let url = ingress.url(("Object", "a/../b?c"), "handler");
        assert_eq!(
            url.as_str(),
            "http://host:8080/base/Object/a%2F..%2Fb%3Fc/handler"
        );
        assert!(!format!("{ingress:?}").contains("base"));
    }

    #[test]
    fn a_token_that_no_header_carries_is_refused_unseen() {
        let config = RestateConfig::new("http://host").with_token(Secret::new("hush\nhush"));
        let error = Ingress::new(&config).unwrap_err();
        assert_eq!(error.kind(), Kind::Rejected);
        assert!(!format!("{error:?}").contains("hush"));
    }
}
