//! Tokens: asking for them, and reading what comes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use seaworthy_ports::mcp::{OAuthProof, OAuthRegistration, OAuthTokens};
use seaworthy_ports::{Secret, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::assertion::assertion;
use super::challenge::scopes;
use super::discovery::Authority;
use super::web::{Web, encoded, of_status};
use crate::error::Fault;

/// The longest token, and the longest time that one is believed to last.
const LONGEST_TOKEN: usize = 16 * 1024;
const LONGEST_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Why no tokens came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The authorisation server does not want to: asking again would change nothing.
    Refused,
    /// Something else.
    Fault(Fault),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// As whom tokens are asked for.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) proof: OAuthProof,
    /// How a secret is shown, in the authorisation server's words; `None`: as it says that it takes one.
    pub(super) method: Option<String>,
}

impl Client {
    /// A client that registered itself.
    pub(super) fn registered(registration: &OAuthRegistration) -> Self {
        let secret = registration.secret.clone();
        Self {
            id: registration.client_id.clone(),
            proof: secret.map_or(OAuthProof::None, OAuthProof::Secret),
            method: registration.method.clone(),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    token_type: String,
    expires_in: Option<Value>,
    refresh_token: Option<String>,
    scope: Option<String>,
}

/// Asks for tokens. `wanted` is what they are good for if the answer does not say.
pub(super) async fn ask(
    web: &Web,
    authority: &Authority,
    client: &Client,
    grant: &[(&str, &str)],
    wanted: &[String],
) -> Result<OAuthTokens, Failed> {
    let mut form = grant.to_vec();
    form.push(("resource", &authority.resource));
    let mut authorization = None;
    let signed;
    match &client.proof {
        OAuthProof::None => form.push(("client_id", &client.id)),
        OAuthProof::Secret(secret) if takes_basic(client, authority)? => {
            authorization = Some(basic(&client.id, secret)?);
        }
        OAuthProof::Secret(secret) => {
            form.push(("client_id", &client.id));
            form.push(("client_secret", secret.expose()));
        }
        OAuthProof::PrivateKey(key) => {
            signed = assertion(&client.id, &authority.issuer, key, now().as_millis() / 1000)?;
            form.push((
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ));
            form.push(("client_assertion", signed.expose()));
        }
    }
    let asked = web.form(authority.token.clone(), &form, authorization);
    let (status, body) = asked.await?;
    if status == StatusCode::OK {
        return Ok(read(&body, authority, wanted)?);
    }
    // Whatever the reason is called, the same question gets the same answer.
    if matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
    ) {
        return Err(Failed::Refused);
    }
    Err(of_status(status).into())
}

/// Whether a secret goes into the header, and not into the form.
fn takes_basic(client: &Client, authority: &Authority) -> Result<bool, Fault> {
    const BASIC: &str = "client_secret_basic";
    const POST: &str = "client_secret_post";
    if let Some(method) = &client.method {
        return match method.as_str() {
            BASIC => Ok(true),
            POST => Ok(false),
            _ => Err(Fault::Denied(
                "the authorisation server wants the client's secret in a way that is not known",
            )),
        };
    }
    let Some(methods) = &authority.methods else {
        return Ok(true);
    };
    let takes = |method: &str| methods.iter().any(|taken| taken == method);
    match (takes(BASIC), takes(POST)) {
        (true, _) => Ok(true),
        (false, true) => Ok(false),
        (false, false) => Err(Fault::Denied(
            "the authorisation server takes no client's secret",
        )),
    }
}

fn basic(id: &str, secret: &Secret) -> Result<HeaderValue, Fault> {
    let word = |text: &str| {
        let pair = encoded(&[("", text)])?;
        Ok::<_, Fault>(pair.trim_start_matches('=').to_owned())
    };
    let pair = format!("{}:{}", word(id)?, word(secret.expose())?);
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|_error| Fault::Rejected("the client's secret cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn read(body: &[u8], authority: &Authority, wanted: &[String]) -> Result<OAuthTokens, Fault> {
    const UNFIT: Fault = Fault::Denied("the authorisation server gives no token that can be used");
    let answer: Answer = serde_json::from_slice(body).map_err(|_error| UNFIT)?;
    let refresh = answer.refresh_token.map(Secret::new);
    let access = Secret::new(answer.access_token);
    let is_fit = is_token(&access)
        && answer.token_type.eq_ignore_ascii_case("bearer")
        && refresh.as_ref().is_none_or(is_token);
    if !is_fit {
        return Err(UNFIT);
    }
    let seconds = answer.expires_in.as_ref().and_then(|seconds| {
        let number = seconds.as_f64();
        number.or_else(|| seconds.as_str()?.parse().ok())
    });
    let life = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(OAuthTokens {
        access,
        refresh,
        expires: life
            .filter(|life| *life <= LONGEST_LIFE)
            .map(|life| now().plus(life)),
        issuer: authority.issuer.clone(),
        scopes: match answer.scope {
            Some(scope) => scopes(&scope),
            None => wanted.to_vec(),
        },
        registration: None,
    })
}

/// Whether a header and a form can carry it.
pub(crate) fn is_token(token: &Secret) -> bool {
    let token = token.expose();
    !token.is_empty()
        && token.len() <= LONGEST_TOKEN
        && token.bytes().all(|letter| letter.is_ascii_graphic())
}

/// The time, by which tokens end.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::from_millis(0).plus(since.unwrap_or_default())
}
