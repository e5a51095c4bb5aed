//! The servers of a run's agent: which tools they have, and the way to them while a turn holds the run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use seaworthy_ports::mcp::McpError;
use seaworthy_ports::{Retry, ServerAlias};

use super::{Held, NO_MODEL_DELAY, Stop};
use crate::agent::Agent;
use crate::descriptor::ServerSpec;
use crate::event::Event;
use crate::machine::Work;
use crate::servers::{ConnectError, Connections, ListError, Place, ToolsListed, Unreachable};

/// How often servers are asked for their tools before the run fails.
const TRIES: u32 = 4;
/// How long to wait after the first of them, unless the server says so; after each further one it is twice as long.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest wait between two of them.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// The code of a run whose servers cannot be used.
const SERVER: &str = "mcp_server";

impl Held<'_> {
    /// Asks the agent's servers which tools they have, and puts that on record before anything follows from it.
    pub(super) async fn list_tools(&mut self) -> Result<(), Stop> {
        let Some(agent) = self.agent().await? else {
            return Ok(());
        };
        // From here on the attempt must be on record: a crash in a server's call counts.
        self.commit().await?;
        let mut tries = 0_u32;
        let mut delay = FIRST_DELAY;
        loop {
            tries = tries.saturating_add(1);
            let Some(servers) = self.servers(&agent).await? else {
                return Ok(());
            };
            match servers.list(&agent.server_tools).await {
                Ok(catalogue) => {
                    let listed = ToolsListed {
                        catalogue,
                        from: None,
                    };
                    self.writer
                        .record(Event::ToolsListed(Box::new(listed)))
                        .await?;
                    return self.commit().await;
                }
                Err(error) => match verdict(&error) {
                    Verdict::Elsewhere => {
                        return Err(Stop::Later {
                            after: NO_MODEL_DELAY,
                            why: error.to_string(),
                        });
                    }
                    Verdict::Again(after) if tries < TRIES => {
                        self.pause(after.unwrap_or(delay).min(LONGEST_DELAY))
                            .await?;
                        delay = delay.saturating_mul(2);
                    }
                    Verdict::Again(_) | Verdict::Final => {
                        let message = error.to_string();
                        self.writer
                            .record(Event::RunFailed {
                                code: SERVER.to_owned(),
                                message,
                            })
                            .await?;
                        return Ok(());
                    }
                },
            }
        }
    }

    /// The way to the agent's servers, or the run's end: some may run inside its sandbox session.
    async fn servers(&mut self, agent: &Agent) -> Result<Option<Arc<Connections>>, Stop> {
        if let Some(servers) = &self.servers {
            return Ok(Some(Arc::clone(servers)));
        }
        let mut sandbox = None;
        if agent.servers.values().any(ServerSpec::is_sandboxed) {
            sandbox = self.sandbox().await?;
            if sandbox.is_none() {
                return Ok(None);
            }
        }
        let submitted = &self.writer.state.submitted;
        let place = Place {
            workspace: submitted.workspace.clone().into(),
            base_dir: submitted.base_dir.clone().into(),
            environment: self.driver.settings.environment.clone(),
            sandbox,
        };
        let servers = Connections::on(
            &self.driver.ports,
            self.writer.state.run(),
            agent.servers.clone(),
            place,
        );
        let servers = Arc::new(servers);
        self.servers = Some(Arc::clone(&servers));
        Ok(Some(servers))
    }

    /// The way to the servers that this work needs, which are reached before any of it is on record as begun. One that is
    /// not shows in the calls themselves.
    pub(super) async fn reach_servers(
        &mut self,
        agent: &Agent,
        work: &[Work],
    ) -> Result<Option<Arc<Connections>>, Stop> {
        let mut needed: BTreeSet<ServerAlias> = BTreeSet::new();
        if let Some(catalogue) = &self.state().catalogue {
            for one in work {
                let call = self.state().call(one.call());
                let tool = call.and_then(|call| catalogue.tools.get(call.proposal.tool.as_str()));
                needed.extend(tool.map(|tool| tool.server.clone()));
            }
        }
        if needed.is_empty() {
            return Ok(None);
        }
        let servers = self.servers(agent).await?;
        if let Some(servers) = &servers {
            join_all(needed.iter().map(|alias| servers.session(alias))).await;
        }
        Ok(servers)
    }

    /// Takes leave of the servers.
    pub(super) async fn close_servers(&mut self) {
        if let Some(servers) = self.servers.take() {
            servers.close().await;
        }
    }
}

/// What follows where tools cannot be listed.
enum Verdict {
    /// Another worker may have what is missing.
    Elsewhere,
    /// It may be another thing after so long.
    Again(Option<Duration>),
    /// It stays like that.
    Final,
}

fn verdict(error: &ListError) -> Verdict {
    match error {
        ListError::Connect(error) => match &**error {
            ConnectError::Unreachable(
                Unreachable::Secret(_) | Unreachable::Login(_) | Unreachable::NoTokens(_),
            ) => Verdict::Elsewhere,
            ConnectError::Mcp { error, .. } => of_server(error),
            ConnectError::Unreachable(_) | ConnectError::Unknown(_) => Verdict::Final,
        },
        ListError::NoTool { .. } | ListError::Unusable { .. } | ListError::TooMany { .. } => {
            Verdict::Final
        }
    }
}

/// Listing changes nothing, so what may have happened does not count.
fn of_server(error: &McpError) -> Verdict {
    match error.retry() {
        Retry::No => Verdict::Final,
        Retry::Backoff => Verdict::Again(None),
        Retry::After(delay) => Verdict::Again(Some(delay)),
    }
}
