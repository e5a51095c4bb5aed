//! Which agents are served, and under which names.

use std::collections::BTreeMap;

use seaworthy_core::descriptor::Materialised;

use crate::tools::RUN_TOOLS;

/// The most agents of one server.
pub(crate) const MAX_AGENTS: usize = 256;

/// An agent to serve.
#[derive(Clone, Debug)]
pub struct ServedAgent {
    /// What it is. Its tool has the name in its metadata.
    pub descriptor: Materialised,
    /// The directory that its commands are relative to, absolute.
    pub base_dir: String,
}

/// These agents cannot be served together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAgents {
    /// There is nothing to serve.
    #[error("there is no agent to serve; name at least one descriptor")]
    None,
    /// There are too many.
    #[error("{0} agents are too many for one server, at most {MAX_AGENTS}; start several")]
    TooMany(usize),
    /// Two have the same name.
    #[error(
        "two agents are called {0:?}, and each is a tool of that name; rename one in its `metadata.name`"
    )]
    Twice(String),
    /// One is called like a tool of the server itself.
    #[error(
        "an agent is called {0:?}, which is a tool of the server itself; rename it in its `metadata.name`"
    )]
    Reserved(String),
    /// A descriptor that was written by hand has no entry agent.
    #[error("agent {name:?} cannot be served: {why}")]
    Broken {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
}

/// The served agents by name.
#[derive(Debug)]
pub(crate) struct Agents(BTreeMap<String, ServedAgent>);

impl Agents {
    pub(crate) fn new(agents: Vec<ServedAgent>) -> Result<Self, InvalidAgents> {
        if agents.is_empty() {
            return Err(InvalidAgents::None);
        }
        if agents.len() > MAX_AGENTS {
            return Err(InvalidAgents::TooMany(agents.len()));
        }
        let mut named = BTreeMap::new();
        for agent in agents {
            let name = agent.descriptor.metadata.name.clone();
            if RUN_TOOLS.contains(&name.as_str()) {
                return Err(InvalidAgents::Reserved(name));
            }
            if let Err(error) = agent.descriptor.entry() {
                let why = error.to_string();
                return Err(InvalidAgents::Broken { name, why });
            }
            if named.insert(name.clone(), agent).is_some() {
                return Err(InvalidAgents::Twice(name));
            }
        }
        Ok(Self(named))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&ServedAgent> {
        self.0.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &ServedAgent)> {
        self.0.iter().map(|(name, agent)| (name.as_str(), agent))
    }

    /// The names, in their order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What the entry agent of `agent` is told first.
    pub(crate) fn instructions(agent: &ServedAgent) -> &str {
        agent
            .descriptor
            .entry()
            .map_or("", |entry| entry.instructions.as_str())
    }
}
