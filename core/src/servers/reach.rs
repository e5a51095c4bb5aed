//! How a server of a descriptor is reached from here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use seaworthy_ports::mcp::{
    Authorization, Endpoint, Kind, McpError, McpRoot, McpServer, OAuth, OAuthGrant, OAuthProof,
    StdioCommand, Transport,
};
use seaworthy_ports::sandbox::SandboxSession;
use seaworthy_ports::{Secret, ServerAlias};

use crate::descriptor::{
    EnvValue, ServerAuth, ServerGrant, ServerProof, ServerSpec, ServerTransport,
};
use crate::stack::Secrets;
use crate::tool::resolve;

/// Where servers that are processes run.
#[derive(Clone, Debug)]
pub struct Place {
    /// The directory they work in, absolute.
    pub workspace: PathBuf,
    /// The directory that their programs are relative to, absolute.
    pub base_dir: PathBuf,
    /// Their environment, below what the descriptor says.
    pub environment: BTreeMap<String, String>,
    /// Where those run confined of which the descriptor says so; `None`: these cannot be started.
    pub sandbox: Option<Arc<dyn SandboxSession>>,
}

/// A secret that a server takes is not here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server {alias} takes the secret {name}, which is not there; set the environment variable {name}"
)]
pub struct MissingSecret {
    /// The server.
    pub alias: ServerAlias,
    /// The secret.
    pub name: String,
}

/// A server wants a person to log in, and nobody has, or no longer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server {alias} wants somebody to log in{}; type: seaworthy mcp login AGENT.yaml {alias}",
    why.as_ref().map(|why| format!(" again ({why})")).unwrap_or_default()
)]
pub struct MissingLogin {
    /// The server.
    pub alias: ServerAlias,
    /// Why what was granted is not enough; `None`: nothing was.
    pub why: Option<String>,
}

/// A server cannot be reached from here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// Elsewhere it may be.
    #[error(transparent)]
    Secret(#[from] MissingSecret),
    /// Elsewhere somebody may have logged in.
    #[error(transparent)]
    Login(#[from] MissingLogin),
    /// Elsewhere tokens may be kept.
    #[error("the server {0} takes tokens of an authorisation server, which cannot be kept here")]
    NoTokens(ServerAlias),
    /// Its program cannot be named.
    #[error("the server {0} cannot be started: {1}")]
    Program(ServerAlias, String),
}

/// How to connect to `spec`, which the descriptor calls `alias`. No I/O.
///
/// # Errors
///
/// [`Unreachable`] with what is missing.
pub fn server(
    alias: &ServerAlias,
    spec: &ServerSpec,
    place: &Place,
    secrets: &dyn Secrets,
) -> Result<McpServer, Unreachable> {
    let secret = |name: &str| {
        secrets.find(name).ok_or_else(|| MissingSecret {
            alias: alias.clone(),
            name: name.to_owned(),
        })
    };
    let transport = match &spec.transport {
        ServerTransport::Stdio {
            command,
            env,
            sandbox,
            roots: _,
        } => {
            let argv = resolve(&place.base_dir, command)
                .map_err(|why| Unreachable::Program(alias.clone(), why))?;
            let mut all: BTreeMap<String, Secret> = place
                .environment
                .iter()
                .map(|(name, value)| (name.clone(), Secret::new(value.clone())))
                .collect();
            for (name, value) in env {
                let value = match value {
                    EnvValue::Text(text) => Secret::new(text.clone()),
                    EnvValue::Secret(name) => secret(name)?,
                };
                all.insert(name.clone(), value);
            }
            let inside = place.sandbox.as_ref().filter(|_session| *sandbox);
            if *sandbox && inside.is_none() {
                let why = "it runs inside a sandbox, and here is none".to_owned();
                return Err(Unreachable::Program(alias.clone(), why));
            }
            Transport::Stdio(StdioCommand {
                argv,
                cwd: match inside {
                    // Its session is on the workspace.
                    Some(_session) => PathBuf::new(),
                    None => place.workspace.clone(),
                },
                env: all,
                sandbox: inside.map(Arc::clone),
            })
        }
        ServerTransport::Http { url, headers, auth } => {
            let authorization = match auth {
                None => Authorization::None,
                Some(ServerAuth::Bearer { secret: name }) => Authorization::Bearer(secret(name)?),
                Some(ServerAuth::ApiKey {
                    header,
                    secret: name,
                }) => Authorization::ApiKey {
                    header: header.clone(),
                    value: secret(name)?,
                },
                Some(ServerAuth::Basic { user, secret: name }) => Authorization::Basic {
                    user: user.clone(),
                    password: secret(name)?,
                },
                Some(ServerAuth::OAuth(spec)) => {
                    let tokens = secrets.tokens(&spec.tokens_name(url));
                    Authorization::OAuth(OAuth {
                        client_id: spec.client.clone(),
                        proof: match &spec.proof {
                            None => OAuthProof::None,
                            Some(ServerProof::Secret(name)) => OAuthProof::Secret(secret(name)?),
                            Some(ServerProof::PrivateKey(name)) => {
                                OAuthProof::PrivateKey(secret(name)?)
                            }
                        },
                        issuer: spec.issuer.clone(),
                        scopes: spec.scopes.clone(),
                        grant: match spec.grant {
                            ServerGrant::AuthorizationCode => OAuthGrant::AuthorizationCode,
                            ServerGrant::ClientCredentials => OAuthGrant::ClientCredentials,
                        },
                        tokens: tokens.ok_or_else(|| Unreachable::NoTokens(alias.clone()))?,
                        person: None,
                    })
                }
            };
            Transport::StreamableHttp(Endpoint {
                url: url.clone(),
                authorization,
                headers: headers.clone(),
            })
        }
    };
    Ok(McpServer {
        alias: alias.clone(),
        transport,
        connect_timeout: spec.connect_timeout,
        request_timeout: spec.connect_timeout,
        host: None,
        roots: roots(spec, place),
        log: None,
        beginning: spec.protocol,
    })
}

/// The folders that the server is told to work in. Sandboxes run on the workspace where it lies, so inside one they have the
/// same names.
fn roots(spec: &ServerSpec, place: &Place) -> Vec<McpRoot> {
    let ServerTransport::Stdio { roots, .. } = &spec.transport else {
        return Vec::new();
    };
    let root = |folder: &String| {
        let parts = folder.split('/').filter(|part| !matches!(*part, "" | "."));
        let parts: Vec<&str> = parts.collect();
        let name = match parts.as_slice() {
            [] => "workspace".to_owned(),
            parts => parts.join("/"),
        };
        let path = parts
            .iter()
            .fold(place.workspace.clone(), |path, part| path.join(part));
        McpRoot::folder(&path, Some(name))
    };
    roots.iter().map(root).collect()
}

/// Whether `server` waits for a person to log in, as far as can be known without asking it.
///
/// # Errors
///
/// [`MissingLogin`]: nothing is kept of a login.
pub async fn check_login(server: &McpServer) -> Result<(), MissingLogin> {
    let Some(oauth) = logs_in(server) else {
        return Ok(());
    };
    match oauth.tokens.load().await {
        Ok(None) => Err(MissingLogin {
            alias: server.alias.clone(),
            why: None,
        }),
        // What cannot be read shows when it is needed.
        Ok(Some(_)) | Err(_) => Ok(()),
    }
}

/// What `error` means of a login to `server`, if it means anything.
pub(super) fn refused_login(server: &McpServer, error: &McpError) -> Option<MissingLogin> {
    logs_in(server)?;
    (error.kind() == Kind::Authentication).then(|| MissingLogin {
        alias: server.alias.clone(),
        why: Some(error.to_string()),
    })
}

/// How a person logs in to `server`, where nobody is there to be asked.
fn logs_in(server: &McpServer) -> Option<&OAuth> {
    let Transport::StreamableHttp(endpoint) = &server.transport else {
        return None;
    };
    match &endpoint.authorization {
        Authorization::OAuth(oauth)
            if oauth.grant == OAuthGrant::AuthorizationCode && oauth.person.is_none() =>
        {
            Some(oauth)
        }
        _ => None,
    }
}
