//! Who gives tokens for a server: its own metadata (RFC 9728), and those of its authorisation server (RFC 8414, OpenID
//! Connect Discovery).

use reqwest::Url;
use serde::Deserialize;

use super::challenge::{Challenge, scopes};
use super::web::Web;
use crate::error::Fault;

/// The most authorisation servers that a server is heard out on.
const MOST_ISSUERS: usize = 16;

/// What a server says of itself.
#[derive(Debug, Deserialize)]
struct Described {
    resource: String,
    #[serde(default)]
    authorization_servers: Vec<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
}

/// What an authorisation server says of itself.
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    registration_endpoint: Option<String>,
    #[serde(default)]
    code_challenge_methods_supported: Vec<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    client_id_metadata_document_supported: bool,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// Where tokens for a server are got, and how.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    pub(super) issuer: String,
    /// What the server is called there.
    pub(super) resource: String,
    /// What the server says that it takes.
    pub(super) scopes: Vec<String>,
    pub(super) authorize: Option<Url>,
    pub(super) token: Url,
    pub(super) register: Option<Url>,
    /// How clients may prove who they are; `None`: it does not say.
    pub(super) methods: Option<Vec<String>>,
    /// It makes a code worthless to whoever did not ask for it (PKCE with SHA-256).
    pub(super) has_pkce: bool,
    pub(super) reads_documents: bool,
    pub(super) says_issuer: bool,
}

/// Finds out where tokens for `server` are got; from `issuer`, if one is given, whatever the server says.
pub(super) async fn discover(
    web: &Web,
    server: &Url,
    challenge: &Challenge,
    issuer: Option<&str>,
) -> Result<Authority, Fault> {
    let described = described(web, server, challenge).await?;
    // What such a server has to say of its authorisation server it says itself, whatever that is called.
    let says_it_itself = described.is_none() && issuer.is_none();
    let (resource, named, wanted) = match described {
        Some(described) => {
            let resource = described.resource;
            if !is_ours(&resource, server) {
                return Err(Fault::Denied(
                    "the server's metadata are those of another server",
                ));
            }
            let named = described.authorization_servers.into_iter();
            let named: Vec<String> = named.take(MOST_ISSUERS).collect();
            let first = named.into_iter().next().ok_or(Fault::Denied(
                "the server's metadata name no authorisation server",
            ))?;
            (
                resource,
                first,
                scopes(&described.scopes_supported.join(" ")),
            )
        }
        // As the protocol had it before servers described themselves: a server is its own authorisation server.
        None => (
            canonical(server),
            server.origin().ascii_serialization(),
            Vec::new(),
        ),
    };
    let issuer = issuer.map_or(named, str::to_owned);
    let metadata = metadata(web, &issuer, says_it_itself).await?;
    let address = |text: Option<String>| text.map(|text| web.address(&text)).transpose();
    Ok(Authority {
        issuer,
        resource,
        scopes: wanted,
        authorize: address(metadata.authorization_endpoint)?,
        token: address(metadata.token_endpoint)?.ok_or(Fault::Denied(
            "the authorisation server does not say where it gives tokens",
        ))?,
        register: address(metadata.registration_endpoint)?,
        methods: metadata.token_endpoint_auth_methods_supported,
        has_pkce: metadata
            .code_challenge_methods_supported
            .iter()
            .any(|method| method == "S256"),
        reads_documents: metadata.client_id_metadata_document_supported,
        says_issuer: metadata.authorization_response_iss_parameter_supported,
    })
}

/// What the server says of itself: where it says, else at the known places. `None`: it says nothing.
async fn described(
    web: &Web,
    server: &Url,
    challenge: &Challenge,
) -> Result<Option<Described>, Fault> {
    const PLACE: &str = "/.well-known/oauth-protected-resource";
    if let Some(place) = &challenge.metadata {
        let place = web.address(place)?;
        // Else any server could have this program ask any other.
        if place.origin() != server.origin() {
            return Err(Fault::Denied(
                "the server says that its metadata are at another server",
            ));
        }
        if let Some(found) = web.document(place).await? {
            return Ok(Some(found));
        }
    }
    let path = server.path().trim_end_matches('/');
    let mut places = vec![format!("{PLACE}{path}")];
    if !path.is_empty() {
        places.push(PLACE.to_owned());
    }
    for place in places {
        if let Some(found) = web.document(at(server, &place)).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// What an authorisation server says of itself: the first of the known places where there is something. It must call
/// itself `issuer`, unless it `may_say_otherwise`.
async fn metadata(web: &Web, issuer: &str, may_say_otherwise: bool) -> Result<Metadata, Fault> {
    const OAUTH: &str = "/.well-known/oauth-authorization-server";
    const OPENID: &str = "/.well-known/openid-configuration";
    let url = web.address(issuer)?;
    if url.query().is_some() {
        return Err(Fault::Denied("the authorisation server's name is none"));
    }
    let path = url.path().trim_end_matches('/');
    let mut places = vec![format!("{OAUTH}{path}"), format!("{OPENID}{path}")];
    if !path.is_empty() {
        places.push(format!("{path}{OPENID}"));
    }
    for place in places {
        let Some(found) = web.document::<Metadata>(at(&url, &place)).await? else {
            continue;
        };
        // Whoever describes themselves as somebody else may be used to reach them.
        let is_itself = found.issuer.trim_end_matches('/') == issuer.trim_end_matches('/');
        if !is_itself && !may_say_otherwise {
            return Err(Fault::Denied(
                "the authorisation server's metadata are those of another",
            ));
        }
        return Ok(found);
    }
    Err(Fault::Denied(
        "the authorisation server does not describe itself",
    ))
}

fn at(server: &Url, path: &str) -> Url {
    let mut url = server.clone();
    url.set_path(path);
    url.set_query(None);
    url
}

/// What the server is called where it does not say itself.
fn canonical(server: &Url) -> String {
    let whole = at(server, server.path()).to_string();
    whole.trim_end_matches('/').to_owned()
}

/// Whether `resource` is the server, or all that lies below an address of its own.
fn is_ours(resource: &str, server: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else {
        return false;
    };
    let (path, ours) = (
        resource.path().trim_end_matches('/'),
        server.path().trim_end_matches('/'),
    );
    let is_above = ours
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    resource.origin() == server.origin() && is_above && resource.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_by_its_own_address_or_one_above_it() {
        let server = Url::parse("https://mcp.example/a/b?c=d").unwrap();
        assert_eq!(canonical(&server), "https://mcp.example/a/b");
        for ours in [
            "https://mcp.example/a/b",
            "https://mcp.example/a/b/",
            "https://mcp.example:443/a",
            "https://mcp.example",
        ] {
            assert!(is_ours(ours, &server), "{ours}");
        }
        for other in [
            "",
            "https://mcp.example/a/bc",
            "https://mcp.example/a/b/c",
            "https://mcp.example/b",
            "http://mcp.example/a/b",
            "https://mcp.example:444/a/b",
            "https://mcp.example.evil.example/a/b",
            "https://evil.example/a/b",
        ] {
            assert!(!is_ours(other, &server), "{other}");
        }
    }
}
