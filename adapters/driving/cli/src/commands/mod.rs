//! One file per command.

mod approvals;
mod cancel;
mod chat;
mod compare;
#[cfg(feature = "conform")]
mod conform;
mod decide;
mod doctor;
mod events;
#[cfg(feature = "restate")]
mod handlers;
mod init;
pub(crate) mod mcp;
mod mcp_serve;
mod migrate;
mod models;
mod questions;
mod queues;
mod reopen;
mod replay;
mod resolve;
mod resume;
mod run;
mod runs;
mod show;
mod verify;
mod waiting;
mod worker;

use std::path::PathBuf;
use std::str::FromStr;

use seaworthy::ports::InvalidId;

use crate::args::{Command, Common};
use crate::environment::Environment;
use crate::error::{CliError, Exit};
use crate::output::Output;
use crate::stack::Stack;
use crate::store::{Named, Store};

/// What every command has.
pub(crate) struct Context {
    pub(crate) environment: Environment,
    pub(crate) output: Output,
    named: Named,
    workspace: PathBuf,
}

impl Context {
    pub(crate) fn new(common: Common, mut environment: Environment) -> Self {
        if common.runtime.is_some() {
            environment.runtime = common.runtime;
            environment.is_runtime_typed = true;
        }
        // Whoever types an address means it.
        if common.otlp.is_some() {
            environment.telemetry.endpoint = common.otlp;
            environment.telemetry.is_disabled = false;
        }
        let output = Output::new(common.json, environment.no_color);
        let named = Named {
            store: common.store,
            data: common.data,
            usual_store: environment.store.clone(),
            usual_data: environment.data.clone(),
            data_home: environment.data_home.clone(),
        };
        Self {
            environment,
            output,
            named,
            workspace: common.workspace,
        }
    }

    /// The workspace, absolute and without links.
    pub(crate) fn workspace(&self) -> Result<PathBuf, CliError> {
        let named = self.workspace.display();
        let path = self
            .workspace
            .canonicalize()
            .map_err(|source| CliError::io(format!("use the workspace {named}"), source))?;
        if !path.is_dir() {
            return Err(CliError::Usage(format!(
                "the workspace {named} is no directory"
            )));
        }
        Ok(path)
    }

    /// The store that was named, or the default one.
    pub(crate) fn store(&self) -> Result<Store, CliError> {
        Store::find(&self.named, &self.workspace()?)
    }

    /// The stack on a store that may be new.
    pub(crate) async fn create(&self) -> Result<Stack, CliError> {
        Stack::open(self.store()?, &self.environment, true).await
    }

    /// The same of a store that outlives this process.
    pub(crate) async fn create_lasting(&self) -> Result<Stack, CliError> {
        Stack::open(self.lasting()?, &self.environment, true).await
    }

    /// The stack on a store that another process may have written.
    pub(crate) async fn open(&self) -> Result<Stack, CliError> {
        Stack::open(self.lasting()?, &self.environment, false).await
    }

    /// The same, or `None` where nobody named a store and there is none yet.
    pub(crate) async fn open_if_any(&self) -> Result<Option<Stack>, CliError> {
        let store = self.lasting()?;
        if let Store::Sqlite {
            path,
            default: true,
        } = &store
            && !path.exists()
        {
            self.output
                .note(&format!("there is no store yet at {}", store.url()));
            return Ok(None);
        }
        Stack::open(store, &self.environment, false).await.map(Some)
    }

    fn lasting(&self) -> Result<Store, CliError> {
        match self.store()? {
            Store::Memory => Err(CliError::Usage(
                "--store memory: lives in one process, so only `seaworthy run` can use it; name a file, sqlite:PATH, or a server, postgres://USER@HOST/DATABASE".to_owned(),
            )),
            store => Ok(store),
        }
    }
}

/// An id, or what one is.
fn id<T: FromStr<Err = InvalidId>>(text: &str) -> Result<T, CliError> {
    text.parse()
        .map_err(|error: InvalidId| CliError::Usage(error.to_string()))
}

/// Carries out `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<Exit, CliError> {
    match command {
        Command::Run(args) => Box::pin(run::run(context, args)).await,
        Command::Chat(args) => Box::pin(chat::chat(context, args)).await,
        Command::Resume(args) => Box::pin(resume::resume(context, &args)).await,
        Command::Worker(args) => worker::worker(context, &args).await,
        #[cfg(feature = "restate")]
        Command::Handlers(args) => handlers::handlers(context, args).await,
        Command::Runs(args) => runs::runs(context, &args).await,
        Command::Show(args) => show::show(context, &args).await,
        Command::Events(args) => events::events(context, &args).await,
        Command::Approvals => approvals::approvals(context).await,
        Command::Questions => questions::questions(context).await,
        Command::Answer(args) => questions::answer(context, args).await,
        Command::Approve(args) => decide::decide(context, args, true).await,
        Command::Deny(args) => decide::decide(context, args, false).await,
        Command::Resolve(args) => resolve::resolve(context, args).await,
        Command::Cancel(args) => cancel::cancel(context, args).await,
        Command::Reopen(args) => reopen::reopen(context, &args).await,
        Command::Verify(args) => verify::verify(context, &args).await,
        Command::Replay(args) => Box::pin(replay::replay(context, args)).await,
        Command::Compare(args) => compare::compare(context, &args).await,
        Command::Queues(args) => queues::queues(context, args).await,
        Command::Migrate => migrate::migrate(context).await,
        Command::Doctor(args) => Box::pin(doctor::doctor(context, &args)).await,
        Command::Mcp(args) => Box::pin(mcp::mcp(context, args)).await,
        Command::Models(args) => models::models(context, &args).await,
        Command::Init(args) => init::init(context, &args),
        #[cfg(feature = "conform")]
        Command::Conform(args) => Box::pin(conform::conform(context, &args)).await,
        #[cfg(feature = "conform")]
        Command::ConformProcess(args) => conform::process(&args).await,
    }
}
