//! `mcp login` and `mcp logout`: a person grants this program what a server wants, and takes it back.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use seaworthy::descriptor::{ServerAuth, ServerGrant, ServerOAuth, ServerSpec, ServerTransport};
use seaworthy::mcp::{FileTokens, Loopback, McpClient, McpConfig};
use seaworthy::ports::ServerAlias;
use seaworthy::ports::async_trait;
use seaworthy::ports::mcp::{
    Authorization, Kind, Mcp as _, McpError, McpServer, OAuthTokenLock, OAuthTokenStore,
    OAuthTokens, Transport,
};
use seaworthy::servers::Place;
use serde_json::json;

use super::servers::Servers;
use super::{LoginArgs, LogoutArgs};
use crate::commands::Context;
use crate::error::{CliError, Exit};
use crate::output::{clean, say};

/// The tokens of before count for nothing; new ones are kept.
#[derive(Debug)]
struct Anew {
    kept: FileTokens,
    is_new: AtomicBool,
}

#[async_trait]
impl OAuthTokenStore for Anew {
    async fn load(&self) -> Result<Option<OAuthTokens>, McpError> {
        if self.is_new.load(Ordering::Acquire) {
            return self.kept.load().await;
        }
        Ok(None)
    }

    async fn save(&self, tokens: OAuthTokens) -> Result<(), McpError> {
        self.kept.save(tokens).await?;
        self.is_new.store(true, Ordering::Release);
        Ok(())
    }

    async fn lock(&self) -> Result<OAuthTokenLock, McpError> {
        self.kept.lock().await
    }
}

pub(super) async fn login(context: &Context, args: &LoginArgs) -> Result<Exit, CliError> {
    let servers = Servers::of(context, &args.agent, None).await?;
    let (alias, spec) = servers.server(&args.server)?;
    let (spec_oauth, url) = oauth(alias, spec)?;
    let anew = Arc::new(Anew {
        kept: kept(context, spec_oauth, url)?,
        is_new: AtomicBool::new(false),
    });
    let opens = args.open;
    let person = Loopback::listen(args.port, move |address: &str| show(address, opens));
    let person = person
        .await
        .map_err(|error| CliError::Server(error.to_string()))?;
    let place = Place {
        workspace: context.workspace()?,
        base_dir: context.workspace()?,
        environment: context.environment.for_commands.clone(),
        sandbox: None,
    };
    let secrets = context.environment.secrets();
    let mut server = seaworthy::servers::server(alias, spec, &place, &secrets)
        .map_err(|error| CliError::Usage(error.to_string()))?;
    // A person takes their time.
    server.connect_timeout = Duration::from_secs(args.timeout);
    server.request_timeout = server.connect_timeout;
    if let Transport::StreamableHttp(endpoint) = &mut server.transport
        && let Authorization::OAuth(oauth) = &mut endpoint.authorization
    {
        oauth.tokens = Arc::<Anew>::clone(&anew);
        oauth.person = Some(Arc::new(person));
        oauth.scopes.extend(args.scope.iter().cloned());
    }
    let tools = connect(server).await;
    let tools = tools.map_err(|error| {
        CliError::Server(match error.kind() {
            // Of all that is waited for, the person takes longest.
            Kind::Timeout => format!(
                "nobody came back from the browser within {} s, or {alias} did not answer",
                args.timeout
            ),
            _ => error.to_string(),
        })
    })?;
    let is_new = anew.is_new.load(Ordering::Acquire);
    let output = context.output;
    if output.json {
        output.json(&json!({"server": alias, "logged_in": is_new, "tools": tools}))?;
    } else if is_new {
        output.line(&format!("logged in to {alias}, which offers {tools} tools"))?;
    } else {
        output.line(&format!(
            "{alias} lets everybody in and asked for no login; it offers {tools} tools"
        ))?;
    }
    Ok(Exit::Succeeded)
}

/// Connects, which is what asks the person, and counts the tools: some servers ask for a token no earlier.
async fn connect(server: McpServer) -> Result<usize, McpError> {
    let session = McpClient::new(McpConfig::default()).connect(server).await?;
    let tools = session.tools().await;
    session.close().await?;
    Ok(tools?.len())
}

pub(super) async fn logout(context: &Context, args: &LogoutArgs) -> Result<Exit, CliError> {
    let servers = Servers::of(context, &args.agent, None).await?;
    let (alias, spec) = servers.server(&args.server)?;
    let (oauth, url) = oauth(alias, spec)?;
    let forgotten = kept(context, oauth, url)?
        .forget()
        .await
        .map_err(|error| CliError::Server(error.to_string()))?;
    let output = context.output;
    if output.json {
        output.json(&json!({"server": alias, "logged_out": forgotten}))?;
    } else if forgotten {
        output.line(&format!("logged out of {alias}"))?;
    } else {
        output.line(&format!("nobody was logged in to {alias}"))?;
    }
    Ok(Exit::Succeeded)
}

/// How a person logs in to the server.
fn oauth<'a>(
    alias: &ServerAlias,
    spec: &'a ServerSpec,
) -> Result<(&'a ServerOAuth, &'a str), CliError> {
    match &spec.transport {
        ServerTransport::Http {
            url,
            auth: Some(ServerAuth::OAuth(oauth)),
            ..
        } if oauth.grant == ServerGrant::AuthorizationCode => Ok((oauth, url)),
        _ => Err(CliError::Usage(format!(
            "the descriptor has nobody log in to {alias}; that takes `auth: {{ type: oauth }}`"
        ))),
    }
}

fn kept(context: &Context, oauth: &ServerOAuth, url: &str) -> Result<FileTokens, CliError> {
    let folder = context.environment.token_folder().ok_or_else(|| {
        CliError::Usage("there is no home to keep tokens in; set HOME or XDG_DATA_HOME".to_owned())
    })?;
    Ok(folder.tokens(&oauth.tokens_name(url)))
}

/// Shows a person the address, beside the result.
fn show(address: &str, opens: bool) {
    say(&format!(
        "open this address in a browser on this machine:\n\n  {}\n\n",
        clean(address)
    ));
    if opens {
        let program = if cfg!(target_os = "macos") {
            "open"
        } else {
            "xdg-open"
        };
        let started = Command::new(program)
            .arg(address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        if started.is_err() {
            say(&format!("{program} cannot be started; open it yourself\n"));
        }
    }
}
