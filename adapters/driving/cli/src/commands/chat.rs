//! `chat`: a session at the terminal, one run for each message.

use std::num::NonZeroU32;
use std::path::Path;

use seaworthy::Start;
use seaworthy::agent::Agent;
use seaworthy::files::Attachment;
use seaworthy::harness::View;
use seaworthy::ports::state_store::Labels;
use seaworthy::ports::{QueueName, RunId, SessionId};
use seaworthy::state::{Outcome, Status};

use super::{Context, id};
use crate::args::ChatArgs;
use crate::attach;
use crate::descriptor::{load, utf8};
use crate::drive::{Drive, Driven, advise, check_agent, drive};
use crate::error::{CliError, Exit};
use crate::models::chosen;
use crate::output::{Paint, clean, json, say};
use crate::progress::Shown;
use crate::stack::Stack;
use crate::stop::Stop;
use crate::store::Store;
use crate::typed::{MAX_LINE, Typed, typed};

/// Who grants approvals of a chat started with `--yes`.
const GRANTED_BY: &str = "chat --yes";
const HELP: &str = "  a line is a message; one that ends with \\ goes on with the next
  /attach FILE  gives a file (an image, audio, a PDF, text) to the next message
  /session  shows how to go on with this session later
  /help     shows this
  /exit     ends (or Ctrl-D)";

/// All that the messages of one chat share.
struct Chat<'a> {
    context: &'a Context,
    stack: &'a Stack,
    stop: Stop,
    how: Drive,
    start: Start,
    session: SessionId,
    agent: Agent,
    /// How to name the session again.
    again: String,
}

pub(super) async fn chat(context: &Context, args: ChatArgs) -> Result<Exit, CliError> {
    let session: Option<SessionId> = args.session.as_deref().map(id).transpose()?;
    let queue: Option<QueueName> = args.queue.as_deref().map(id).transpose()?;
    let (descriptor, base_dir) = load(&args.agent, &args.model)?;
    let start = Start {
        run: None,
        descriptor,
        input: String::new(),
        files: Vec::new(),
        session,
        workspace: utf8(&context.workspace()?, "the workspace")?,
        base_dir: utf8(&base_dir, "the folder of the descriptor")?,
        grants_all: args.yes.then(|| GRANTED_BY.to_owned()),
        queue,
        trace: context.environment.trace.clone(),
    };
    let stack = context.create().await?;
    let exit = begin(context, &stack, &args, start).await;
    stack.close().await;
    exit
}

async fn begin(
    context: &Context,
    stack: &Stack,
    args: &ChatArgs,
    mut start: Start,
) -> Result<Exit, CliError> {
    let agent = check_agent(stack, &start.descriptor).await?;
    let session = match &start.session {
        Some(session) => session.clone(),
        None => {
            let bits = stack.harness.ports().entropy.bits();
            id(&format!("chat_{bits:032x}"))?
        }
    };
    let is_new = start.session.replace(session.clone()).is_none();
    let flag = &stack.flag;
    let path = args.agent.display();
    let chat = Chat {
        context,
        stack,
        stop: Stop::listen()?,
        how: Drive {
            grants_all: args.yes.then_some(GRANTED_BY),
            user: context.environment.user.clone(),
        },
        start,
        again: format!("seaworthy chat {path} --session {session}{flag}"),
        session,
        agent,
    };
    chat.greet(is_new);
    chat.hold().await
}

impl Chat<'_> {
    fn greet(&self, is_new: bool) {
        let output = self.context.output;
        let word = if is_new { "new session" } else { "session" };
        output.note(&format!("{word} {}", self.session));
        if let Ok(descriptor) = serde_json::to_value(&self.start.descriptor)
            && let Some(model) = chosen(&descriptor)
        {
            output.note(&format!("model {}", clean(&model.to_string())));
            if model.is_scripted() {
                output.note(
                    "a script answers, no live model is asked; --model ALIAS=openai:NAME asks one",
                );
            }
        }
        if output.can_ask {
            output.note("/help says what can be typed");
        }
    }

    /// Message by message, until there are no more.
    async fn hold(&self) -> Result<Exit, CliError> {
        if let Some(run) = self.unfinished().await? {
            let output = self.context.output;
            output.note(&format!(
                "run {run} of this session is not finished; it goes on"
            ));
            self.stack.harness.requeue(&run).await?;
            let view = self.stack.harness.view(&run).await?;
            if let Some(exit) = self.advance(&run, Shown::before(&view.state)).await? {
                return Ok(exit);
            }
        }
        let mut files = Vec::new();
        loop {
            let message = match self.message().await? {
                Typed::Line(message) => message,
                Typed::End => return Ok(Exit::Succeeded),
                Typed::Stopped => return Ok(self.stop.exit().unwrap_or(Exit::Succeeded)),
            };
            match message.trim() {
                "" => continue,
                "/exit" | "/quit" => return Ok(Exit::Succeeded),
                "/help" => {
                    self.context.output.note(HELP);
                    continue;
                }
                "/session" => {
                    self.context.output.note(&self.again);
                    continue;
                }
                command => {
                    if let Some(path) = command.strip_prefix("/attach ") {
                        self.attach(path.trim(), &mut files);
                        continue;
                    }
                }
            }
            let start = Start {
                input: message,
                files: std::mem::take(&mut files),
                ..self.start.clone()
            };
            let started = self.stack.harness.start(start).await?;
            if let Some(exit) = self.advance(&started.run, Shown::default()).await? {
                return Ok(exit);
            }
        }
    }

    /// Gives a file to the next message, or says why not: whoever mistyped a name goes on typing.
    fn attach(&self, path: &str, files: &mut Vec<Attachment>) {
        let attached = attach::read(Path::new(path)).and_then(|file| {
            files.push(file);
            attach::check(&self.agent, files).inspect_err(|_refused| {
                files.pop();
            })
        });
        let output = self.context.output;
        match attached {
            Ok(()) => output.note(&format!("{} is given to the next message", clean(path))),
            Err(error) => output.note(&clean(&error.to_string())),
        }
    }

    /// The newest run of the session, if it has not ended: its process died, or it was left waiting.
    async fn unfinished(&self) -> Result<Option<RunId>, CliError> {
        let mut labels = Labels::new();
        labels.insert("session".to_owned(), self.session.to_string());
        let newest = self
            .stack
            .harness
            .runs(labels, NonZeroU32::MIN, None)
            .await?;
        let Some(head) = newest.items.first() else {
            return Ok(None);
        };
        let run: RunId = id(head.log.name.as_str())?;
        let view = self.stack.harness.view(&run).await?;
        Ok(view.state.outcome.is_none().then_some(run))
    }

    /// What is typed next: lines that end with a backslash go on with the next one.
    async fn message(&self) -> Result<Typed, CliError> {
        let asks = self.context.output.can_ask;
        let mut message = String::new();
        loop {
            if asks {
                say(if message.is_empty() { "> " } else { "… " });
            }
            match typed(&self.stop).await? {
                Typed::Line(line) => match line.strip_suffix('\\') {
                    Some(part) if (message.len() as u64) < MAX_LINE => {
                        message.push_str(part);
                        message.push('\n');
                    }
                    Some(_) => {
                        return Err(CliError::Usage(format!(
                            "a message has more than {MAX_LINE} bytes"
                        )));
                    }
                    None => {
                        message.push_str(&line);
                        return Ok(Typed::Line(message));
                    }
                },
                Typed::End if message.is_empty() => return Ok(Typed::End),
                Typed::End => return Ok(Typed::Line(message)),
                Typed::Stopped => return Ok(Typed::Stopped),
            }
        }
    }

    /// Advances one run to its answer. An exit ends the chat.
    async fn advance(&self, run: &RunId, shown: Shown) -> Result<Option<Exit>, CliError> {
        let output = self.context.output;
        let driven = drive(self.stack, output, run, &self.how, &self.stop, shown).await?;
        let (view, shown) = match driven {
            Driven::Stopped(exit) => return Ok(Some(exit)),
            Driven::Rests(view, shown) => (view, shown),
        };
        if output.json {
            output.json(&json::Run::of(&view))?;
        } else {
            self.say(&view, &shown)?;
        }
        Ok(match view.state.status() {
            Status::Succeeded | Status::Failed | Status::Cancelled => None,
            Status::Queued | Status::Running | Status::Waiting => Some(Exit::Waiting),
        })
    }

    fn say(&self, view: &View, shown: &Shown) -> Result<(), CliError> {
        let output = self.context.output;
        let run = view.state.run();
        let flag = &self.stack.flag;
        match &view.state.outcome {
            Some(Outcome::Succeeded { output: answer }) => {
                let seen = output.live
                    && output.stdout_terminal
                    && shown.streamed.as_ref() == Some(answer);
                if !seen {
                    output.answer(answer)?;
                }
            }
            Some(Outcome::Failed { code, message }) => {
                let word = output.paint(Paint::Bad, "failed");
                output.note(&format!("{word}: {}: {}", clean(code), clean(message)));
                output.note(&format!(
                    "the session goes on without this message; to try it again: seaworthy reopen {run}{flag}"
                ));
            }
            Some(Outcome::Cancelled { .. }) => {
                let word = output.paint(Paint::Bad, "cancelled");
                output.note(&format!("{word}: the session goes on without this message"));
            }
            None if self.stack.store == Store::Memory => {
                output.note("the store was memory: the session ends with this process");
            }
            None => {
                advise(output, &view.state, flag);
                output.note(&format!("  or: {}", self.again));
            }
        }
        Ok(())
    }
}
