//! Requests to authorisation servers: bounded, never redirected, encrypted unless they stay on this machine.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, redirect, retry};
use seaworthy_tls::Offers;
use serde::de::DeserializeOwned;

use crate::error::Fault;

/// The most bytes of an answer, and of an address.
const MOST_BYTES: usize = 256 * 1024;
const LONGEST_ADDRESS: usize = 4 * 1024;
/// How long one request may take at most.
const LONGEST: Duration = Duration::from_secs(30);

const FORM: &str = "application/x-www-form-urlencoded";
const SILENT: Fault = Fault::Unreachable("the authorisation server cannot be reached");

/// The way to authorisation servers.
#[derive(Debug)]
pub(super) struct Web {
    encrypted: OnceLock<Client>,
    plain: OnceLock<Client>,
    /// The server is on this machine and not encrypted, so its authorisation server may be so too.
    may_be_plain: bool,
    timeout: Duration,
}

impl Web {
    /// The way to the authorisation servers of `server`. No I/O.
    pub(super) fn for_server(server: &Url, timeout: Duration) -> Self {
        Self {
            encrypted: OnceLock::new(),
            plain: OnceLock::new(),
            may_be_plain: server.scheme() == "http" && is_here(server),
            timeout: timeout.min(LONGEST),
        }
    }

    /// An address that may be asked, or shown to a person.
    pub(super) fn address(&self, text: &str) -> Result<Url, Fault> {
        const UNFIT: Fault = Fault::Denied(
            "an address of the authorisation server is none that credentials may be sent to",
        );
        if text.len() > LONGEST_ADDRESS {
            return Err(UNFIT);
        }
        let url = Url::parse(text).map_err(|_error| UNFIT)?;
        let is_safe = match url.scheme() {
            "https" => url.host_str().is_some_and(|host| !host.is_empty()),
            "http" => self.may_be_plain && is_here(&url),
            _ => false,
        };
        let is_bare =
            url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if is_safe && is_bare {
            Ok(url)
        } else {
            Err(UNFIT)
        }
    }

    fn client(&self, url: &Url) -> Result<&Client, Fault> {
        let is_encrypted = url.scheme() == "https";
        let place = if is_encrypted {
            &self.encrypted
        } else {
            &self.plain
        };
        if let Some(made) = place.get() {
            return Ok(made);
        }
        let tls = seaworthy_tls::client(is_encrypted, Offers::Http2).map_err(|_unusable| {
            Fault::Unsupported("the platform's certificates cannot be used")
        })?;
        let made = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!(
                env!("CARGO_PKG_NAME"),
                "/",
                env!("CARGO_PKG_VERSION")
            ))
            .connect_timeout(self.timeout)
            .timeout(self.timeout)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .retry(retry::never())
            .build()
            .map_err(|_error| Fault::Unsupported("the HTTP client cannot be built"))?;
        Ok(place.get_or_init(|| made))
    }

    /// The document at `url`; `None`: there is none.
    pub(super) async fn document<T: DeserializeOwned>(&self, url: Url) -> Result<Option<T>, Fault> {
        let (status, body) = ask(self.client(&url)?.get(url)).await?;
        if status.is_client_error() && !is_passing(status) {
            return Ok(None);
        }
        if status != StatusCode::OK {
            return Err(of_status(status));
        }
        let read = serde_json::from_slice(&body);
        read.map(Some)
            .map_err(|_error| Fault::Denied("a document of the authorisation server is none"))
    }

    /// Posts a form.
    pub(super) async fn form(
        &self,
        url: Url,
        form: &[(&str, &str)],
        authorization: Option<HeaderValue>,
    ) -> Result<(StatusCode, Vec<u8>), Fault> {
        let request = self.client(&url)?.post(url).header(CONTENT_TYPE, FORM);
        let request = match authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        };
        ask(request.body(encoded(form)?)).await
    }

    /// Posts JSON.
    pub(super) async fn json(
        &self,
        url: Url,
        json: String,
    ) -> Result<(StatusCode, Vec<u8>), Fault> {
        let request = self.client(&url)?.post(url);
        let request = request.header(CONTENT_TYPE, "application/json").body(json);
        ask(request).await
    }
}

/// Pairs as forms have them.
pub(super) fn encoded(form: &[(&str, &str)]) -> Result<String, Fault> {
    let scratch = Url::parse("http://form/");
    let mut scratch = scratch.map_err(|_error| Fault::Unsupported("forms cannot be written"))?;
    scratch.query_pairs_mut().extend_pairs(form);
    Ok(scratch.query().unwrap_or_default().to_owned())
}

/// What an answer that is neither success nor refusal means.
pub(super) fn of_status(status: StatusCode) -> Fault {
    if status.is_redirection() {
        return Fault::Denied("the authorisation server redirects to another place");
    }
    if is_passing(status) {
        return Fault::Unreachable("the authorisation server cannot answer now");
    }
    Fault::Denied("the authorisation server answers with what is no success")
}

/// Whether the same question may be answered otherwise another time.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
}

async fn ask(request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), Fault> {
    const TOO_LARGE: Fault =
        Fault::Denied("an answer of the authorisation server is larger than it may be");
    // The error would name the address.
    let sent = request.header(ACCEPT, "application/json").send().await;
    let mut response: Response = sent.map_err(|_error| SILENT)?;
    let announced = response.content_length().unwrap_or_default();
    if announced > MOST_BYTES as u64 {
        return Err(TOO_LARGE);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_error| SILENT)? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(TOO_LARGE);
        }
        body.extend_from_slice(&chunk);
    }
    Ok((response.status(), body))
}

/// Whether the address is one of this machine.
pub(super) fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(server: &str) -> Web {
        Web::for_server(&Url::parse(server).unwrap(), LONGEST)
    }

    #[test]
    fn what_is_asked_is_encrypted_or_stays_on_this_machine() {
        let remote = web("https://mcp.example/mcp");
        let local = web("http://127.0.0.1:8080/mcp");
        let plain = web("http://mcp.example/mcp");
        for address in ["https://as.example/token", "https://as.example/token?a=b"] {
            assert!(remote.address(address).is_ok(), "{address}");
            assert!(local.address(address).is_ok(), "{address}");
        }
        for address in [
            "http://127.0.0.1:9/token",
            "http://localhost/token",
            "http://[::1]:9/token",
        ] {
            assert!(local.address(address).is_ok(), "{address}");
            assert!(remote.address(address).is_err(), "{address}");
            assert!(plain.address(address).is_err(), "{address}");
        }
        for address in [
            "",
            "token",
            "http://as.example/token",
            "http://127.0.0.1.example/token",
            "https://user:password@as.example/token",
            "https://as.example/token#there",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "data:text/html,x",
        ] {
            assert!(local.address(address).is_err(), "{address}");
        }
        let long = format!("https://as.example/{}", "a".repeat(LONGEST_ADDRESS));
        assert!(remote.address(&long).is_err());
    }

    #[test]
    fn a_form_is_encoded() {
        let form = encoded(&[("a", "b c&d"), ("é", "=")]).unwrap();
        assert_eq!(form, "a=b+c%26d&%C3%A9=%3D");
    }
}
