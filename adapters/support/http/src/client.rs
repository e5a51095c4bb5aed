//! The client behind every adapter, and the addresses it may call.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url, redirect, retry};
use seaworthy_ports::model_provider::{Kind, ModelError};
use seaworthy_ports::{AdapterInfo, Secret};
use seaworthy_tls::Offers;

use crate::failure::refused;
use crate::frames::{Caps, Form};
use crate::headers::Names;

/// What a client needs to know.
#[derive(Clone)]
pub struct Settings<'a> {
    /// Who calls: its id is in every error and in every opaque item, its package is what the backend sees.
    pub about: AdapterInfo,
    /// How answers are written where their headers do not say.
    pub form: Form,
    /// What the backend calls its headers.
    pub names: Names,
    /// The address that paths are appended to.
    pub base_url: &'a str,
    /// The key, where the backend wants one.
    pub key: Option<&'a Secret>,
    /// The header that the key goes into, and what stands before it.
    pub key_header: (HeaderName, &'static str),
    /// Headers of every request.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// The longest time to connect.
    pub connect_timeout: Duration,
    /// The most bytes of an answer.
    pub caps: Caps,
}

/// Where calls go, and what bounds them.
#[derive(Clone)]
pub struct Connection {
    client: Arc<Unmade>,
    pub(crate) about: AdapterInfo,
    pub(crate) form: Form,
    pub(crate) names: Names,
    pub(crate) key: Option<Secret>,
    pub(crate) caps: Caps,
    base: Url,
}

/// A client and what it is made of. It is made when it is first asked for: reading the platform's certificates takes
/// longer than all else that a program does until its first run is on record.
struct Unmade {
    made: OnceLock<Client>,
    about: AdapterInfo,
    headers: HeaderMap,
    connect_timeout: Duration,
}

impl Connection {
    /// Prepares calls. No I/O: the platform's certificates are read with the first call, which fails with
    /// [`Kind::Unsupported`] where they cannot be used.
    ///
    /// # Errors
    ///
    /// [`Kind::InvalidRequest`] for an address that is none, [`Kind::Authentication`] for a key that no header can
    /// carry.
    pub fn new(settings: &Settings<'_>) -> Result<Self, ModelError> {
        let adapter = settings.about.id;
        let base = base(adapter, settings.base_url)?;
        let mut headers: HeaderMap = settings.headers.iter().cloned().collect();
        headers.insert(ACCEPT, HeaderValue::from_static(settings.form.accepted()));
        if let Some(key) = settings.key {
            let (name, before) = &settings.key_header;
            headers.insert(name, secret_value(adapter, key, before)?);
        }
        Ok(Self {
            client: Arc::new(Unmade {
                made: OnceLock::new(),
                about: settings.about,
                headers,
                connect_timeout: settings.connect_timeout,
            }),
            about: settings.about,
            form: settings.form,
            names: settings.names,
            key: settings.key.cloned(),
            caps: settings.caps,
            base,
        })
    }

    /// The client.
    pub(crate) fn http(&self) -> Result<&Client, ModelError> {
        if let Some(made) = self.client.made.get() {
            return Ok(made);
        }
        let made = self.client.make(self.base.scheme() == "https")?;
        Ok(self.client.made.get_or_init(|| made))
    }

    /// The adapter's id, in every error.
    #[must_use]
    pub const fn adapter(&self) -> &'static str {
        self.about.id
    }

    /// The backend's host, which may be shown.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.base.host_str()
    }

    /// The address of `segments` below the base, whose query is kept.
    #[must_use]
    pub fn url(&self, segments: &[&str]) -> Url {
        below(self.base.clone(), segments)
    }
}

/// The address of `segments` below `base`.
pub(crate) fn below(mut base: Url, segments: &[&str]) -> Url {
    // A base without a path was refused.
    if let Ok(mut path) = base.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    base
}

impl Unmade {
    fn make(&self, is_encrypted: bool) -> Result<Client, ModelError> {
        let AdapterInfo {
            id,
            package,
            version,
        } = self.about;
        let tls = seaworthy_tls::client(is_encrypted, Offers::Http2).map_err(|_unusable| {
            let why = "the platform's certificates cannot be used";
            refused(id, Kind::Unsupported, "connect", why)
        })?;
        Client::builder()
            .tls_backend_preconfigured(tls)
            .default_headers(self.headers.clone())
            .user_agent(format!("{package}/{version}"))
            .connect_timeout(self.connect_timeout)
            // Another host must not get the key, and a proxy from the environment nobody configured here neither.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .retry(retry::never())
            .build()
            .map_err(|_error| {
                let why = "the HTTP client cannot be built";
                refused(id, Kind::Unsupported, "connect", why)
            })
    }
}

/// The host of an address, for `Debug` of configurations.
#[must_use]
pub fn host(base_url: &str) -> Option<String> {
    let url = Url::parse(base_url).ok()?;
    url.host_str().map(str::to_owned)
}

pub(crate) fn base(adapter: &'static str, base: &str) -> Result<Url, ModelError> {
    let invalid = |why: &'static str| refused(adapter, Kind::InvalidRequest, "connect", why);
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
    Ok(url)
}

fn secret_value(
    adapter: &'static str,
    key: &Secret,
    before: &str,
) -> Result<HeaderValue, ModelError> {
    let unusable = || {
        let why = "the key is not made of visible ASCII letters";
        refused(adapter, Kind::Authentication, "connect", why)
    };
    if key.expose().is_empty() || !key.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable());
    }
    let mut value =
        HeaderValue::from_str(&format!("{before}{}", key.expose())).map_err(|_error| unusable())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use reqwest::header::AUTHORIZATION;

    use super::*;

    fn connect(base_url: &str, key: Option<&str>) -> Result<Connection, ModelError> {
        let key = key.map(Secret::new);
        Connection::new(&Settings {
            about: AdapterInfo {
                id: "a",
                package: "a",
                version: "0",
            },
            form: Form::Events,
            names: Names::NONE,
            base_url,
            key: key.as_ref(),
            key_header: (AUTHORIZATION, "Bearer "),
            headers: &[],
            connect_timeout: Duration::from_secs(1),
            caps: Caps::new(1, 1),
        })
    }

    #[test]
    fn an_address_ends_with_the_path_below_the_base() {
        for (base, whole) in [
            ("https://x.example/v1", "https://x.example/v1/a/b:c"),
            ("https://x.example/v1/", "https://x.example/v1/a/b:c"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/a/b:c"),
            (
                "http://127.0.0.1/p?version=1#top",
                "http://127.0.0.1/p/a/b:c?version=1",
            ),
        ] {
            let connection = connect(&base.replace("https", "http"), None).unwrap();
            let url = connection.url(&["a", "b:c"]);
            assert_eq!(url.as_str(), whole.replace("https", "http"));
        }
    }

    #[test]
    fn a_segment_cannot_leave_its_place() {
        let connection = connect("http://x.example/v1", None).unwrap();
        for segment in ["../admin", "..", "a/../../b", "?x=1", "#y", "%2e%2e"] {
            let url = connection.url(&["models", segment]);
            assert!(url.path().starts_with("/v1/models"), "{url}");
            assert_eq!((url.query(), url.fragment()), (None, None));
        }
    }

    #[test]
    fn what_is_no_address_of_a_backend_is_refused() {
        for base in [
            "",
            "api.openai.com/v1",
            "ftp://x.example",
            "file:///etc/passwd",
            "https://",
            "https://u:p@x.example",
        ] {
            let error = connect(base, None).err().unwrap();
            assert_eq!(error.kind(), Kind::InvalidRequest, "{base}");
        }
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_refused_before_any_call() {
        for key in ["", "two\nlines", "a key", "schlüssel"] {
            let error = connect("http://x.example", Some(key)).err().unwrap();
            assert_eq!(error.kind(), Kind::Authentication, "{key:?}");
        }
    }
}
