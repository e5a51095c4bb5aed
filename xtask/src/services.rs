//! `cargo xtask services`: real servers for tests, each in a temporary folder, on a free port of the loopback interface.
//!
//! [`Session`] holds servers for as long as a command of this program needs them. Each has a supervisor, a process of its
//! own that stops its server when this one ends, however it ends. `up` starts servers that stay until `down`.

mod account;
mod aimock;
mod install;
mod issuer;
mod litellm;
mod mcp;
mod phoenix;
pub(crate) mod postgres;
pub(crate) mod restate;
mod rotel;
mod server;
mod small_model;
mod standing;
mod supervisor;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::step::{execute_for_code, outcome};

pub(crate) use install::debian;
use server::Server;
pub(crate) use server::bound;
use standing::Standing;
pub(crate) use supervisor::Supervised;

/// Arguments of `cargo xtask services`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Subcommand,
}

#[derive(clap::Subcommand, Debug)]
enum Subcommand {
    /// Starts servers, runs a command that finds them in its environment, and stops them however it ends
    Run {
        /// Only this server; may be repeated [default: all but litellm and phoenix]
        #[arg(long, value_enum, value_name = "KIND")]
        only: Vec<Kind>,
        /// The command and its arguments
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            required = true,
            value_name = "COMMAND"
        )]
        command: Vec<String>,
    },
    /// Starts servers that stay until `down`, and says how to reach them
    Up(Which),
    /// Stops what `up` has started and removes its data
    Down(Which),
    /// Says which servers `up` has started, and whether they answer
    Status(Which),
    /// Serves one server until its standard input ends
    #[command(hide = true)]
    Supervise {
        #[arg(value_enum)]
        kind: Kind,
        /// The folder in which its port is remembered
        #[arg(long)]
        standing: PathBuf,
    },
}

/// What `up`, `down` and `status` are about.
#[derive(clap::Args, Debug)]
struct Which {
    /// Only this server; may be repeated [default: all but litellm and phoenix]
    #[arg(long, value_enum, value_name = "KIND")]
    only: Vec<Kind>,
    /// Print JSON for programs
    #[arg(long)]
    json: bool,
}

/// A kind of server. Another one is a variant here and a [`Service`] in a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// PostgreSQL
    Postgres,
    /// A server that speaks several providers' formats
    Aimock,
    /// A small language model behind llama.cpp
    SmallModel,
    /// Restate, for development and tests: its licence is BUSL-1.1
    Restate,
    /// Rotel, an OpenTelemetry collector
    Rotel,
    /// The reference servers of the Model Context Protocol
    Mcp,
    /// oidc-provider, an issuer of access tokens
    Issuer,
    /// LiteLLM, a proxy that translates providers' formats, before aimock; only where it is named: 576 MB are installed
    Litellm,
    /// Phoenix, which keeps and shows traces; only where it is named: 625 MB are installed
    Phoenix,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Aimock => "aimock",
            Self::SmallModel => "small-model",
            Self::Restate => "restate",
            Self::Rotel => "rotel",
            Self::Mcp => "mcp",
            Self::Issuer => "issuer",
            Self::Litellm => "litellm",
            Self::Phoenix => "phoenix",
        }
    }

    /// The variable of the environment that tells tests where the server is.
    pub(crate) const fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "SEAWORTHY_TEST_POSTGRES",
            Self::Aimock => "SEAWORTHY_TEST_AIMOCK",
            Self::SmallModel => "SEAWORTHY_TEST_SMALL_MODEL",
            Self::Restate => "SEAWORTHY_TEST_RESTATE",
            Self::Rotel => "SEAWORTHY_TEST_ROTEL",
            Self::Mcp => "SEAWORTHY_TEST_MCP",
            Self::Issuer => "SEAWORTHY_TEST_ISSUER",
            Self::Litellm => "SEAWORTHY_TEST_LITELLM",
            Self::Phoenix => "SEAWORTHY_TEST_PHOENIX",
        }
    }

    /// Whether it is started only where somebody names it: it takes more than every test run can be asked for.
    const fn is_on_request(self) -> bool {
        matches!(self, Self::Litellm | Self::Phoenix)
    }

    /// The server that it stands before, which is started first.
    const fn needs(self) -> Option<Self> {
        match self {
            Self::Litellm => Some(Self::Aimock),
            _ => None,
        }
    }

    /// Whether contract suites run on it, so that the page of conformance has a gap without it.
    pub(crate) const fn is_in_conformance(self) -> bool {
        matches!(self, Self::Postgres | Self::Restate)
    }

    /// Whether `CI=true` demands it: suites run on it, and it does not come from a registry of npm or Python, which may
    /// be out of reach.
    const fn is_demanded(self) -> bool {
        matches!(self, Self::Postgres)
    }

    /// A server of its own on fresh data, whatever the environment names: one that may be made to crash.
    pub(crate) fn of_its_own(self) -> Result<Supervised, Failure> {
        self.provide()?;
        Supervised::start(self, &Standing::nowhere(), &[])
    }

    fn service(self) -> Box<dyn server::Service> {
        match self {
            Self::Postgres => Box::new(postgres::Postgres::default()),
            Self::Aimock => Box::new(aimock::Aimock::default()),
            Self::SmallModel => Box::new(small_model::SmallModel::default()),
            Self::Restate => Box::new(restate::Restate::default()),
            Self::Rotel => Box::new(rotel::Rotel::default()),
            Self::Mcp => Box::new(mcp::Mcp::default()),
            Self::Issuer => Box::new(issuer::Issuer::default()),
            Self::Litellm => Box::new(litellm::Litellm::default()),
            Self::Phoenix => Box::new(phoenix::Phoenix::default()),
        }
    }

    /// Makes sure that the programs of the server are there, installing them where that is allowed.
    pub(crate) fn provide(self) -> Result<(), Failure> {
        match self {
            Self::Postgres => postgres::provide(),
            Self::Aimock => aimock::provide(),
            Self::SmallModel => small_model::provide(),
            Self::Restate => restate::provide(),
            Self::Rotel => rotel::provide(),
            Self::Mcp => mcp::provide(),
            Self::Issuer => issuer::provide(),
            Self::Litellm => litellm::provide(),
            Self::Phoenix => phoenix::provide(),
        }
    }

    /// The variable of the environment that tells tests which program they may start themselves, where they do: a server
    /// whose handlers a test registers is a test's own, and so is a tool that looks at what a test has made.
    const fn program_variable(self) -> Option<&'static str> {
        match self {
            Self::Restate => Some(restate::PROGRAM),
            Self::Mcp => Some(mcp::PROGRAM),
            _ => None,
        }
    }

    /// What that variable says, if the program is there.
    fn program(self) -> Option<PathBuf> {
        match self {
            Self::Restate => restate::program().ok().flatten(),
            Self::Mcp => mcp::tools(),
            _ => None,
        }
    }

    /// The URL that whoever started this program has set.
    fn given(self) -> Option<String> {
        std::env::var(self.variable())
            .ok()
            .filter(|url| !url.is_empty())
    }
}

/// All kinds, or those that were named.
fn named(only: &[Kind]) -> Vec<Kind> {
    if only.is_empty() {
        Kind::value_variants().to_vec()
    } else {
        only.to_vec()
    }
}

/// All kinds but those on request, or those that were named, each behind the one that it needs.
fn chosen(only: &[Kind]) -> Vec<Kind> {
    if only.is_empty() {
        let kinds = Kind::value_variants().iter().copied();
        return kinds.filter(|kind| !kind.is_on_request()).collect();
    }
    let mut kinds = Vec::new();
    for kind in only {
        for kind in kind.needs().into_iter().chain([*kind]) {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
    }
    kinds
}

/// Carries the subcommand out.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let done = |()| ExitCode::SUCCESS;
    match &args.command {
        Subcommand::Run { only, command } => run_with(&chosen(only), command),
        Subcommand::Up(which) => up(which).map(done),
        Subcommand::Down(which) => down(which).map(done),
        Subcommand::Status(which) => status(which),
        Subcommand::Supervise { kind, standing } => {
            supervisor::supervise(*kind, &Standing::at(standing.clone())).map(done)
        }
    }
}

/// The exit code is that of the command.
fn run_with(kinds: &[Kind], command: &[String]) -> Result<ExitCode, Failure> {
    let session = Session::start(kinds)?;
    let (program, args) = command
        .split_first()
        .ok_or_else(|| Failure::new("name the command to run"))?;
    let mut command = Command::new(program);
    command.args(args);
    session.tell(&mut command);
    let code = execute_for_code(command);
    session.stop();
    code
}

fn up(which: &Which) -> Result<(), Failure> {
    let standing = Standing::of_workspace()?;
    let mut told = Vec::new();
    for kind in chosen(&which.only) {
        let url = if let Some(known) = standing.alive(kind)? {
            known.url
        } else {
            kind.provide()?;
            let server = Server::start(kind.service(), standing.port(kind), false)?;
            standing.remember(kind, &server)?;
            server.url()
        };
        if !which.json {
            println!("export {}={url}", kind.variable());
        }
        told.push(json!({ "kind": kind.name(), "variable": kind.variable(), "url": url }));
    }
    if which.json {
        println!("{:#}", Value::from(told));
    } else if std::io::stdout().is_terminal() {
        println!(
            "# cargo xtask test uses them by itself; `cargo xtask services down` stops them and removes their data"
        );
    }
    Ok(())
}

fn down(which: &Which) -> Result<(), Failure> {
    let standing = Standing::of_workspace()?;
    let mut told = Vec::new();
    for kind in named(&which.only) {
        let was = standing.stop(kind)?;
        if !which.json {
            let word = if was { "is stopped" } else { "was not up" };
            println!("{} {word}", kind.name());
        }
        told.push(json!({ "kind": kind.name(), "stopped": was }));
    }
    if which.json {
        println!("{:#}", Value::from(told));
    }
    Ok(())
}

/// The exit code says whether all of them answer.
fn status(which: &Which) -> Result<ExitCode, Failure> {
    let standing = Standing::of_workspace()?;
    let (mut told, mut all) = (Vec::new(), true);
    for kind in named(&which.only) {
        let known = standing.alive(kind)?;
        if known.is_none() && kind.is_on_request() && which.only.is_empty() {
            continue;
        }
        all &= known.is_some();
        if !which.json {
            match &known {
                Some(known) => println!("{} is up: {}", kind.name(), known.url),
                None => println!("{} is not up", kind.name()),
            }
        }
        told.push(match known {
            Some(known) => json!({
                "kind": kind.name(), "up": true, "variable": kind.variable(), "url": known.url,
                "process": known.process, "folder": known.folder,
            }),
            None => json!({ "kind": kind.name(), "up": false, "variable": kind.variable() }),
        });
    }
    if which.json {
        println!("{:#}", Value::from(told));
    }
    Ok(outcome(all))
}

/// Servers that tests can reach for as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct Session {
    found: Vec<(Kind, String)>,
    supervised: Vec<Supervised>,
}

impl Session {
    /// Finds or starts a server of each kind: the one that the environment names, the one that `up` has started, or a new
    /// one.
    pub(crate) fn start(kinds: &[Kind]) -> Result<Self, Failure> {
        let standing = Standing::of_workspace()?;
        let mut session = Self::default();
        for kind in kinds.iter().copied() {
            if let Some(url) = kind.given() {
                session.found.push((kind, url));
            } else if let Some(known) = standing.alive(kind)? {
                eprintln!("{}: the one that is up, {}", kind.name(), known.url);
                session.found.push((kind, known.url));
            } else {
                kind.provide()?;
                let supervised = Supervised::start(kind, &standing, &session.found)?;
                eprintln!("{}: started at {}", kind.name(), supervised.url());
                session.found.push((kind, supervised.url().to_owned()));
                session.supervised.push(supervised);
            }
        }
        Ok(session)
    }

    /// The same of all kinds that contract suites run on.
    pub(crate) fn start_for_conformance() -> Result<Self, Failure> {
        let kinds = Kind::value_variants().iter().copied();
        let kinds: Vec<Kind> = kinds.filter(|kind| kind.is_in_conformance()).collect();
        Self::start(&kinds)
    }

    /// The same for tests that can be left out. Where a server cannot be had it says so and goes on without, unless
    /// `CI=true` demands it. Also returned: the kinds that are missing.
    pub(crate) fn start_what_there_is() -> Result<(Self, Vec<Kind>), Failure> {
        let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        let (mut session, mut missing) = (Self::default(), Vec::new());
        let standing = Standing::of_workspace()?;
        for kind in Kind::value_variants().iter().copied() {
            let is_there = || Ok(kind.given().is_some() || standing.alive(kind)?.is_some());
            if kind.is_on_request() && !is_there()? {
                continue;
            }
            match Self::start(&[kind]) {
                Ok(one) => {
                    session.found.extend(one.found);
                    session.supervised.extend(one.supervised);
                }
                Err(failure) if is_ci && kind.is_demanded() => {
                    return Err(Failure::new(format!(
                        "CI=true demands the servers of contract suites, and there is no {}:\n{failure}",
                        kind.name()
                    )));
                }
                Err(failure) => {
                    warn(kind, &failure);
                    missing.push(kind);
                }
            }
        }
        Ok((session, missing))
    }

    /// Sets the variables in the environment of `command`, and removes those of servers that are not there.
    pub(crate) fn tell(&self, command: &mut Command) {
        for kind in Kind::value_variants() {
            command.env_remove(kind.variable());
            if let Some(variable) = kind.program_variable() {
                command.env_remove(variable);
            }
        }
        for (kind, url) in &self.found {
            command.env(kind.variable(), url);
            if let (Some(variable), Some(program)) = (kind.program_variable(), kind.program()) {
                command.env(variable, program);
            }
        }
    }

    /// Stops what it has started.
    pub(crate) fn stop(self) {
        for one in self.supervised {
            one.stop();
        }
    }
}

fn warn(kind: Kind, failure: &Failure) {
    let line = "!".repeat(80);
    println!(
        "{line}\nThere is no {name} here, so the tests that need one are IGNORED:\n{failure}\n\
         Or set {variable} to the URL of a server that tests may fill.\n{line}",
        name = kind.name(),
        variable = kind.variable(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_called_what_the_command_line_calls_it() {
        for kind in Kind::value_variants() {
            assert_eq!(kind.to_possible_value().unwrap().get_name(), kind.name());
            assert_eq!(Kind::from_str(kind.name(), false), Ok(*kind));
        }
    }

    #[test]
    fn what_takes_much_is_started_only_where_it_is_named() {
        let all = chosen(&[]);
        assert!(all.contains(&Kind::Aimock) && all.contains(&Kind::Rotel));
        assert!(!all.iter().any(|kind| kind.is_on_request()));
        assert_eq!(chosen(&[Kind::Phoenix]), [Kind::Phoenix]);
    }

    #[test]
    fn a_server_that_stands_before_another_is_started_behind_it() {
        let both = [Kind::Aimock, Kind::Litellm];
        assert_eq!(chosen(&[Kind::Litellm]), both);
        assert_eq!(chosen(&[Kind::Aimock, Kind::Litellm]), both);
    }

    #[test]
    fn a_command_is_told_of_the_servers_there_are_and_of_no_others() {
        let variables = |session: &Session| {
            let mut command = Command::new("any");
            session.tell(&mut command);
            command
                .get_envs()
                .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
                .collect::<Vec<_>>()
        };
        let name = Kind::Postgres.variable();
        let none: Vec<_> = variables(&Session::default());
        let programs = Kind::value_variants().iter().copied();
        let programs = programs.filter_map(Kind::program_variable).count();
        assert_eq!(none.len(), Kind::value_variants().len() + programs);
        assert!(none.iter().all(|(_name, url)| url.is_none()));
        let session = Session {
            found: vec![(Kind::Postgres, "postgres://there/db".to_owned())],
            supervised: Vec::new(),
        };
        let url = Some("postgres://there/db".into());
        assert!(variables(&session).contains(&(name.into(), url)));
    }
}
