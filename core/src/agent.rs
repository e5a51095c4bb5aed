//! An agent ready to run: its instructions, model and tools, made once from a run's descriptor.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use seaworthy_ports::model_provider::{Parameters, ToolSpec};
use seaworthy_ports::{Digest, ServerAlias};

use crate::descriptor::{
    AliasSettings, AliasSpec, CompactionSpec, Materialised, ServerSpec, ServerTools, Support,
};
use crate::event::RunSubmitted;
use crate::files;
use crate::gateway::Gateway;
use crate::history::Window;
use crate::output::{Brief, Output, Way};
use crate::servers::Catalogue;
use crate::stack::{Model, Models, NoModel};

/// An agent ready to run.
#[derive(Debug)]
pub struct Agent {
    /// What the model is told first.
    pub instructions: Arc<str>,
    /// Who answers.
    pub model: Candidate,
    /// Who answers in its place, in this order.
    pub fallback: Vec<Candidate>,
    /// What the model may call.
    pub tools: Arc<Vec<ToolSpec>>,
    /// The tools of servers that it lists, whether these were asked for them or not.
    pub server_tools: Vec<ServerTools>,
    /// The servers of its descriptor.
    pub servers: BTreeMap<ServerAlias, ServerSpec>,
    /// How the model is to answer; it goes before what the model's alias says.
    pub parameters: Parameters,
    /// The way to the tools.
    pub gateway: Gateway,
    /// How much of its session's conversation it sees.
    pub window: Window,
    /// When the older part of its conversation is replaced by a summary, if ever.
    pub compaction: Option<Compaction>,
    /// How its models are asked for an answer that fits a schema, if it must fit one.
    pub output: Option<Output>,
}

/// When and by whom the older part of a conversation is summed up.
#[derive(Clone, Debug)]
pub struct Compaction {
    /// When a call would have more tokens.
    pub at_tokens: u64,
    /// How many of the newest answers stay as they are.
    pub keep_turns: u32,
    /// Who writes the summary, then those who stand in; none: the agent's own.
    pub by: Vec<Candidate>,
}

impl Compaction {
    fn new(
        spec: &CompactionSpec,
        find: impl Fn(&str) -> Result<Candidate, NoAgent>,
    ) -> Result<Self, NoAgent> {
        let mut by = Vec::new();
        if let Some(alias) = spec.model.as_deref() {
            let model = find(alias)?;
            let stand_ins = model.settings.fallback.models.clone();
            by.push(model);
            // One that this stack does not have cannot stand in.
            by.extend(stand_ins.iter().filter_map(|alias| find(alias).ok()));
        }
        Ok(Self {
            at_tokens: u64::from(spec.at_tokens),
            keep_turns: spec.keep_turns,
            by,
        })
    }
}

/// A model that may answer for an agent.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its alias.
    pub alias: String,
    /// Who answers.
    pub model: Model,
    /// What goes with it.
    pub settings: AliasSettings,
}

impl Candidate {
    fn new(alias: &str, spec: &AliasSpec, models: &dyn Models) -> Result<Self, NoModel> {
        Ok(Self {
            alias: alias.to_owned(),
            model: models.find(&spec.model, spec.settings.tools)?,
            settings: spec.settings.clone(),
        })
    }

    /// The id of the adapter that is asked.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.model.provider.info().id
    }

    /// What the model can do, as far as anybody has said.
    #[must_use]
    pub fn supports(&self) -> BTreeMap<&'static str, Support> {
        let provider = self.model.provider.capabilities(&self.model.name);
        self.settings.supports(provider)
    }

    fn calls_tools(&self) -> bool {
        self.supports().get("tool_use") != Some(&Support::Absent)
    }
}

/// The run's descriptor does not make an agent here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAgent {
    /// No stack could make one.
    #[error("{0}")]
    Broken(String),
    /// This stack has no such model, or it is not configured; another one may.
    #[error(transparent)]
    NoModel(#[from] NoModel),
}

impl Agent {
    /// Everybody who may answer: the model itself, then those who stand in.
    pub fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        std::iter::once(&self.model).chain(&self.fallback)
    }

    /// The capability that every model of the agent is known to lack for a file of this type; `None`: one may take it.
    #[must_use]
    pub fn cannot_take(&self, media_type: &str) -> Option<&'static str> {
        let needed = files::capability(media_type)?;
        let lacks =
            |candidate: &Candidate| candidate.supports().get(needed) == Some(&Support::Absent);
        self.candidates().all(lacks).then_some(needed)
    }

    /// How `candidate` is asked for an answer that fits a schema; `None`: any answer will do.
    #[must_use]
    pub fn way(&self, candidate: &Candidate) -> Option<Way> {
        let has_tools = !self.tools.is_empty();
        self.output.as_ref().map(|_| Way::of(candidate, has_tools))
    }

    /// What `candidate` is told beside the conversation.
    #[must_use]
    pub fn brief(&self, candidate: &Candidate) -> Brief {
        match (&self.output, self.way(candidate)) {
            (Some(output), Some(way)) => output.brief(way).clone(),
            _ => Brief {
                instructions: Arc::clone(&self.instructions),
                tools: Arc::clone(&self.tools),
                output_schema: None,
            },
        }
    }

    /// Makes the entry agent of `descriptor`, without the tools of servers that it lists: these are known once the
    /// servers were asked ([`Agent::with_catalogue`]).
    ///
    /// # Errors
    ///
    /// [`NoAgent`] with what is missing or wrong.
    pub fn new(descriptor: &Materialised, models: &dyn Models) -> Result<Self, NoAgent> {
        Self::with_catalogue(descriptor, models, None)
    }

    /// Makes the entry agent of `descriptor` with the tools of servers that `catalogue` has.
    ///
    /// # Errors
    ///
    /// [`NoAgent`] with what is missing or wrong.
    pub fn with_catalogue(
        descriptor: &Materialised,
        models: &dyn Models,
        catalogue: Option<&Catalogue>,
    ) -> Result<Self, NoAgent> {
        let no = |why: &dyn std::fmt::Display| NoAgent::Broken(why.to_string());
        let agent = descriptor.entry().map_err(|error| no(&error))?;
        let compaction = agent.compaction.as_ref().map(|spec| {
            Compaction::new(spec, |alias| {
                let spec = descriptor.model(alias).map_err(|error| no(&error))?;
                Ok(Candidate::new(alias, spec, models)?)
            })
        });
        let spec = descriptor.model(&agent.model).map_err(|error| no(&error))?;
        let model = Candidate::new(&agent.model, spec, models)?;
        let toolbox = descriptor
            .toolbox_with(agent, catalogue)
            .map_err(|error| no(&error))?;
        let tools = Arc::new(toolbox.specs());
        let has_tools = !tools.is_empty() || !agent.server_tools.is_empty();
        if has_tools && !model.calls_tools() {
            return Err(no(&format!(
                "model {:?} cannot call tools, and agent {:?} has some; give it another model",
                agent.model, agent.name
            )));
        }
        let mut fallback = Vec::new();
        for alias in &spec.settings.fallback.models {
            let spec = descriptor.model(alias).map_err(|error| no(&error))?;
            // One that this stack does not have, or that cannot do the work, cannot stand in.
            if let Ok(candidate) = Candidate::new(alias, spec, models)
                && (!has_tools || candidate.calls_tools())
            {
                fallback.push(candidate);
            }
        }
        let changed = catalogue.map(|catalogue| &catalogue.changed);
        let changed = changed.into_iter().flatten();
        let mut gateway = Gateway::new(toolbox)
            .map_err(|error| no(&error))?
            .with_changed(
                changed
                    .map(|(name, now)| (name.clone(), now.digest))
                    .collect(),
            );
        let instructions: Arc<str> = agent.instructions.as_str().into();
        let output = match &agent.output_schema {
            Some(schema) => {
                gateway = gateway.with_answers();
                Some(Output::new(schema, &instructions, &tools).map_err(|error| no(&error))?)
            }
            None => None,
        };
        Ok(Self {
            instructions,
            model,
            fallback,
            tools,
            server_tools: agent.server_tools.clone(),
            servers: descriptor.mcp_servers.clone(),
            parameters: agent.parameters.clone(),
            gateway,
            window: agent.history,
            compaction: compaction.transpose()?,
            output,
        })
    }
}

/// How many agents are kept ready.
const KEPT: usize = 64;

/// Agents by the digests of their descriptor and of what their servers offer, so that a worker makes each only once.
#[derive(Debug, Default)]
pub struct Agents(Mutex<BTreeMap<Key, Arc<Agent>>>);

type Key = (Digest, Option<Digest>);

impl Agents {
    /// The agent of a run whose servers have these tools, if it has any.
    ///
    /// # Errors
    ///
    /// [`NoAgent`] with what is missing or wrong.
    pub fn of(
        &self,
        run: &RunSubmitted,
        catalogue: Option<&Catalogue>,
        models: &dyn Models,
    ) -> Result<Arc<Agent>, NoAgent> {
        let key = (
            run.descriptor_digest,
            catalogue.map(|catalogue| catalogue.digest),
        );
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = kept().get(&key) {
            return Ok(Arc::clone(agent));
        }
        let descriptor: Materialised =
            serde_json::from_value(run.descriptor.clone()).map_err(|error| {
                NoAgent::Broken(format!("the run's descriptor cannot be read: {error}"))
            })?;
        let agent = Arc::new(Agent::with_catalogue(&descriptor, models, catalogue)?);
        let mut kept = kept();
        if kept.len() >= KEPT {
            kept.pop_first();
        }
        kept.insert(key, Arc::clone(&agent));
        Ok(agent)
    }
}
