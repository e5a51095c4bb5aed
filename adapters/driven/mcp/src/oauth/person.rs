//! Asking a person: the authorization code grant, with PKCE.

use reqwest::{StatusCode, Url};
use seaworthy_ports::Secret;
use seaworthy_ports::mcp::{Kind, OAuth, OAuthPerson, OAuthRegistration, OAuthTokens};
use serde::Deserialize;
use serde_json::json;

use super::chance::{digest_of, word};
use super::discovery::Authority;
use super::token::{self, Client, Failed, is_token};
use super::web::{Web, is_here, of_status};
use crate::error::Fault;

/// The longest name of a client.
const LONGEST_ID: usize = 2 * 1024;

/// A code that a person granted, and what it takes to use it.
pub(super) struct Granted {
    client: Client,
    registration: Option<OAuthRegistration>,
    code: Secret,
    verifier: Secret,
    redirect: String,
    wanted: Vec<String>,
}

/// Has `person` grant `wanted`.
pub(super) async fn ask(
    web: &Web,
    authority: &Authority,
    oauth: &OAuth,
    person: &dyn OAuthPerson,
    wanted: Vec<String>,
) -> Result<Granted, Failed> {
    let Some(authorize) = &authority.authorize else {
        return Err(Fault::Denied("the authorisation server asks no person").into());
    };
    if !authority.has_pkce {
        return Err(Fault::Denied(
            "the authorisation server does not say that it has PKCE with S256, without which a code can be stolen",
        )
        .into());
    }
    let redirect = person.redirect();
    let (client, registration) = client(web, authority, oauth, &redirect).await?;
    let (verifier, mark) = (word()?, word()?);
    let mut address = authorize.clone();
    {
        let mut query = address.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", &redirect)
            .append_pair("code_challenge", &digest_of(&verifier))
            .append_pair("code_challenge_method", "S256")
            .append_pair("state", &mark)
            .append_pair("resource", &authority.resource);
        if !wanted.is_empty() {
            query.append_pair("scope", &wanted.join(" "));
        }
    }
    let came = person.ask(address.as_str()).await;
    let came = came.map_err(|error| match error.kind() {
        Kind::Timeout => Fault::Timeout,
        _ => Fault::Denied("nobody granted what the server wants"),
    })?;
    Ok(Granted {
        code: code(&came, authority, &mark)?,
        client,
        registration,
        verifier: Secret::new(verifier),
        redirect,
        wanted,
    })
}

/// The code that a browser came back with.
fn code(came: &Secret, authority: &Authority, mark: &str) -> Result<Secret, Failed> {
    const STRANGE: Fault =
        Fault::Denied("the browser came back with what does not belong to this question");
    let mut url = Url::parse("http://back/").map_err(|_error| STRANGE)?;
    url.set_query(Some(came.expose()));
    let only = |name: &str| {
        let mut values = url.query_pairs().filter(|(known, _value)| known == name);
        let value = values.next().map(|(_name, value)| value.into_owned());
        // Whoever says a thing twice wants it understood in two ways.
        if values.next().is_some() {
            return Err(STRANGE);
        }
        Ok(value)
    };
    if only("state")?.as_deref() != Some(mark) {
        return Err(STRANGE.into());
    }
    match only("iss")? {
        Some(issuer) if issuer != authority.issuer => return Err(STRANGE.into()),
        None if authority.says_issuer => return Err(STRANGE.into()),
        Some(_) | None => {}
    }
    if only("error")?.is_some() {
        return Err(Failed::Refused);
    }
    let code = only("code")?.map(Secret::new).filter(is_token);
    Ok(code.ok_or(STRANGE)?)
}

/// Gives the code for tokens.
pub(super) async fn redeem(
    web: &Web,
    authority: &Authority,
    granted: &Granted,
) -> Result<OAuthTokens, Failed> {
    let grant = [
        ("grant_type", "authorization_code"),
        ("code", granted.code.expose()),
        ("redirect_uri", &granted.redirect),
        ("code_verifier", granted.verifier.expose()),
    ];
    let asked = token::ask(web, authority, &granted.client, &grant, &granted.wanted);
    let mut tokens = asked.await?;
    tokens.registration.clone_from(&granted.registration);
    Ok(tokens)
}

/// As whom the person is asked: as it is configured, by a document, or as whoever it registers as.
async fn client(
    web: &Web,
    authority: &Authority,
    oauth: &OAuth,
    redirect: &str,
) -> Result<(Client, Option<OAuthRegistration>), Fault> {
    if let Some(id) = &oauth.client_id {
        let is_document = id.starts_with("https://");
        if !is_document || authority.reads_documents {
            let client = Client {
                id: id.clone(),
                proof: oauth.proof.clone(),
                method: None,
            };
            return Ok((client, None));
        }
    }
    let registration = register(web, authority, redirect).await?;
    Ok((Client::registered(&registration), Some(registration)))
}

#[derive(Deserialize)]
struct Registered {
    client_id: String,
    client_secret: Option<String>,
    token_endpoint_auth_method: Option<String>,
    redirect_uris: Option<Vec<String>>,
}

/// Introduces this program (RFC 7591). Each time a person is asked anew: the address that the browser is sent back to is a
/// part of it.
async fn register(
    web: &Web,
    authority: &Authority,
    redirect: &str,
) -> Result<OAuthRegistration, Fault> {
    const UNFIT: Fault = Fault::Denied("the authorisation server registers no client");
    let place = authority.register.clone().ok_or(Fault::Denied(
        "the authorisation server wants to know the client beforehand; configure the id that it has there",
    ))?;
    // A program on a person's machine keeps no secrets from them, so it wants none.
    let taken = authority.methods.as_deref();
    let takes = |method: &&str| {
        taken.is_none_or(|methods: &[String]| methods.iter().any(|known| known == method))
    };
    let method = ["none", "client_secret_basic", "client_secret_post"]
        .into_iter()
        .find(takes)
        .ok_or(UNFIT)?;
    let told = json!({
        "client_name": "Seaworthy",
        "application_type": application_type(redirect),
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
    });
    let (status, body) = web.json(place, told.to_string()).await?;
    if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
        return Err(of_status(status));
    }
    let registered: Registered = serde_json::from_slice(&body).map_err(|_error| UNFIT)?;
    let id = registered.client_id;
    let is_id = !id.is_empty() && id.len() <= LONGEST_ID && !id.contains(char::is_control);
    let secret = registered.client_secret.map(Secret::new);
    let method = registered
        .token_endpoint_auth_method
        .unwrap_or_else(|| method.to_owned());
    // It may change what it is told. A browser that is sent elsewhere never comes back.
    let comes_back = registered
        .redirect_uris
        .is_none_or(|known| known.iter().any(|known| known == redirect));
    if !is_id || method.len() > LONGEST_ID || !comes_back {
        return Err(UNFIT);
    }
    // Some give a secret to clients that want none.
    let has_secret = method != "none";
    Ok(OAuthRegistration {
        client_id: id,
        secret: secret.filter(|_secret| has_secret),
        method: has_secret.then_some(method),
    })
}

/// What kind of client a browser is sent back to at `redirect` (OpenID Connect Dynamic Client Registration). Where none is
/// said it counts as `web`, and those are not sent back to the machine that they run on.
fn application_type(redirect: &str) -> &'static str {
    let is_site = |url: Url| url.scheme() == "https" && !is_here(&url);
    match Url::parse(redirect).is_ok_and(is_site) {
        true => "web",
        false => "native",
    }
}

/// As whom kept tokens are renewed.
pub(super) fn keeper(oauth: &OAuth, tokens: &OAuthTokens) -> Option<Client> {
    if let Some(registration) = &tokens.registration {
        return Some(Client::registered(registration));
    }
    Some(Client {
        id: oauth.client_id.clone()?,
        proof: oauth.proof.clone(),
        method: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(says_issuer: bool) -> Authority {
        let url = || Url::parse("https://as.example/x").unwrap();
        Authority {
            issuer: "https://as.example".to_owned(),
            resource: "https://mcp.example".to_owned(),
            scopes: Vec::new(),
            authorize: Some(url()),
            token: url(),
            register: None,
            methods: None,
            has_pkce: true,
            reads_documents: false,
            says_issuer,
        }
    }

    #[test]
    fn a_client_on_the_persons_machine_is_native_and_a_site_is_not() {
        for redirect in [
            "http://127.0.0.1:4711/callback",
            "http://[::1]:4711/callback",
            "https://localhost:4711/callback",
            "app.example:/callback",
            "no address",
        ] {
            assert_eq!(application_type(redirect), "native", "{redirect}");
        }
        for redirect in [
            "https://app.example/callback",
            "https://localhost.example/callback",
        ] {
            assert_eq!(application_type(redirect), "web", "{redirect}");
        }
    }

    fn came(query: &str, says_issuer: bool) -> Result<Secret, Failed> {
        code(&Secret::new(query), &authority(says_issuer), "mark")
    }

    #[test]
    fn a_code_comes_with_the_mark_and_from_the_issuer() {
        let good = Ok(Secret::new("c"));
        assert_eq!(came("code=c&state=mark", false), good);
        let issuer = "code=c&state=mark&iss=https%3A%2F%2Fas.example";
        assert_eq!(came(issuer, true), good);
        assert_eq!(came(issuer, false), good);
        assert_eq!(
            came("error=access_denied&state=mark", false),
            Err(Failed::Refused)
        );
        for (query, says_issuer) in [
            ("", false),
            ("code=c", false),
            ("code=c&state=other", false),
            ("code=c&state=mark&state=other", false),
            ("code=c&code=d&state=mark", false),
            ("code=&state=mark", false),
            ("code=c&state=mark", true),
            ("code=c&state=mark&iss=https://evil.example", false),
            ("error=access_denied&state=other", false),
        ] {
            let came = came(query, says_issuer);
            assert!(
                matches!(came, Err(Failed::Fault(Fault::Denied(_)))),
                "{query}"
            );
        }
    }
}
