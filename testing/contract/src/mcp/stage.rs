//! What every scenario needs: a server of a script that the adapter can reach, and a look at what it saw.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_ports::mcp::{
    Authorization, Beginning, Kind, McpCall, McpCallResult, McpError, McpServer, McpSession,
    OAuthGrant, StdioCommand, Transport,
};
use seaworthy_ports::sandbox::SandboxSession;
use seaworthy_ports::{Effect, Latch, Secret, ServerAlias};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::script::{Access, Journal, Script, Seen, Stubborn};
use super::serve::{OUTPUT, echoed};
use super::tokens::{Tokens, first_tokens, oauth};
use super::{ALIAS, Harness, scripts};
use crate::outcome::{Halt, Outcome, broken, holds, id, ok, patience, same, within};
use crate::process::{self, Crew};

/// Longer than any answer takes that comes at all.
pub(super) const LONG: Duration = Duration::from_secs(110);
/// How long a call may take that is never answered.
pub(super) const SHORT: Duration = Duration::from_millis(400);
const LOOK_AGAIN: Duration = Duration::from_millis(3);

/// Stands for every credential and every word that nobody may see.
pub(super) const CANARY: &str = "canary-8c1f";

/// A scenario's adapter and server.
pub(super) struct Stage<H> {
    pub(super) harness: H,
    pub(super) script: Script,
    /// `None`: somebody else has the journal.
    crew: Option<Crew>,
    journal: process::Journal,
    transport: Transport,
    pub(super) tokens: Arc<Tokens>,
}

impl<H: Harness> Stage<H> {
    /// A server of the script `name`.
    pub(super) async fn of(harness: H, name: &str) -> Result<Self, Halt> {
        let crew = Crew::new()?;
        let stage = Self::on(harness, name, crew.journal.clone()).await?;
        Ok(Self {
            crew: Some(crew),
            ..stage
        })
    }

    /// The same, whose server tells a journal that there is already.
    pub(super) async fn on(harness: H, name: &str, kept: process::Journal) -> Result<Self, Halt> {
        let name = scripts::speaking(harness.protocol(), name);
        let script = scripts::script(&name)
            .ok_or_else(|| broken("looked for a script", "one of this name", name))?;
        let journal = Journal(kept.clone());
        let tokens = Arc::<Tokens>::default();
        let is_guarded = !matches!(
            script.access,
            Access::Open | Access::ForgetsOnce | Access::AlwaysForgets
        );
        if is_guarded && !harness.mcp().capabilities().oauth {
            return Err(Halt::NotDeclared {
                capability: "oauth",
                reason: "it refreshes no tokens",
            });
        }
        let mut transport = match harness.server(&script, &journal).await {
            Some(transport) => transport,
            None if script.access != Access::Open => {
                return Err(Halt::NotCheckable(
                    "the harness gives no server that asks for credentials or keeps sessions",
                ));
            }
            None => {
                let sandbox = harness.sandbox().await;
                Transport::Stdio(command(&kept, &harness, &script, sandbox)?)
            }
        };
        if let (Transport::StreamableHttp(endpoint), true) = (&mut transport, is_guarded) {
            let origin = endpoint.url.trim_end_matches("/mcp");
            tokens.put(first_tokens(origin));
            endpoint.authorization =
                Authorization::OAuth(oauth(&tokens, OAuthGrant::AuthorizationCode));
        }
        Ok(Self {
            harness,
            script,
            crew: None,
            journal: kept,
            transport,
            tokens,
        })
    }

    /// Starts a process of the harness that has a server of its own, which tells this journal.
    pub(super) fn hire(&self, command: Option<Command>) -> Result<process::Process, Halt> {
        let crew = self.crew.as_ref();
        let crew = crew.ok_or(Halt::NotCheckable("it is a process of another stage"))?;
        crew.start(command, &self.script.name)
    }

    /// From now on the client gets its tokens for itself, and has none.
    pub(super) fn gets_tokens_for_itself(&mut self) {
        if let Transport::StreamableHttp(endpoint) = &mut self.transport {
            self.tokens = Arc::default();
            endpoint.authorization =
                Authorization::OAuth(oauth(&self.tokens, OAuthGrant::ClientCredentials));
        }
    }

    pub(super) fn server(&self) -> Result<McpServer, Halt> {
        Ok(McpServer {
            alias: id(ServerAlias::new(ALIAS))?,
            transport: self.transport.clone(),
            connect_timeout: LONG,
            request_timeout: LONG,
            host: None,
            roots: Vec::new(),
            log: None,
            beginning: Beginning::default(),
        })
    }

    /// A session with the server, without a host.
    pub(super) async fn session(&self) -> Result<Arc<dyn McpSession>, Halt> {
        self.session_with(self.server()?).await
    }

    pub(super) async fn session_with(
        &self,
        server: McpServer,
    ) -> Result<Arc<dyn McpSession>, Halt> {
        let mcp = self.harness.mcp();
        ok("connected", within("connected", mcp.connect(server)).await?)
    }

    /// What the server saw so far.
    pub(super) fn seen(&self) -> Result<Vec<Seen>, Halt> {
        let lines = self.journal.lines()?;
        let seen = lines.iter().map(|line| serde_json::from_str(line));
        seen.collect::<Result<_, _>>()
            .map_err(|error| broken("read what the server saw", "JSON", error))
    }

    /// How often the server saw this.
    pub(super) fn count(&self, wanted: &Seen) -> Result<usize, Halt> {
        Ok(self.seen()?.iter().filter(|seen| *seen == wanted).count())
    }

    /// How often the server was started or reached.
    pub(super) fn starts(&self) -> Result<usize, Halt> {
        let seen = self.seen()?;
        Ok(seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Started(_)))
            .count())
    }

    /// Waits until the server has seen this so many times.
    pub(super) async fn until(&self, wanted: &Seen, times: usize) -> Outcome {
        self.until_seen(&format!("{wanted:?} {times} times"), |seen| {
            seen.iter().filter(|seen| *seen == wanted).count() >= times
        })
        .await
    }

    pub(super) async fn until_seen(
        &self,
        what: &str,
        condition: impl Fn(&[Seen]) -> bool,
    ) -> Outcome {
        let deadline = Instant::now() + patience();
        while !condition(&self.seen()?) {
            if Instant::now() >= deadline {
                return Err(broken("looked at what the server saw", what, self.seen()?));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// The tool was called exactly so often.
    pub(super) fn called(&self, tool: &str, times: usize) -> Outcome {
        let seen = self.count(&Seen::Called(tool.to_owned()))?;
        same(
            format!("counted the calls of {tool} that the server saw"),
            seen,
            times,
        )
    }

    /// Waits until nothing of the server is left.
    pub(super) async fn until_gone(&self, did: &str) -> Outcome {
        let deadline = Instant::now() + patience();
        loop {
            let left = self.left()?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(broken(did, "nothing that is left of the server", left));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What is left of the server: processes, or connections that did not end.
    fn left(&self) -> Result<Vec<Seen>, Halt> {
        let seen = self.seen()?;
        let ended = seen.iter().filter(|seen| **seen == Seen::Ended).count();
        let connections = seen.iter().filter(|seen| **seen == Seen::Started(None));
        let mut left: Vec<Seen> = connections.skip(ended).cloned().collect();
        for seen in seen {
            let is_left = match seen {
                Seen::Started(Some(process)) => is_there(process, true),
                Seen::Child(process) => is_there(process, false),
                _ => false,
            };
            if is_left {
                left.push(seen);
            }
        }
        Ok(left)
    }
}

/// Whether there is such a process. A dead one that nobody asked for its end counts if `with_zombies`: a server's parent
/// is the adapter, which must ask.
fn is_there(process: u32, with_zombies: bool) -> bool {
    let is_zombie = || {
        std::fs::read_to_string(format!("/proc/{process}/stat"))
            .ok()
            .and_then(|stat| Some(stat.rsplit_once(") ")?.1.starts_with('Z')))
            .unwrap_or(false)
    };
    #[cfg(unix)]
    let is_known = i32::try_from(process)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .is_some_and(|process| rustix::process::test_kill_process(process).is_ok());
    #[cfg(not(unix))]
    let is_known = false;
    is_known && (with_zombies || !is_zombie())
}

/// The command that serves `script`: through a shell, which keeps standard output for the messages alone and, where the
/// script says so, makes the process deaf to SIGTERM.
fn command<H: Harness>(
    journal: &process::Journal,
    harness: &H,
    script: &Script,
    sandbox: Option<Arc<dyn SandboxSession>>,
) -> Result<StdioCommand, Halt> {
    if !cfg!(unix) {
        return Err(Halt::NotCheckable("servers are started by a shell"));
    }
    let capabilities = harness.mcp().capabilities();
    if sandbox.is_some() && !capabilities.sandboxed_stdio {
        return Err(Halt::NotDeclared {
            capability: "sandboxed_stdio",
            reason: "it starts nothing inside a sandbox",
        });
    }
    if sandbox.is_none() && !capabilities.stdio {
        return Err(Halt::NotDeclared {
            capability: "stdio",
            reason: "it starts no processes",
        });
    }
    let process = harness
        .server_process()
        .ok_or(Halt::NotCheckable("the harness starts no process"))?;
    let mut process = journal.hire(process, &script.name);
    let text = |text: &OsStr| {
        let text = text.to_str().map(str::to_owned);
        text.ok_or_else(|| broken("made a command", "words of Unicode", process_name(&process)))
    };
    let deaf = match script.stubborn {
        Stubborn::Stays => "trap '' TERM; ",
        Stubborn::No | Stubborn::LeavesChild | Stubborn::Complains => "",
    };
    let mut argv = vec!["/bin/sh".to_owned(), "-c".to_owned()];
    let number = OUTPUT.trim_start_matches("/dev/fd/");
    argv.push(format!("{deaf}exec \"$0\" \"$@\" {number}>&1 >/dev/null"));
    argv.push(text(process.get_program())?);
    for argument in process.get_args() {
        argv.push(text(argument)?);
    }
    let mut env = BTreeMap::from([("CONTRACT_TOKEN".to_owned(), Secret::new(CANARY))]);
    for (name, value) in process.get_envs() {
        if let Some(value) = value {
            env.insert(text(name)?, Secret::new(text(value)?));
        }
    }
    process.env_clear();
    Ok(StdioCommand {
        argv,
        cwd: match &sandbox {
            // Its workspace.
            Some(_) => PathBuf::new(),
            None => std::env::temp_dir(),
        },
        env,
        sandbox,
    })
}

fn process_name(process: &Command) -> String {
    process.get_program().to_string_lossy().into_owned()
}

/// A call that may take as long as it likes.
pub(super) fn call(tool: &str, arguments: Value) -> McpCall {
    McpCall {
        tool: tool.to_owned(),
        arguments,
        meta: BTreeMap::new(),
        timeout: LONG,
        cancel: Latch::never(),
        on_progress: None,
    }
}

/// Makes a call, which must come to an end.
pub(super) async fn made(
    session: &Arc<dyn McpSession>,
    call: McpCall,
) -> Result<Result<McpCallResult, McpError>, Halt> {
    let did = format!("called {}", call.tool);
    within(&did, session.call(call)).await
}

/// Makes a call that nobody waits for yet.
pub(super) fn begun(
    session: &Arc<dyn McpSession>,
    call: McpCall,
) -> JoinHandle<Result<McpCallResult, McpError>> {
    let session = Arc::clone(session);
    tokio::spawn(async move { session.call(call).await })
}

/// Waits for a call that was begun.
pub(super) async fn done(
    did: &str,
    call: JoinHandle<Result<McpCallResult, McpError>>,
) -> Result<Result<McpCallResult, McpError>, Halt> {
    let joined = within(did, call).await?;
    joined.map_err(|error| broken(did, "no panic", error))
}

/// The session must still answer, and with what was asked.
pub(super) async fn is_usable(session: &Arc<dyn McpSession>, after: &str) -> Outcome {
    let did = format!("called echo after {after}");
    let arguments = json!({"after": after});
    let answer = within(&did, session.call(call("echo", arguments.clone()))).await?;
    same(
        did.clone(),
        ok(did, answer)?,
        echoed(&arguments, &json!({})),
    )
}

/// Kills the server and reaches it again, with a tool that is called `dies` and one that is called `echo`.
pub(super) async fn reached_again(session: &Arc<dyn McpSession>) -> Outcome {
    // What a death looks like is another clause's matter.
    let _died = made(session, call("dies", json!({}))).await?;
    let again = made(session, call("echo", json!({}))).await?;
    let mend =
        Halt::NotCheckable("the server was not reached again after its death: mend MC-2 first");
    again.map(drop).map_err(|_error| mend)
}

/// The call must fail for one of these reasons, with this effect.
pub(super) fn fails(
    did: &str,
    result: Result<McpCallResult, McpError>,
    kinds: &[Kind],
    effect: Effect,
) -> Outcome {
    let seen = result.map_err(|error| (error.kind(), error.effect()));
    let is_so = seen
        .as_ref()
        .is_err_and(|(kind, had)| kinds.contains(kind) && *had == effect);
    holds(
        is_so,
        did,
        format!("an error of {kinds:?} with {effect:?} effect"),
        seen,
    )
}
