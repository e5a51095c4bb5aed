//! A server of the Model Context Protocol as a descriptor names it: how it is reached, and how its tools are treated.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seaworthy_ports::ServerAlias;
use seaworthy_ports::mcp::{Beginning, Hints, HostTakes, McpLogLevel};
use serde::{Deserialize, Serialize};

use super::task::{self, TaskRule};
use crate::tool::{ApprovalRule, Risk, Settings, SideEffect};

/// A server whose tools agents may list. Credentials are never in it, only the names by which they are found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSpec {
    /// How it is reached.
    pub transport: ServerTransport,
    /// The tools that agents may be given, as the server names them; `None`: all but those of `deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<BTreeSet<String>>,
    /// The tools that no agent is given, as the server names them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deny: BTreeSet<String>,
    /// How the gateway treats its tools at least.
    pub floor: Floor,
    /// The same for some of them, as the server names them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, Floor>,
    /// Who answers what it asks of the user.
    #[serde(default, skip_serializing_if = "Asking::is_refused")]
    pub elicitation: Asking,
    /// Who decides whether the model is called for it.
    #[serde(default, skip_serializing_if = "Asking::is_refused")]
    pub sampling: Asking,
    /// Which of its log messages are wanted; `None`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<McpLogLevel>,
    /// How the connection to it begins.
    #[serde(default, skip_serializing_if = "Beginning::is_automatic")]
    pub protocol: Beginning,
    /// How long starting or reaching it, and each of its lists, may take; kept in milliseconds.
    #[serde(rename = "connect_timeout_ms", with = "crate::millis")]
    pub connect_timeout: Duration,
}

/// What becomes of a server's questions of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asking {
    /// They are refused, and the server is told when it is connected to that it need not ask.
    #[default]
    Refuse,
    /// A person is asked, and the run waits.
    Ask,
}

impl Asking {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "what serde asks with a reference"
    )]
    fn is_refused(&self) -> bool {
        *self == Self::Refuse
    }
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ServerTransport {
    /// As a process that works in the run's workspace.
    Stdio {
        /// The program and its arguments.
        command: Vec<String>,
        /// Its environment, on top of what every command gets.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, EnvValue>,
        /// Whether it runs inside the run's sandbox session, as commands do.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        sandbox: bool,
        /// The folders of the workspace that it is told to work in, relative to it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        roots: Vec<String>,
    },
    /// At an address, over streamable HTTP.
    Http {
        /// The address of its one endpoint.
        url: String,
        /// Sent with every request.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
        /// Who calls.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        auth: Option<ServerAuth>,
    },
}

/// A value of a process's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvValue {
    /// This text.
    Text(String),
    /// The secret of this name.
    Secret(String),
}

/// Who calls a server at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ServerAuth {
    /// Whoever has this token.
    Bearer {
        /// The name of the secret.
        secret: String,
    },
    /// Whoever sends this value in this header.
    ApiKey {
        /// The header.
        header: String,
        /// The name of the secret.
        secret: String,
    },
    /// This user with this password.
    Basic {
        /// The user.
        user: String,
        /// The name of the secret.
        secret: String,
    },
    /// Whoever has a token of an authorisation server.
    #[serde(rename = "oauth")]
    OAuth(ServerOAuth),
}

/// How tokens for a server are got. They are in no descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerOAuth {
    /// How tokens are got.
    pub grant: ServerGrant,
    /// The client's id; `None`: it registers itself when a person logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// How the client proves that it is this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ServerProof>,
    /// The authorisation server; `None`: the one that the server names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What is asked for; none: what the server says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// How tokens are got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerGrant {
    /// A person logs in.
    AuthorizationCode,
    /// For the client itself.
    ClientCredentials,
}

/// How a client proves who it is, by the name of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerProof {
    /// It shows the secret.
    Secret(String),
    /// It signs with the secret.
    PrivateKey(String),
}

impl ServerOAuth {
    /// What the tokens for the server at `url` are called where they are kept. Those of another server, another client or
    /// another grant are others.
    #[must_use]
    pub fn tokens_name(&self, url: &str) -> String {
        let grant = match self.grant {
            ServerGrant::AuthorizationCode => "authorization_code",
            ServerGrant::ClientCredentials => "client_credentials",
        };
        let client = self.client.as_deref().unwrap_or_default();
        format!("{grant}\n{url}\n{client}")
    }
}

/// How the gateway treats a server's tools, before the server has said anything of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// What repeating a call does.
    pub side_effect: SideEffect,
    /// How much harm a call can do, at least.
    pub risk: Risk,
    /// Whether a person must agree; `None`: as the risk demands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRule>,
    /// How long a call may take; kept in milliseconds.
    #[serde(rename = "timeout_ms", with = "crate::millis")]
    pub timeout: Duration,
    /// Whether its calls become tasks where the server leaves it to the caller.
    #[serde(default, skip_serializing_if = "task::is_unwanted")]
    pub task: bool,
    /// How long a task may take before it is ended; kept in milliseconds.
    #[serde(
        rename = "task_timeout_ms",
        with = "crate::millis",
        default = "task::usual_timeout",
        skip_serializing_if = "task::is_usual_timeout"
    )]
    pub task_timeout: Duration,
}

/// The tools of a server that an agent lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTools {
    /// The server.
    pub server: ServerAlias,
    /// One of its tools, as the server names it; `None`: all that the descriptor allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
}

impl ServerSpec {
    /// Whether an agent may be given the tool that the server calls `remote`.
    #[must_use]
    pub fn allows(&self, remote: &str) -> bool {
        let is_allowed = self
            .allow
            .as_ref()
            .is_none_or(|allow| allow.contains(remote));
        is_allowed && !self.deny.contains(remote)
    }

    /// Which of its questions are taken.
    #[must_use]
    pub fn takes(&self) -> HostTakes {
        HostTakes {
            elicitation: self.elicitation == Asking::Ask,
            sampling: self.sampling == Asking::Ask,
        }
    }

    /// Whether it may ask anything.
    #[must_use]
    pub fn may_ask(&self) -> bool {
        let takes = self.takes();
        takes.elicitation || takes.sampling
    }

    /// How the gateway treats the tool that the server calls `remote` and says this of. What the server says raises a risk
    /// or a side effect above what the descriptor says, and lowers nothing.
    #[must_use]
    pub fn settings(&self, remote: &str, hints: Hints) -> Settings {
        let own = self.tools.get(remote);
        let floor = own.unwrap_or(&self.floor);
        let risk = floor.risk.max(hinted_risk(hints));
        let is_dangerous = risk >= Risk::High;
        let approval = match (own.and_then(|own| own.approval), self.floor.approval) {
            // Somebody thought of this very tool.
            (Some(rule), _) => rule,
            (None, Some(ApprovalRule::Required)) => ApprovalRule::Required,
            (None, Some(ApprovalRule::None)) if risk == floor.risk || !is_dangerous => {
                ApprovalRule::None
            }
            (None, _) if is_dangerous => ApprovalRule::Required,
            (None, _) => ApprovalRule::None,
        };
        Settings {
            side_effect: raised(floor.side_effect, hints),
            risk,
            approval,
            timeout: floor.timeout,
        }
    }

    /// Whether it runs inside the run's sandbox session.
    #[must_use]
    pub const fn is_sandboxed(&self) -> bool {
        matches!(self.transport, ServerTransport::Stdio { sandbox: true, .. })
    }

    /// How calls become tasks of the tool that the server calls `remote`.
    #[must_use]
    pub fn task_rule(&self, remote: &str) -> TaskRule {
        let floor = self.tools.get(remote).unwrap_or(&self.floor);
        TaskRule {
            is_wanted: floor.task,
            timeout: floor.task_timeout,
        }
    }

    /// The names of the secrets that it takes to reach it.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let (env, auth) = match &self.transport {
            ServerTransport::Stdio { env, .. } => (Some(env), None),
            ServerTransport::Http { auth, .. } => (None, auth.as_ref()),
        };
        let of_env = env.into_iter().flat_map(BTreeMap::values);
        let of_env = of_env.filter_map(|value| match value {
            EnvValue::Secret(name) => Some(name.as_str()),
            EnvValue::Text(_) => None,
        });
        of_env.chain(auth.and_then(ServerAuth::secret))
    }
}

impl ServerAuth {
    /// The name of the secret that proves it, if it is one.
    #[must_use]
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::Bearer { secret } | Self::ApiKey { secret, .. } | Self::Basic { secret, .. } => {
                Some(secret)
            }
            Self::OAuth(oauth) => oauth.proof.as_ref().map(|proof| match proof {
                ServerProof::Secret(name) | ServerProof::PrivateKey(name) => name.as_str(),
            }),
        }
    }
}

/// The least risk of a tool that its server says this of.
fn hinted_risk(hints: Hints) -> Risk {
    if hints.destructive == Some(true) {
        Risk::Destructive
    } else if hints.read_only == Some(false) || hints.open_world == Some(true) {
        Risk::Medium
    } else {
        Risk::Low
    }
}

/// What repeating a call does, at worst, of what the descriptor and the server say.
fn raised(declared: SideEffect, hints: Hints) -> SideEffect {
    let changes = hints.read_only == Some(false) || hints.destructive == Some(true);
    match declared {
        SideEffect::ReadOnly if changes && hints.idempotent == Some(true) => SideEffect::Idempotent,
        SideEffect::ReadOnly if changes => SideEffect::NonIdempotent,
        SideEffect::Idempotent if hints.idempotent == Some(false) => SideEffect::NonIdempotent,
        declared => declared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(side_effect: SideEffect, risk: Risk, approval: Option<ApprovalRule>) -> Floor {
        Floor {
            side_effect,
            risk,
            approval,
            timeout: Duration::from_secs(1),
            task: false,
            task_timeout: task::TASK_TIMEOUT,
        }
    }

    fn server(floor: Floor, own: Option<Floor>) -> ServerSpec {
        ServerSpec {
            transport: ServerTransport::Stdio {
                command: vec!["serve".to_owned()],
                env: BTreeMap::new(),
                sandbox: false,
                roots: Vec::new(),
            },
            allow: None,
            deny: BTreeSet::new(),
            floor,
            tools: own.map(|own| ("it".to_owned(), own)).into_iter().collect(),
            elicitation: Asking::Refuse,
            sampling: Asking::Refuse,
            log: None,
            protocol: Beginning::Automatic,
            connect_timeout: Duration::from_secs(1),
        }
    }

    const HARMLESS: Hints = Hints {
        read_only: Some(true),
        destructive: Some(false),
        idempotent: Some(true),
        open_world: Some(false),
    };

    #[test]
    fn what_a_server_says_lowers_nothing() {
        use SideEffect::{Idempotent, NonIdempotent, ReadOnly};
        for side_effect in [ReadOnly, Idempotent, NonIdempotent] {
            for risk in [Risk::Low, Risk::Medium, Risk::High, Risk::Destructive] {
                let server = server(floor(side_effect, risk, None), None);
                let unsaid = server.settings("it", Hints::default());
                assert_eq!(server.settings("it", HARMLESS), unsaid);
                assert_eq!((unsaid.side_effect, unsaid.risk), (side_effect, risk));
            }
        }
    }

    #[test]
    fn what_a_server_says_raises_risk_side_effect_and_with_them_the_approval() {
        let server = server(floor(SideEffect::ReadOnly, Risk::Low, None), None);
        let said = |hints| server.settings("it", hints);
        let destructive = said(Hints {
            destructive: Some(true),
            ..HARMLESS
        });
        assert_eq!(destructive.risk, Risk::Destructive);
        assert_eq!(destructive.approval, ApprovalRule::Required);
        assert_eq!(destructive.side_effect, SideEffect::Idempotent);
        let writes = said(Hints {
            read_only: Some(false),
            ..Hints::default()
        });
        assert_eq!(writes.side_effect, SideEffect::NonIdempotent);
        assert_eq!(
            (writes.risk, writes.approval),
            (Risk::Medium, ApprovalRule::None)
        );
        let outside = said(Hints {
            open_world: Some(true),
            ..Hints::default()
        });
        assert_eq!(outside.risk, Risk::Medium);
    }

    #[test]
    fn a_waived_approval_comes_back_with_a_risk_that_nobody_thought_of() {
        let waived = floor(SideEffect::ReadOnly, Risk::High, Some(ApprovalRule::None));
        let destructive = Hints {
            destructive: Some(true),
            ..Hints::default()
        };
        let of_all = server(waived, None);
        assert_eq!(of_all.settings("it", HARMLESS).approval, ApprovalRule::None);
        assert_eq!(
            of_all.settings("it", destructive).approval,
            ApprovalRule::Required
        );
        let of_this = server(floor(SideEffect::ReadOnly, Risk::Low, None), Some(waived));
        assert_eq!(
            of_this.settings("it", destructive).approval,
            ApprovalRule::None
        );
    }

    #[test]
    fn what_is_denied_is_not_allowed() {
        let mut server = server(floor(SideEffect::ReadOnly, Risk::Low, None), None);
        assert!(server.allows("a") && server.allows("b"));
        server.deny = BTreeSet::from(["a".to_owned()]);
        assert!(!server.allows("a") && server.allows("b"));
        server.allow = Some(BTreeSet::from(["a".to_owned(), "c".to_owned()]));
        assert!(!server.allows("a") && !server.allows("b") && server.allows("c"));
    }
}
