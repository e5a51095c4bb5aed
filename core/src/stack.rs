//! The ports a harness is made of.

use std::fmt;
use std::sync::Arc;

use seaworthy_ports::blob_store::BlobStore;
use seaworthy_ports::checkpoint_store::CheckpointStore;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::durable_runtime::DurableRuntime;
use seaworthy_ports::entropy::Entropy;
use seaworthy_ports::model_provider::ModelProvider;
use seaworthy_ports::observer::Observer;
use seaworthy_ports::sandbox::Sandbox;
use seaworthy_ports::state_store::StateStore;

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
