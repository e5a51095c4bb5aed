//! The connection to an endpoint.

use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Url, redirect, retry};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use seaworthy_ports::model_provider::{
    Embeddings, Kind, ModelCapabilities, ModelError, ModelEvent, ModelProvider, ModelRequest,
    Rerank,
};
use seaworthy_ports::{AdapterInfo, BoxStream};

use crate::call::Call;
use crate::config::OpenAiConfig;
use crate::error::{ADAPTER, refused};

/// A model behind an OpenAI-compatible endpoint. Clones share their connections.
#[derive(Clone)]
pub struct OpenAi(Arc<Endpoint>);

/// Where calls go, and what bounds them.
pub(crate) struct Endpoint {
    http: OnceLock<reqwest::Client>,
    headers: HeaderMap,
    pub(crate) url: Url,
    pub(crate) config: OpenAiConfig,
}

impl Endpoint {
    /// The client, made when it is first asked for: reading the platform's certificates takes longer than all else that
    /// a program does until its first run is on record.
    pub(crate) fn http(&self) -> Result<&reqwest::Client, ModelError> {
        if let Some(made) = self.http.get() {
            return Ok(made);
        }
        let made = client(&self.url, self.headers.clone(), &self.config)?;
        Ok(self.http.get_or_init(|| made))
    }
}

impl fmt::Debug for OpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAi")
            .field("host", &self.0.url.host_str())
            .finish_non_exhaustive()
    }
}

impl OpenAi {
    /// Prepares calls to the endpoint. No I/O: the platform's certificates are read with the first call, which fails
    /// with [`Kind::Unsupported`] where they cannot be used.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidRequest`] for an address that is none, [`Kind::Authentication`] for a key that no header can
    /// carry.
    pub fn connect(config: OpenAiConfig) -> Result<Self, ModelError> {
        let url = address(&config.base_url)?;
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("text/event-stream, application/json"),
        );
        if let Some(key) = &config.api_key {
            let unusable = || {
                refused(
                    Kind::Authentication,
                    "connect",
                    "the key is not made of visible ASCII letters",
                )
            };
            if key.expose().is_empty() || !key.expose().bytes().all(|byte| byte.is_ascii_graphic())
            {
                return Err(unusable());
            }
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose()))
                .map_err(|_error| unusable())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Self(Arc::new(Endpoint {
            http: OnceLock::new(),
            headers,
            url,
            config,
        })))
    }
}

fn client(
    url: &Url,
    headers: HeaderMap,
    config: &OpenAiConfig,
) -> Result<reqwest::Client, ModelError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls(url.scheme() == "https")?)
        .default_headers(headers)
        .user_agent(concat!(
            env!("CARGO_PKG_NAME"),
            "/",
            env!("CARGO_PKG_VERSION")
        ))
        .connect_timeout(config.connect_timeout)
        // Another host must not get the key, and a proxy from the environment nobody configured here neither.
        .redirect(redirect::Policy::none())
        .no_proxy()
        .retry(retry::never())
        .build()
        .map_err(|_error| {
            refused(
                Kind::Unsupported,
                "stream",
                "the HTTP client cannot be built",
            )
        })
}

/// The address of chat completions under `base`.
fn address(base: &str) -> Result<Url, ModelError> {
    let invalid = |why: &'static str| refused(Kind::InvalidRequest, "connect", why);
    let mut url = Url::parse(base).map_err(|_error| invalid("the base URL is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("the base URL is neither http:// nor https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid(
            "the base URL holds a user or password; give a key instead",
        ));
    }
    url.set_fragment(None);
    url.path_segments_mut()
        .map_err(|()| invalid("the base URL has no path"))?
        .pop_if_empty()
        .extend(["chat", "completions"]);
    Ok(url)
}

/// TLS by rustls with ring. Without `is_needed` nothing is read from the platform, which may have no certificates.
fn tls(is_needed: bool) -> Result<ClientConfig, ModelError> {
    let unusable = |_error| {
        refused(
            Kind::Unsupported,
            "stream",
            "the platform's certificates cannot be used",
        )
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let mut config = if is_needed {
        builder
            .with_platform_verifier()
            .map_err(unusable)?
            .with_no_client_auth()
    } else {
        builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[async_trait]
impl ModelProvider for OpenAi {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: ADAPTER,
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn capabilities(&self, _model: &str) -> ModelCapabilities {
        ModelCapabilities::NONE
            .with_tool_use()
            .with_structured_output()
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let call = Call::new(Arc::clone(&self.0), request);
        stream::unfold(
            call,
            |mut call| async move { Some((call.next().await?, call)) },
        )
        .boxed()
    }

    fn embeddings(&self) -> Option<&dyn Embeddings> {
        None
    }

    fn rerank(&self) -> Option<&dyn Rerank> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_ends_with_the_path_of_chat_completions() {
        for (base, whole) in [
            (
                "https://api.openai.com/v1",
                "https://api.openai.com/v1/chat/completions",
            ),
            (
                "https://api.openai.com/v1/",
                "https://api.openai.com/v1/chat/completions",
            ),
            (
                "http://127.0.0.1:8080",
                "http://127.0.0.1:8080/chat/completions",
            ),
            (
                "https://x.example/a?api-version=1#top",
                "https://x.example/a/chat/completions?api-version=1",
            ),
        ] {
            assert_eq!(address(base).unwrap().as_str(), whole);
        }
    }

    #[test]
    fn what_is_no_address_of_an_endpoint_is_refused() {
        for base in [
            "",
            "api.openai.com/v1",
            "ftp://x.example",
            "file:///etc/passwd",
            "https://",
            "https://u:p@x.example",
        ] {
            assert_eq!(
                address(base).unwrap_err().kind(),
                Kind::InvalidRequest,
                "{base}"
            );
        }
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_refused_before_any_call() {
        for key in ["", "two\nlines", "a key", "schlüssel"] {
            let config = OpenAiConfig::new(Some(seaworthy_ports::Secret::new(key)));
            assert_eq!(
                OpenAi::connect(config).unwrap_err().kind(),
                Kind::Authentication,
                "{key:?}"
            );
        }
    }
}
