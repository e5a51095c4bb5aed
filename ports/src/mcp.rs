//! Servers that offer tools, resources and prompts over the Model Context Protocol.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::capability::flags;
use crate::{AdapterInfo, ErrorKind, Latch, PortError, Retry};

mod completion;
mod content;
mod host;
mod log;
mod name;
mod oauth;
mod root;
mod server;
mod task;

pub use completion::{
    MAX_COMPLETION_BYTES, MAX_COMPLETIONS, McpCompleted, McpCompleting, McpCompletion,
};
pub use content::{
    Hints, McpCallResult, McpContent, McpPrompt, McpPromptArgument, McpPromptMessage,
    McpPromptResult, McpResource, McpResourceContents, McpResourceTemplate, McpTool, ResourceData,
};
pub use host::{Elicitation, Elicited, HostTakes, MAX_KEY_BYTES, McpHost, Sampled, Sampling};
pub use log::{
    MAX_LOG_BYTES, MAX_LOGGER_BYTES, MAX_LOGS_IN_A_SECOND, McpLog, McpLogLevel, McpLogMessage,
    McpLogSink, UnknownLogLevel,
};
pub use name::tool_name;
pub use oauth::{
    OAuth, OAuthGrant, OAuthPerson, OAuthProof, OAuthRegistration, OAuthTokenLock, OAuthTokenStore,
    OAuthTokens,
};
pub use root::{MAX_ROOT_BYTES, MAX_ROOTS, McpRoot};
pub use server::{Authorization, Beginning, Endpoint, McpServer, StdioCommand, Transport};
pub use task::{
    InvalidTaskId, MAX_TASK_ID_BYTES, MAX_TASK_MESSAGE_BYTES, McpStarted, McpTask, McpTasks,
    TaskId, TaskStatus, TaskSupport, task_message,
};

/// Connects to MCP servers.
///
/// # Contract
///
/// * **MC-1** Lists are paged through and cached until `list_changed`; `isError`, structured content, text, image, audio and
///   resource results arrive typed; an answer of another shape is [`Kind::Malformed`] and the session stays usable.
/// * **MC-2** The death of a server fails the calls in flight with [`Effect::Unknown`](crate::Effect::Unknown) and the next
///   call reconnects; a 401 refreshes once, a lost session reinitialises once. No call is sent twice.
/// * **MC-3** Timeouts, cancellation, progress and metadata are passed on; `close` escalates (close, TERM, KILL) and leaves
///   no process. Inside a sandbox session all of this holds as well, and closing the session ends its servers; there
///   `close` escalates without TERM, which sandboxes do not have.
/// * **MC-4** Annotations are passed on as hints that may raise a tool's risk, never lower it; names are validated and
///   prefixed by the server's alias as [`tool_name`] does, and two tools that come out with one name are
///   [`Kind::Malformed`]; schemas are validated both ways.
/// * **MC-5** Elicitation and sampling requests reach the host or, where there is none or it does not take them, are
///   refused; the server is told when a connection begins which are taken; nothing hangs.
/// * **MC-6** Messages, lists and results are bounded ([`MAX_MESSAGE_BYTES`], [`MAX_LISTED`]); more is [`Kind::TooLarge`]
///   and the session stays usable.
/// * **MC-7** No credential, argument or result in an error, a log or `Debug`; credentials go to the server's own origin
///   and its token endpoint, never along a redirect to another.
/// * **MC-8** *(declares `tasks`)* A call becomes a task where it is asked to and the server can ([`TaskSupport`]); its task
///   is asked after, fetched and ended by its name, over any session. An unknown task is [`Kind::NotFound`]; an answer about
///   another task, of an unknown status, without a usable name or that nobody asked for is [`Kind::Malformed`]. What its
///   server asks reaches the host with the task's name, and with the question's if it has one of its own, and is answered
///   or, where the host takes too long, not answered at all; who no longer listens ends nothing.
/// * **MC-9** *(declares `oauth`)* One caller gets new tokens for all, in this process and others; they are kept before they
///   are used. A grant that is refused is [`Kind::Authentication`] and not tried again. Metadata of another server are not
///   believed, and a refresh token goes to the authorisation server that gave it alone.
/// * **MC-10** What could be written for an argument of a prompt or a template is asked of a server that says that it
///   completes; one that does not is not asked, and [`Kind::Unsupported`]. Values beyond [`MAX_COMPLETIONS`] and longer than
///   [`MAX_COMPLETION_BYTES`] are left out, and the answer says that there are more.
/// * **MC-11** A server learns which folders it is to work in ([`McpServer::roots`]) when it asks, and when a connection
///   begins whether there are any; where there are none, the question is refused. More than [`MAX_ROOTS`], and one that is no
///   folder ([`McpRoot::is_folder`]), are [`Kind::Rejected`] before anything is started or reached.
/// * **MC-12** Log messages that are wanted ([`McpServer::log`]) reach their sink in order; a server that says that it logs
///   is told the level, when a connection begins or with each request (MC-13). Messages below the level, of an unknown one or of another shape are left
///   out, long ones cut at [`MAX_LOG_BYTES`], those beyond [`MAX_LOGS_IN_A_SECOND`] dropped and counted. No answer to the
///   level is needed, and none of this ends a session.
/// * **MC-13** A server of the protocol version 2026-07-28, which begins without `initialize` and asks by answering a call
///   with questions, is understood like any other: MC-1 to MC-8 hold. A call that goes on with the answers is one call, and
///   one that fails after the server has asked has an unknown effect; how often it may ask is bounded. Which calls become
///   tasks, a server decides that says that it keeps any, and only of those that are left to it. What its task asks and the
///   host refuses, where the server cannot be told so, is [`Kind::Unsupported`].
///
/// # Cancellation
///
/// Dropping `connect` leaves no process and no connection. Dropping a call tells the server that it is cancelled; it may
/// have taken effect.
#[async_trait]
pub trait Mcp: fmt::Debug + Send + Sync + 'static {
    /// Who this is. No I/O.
    fn info(&self) -> AdapterInfo;

    /// What this adapter can do. No I/O.
    fn capabilities(&self) -> McpCapabilities;

    /// Starts or reaches the server, agrees on a protocol version and returns the session.
    async fn connect(&self, server: McpServer) -> Result<Arc<dyn McpSession>, McpError>;
}

/// A connection to one server. It reconnects by itself (MC-2); after `close` every call is [`Kind::Rejected`].
#[async_trait]
pub trait McpSession: fmt::Debug + Send + Sync + 'static {
    /// What the server said of itself when the connection was last made. No I/O.
    fn server(&self) -> McpServerInfo;

    /// All tools, in the server's order. A server without tools has none.
    async fn tools(&self) -> Result<Arc<[McpTool]>, McpError>;

    /// Calls a tool once. A tool that failed is an answer with `is_error`, not an error. Dropping the future cancels the
    /// call.
    async fn call(&self, call: McpCall) -> Result<McpCallResult, McpError>;

    /// Calls that become tasks; `None`: the adapter does not declare `tasks`. No I/O.
    fn as_tasks(&self) -> Option<&dyn McpTasks>;

    /// All resources, in the server's order.
    async fn resources(&self) -> Result<Arc<[McpResource]>, McpError>;

    /// All templates that resources can be named by, in the server's order.
    async fn resource_templates(&self) -> Result<Arc<[McpResourceTemplate]>, McpError>;

    /// Reads a resource. Dropping the future leaves nothing behind.
    async fn read_resource(&self, uri: &str) -> Result<Vec<McpResourceContents>, McpError>;

    /// All prompts, in the server's order.
    async fn prompts(&self) -> Result<Arc<[McpPrompt]>, McpError>;

    /// Fills a prompt in. Dropping the future leaves nothing behind.
    async fn prompt(
        &self,
        name: &str,
        arguments: BTreeMap<String, String>,
    ) -> Result<McpPromptResult, McpError>;

    /// What could be written for an argument, as the server suggests it (MC-10). Dropping the future leaves nothing behind.
    async fn complete(&self, completion: McpCompletion) -> Result<McpCompleted, McpError>;

    /// Ends the session: calls in flight fail, a local server is asked to go, then made to. Closing twice is fine. A
    /// dropped `close` goes on with killing the server.
    async fn close(&self) -> Result<(), McpError>;
}

flags! {
    /// What an adapter can do beyond connecting over one transport without credentials.
    McpCapabilities {
        /// It starts servers as processes of this host.
        stdio / with_stdio,
        /// It starts servers inside a sandbox session.
        sandboxed_stdio / with_sandboxed_stdio,
        /// It reaches servers over streamable HTTP.
        streamable_http / with_streamable_http,
        /// It gets tokens of authorisation servers (MC-9).
        oauth / with_oauth,
        /// It passes elicitation requests on to the host.
        elicitation / with_elicitation,
        /// It passes sampling requests on to the host.
        sampling / with_sampling,
        /// It lets servers keep calls as tasks (MC-8).
        tasks / with_tasks,
    }
}

/// The most bytes of one message from a server.
pub const MAX_MESSAGE_BYTES: usize = 10 * 1024 * 1024;
/// The most entries of one list, over all its pages.
pub const MAX_LISTED: usize = 10_000;

/// What a server said of itself. It is the server's word: names and instructions are not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpServerInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The protocol version agreed on.
    pub protocol: String,
    /// How it wants to be used.
    pub instructions: Option<String>,
    /// Whether it has tools.
    pub tools: bool,
    /// Whether it has resources.
    pub resources: bool,
    /// Whether it has prompts.
    pub prompts: bool,
    /// Whether it suggests what could be written for arguments.
    pub completions: bool,
    /// Whether it says what it does, in log messages.
    pub logging: bool,
}

/// Shows how far a call is. It must not block.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// How far a call is, in the server's units.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// So far.
    pub done: f64,
    /// Of this many, if the server knows.
    pub total: Option<f64>,
}

/// A call of a tool.
#[derive(Clone)]
pub struct McpCall {
    /// The tool, as the server names it ([`McpTool::remote`]).
    pub tool: String,
    /// Its arguments: an object that fits the tool's input schema, else [`Kind::InvalidArguments`].
    pub arguments: Value,
    /// Sent along as `_meta`, such as a trace's context or an idempotency key that the server may honour.
    pub meta: BTreeMap<String, Value>,
    /// How long it may take, elicitation and sampling included; then it is cancelled and [`Kind::Timeout`].
    pub timeout: Duration,
    /// Cancels it.
    pub cancel: Latch,
    /// Shows how far it is.
    pub on_progress: Option<ProgressSink>,
}

impl fmt::Debug for McpCall {
    /// Without arguments and metadata: they are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpCall")
            .field("tool", &self.tool)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why an MCP call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kind {
    /// The server cannot be started or reached, or it went away.
    #[error("unavailable")]
    Unavailable,
    /// The credentials are missing, wrong or expired, and refreshing did not help.
    #[error("authentication")]
    Authentication,
    /// The credentials do not allow this.
    #[error("permission")]
    Permission,
    /// The server has no such tool, resource or prompt.
    #[error("not found")]
    NotFound,
    /// The arguments do not fit the input schema, or the server says so.
    #[error("invalid arguments")]
    InvalidArguments,
    /// The server's answer breaks the protocol or its own output schema.
    #[error("malformed")]
    Malformed,
    /// The server answered with an error of its own.
    #[error("server")]
    Server,
    /// The server took too long.
    #[error("timeout")]
    Timeout,
    /// The caller cancelled the call.
    #[error("cancelled")]
    Cancelled,
    /// A message, list or result exceeds its bound.
    #[error("too large")]
    TooLarge,
    /// The adapter or the server cannot do this.
    #[error("unsupported")]
    Unsupported,
    /// The call is malformed, or the session is closed.
    #[error("rejected")]
    Rejected,
}

impl ErrorKind for Kind {
    fn default_retry(self) -> Retry {
        match self {
            Self::Unavailable | Self::Timeout => Retry::Backoff,
            Self::Authentication
            | Self::Permission
            | Self::NotFound
            | Self::InvalidArguments
            | Self::Malformed
            | Self::Server
            | Self::Cancelled
            | Self::TooLarge
            | Self::Unsupported
            | Self::Rejected => Retry::No,
        }
    }
}

/// Why an MCP call failed.
pub type McpError = PortError<Kind>;
