//! How batches travel: reqwest on the runtime of the thread that sends.

use std::fmt;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::{Client, redirect, retry};
use seaworthy_tls::Offers;
use tokio::runtime::Handle;

use crate::config::OtlpConfig;
use crate::error::OtlpError;

/// The most bytes of an answer: a collector's are short.
const MAX_ANSWER: usize = 1024 * 1024;

/// Sends on one runtime, from whatever thread it is asked: the metrics have a thread without one.
#[derive(Clone)]
pub(crate) struct OnRuntime {
    client: Client,
    runtime: Handle,
}

impl fmt::Debug for OnRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRuntime")
    }
}

impl OnRuntime {
    pub(crate) fn new(config: &OtlpConfig, runtime: Handle) -> Result<Self, OtlpError> {
        let is_encrypted = config.url("traces")?.scheme() == "https";
        let tls = seaworthy_tls::client(is_encrypted, Offers::Http2).map_err(|_unusable| {
            OtlpError::Configuration("the platform's certificates cannot be used".to_owned())
        })?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(config.timeout)
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            // No other host gets the headers.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .retry(retry::never())
            .build()
            .map_err(|_error| {
                OtlpError::Configuration("the HTTP client cannot be built".to_owned())
            })?;
        Ok(Self { client, runtime })
    }
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let client = self.client.clone();
        self.runtime.spawn(send(client, request)).await?
    }
}

async fn send(client: Client, request: reqwest::Request) -> Result<Response<Bytes>, HttpError> {
    // Without the address, which is nobody's business.
    let mut answer = client
        .execute(request)
        .await
        .map_err(reqwest::Error::without_url)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        if body.len().saturating_add(chunk.len()) > MAX_ANSWER {
            return Err("the collector's answer is too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    let mut whole = Response::new(Bytes::from(body));
    *whole.status_mut() = answer.status();
    *whole.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(whole)
}
