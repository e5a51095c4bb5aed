//! The connections of one run to its servers, while one turn holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, join_all};
use seaworthy_ports::blob_store::BlobStore;
use seaworthy_ports::mcp::{
    Mcp, McpCallResult, McpError, McpLog, McpLogLevel, McpServer, McpSession,
};
use seaworthy_ports::{RunId, ServerAlias, ToolName};

use super::catalogue::{Catalogue, LeftOut, MAX_CATALOGUE_BYTES, MAX_TOOLS, ServedTool};
use super::hearing::Desk;
use super::logs::{LogSink, observing};
use super::media::shown;
use super::reach::{MissingLogin, Place, Unreachable, check_login, refused_login, server};
use super::result::answered;
use crate::descriptor::{ServerSpec, ServerTools};
use crate::files::{self, AttachedFile, Attachment};
use crate::stack::{Ports, Secrets};
use crate::tool::ToolAnswer;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It cannot be tried from here.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// It was tried.
    #[error("the server {alias} cannot be used: {error}")]
    Mcp {
        /// The server.
        alias: ServerAlias,
        /// Why.
        error: McpError,
    },
    /// The descriptor has no such server.
    #[error("the descriptor has no server {0}")]
    Unknown(ServerAlias),
}

/// Why a run does not get its tools.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A server cannot be asked.
    #[error(transparent)]
    Connect(Arc<ConnectError>),
    /// An agent lists a tool that its server does not have.
    #[error("the server {server} has no tool {tool:?}, which the agent lists; it has: {has}")]
    NoTool {
        /// The server.
        server: ServerAlias,
        /// The tool.
        tool: String,
        /// What it has, in short.
        has: String,
    },
    /// An agent lists a tool that nobody can have.
    #[error(
        "the tool {tool:?} of the server {server}, which the agent lists, cannot be used: {why}"
    )]
    Unusable {
        /// The server.
        server: ServerAlias,
        /// The tool.
        tool: String,
        /// Why.
        why: String,
    },
    /// There are too many, or too large ones.
    #[error(
        "the servers offer {tools} tools of {bytes} bytes; a run has at most {MAX_TOOLS} of {MAX_CATALOGUE_BYTES} bytes: list \
         them one by one, or name those that are wanted in `allow`"
    )]
    TooMany {
        /// How many.
        tools: usize,
        /// Of how many bytes together.
        bytes: usize,
    },
}

type Opened = Result<Arc<dyn McpSession>, Arc<ConnectError>>;
type Opening = Shared<BoxFuture<'static, Opened>>;

/// Connections to the servers of a descriptor, each made when it is first needed. Dropping them ends servers that are
/// processes at once.
pub struct Connections {
    mcp: Arc<dyn Mcp>,
    secrets: Arc<dyn Secrets>,
    servers: BTreeMap<ServerAlias, ServerSpec>,
    place: Place,
    /// Where what servers show is kept; `None`: nowhere.
    blobs: Option<Arc<dyn BlobStore>>,
    open: Mutex<BTreeMap<ServerAlias, Opening>>,
    /// Where the questions of servers arrive that may ask any.
    desks: BTreeMap<ServerAlias, Arc<Desk>>,
    /// Who is told what servers say of their own work, whose descriptor wants that; `None`: nobody.
    logs: Option<LogSink>,
    /// Which of their log messages are wanted, whatever the descriptor says.
    log_level: Option<McpLogLevel>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aliases: Vec<&str> = self.servers.keys().map(ServerAlias::as_str).collect();
        write!(f, "Connections({})", aliases.join(", "))
    }
}

impl Connections {
    /// No connection yet.
    #[must_use]
    pub fn new(
        mcp: Arc<dyn Mcp>,
        secrets: Arc<dyn Secrets>,
        servers: BTreeMap<ServerAlias, ServerSpec>,
        place: Place,
    ) -> Self {
        let desks = servers
            .iter()
            .filter(|(_alias, spec)| spec.may_ask())
            .map(|(alias, spec)| (alias.clone(), Arc::new(Desk::new(spec.takes()))))
            .collect();
        Self {
            mcp,
            secrets,
            servers,
            place,
            blobs: None,
            open: Mutex::default(),
            desks,
            logs: None,
            log_level: None,
        }
    }

    /// The same, telling `sink` what servers say of their own work: what their descriptor wants, or from `level` on.
    #[must_use]
    pub fn with_logs(mut self, level: Option<McpLogLevel>, sink: LogSink) -> Self {
        self.log_level = level;
        self.logs = Some(sink);
        self
    }

    /// Those of a run, from the ports of a stack.
    #[must_use]
    pub fn on(
        ports: &Ports,
        run: &RunId,
        servers: BTreeMap<ServerAlias, ServerSpec>,
        place: Place,
    ) -> Self {
        let connections = Self::new(
            Arc::clone(&ports.mcp),
            Arc::clone(&ports.secrets),
            servers,
            place,
        );
        Self {
            blobs: Some(Arc::clone(&ports.blob_store)),
            logs: Some(observing(&ports.observer, run)),
            ..connections
        }
    }

    /// How a call ended that its server answered; what it shows is kept.
    pub(crate) async fn answered(&self, result: &McpCallResult) -> ToolAnswer {
        match answered(result) {
            ToolAnswer::Succeeded(output) => {
                ToolAnswer::Showed(output, self.keep(&shown(result)).await)
            }
            failed => failed,
        }
    }

    /// Keeps what a server has shown, before anything names it. Where that cannot be, nothing is kept: the result
    /// describes it.
    async fn keep(&self, shown: &[Attachment]) -> Vec<AttachedFile> {
        let Some(blobs) = self.blobs.as_deref().filter(|_| !shown.is_empty()) else {
            return Vec::new();
        };
        match files::keep(blobs, shown).await {
            Ok(()) => shown.iter().map(AttachedFile::of).collect(),
            Err(_described) => Vec::new(),
        }
    }

    fn opening(&self) -> MutexGuard<'_, BTreeMap<ServerAlias, Opening>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the questions of the server arrive, if it may ask any.
    pub(crate) fn desk(&self, alias: &ServerAlias) -> Option<&Arc<Desk>> {
        self.desks.get(alias)
    }

    /// The session with the server. Whoever asks while it is being made waits for the same one; one that could not be made
    /// is tried again by whoever asks next. Dropping the future leaves the connection to the others, or to who asks next.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    pub async fn session(&self, alias: &ServerAlias) -> Opened {
        let opening = {
            let mut open = self.opening();
            match open.get(alias) {
                Some(opening) => opening.clone(),
                None => {
                    let opening = self.connect(alias).shared();
                    open.insert(alias.clone(), opening.clone());
                    opening
                }
            }
        };
        let opened = opening.clone().await;
        if opened.is_err() {
            let mut open = self.opening();
            if open
                .get(alias)
                .is_some_and(|current| current.ptr_eq(&opening))
            {
                open.remove(alias);
            }
        }
        opened
    }

    fn log(&self, alias: &ServerAlias, wanted: Option<McpLogLevel>) -> Option<McpLog> {
        let level = self.log_level.or(wanted)?;
        let (sink, alias) = (Arc::clone(self.logs.as_ref()?), alias.clone());
        Some(McpLog {
            level,
            sink: Arc::new(move |message| sink(&alias, message)),
        })
    }

    fn connect(&self, alias: &ServerAlias) -> BoxFuture<'static, Opened> {
        let known = self
            .servers
            .get(alias)
            .ok_or_else(|| ConnectError::Unknown(alias.clone()))
            .and_then(|spec| Ok((spec.log, server(alias, spec, &self.place, &*self.secrets)?)))
            .map(|(wanted, server)| McpServer {
                log: self.log(alias, wanted),
                host: self.desk(alias).map(|desk| Arc::<Desk>::clone(desk) as _),
                ..server
            });
        let mcp = Arc::clone(&self.mcp);
        let alias = alias.clone();
        async move {
            let server = known.map_err(Arc::new)?;
            let missing = |login: MissingLogin| Arc::new(Unreachable::from(login).into());
            check_login(&server).await.map_err(missing)?;
            let connected = mcp.connect(server.clone()).await;
            connected.map_err(|error| match refused_login(&server, &error) {
                Some(login) => missing(login),
                None => Arc::new(ConnectError::Mcp { alias, error }),
            })
        }
        .boxed()
    }

    /// The tools that an agent with these picks gets.
    ///
    /// # Errors
    ///
    /// [`ListError`] for the first server or tool that cannot be had.
    pub async fn list(&self, picks: &[ServerTools]) -> Result<Catalogue, ListError> {
        let aliases: BTreeSet<&ServerAlias> = picks.iter().map(|pick| &pick.server).collect();
        let offers = join_all(aliases.into_iter().map(async |alias| {
            let session = self.session(alias).await?;
            let tools = session.tools().await.map_err(|error| {
                let alias = alias.clone();
                Arc::new(ConnectError::Mcp { alias, error })
            })?;
            Ok::<_, Arc<ConnectError>>((alias, tools))
        }))
        .await;
        let mut chosen: BTreeMap<ToolName, ServedTool> = BTreeMap::new();
        let mut left_out = Vec::new();
        for offer in offers {
            let (alias, tools) = offer.map_err(ListError::Connect)?;
            let Some(spec) = self.servers.get(alias) else {
                continue;
            };
            let of_server = || picks.iter().filter(|pick| pick.server == *alias);
            let wants_all = of_server().any(|pick| pick.tool.is_none());
            for pick in of_server() {
                let Some(wanted) = &pick.tool else { continue };
                if !tools.iter().any(|tool| tool.remote == *wanted) {
                    let names: Vec<&str> = tools.iter().map(|tool| tool.remote.as_str()).collect();
                    return Err(ListError::NoTool {
                        server: alias.clone(),
                        tool: wanted.clone(),
                        has: names.join(", ").chars().take(1000).collect(),
                    });
                }
            }
            for tool in tools.iter() {
                let is_named = of_server().any(|pick| pick.tool.as_ref() == Some(&tool.remote));
                if !spec.allows(&tool.remote) || !(wants_all || is_named) {
                    continue;
                }
                let served = ServedTool::of(alias, tool);
                match served.fault() {
                    None => {
                        chosen.insert(served.name.clone(), served);
                    }
                    Some(why) if is_named => {
                        return Err(ListError::Unusable {
                            server: alias.clone(),
                            tool: served.remote,
                            why,
                        });
                    }
                    Some(why) => left_out.push(LeftOut {
                        remote: served.remote.chars().take(200).collect(),
                        server: alias.clone(),
                        why,
                    }),
                }
            }
        }
        left_out.truncate(MAX_TOOLS);
        let bytes = chosen.values().map(size).sum();
        if chosen.len() > MAX_TOOLS || bytes > MAX_CATALOGUE_BYTES {
            return Err(ListError::TooMany {
                tools: chosen.len(),
                bytes,
            });
        }
        Ok(Catalogue::new(chosen, left_out))
    }

    /// Ends all connections: servers that are processes are asked to go, then made to. Dropping the future makes them.
    pub async fn close(&self) {
        let open = std::mem::take(&mut *self.opening());
        let closing = open.into_values().filter_map(|opening| {
            let session = opening.peek()?.as_ref().ok().map(Arc::clone)?;
            Some(async move {
                // It is over either way.
                let _closed = session.close().await;
            })
        });
        join_all(closing).await;
    }
}

/// About how many bytes of a log a tool takes.
fn size(tool: &ServedTool) -> usize {
    let schema = |schema: &serde_json::Value| schema.to_string().len();
    tool.description
        .len()
        .saturating_add(schema(&tool.input_schema))
        .saturating_add(tool.output_schema.as_ref().map_or(0, schema))
        .saturating_add(512)
}
