//! Which server to connect to, and with which credentials.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{McpHost, McpLog, McpRoot, OAuth};
use crate::sandbox::SandboxSession;
use crate::{Secret, ServerAlias};

/// A server to connect to.
#[derive(Clone, Debug)]
pub struct McpServer {
    /// What this configuration calls it; the prefix of its tools' names.
    pub alias: ServerAlias,
    /// How it is reached.
    pub transport: Transport,
    /// How long starting or reaching it and agreeing on a protocol version may take.
    pub connect_timeout: Duration,
    /// How long an answer to anything but a tool call may take.
    pub request_timeout: Duration,
    /// Answers the server's own questions; `None`: the server is told that nobody does.
    pub host: Option<Arc<dyn McpHost>>,
    /// The folders that it is to work in; empty: the server is told that there are none to ask for. They stay the same
    /// over every connection of a session.
    pub roots: Vec<McpRoot>,
    /// Which of its log messages are wanted; `None`: none, and the server is asked for none.
    pub log: Option<McpLog>,
    /// How the connection begins.
    pub beginning: Beginning,
}

/// How a connection to a server begins, which is what tells the protocol versions apart (MC-13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beginning {
    /// With `initialize`, and without it where the server refuses that. A connection that is made again begins as the one
    /// before did.
    #[default]
    Automatic,
    /// Without `initialize`: the protocol version is 2026-07-28, or there is no connection.
    Stateless,
}

impl Beginning {
    /// Whether it is found out.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        *self == Self::Automatic
    }
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum Transport {
    /// As a process that reads and writes messages on its standard input and output.
    Stdio(StdioCommand),
    /// At an address, over streamable HTTP.
    StreamableHttp(Endpoint),
}

/// A server to start as a process. Its standard error is read and dropped, so that a server that complains never stalls.
#[derive(Clone)]
pub struct StdioCommand {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Where it runs; inside a sandbox this is relative to the workspace.
    pub cwd: PathBuf,
    /// Its whole environment, credentials included; inside a sandbox it goes on top of the session's.
    pub env: BTreeMap<String, Secret>,
    /// Where it runs confined; `None`: with the rights of the host's user.
    pub sandbox: Option<Arc<dyn SandboxSession>>,
}

impl fmt::Debug for StdioCommand {
    /// The program alone: arguments may hold credentials too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioCommand")
            .field("program", &self.argv.first())
            .field("sandboxed", &self.sandbox.is_some())
            .finish_non_exhaustive()
    }
}

/// A server at an address.
#[derive(Clone)]
pub struct Endpoint {
    /// The address of its one endpoint. It may hold no credentials, else [`Kind::Rejected`](super::Kind::Rejected).
    pub url: String,
    /// Who calls.
    pub authorization: Authorization,
    /// Sent with every request. They are no place for credentials.
    pub headers: BTreeMap<String, String>,
}

impl fmt::Debug for Endpoint {
    /// The address without its query, and none that has a user part: some put credentials there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.url.split(['?', '#']).next().unwrap_or_default();
        let shown = if address.contains('@') {
            "(hidden)"
        } else {
            address
        };
        f.debug_struct("Endpoint")
            .field("url", &shown)
            .field("authorization", &self.authorization)
            .finish_non_exhaustive()
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub enum Authorization {
    /// Anybody.
    None,
    /// Whoever has this token.
    Bearer(Secret),
    /// Whoever sends this value in this header.
    ApiKey {
        /// The header.
        header: String,
        /// The value.
        value: Secret,
    },
    /// This user with this password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// Whoever has a token of an authorisation server.
    OAuth(OAuth),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_credential_is_in_any_debug_output() {
        let endpoint = |url: &str, authorization| Endpoint {
            url: url.to_owned(),
            authorization,
            headers: BTreeMap::from([("x-key".to_owned(), "canary".to_owned())]),
        };
        let command = StdioCommand {
            argv: vec!["server".to_owned(), "--token=canary".to_owned()],
            cwd: PathBuf::new(),
            env: BTreeMap::from([("TOKEN".to_owned(), Secret::new("canary"))]),
            sandbox: None,
        };
        let shown = [
            format!("{command:?}"),
            format!(
                "{:?}",
                endpoint("https://canary:canary@host/mcp", Authorization::None)
            ),
            format!(
                "{:?}",
                endpoint("https://host/mcp?key=canary#canary", Authorization::None)
            ),
            format!(
                "{:?}",
                endpoint("https://host", Authorization::Bearer(Secret::new("canary")))
            ),
            format!(
                "{:?}",
                Authorization::Basic {
                    user: "user".to_owned(),
                    password: Secret::new("canary")
                }
            ),
        ];
        for text in shown {
            assert!(!text.contains("canary"), "{text}");
        }
    }
}
