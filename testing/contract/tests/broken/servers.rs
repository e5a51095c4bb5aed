//! Sessions with a bug, over servers that live in the test. The bug is the thread's and no parameter of the harness: the list
//! of scenarios is long, and the compiler would go through all of it for each bug.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seaworthy_contract::mcp::{Harness, Journal, Script};
use seaworthy_fakes::FakeMcp;
use seaworthy_ports::mcp::{
    Authorization, Hints, Kind, Mcp, McpCall, McpCallResult, McpCapabilities, McpError, McpPrompt,
    McpPromptResult, McpResource, McpResourceContents, McpResourceTemplate, McpServer,
    McpServerInfo, McpSession, McpTool, OAuthGrant, Transport, tool_name,
};
use seaworthy_ports::{AdapterInfo, Effect, Latch, ServerAlias, async_trait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::tokens;
use crate::in_process;

pub(crate) const NONE: u8 = 0;
pub(crate) const FIRST_PAGE: u8 = 1;
pub(crate) const ASKS_AGAIN: u8 = 2;
pub(crate) const STALE_LIST: u8 = 3;
pub(crate) const FAILED_IS_ERROR: u8 = 5;
pub(crate) const CERTAIN_DEATH: u8 = 6;
pub(crate) const CALLS_TWICE: u8 = 7;
pub(crate) const STAYS_DEAD: u8 = 8;
pub(crate) const NO_TIMEOUT: u8 = 9;
pub(crate) const DEAF_TO_CANCEL: u8 = 10;
pub(crate) const NO_PROGRESS: u8 = 11;
pub(crate) const NO_METADATA: u8 = 12;
pub(crate) const CLOSES_NOTHING: u8 = 13;
pub(crate) const OWN_NAMES: u8 = 14;
pub(crate) const FIRST_OF_TWINS: u8 = 15;
pub(crate) const HARMLESS: u8 = 16;
pub(crate) const ANY_ARGUMENTS: u8 = 17;
pub(crate) const NO_HOST: u8 = 18;
pub(crate) const SECRET_SAMPLING: u8 = 19;
pub(crate) const DIES_OF_SIZE: u8 = 20;
pub(crate) const CUTS_LISTS: u8 = 21;
pub(crate) const QUOTES: u8 = 22;
pub(crate) const SHOWS_ADDRESS: u8 = 23;
pub(crate) const REFRESHES_NOTHING: u8 = 24;
pub(crate) const FOLLOWS_REDIRECTS: u8 = 25;
pub(crate) const FORGIVES_SCHEMAS: u8 = 26;
pub(crate) const DIES_OF_HUGE: u8 = 27;
pub(crate) const EVERYBODY_REFRESHES: u8 = 28;
pub(crate) const KEEPS_OLD_REFRESH: u8 = 29;
pub(crate) const KNOWS_NO_OTHERS: u8 = 30;
pub(crate) const KEEPS_LATER: u8 = 31;
pub(crate) const TRIES_AGAIN: u8 = 32;
pub(crate) const BELIEVES_METADATA: u8 = 33;
pub(crate) const NOT_FOR_ITSELF: u8 = 34;

pub(crate) struct Broken {
    inner: FakeMcp,
    bug: u8,
}

#[async_trait]
impl Harness for Broken {
    async fn start() -> Self {
        Self {
            inner: in_process::adapter(),
            bug: super::chosen(),
        }
    }

    fn mcp(&self) -> Arc<dyn Mcp> {
        Arc::new(Adapter {
            inner: self.inner.clone(),
            bug: self.bug,
        })
    }

    async fn server(&self, script: &Script, journal: &Journal) -> Option<Transport> {
        in_process::play(&self.inner, script, journal)
    }
}

#[derive(Debug)]
struct Adapter {
    inner: FakeMcp,
    bug: u8,
}

#[async_trait]
impl Mcp for Adapter {
    fn info(&self) -> AdapterInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> McpCapabilities {
        let mut capabilities = self.inner.capabilities();
        if self.bug == SECRET_SAMPLING {
            capabilities.sampling = false;
        }
        capabilities
    }

    async fn connect(&self, mut server: McpServer) -> Result<Arc<dyn McpSession>, McpError> {
        match &mut server.transport {
            Transport::StreamableHttp(endpoint) if self.bug == SHOWS_ADDRESS => {
                if let Some((_, address)) = endpoint.url.split_once('@') {
                    endpoint.url = format!("http://{address}");
                }
            }
            Transport::StreamableHttp(endpoint) if self.bug == REFRESHES_NOTHING => {
                endpoint.authorization = Authorization::None;
            }
            Transport::StreamableHttp(endpoint) if self.bug == FOLLOWS_REDIRECTS => {
                if let Authorization::Bearer(token) = &endpoint.authorization {
                    follow(&endpoint.url, token.expose()).await;
                }
            }
            Transport::StreamableHttp(endpoint) if self.bug == BELIEVES_METADATA => {
                if let Authorization::OAuth(oauth) = &endpoint.authorization {
                    tokens::believe(&endpoint.url, oauth).await;
                }
            }
            Transport::StreamableHttp(endpoint) => {
                if let Authorization::OAuth(oauth) = &mut endpoint.authorization {
                    let is_for_itself = oauth.grant == OAuthGrant::ClientCredentials;
                    oauth.tokens = tokens::broken(self.bug, Arc::clone(&oauth.tokens));
                    if self.bug == NOT_FOR_ITSELF && is_for_itself {
                        endpoint.authorization = Authorization::None;
                    }
                }
            }
            Transport::Stdio(_) => {}
        }
        if self.bug == NO_HOST {
            server.host = None;
        }
        let again = server.clone();
        let session = self.inner.connect(server).await?;
        Ok(Arc::new(Session {
            bug: self.bug,
            inner: session,
            mcp: self.inner.clone(),
            config: again,
            tools: Mutex::default(),
            is_dead: Mutex::default(),
        }))
    }
}

/// Sends `token` wherever a server that does not want it says it should go.
async fn follow(url: &str, token: &str) {
    let ask = async |url: &str| {
        let address = url.strip_prefix("http://")?.split('/').next()?;
        let mut connection = TcpStream::connect(address).await.ok()?;
        let request = format!("POST / HTTP/1.1\r\nauthorization: Bearer {token}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.ok()?;
        let location = answer
            .lines()
            .find_map(|line| line.strip_prefix("location: "));
        location.map(str::to_owned)
    };
    if let Some(elsewhere) = ask(url).await {
        let _nothing = ask(&elsewhere).await;
    }
}

#[derive(Debug)]
struct Session {
    bug: u8,
    inner: Arc<dyn McpSession>,
    mcp: FakeMcp,
    config: McpServer,
    tools: Mutex<Option<Arc<[McpTool]>>>,
    is_dead: Mutex<bool>,
}

fn error(kind: Kind, message: impl Into<String>) -> McpError {
    McpError::new(kind, "broken", "call", message)
}

impl Session {
    fn alias(&self) -> ServerAlias {
        self.config.alias.clone()
    }

    /// Whether this is a death, and not the end of the session.
    async fn is_open_after(&self, failed: &McpError) -> bool {
        failed.kind() == Kind::Unavailable && self.inner.tools().await.is_ok()
    }

    /// The tools that the server lists, with the bug that the list has.
    fn changed(&self, tools: Arc<[McpTool]>) -> Arc<[McpTool]> {
        let mut changed = tools.to_vec();
        match self.bug {
            HARMLESS => {
                for tool in &mut changed {
                    tool.hints = Hints {
                        destructive: None,
                        ..tool.hints
                    };
                }
            }
            OWN_NAMES => {
                for tool in &mut changed {
                    let own: String = tool
                        .remote
                        .to_lowercase()
                        .chars()
                        .filter(|letter| letter.is_ascii_lowercase())
                        .collect();
                    if let Ok(name) = tool_name(&self.alias(), &own) {
                        tool.name = name;
                    }
                }
            }
            _ => return tools,
        }
        changed.into()
    }
}

#[async_trait]
impl McpSession for Session {
    fn server(&self) -> McpServerInfo {
        self.inner.server()
    }

    async fn tools(&self) -> Result<Arc<[McpTool]>, McpError> {
        match self.bug {
            ASKS_AGAIN => {
                self.inner.tools().await?;
                let again = self.mcp.connect(self.config.clone()).await?;
                again.tools().await
            }
            STALE_LIST => {
                if let Some(known) = self.tools.lock().unwrap().clone() {
                    return Ok(known);
                }
                let tools = self.inner.tools().await?;
                *self.tools.lock().unwrap() = Some(Arc::clone(&tools));
                Ok(tools)
            }
            FIRST_OF_TWINS => match self.inner.tools().await {
                Err(error) if error.kind() == Kind::Malformed => Ok([].into()),
                other => other,
            },
            CUTS_LISTS => match self.inner.tools().await {
                Err(error) if error.kind() == Kind::TooLarge => Ok([].into()),
                other => other,
            },
            _ => Ok(self.changed(self.inner.tools().await?)),
        }
    }

    async fn call(&self, mut call: McpCall) -> Result<McpCallResult, McpError> {
        let arguments = call.arguments.to_string();
        match self.bug {
            NO_TIMEOUT => call.timeout = Duration::from_secs(600),
            DEAF_TO_CANCEL => call.cancel = Latch::never(),
            NO_PROGRESS => call.on_progress = None,
            NO_METADATA => call.meta.clear(),
            FORGIVES_SCHEMAS if call.tool.starts_with("pointing") => {
                call.tool = "echo".to_owned();
            }
            ANY_ARGUMENTS if call.tool == "strict" => call.tool = "echo".to_owned(),
            STAYS_DEAD if *self.is_dead.lock().unwrap() => {
                return Err(error(Kind::Unavailable, "the server is gone"));
            }
            _ => {}
        }
        let answer = self.inner.call(call.clone()).await;
        match answer {
            Ok(answer) if self.bug == FAILED_IS_ERROR && answer.is_error => {
                Err(error(Kind::Server, "the tool failed"))
            }
            Ok(answer) => Ok(answer),
            Err(failed) => match self.bug {
                TRIES_AGAIN if failed.kind() == Kind::Authentication => {
                    let again = self.mcp.connect(self.config.clone()).await?;
                    again.call(call).await
                }
                CERTAIN_DEATH if self.is_open_after(&failed).await => {
                    Err(error(Kind::Unavailable, "the server died"))
                }
                CALLS_TWICE if self.is_open_after(&failed).await => self.inner.call(call).await,
                STAYS_DEAD
                    if (failed.kind(), failed.effect()) == (Kind::Unavailable, Effect::Unknown) =>
                {
                    *self.is_dead.lock().unwrap() = true;
                    Err(failed)
                }
                DIES_OF_SIZE if failed.kind() == Kind::TooLarge => {
                    self.inner.close().await?;
                    Err(failed)
                }
                DIES_OF_HUGE if call.tool == "huge" => {
                    self.inner.close().await?;
                    Err(failed)
                }
                QUOTES => {
                    let quoting = error(failed.kind(), format!("it was called with {arguments}"));
                    Err(match failed.effect() {
                        Effect::Unknown => quoting.with_unknown_effect(),
                        Effect::None => quoting,
                    })
                }
                _ => Err(failed),
            },
        }
    }

    async fn resources(&self) -> Result<Arc<[McpResource]>, McpError> {
        self.inner.resources().await
    }

    async fn resource_templates(&self) -> Result<Arc<[McpResourceTemplate]>, McpError> {
        self.inner.resource_templates().await
    }

    async fn read_resource(&self, uri: &str) -> Result<Vec<McpResourceContents>, McpError> {
        self.inner.read_resource(uri).await
    }

    async fn prompts(&self) -> Result<Arc<[McpPrompt]>, McpError> {
        let prompts = self.inner.prompts().await?;
        if self.bug == FIRST_PAGE {
            return Ok(prompts.iter().take(2).cloned().collect());
        }
        Ok(prompts)
    }

    async fn prompt(
        &self,
        name: &str,
        arguments: BTreeMap<String, String>,
    ) -> Result<McpPromptResult, McpError> {
        self.inner.prompt(name, arguments).await
    }

    async fn close(&self) -> Result<(), McpError> {
        if self.bug == CLOSES_NOTHING {
            return Ok(());
        }
        self.inner.close().await
    }
}
