//! The ports a harness is made of.

use std::fmt;
use std::sync::Arc;

use seaworthy_ports::blob_store::BlobStore;
use seaworthy_ports::checkpoint_store::CheckpointStore;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::DurableRuntime;
use seaworthy_ports::entropy::Entropy;
use seaworthy_ports::mcp::{
    Kind, Mcp, McpCapabilities, McpError, McpServer, McpSession, OAuthTokenStore,
};
use seaworthy_ports::model_provider::ModelProvider;
use seaworthy_ports::observer::Observer;
use seaworthy_ports::sandbox::Sandbox;
use seaworthy_ports::state_store::StateStore;
use seaworthy_ports::{AdapterInfo, Secret, async_trait};

use crate::descriptor::{Calling, ModelSpec};

/// One adapter for every port. All fields are public, so that forgetting one does not compile.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Where logs live.
    pub state_store: Arc<dyn StateStore>,
    /// What makes runs advance.
    pub durable_runtime: Arc<dyn DurableRuntime>,
    /// Where large data lives.
    pub blob_store: Arc<dyn BlobStore>,
    /// Where fold snapshots live.
    pub checkpoint_store: Arc<dyn CheckpointStore>,
    /// Where commands run and files lie.
    pub sandbox: Arc<dyn Sandbox>,
    /// Which provider answers for a model of a descriptor.
    pub models: Arc<dyn Models>,
    /// What connects to the servers of a descriptor; [`NoMcp`] where none are wanted.
    pub mcp: Arc<dyn Mcp>,
    /// Where credentials that a descriptor names are found.
    pub secrets: Arc<dyn Secrets>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Who is told what happens.
    pub observer: Arc<dyn Observer>,
}

/// Finds the provider for a model of a descriptor: the part of the composition root that the core needs at run time.
pub trait Models: fmt::Debug + Send + Sync + 'static {
    /// The provider for `spec`, which has it call tools as `calling` says, and what it calls the model. For
    /// [`Calling::BySchema`] that is a decorator around the provider; who has none refuses.
    ///
    /// # Errors
    ///
    /// [`NoModel`] where the stack has no such provider or it is not configured.
    fn find(&self, spec: &ModelSpec, calling: Calling) -> Result<Model, NoModel>;
}

/// Finds the credentials that a descriptor names and never holds. They go to the server they are for and into no record.
pub trait Secrets: fmt::Debug + Send + Sync + 'static {
    /// The secret `name`, if there is one here. It may be another each time.
    fn find(&self, name: &str) -> Option<Secret>;

    /// Where the tokens called `name` are kept, if tokens can be kept here. They are the same each time.
    fn tokens(&self, name: &str) -> Option<Arc<dyn OAuthTokenStore>>;
}

/// No secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn find(&self, _name: &str) -> Option<Secret> {
        None
    }

    fn tokens(&self, _name: &str) -> Option<Arc<dyn OAuthTokenStore>> {
        None
    }
}

/// Connects to no server: for stacks whose agents have none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMcp;

#[async_trait]
impl Mcp for NoMcp {
    fn info(&self) -> AdapterInfo {
        AdapterInfo {
            id: "no-mcp",
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn capabilities(&self) -> McpCapabilities {
        McpCapabilities::NONE
    }

    async fn connect(&self, _server: McpServer) -> Result<Arc<dyn McpSession>, McpError> {
        let why = "this stack has no adapter for servers of the Model Context Protocol";
        Err(McpError::new(
            Kind::Unsupported,
            self.info().id,
            "connect",
            why,
        ))
    }
}

/// A provider and its name of a model.
#[derive(Clone, Debug)]
pub struct Model {
    /// Who answers.
    pub provider: Arc<dyn ModelProvider>,
    /// What the provider calls it.
    pub name: String,
}

/// The stack has no provider for a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoModel(pub String);
