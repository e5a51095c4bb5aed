//! What can be typed.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, Parser, Subcommand};

use crate::commands::mcp::McpArgs;
use crate::error::Exit;

const EXIT_CODES: &str = "Exit codes:
  0    done; for run, resume and replay: the run succeeded
  1    the run failed; for verify: its log is faulty; for conform: a clause is broken; for compare: the runs differ;
       for models: one cannot be reached; for mcp and doctor: a server cannot be used, or its tool failed
  2    wrong usage or configuration, an unusable store, an unknown id
  3    the run waits for an approval, or for somebody who knows what became of a call in doubt
  4    the run was cancelled
  5    a strict replay deviated from the record
  130  stopped by Ctrl-C (143: by SIGTERM); the run goes on with `seaworthy resume`

Environment:
  OPENAI_API_KEY, OPENAI_BASE_URL  for models of providers openai and openai-responses
  ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL  for models of provider anthropic
  GEMINI_API_KEY, GEMINI_BASE_URL  for models of provider gemini
  OLLAMA_API_KEY, OLLAMA_BASE_URL  for models of provider ollama (default: this machine's server, which needs no key)
  OTEL_EXPORTER_OTLP_ENDPOINT      what --otlp says otherwise; further OTEL_EXPORTER_OTLP_… for headers and compression
  OTEL_SERVICE_NAME                what traces call this program (default: seaworthy)
  OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT
                                   NO_CONTENT (default), SPAN_ONLY, EVENT_ONLY or SPAN_AND_EVENT
  SEAWORTHY_OTEL_GENAI             `v1.41`: the names of attributes and metrics before the conventions moved
  TRACEPARENT, TRACESTATE          the span that a new run is a part of
  NO_COLOR                         no colours, whatever its value
  SEAWORTHY_RUNTIME, RESTATE_AUTH_TOKEN  what --runtime says otherwise, and the token that its server asks for
  SEAWORTHY_STORE, SEAWORTHY_DATA  what --store and --data say otherwise; a password is not seen there
  SEAWORTHY_LOG                    what to log on standard error, such as `debug` (default: warnings)";

/// Runs AI agents that survive: kill one at any instant, continue it, and nothing happens twice.
#[derive(Debug, Parser)]
#[command(name = "seaworthy", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Where runs are kept: `sqlite:PATH`, `postgres://USER@HOST/DATABASE` or `memory:` for one process only [default:
    /// .seaworthy/state.db under the workspace's project, the nearest folder above it with .seaworthy or .git]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// Where a database server's large data are kept: a folder that every worker reaches [default: one of this user]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// What makes runs advance: `restate:http://HOST:8080`, the ingress of a Restate server [default: the store]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) runtime: Option<String>,
    /// The directory to work in
    #[arg(long, global = true, value_name = "DIR", default_value = ".")]
    pub(crate) workspace: PathBuf,
    /// Print JSON for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Send traces and metrics to this OpenTelemetry collector, such as http://127.0.0.1:4318 [default: nowhere, or where
    /// OTEL_EXPORTER_OTLP_ENDPOINT says]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) otlp: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an agent to its end, or continue the run of that id
    Run(RunArgs),
    /// Talk to an agent: one run for each message of a session, approvals where they come up
    Chat(ChatArgs),
    /// Continue a run
    Resume(ResumeArgs),
    /// Serve all runs of the store until stopped; SIGTERM and Ctrl-C let live turns finish
    Worker(WorkerArgs),
    /// Serve the handlers that a Restate server calls, until stopped; its runs need them, wherever their workers are
    #[cfg(feature = "restate")]
    Handlers(HandlersArgs),
    /// List runs, the newest first
    Runs(RunsArgs),
    /// Show a run
    Show(RunRef),
    /// Show what happened in a run, record by record
    Events(EventsArgs),
    /// List the approvals that runs wait for
    Approvals,
    /// Approve a call
    Approve(DecideArgs),
    /// Deny a call
    Deny(DecideArgs),
    /// List the questions of servers that runs wait for
    Questions,
    /// Answer a question of a server
    Answer(AnswerArgs),
    /// Say what became of a call in doubt
    Resolve(ResolveArgs),
    /// End a run, at once, whoever has it
    Cancel(CancelArgs),
    /// Queue a failed run again, on the same log
    Reopen(RunRef),
    /// Check a run's log: its chain, its events and what is derived from them
    Verify(RunRef),
    /// Run again what a run did: strictly from its record, or another way from some record on. The run stays as it is
    Replay(ReplayArgs),
    /// Hold two runs against each other, section by section
    Compare(CompareArgs),
    /// List how many runs of a queue may run at once, or limit one
    Queues(QueuesArgs),
    /// Bring the store to the schema of this version, or make it
    Migrate,
    /// Show what this installation is made of, what it promises and what is missing
    Doctor(DoctorArgs),
    /// List the models of an agent: what is known of them, and whether they can be reached
    Models(ModelsArgs),
    /// Look at servers of the Model Context Protocol, or serve agents to its clients
    Mcp(McpArgs),
    /// Write a starter agent into a new folder
    Init(InitArgs),
    /// Try every clause of a port on the adapter that a store stands for, without touching what is there
    #[cfg(feature = "conform")]
    Conform(ConformArgs),
    /// Does what a scenario of `conform` asks another process to do
    #[cfg(feature = "conform")]
    #[command(hide = true)]
    ConformProcess(ConformArgs),
}

impl Command {
    /// Whether adapters warn of what they are meant to meet, so that their warnings tell nothing.
    pub(crate) const fn provokes_warnings(&self) -> bool {
        #[cfg(feature = "conform")]
        return matches!(self, Self::Conform(_) | Self::ConformProcess(_));
        #[cfg(not(feature = "conform"))]
        false
    }
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The agent's descriptor
    #[arg(value_name = "AGENT.yaml")]
    pub(crate) agent: PathBuf,
    /// What to ask it: text, @FILE, or - for standard input [default: Begin.]
    #[arg(long, value_name = "TEXT|@FILE|-", allow_hyphen_values = true)]
    pub(crate) input: Option<String>,
    /// A file to give to it, before what it is asked: an image, audio, a PDF or text; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) attach: Vec<PathBuf>,
    /// The run's id; a run that exists is continued, or its outcome reported [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) run_id: Option<String>,
    /// The session whose conversation the run continues
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// Use another model for an alias of the descriptor; may be repeated
    #[arg(long, value_name = "ALIAS=PROVIDER:MODEL")]
    pub(crate) model: Vec<String>,
    /// Grant every approval this run asks for; the log says that it was granted this way
    #[arg(long)]
    pub(crate) yes: bool,
    /// Queue the run for a worker and return
    #[arg(long)]
    pub(crate) detach: bool,
    /// The queue in which the run waits for a worker [default: default]
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// The agent's descriptor
    #[arg(value_name = "AGENT.yaml")]
    pub(crate) agent: PathBuf,
    /// The session to go on with [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// Use another model for an alias of the descriptor; may be repeated
    #[arg(long, value_name = "ALIAS=PROVIDER:MODEL")]
    pub(crate) model: Vec<String>,
    /// Grant every approval; the log says that it was granted this way
    #[arg(long)]
    pub(crate) yes: bool,
    /// The queue of the session's runs [default: default]
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// The agent's descriptor
    #[arg(value_name = "AGENT.yaml")]
    pub(crate) agent: PathBuf,
    /// Use another model for an alias of the descriptor; may be repeated
    #[arg(long, value_name = "ALIAS=PROVIDER:MODEL")]
    pub(crate) model: Vec<String>,
    /// Ask no provider anything
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// An agent's descriptor, whose servers are connected to
    #[arg(value_name = "AGENT.yaml")]
    pub(crate) agent: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The run
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// Grant every approval the run asks for; the log says that it was granted this way
    #[arg(long)]
    pub(crate) yes: bool,
}

/// Where the handlers are, and to which server they are made known.
#[cfg(feature = "restate")]
#[derive(Debug, Args)]
pub(crate) struct HandlersArgs {
    /// The address to listen at
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9080")]
    pub(crate) listen: std::net::SocketAddr,
    /// The URL at which the server reaches them [default: the address to listen at]
    #[arg(long, value_name = "URL")]
    pub(crate) address: Option<String>,
    /// The server's admin API, to which they are made known
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9070")]
    pub(crate) admin: String,
    /// The public key (`publickeyv1_…`) of the one server whose calls are answered [default: whoever reaches the address]
    #[arg(long, value_name = "KEY")]
    pub(crate) identity: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The run to replay
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// The first record of the run that is not taken as it is, as `seaworthy events` numbers them [default: 1, nothing is
    /// taken unseen]
    #[arg(
        long,
        value_name = "RECORD",
        default_value_t = 1,
        hide_default_value = true
    )]
    pub(crate) from: u64,
    /// What happens from there on. strict: nothing is done, and all that the agent asks for must be the recorded; hybrid: the
    /// model is asked, recorded calls get their recorded results; live: the model is asked and tools are called
    #[arg(long, value_name = "MODE", default_value = "strict", value_parser = ["strict", "hybrid", "live"])]
    pub(crate) mode: String,
    /// Use another model for an alias; may be repeated
    #[arg(long, value_name = "ALIAS=PROVIDER:MODEL")]
    pub(crate) model: Vec<String>,
    /// Use this agent instead of the run's
    #[arg(long, value_name = "AGENT.yaml")]
    pub(crate) agent: Option<PathBuf>,
    /// What becomes of a hybrid replay's calls that are not on record and may change something: refuse, or ask a person
    #[arg(long, value_name = "RULE", default_value = "refuse", value_parser = ["refuse", "ask"])]
    pub(crate) unmatched: String,
    /// The id of the replay; one that exists is continued, or its outcome reported [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) run_id: Option<String>,
    /// The directory in which the replay works [default: the run's]
    #[arg(long, value_name = "DIR")]
    pub(crate) within: Option<PathBuf>,
    /// Grant every approval that tools ask for; the log says that it was granted this way
    #[arg(long)]
    pub(crate) yes: bool,
    /// Queue the replay for a worker and return
    #[arg(long)]
    pub(crate) detach: bool,
    /// The queue in which the replay waits for a worker [default: default]
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The one run
    #[arg(value_name = "RUN")]
    pub(crate) left: String,
    /// The other run
    #[arg(value_name = "RUN")]
    pub(crate) right: String,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// How many runs to advance at once
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) concurrency: u16,
    /// Serve only runs of this queue; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Vec<String>,
    /// Say so often how it goes; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub(crate) health_every: u32,
}

#[derive(Debug, Args)]
pub(crate) struct QueuesArgs {
    #[command(subcommand)]
    pub(crate) change: Option<QueuesChange>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueuesChange {
    /// Let so many runs of a queue run at once, over all workers
    Limit {
        /// The queue
        #[arg(value_name = "QUEUE")]
        queue: String,
        /// How many, or `none`
        #[arg(value_name = "N|none")]
        limit: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// Only runs that stand like this
    #[arg(long, value_name = "STATUS", value_parser = ["queued", "running", "waiting", "succeeded", "failed", "cancelled"])]
    pub(crate) status: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
pub(crate) struct RunRef {
    /// The run
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// The run
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// Go on until the run has ended
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// The approval, as `seaworthy approvals` shows it
    #[arg(value_name = "ID")]
    pub(crate) approval: String,
    /// Why; the model is told of it when it is denied
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("reply").required(true).args(["with", "allow", "decline", "dismiss"])))]
pub(crate) struct AnswerArgs {
    /// The call whose server asks, as `seaworthy questions` shows it
    #[arg(value_name = "CALL")]
    pub(crate) call: String,
    /// The answer: an object with the fields that are asked for
    #[arg(long, value_name = "JSON")]
    pub(crate) with: Option<String>,
    /// Let the server have the model called
    #[arg(long)]
    pub(crate) allow: bool,
    /// No: the server is told so
    #[arg(long)]
    pub(crate) decline: bool,
    /// Neither yes nor no: the server is told that the question was dismissed
    #[arg(long)]
    pub(crate) dismiss: bool,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["happened", "did_not_happen"])))]
pub(crate) struct ResolveArgs {
    /// The call, as `seaworthy show` lists it
    #[arg(value_name = "CALL")]
    pub(crate) call: String,
    /// The call happened
    #[arg(long)]
    pub(crate) happened: bool,
    /// The result of the call that happened, for the model [default: null]
    #[arg(
        long,
        value_name = "JSON",
        conflicts_with = "did_not_happen",
        allow_hyphen_values = true
    )]
    pub(crate) result: Option<String>,
    /// The call did not happen: it is made when the run goes on
    #[arg(long)]
    pub(crate) did_not_happen: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The run
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The folder; made where it is missing
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

#[cfg(feature = "conform")]
#[derive(Debug, Args)]
pub(crate) struct ConformArgs {
    /// The port
    #[arg(value_name = "PORT")]
    pub(crate) port: ConformPort,
}

/// A port whose suite can be run from here.
#[cfg(feature = "conform")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ConformPort {
    /// Logs and documents
    StateStore,
    /// What makes runs advance
    DurableRuntime,
    /// Snapshots of runs
    CheckpointStore,
    /// Large data; of a file, the folder beside it
    BlobStore,
    /// Commands, started by this program; their state is kept where that of runs is
    Sandbox,
    /// The time, wherever runs are kept
    Clock,
    /// Randomness, wherever runs are kept
    Entropy,
}

#[cfg(feature = "conform")]
impl ConformPort {
    /// Its name on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::StateStore => "state-store",
            Self::DurableRuntime => "durable-runtime",
            Self::CheckpointStore => "checkpoint-store",
            Self::BlobStore => "blob-store",
            Self::Sandbox => "sandbox",
            Self::Clock => "clock",
            Self::Entropy => "entropy",
        }
    }
}

/// The command line, or the exit code where there is nothing to do but to explain it.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| {
        let exit = if error.use_stderr() {
            Exit::Usage
        } else {
            Exit::Succeeded
        };
        let text = error.render();
        // Where nobody reads, nothing is lost.
        let _unread = if error.use_stderr() {
            write!(std::io::stderr(), "{text}")
        } else {
            write!(std::io::stdout(), "{text}")
        };
        exit.into()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[cfg(feature = "conform")]
    #[test]
    fn a_port_is_named_as_its_process_is_told() {
        use clap::ValueEnum as _;

        for port in ConformPort::value_variants() {
            let value = port.to_possible_value().unwrap();
            assert_eq!(value.get_name(), port.name());
        }
    }

    #[test]
    fn a_call_in_doubt_is_resolved_one_way() {
        assert!(Cli::try_parse_from(["seaworthy", "resolve", "r.c1"]).is_err());
        assert!(
            Cli::try_parse_from([
                "seaworthy",
                "resolve",
                "r.c1",
                "--happened",
                "--did-not-happen"
            ])
            .is_err()
        );
        assert!(
            Cli::try_parse_from([
                "seaworthy",
                "resolve",
                "r.c1",
                "--did-not-happen",
                "--result",
                "1"
            ])
            .is_err()
        );
        assert!(
            Cli::try_parse_from([
                "seaworthy",
                "resolve",
                "r.c1",
                "--happened",
                "--result",
                "-1"
            ])
            .is_ok()
        );
    }
}
