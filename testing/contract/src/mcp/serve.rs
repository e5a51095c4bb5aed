//! A process that serves a script on its standard input and output: JSON-RPC 2.0, a message to a line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use seaworthy_ports::mcp::{McpCallResult, McpContent};
use serde_json::{Map, Value, json};

use super::script::{
    Answered, Does, Journal, NEWEST_PROTOCOL, PREVIOUS_PROTOCOL, SILENT_URI, Script, Seen, Start,
    Stubborn, Tool,
};
use super::serve_questions::Asking;
use super::serve_stateless::{NAMESPACE, whole};
use super::serve_tasks::Tasks;
use super::stage::CANARY;
use super::{scripts, wire};
use crate::outcome::{Halt, Outcome, broken};
use crate::process;

/// Where messages go. Standard output is not for them: the runner of the tests prints there.
pub(super) const OUTPUT: &str = "/dev/fd/3";
/// A process that nobody ends ends itself after this long.
const LONGEST: Duration = Duration::from_secs(150);
/// More than a pipe holds.
const COMPLAINT: usize = 200_000;

pub(super) const METHOD_NOT_FOUND: i64 = -32_601;
pub(super) const INVALID_PARAMS: i64 = -32_602;
const RESOURCE_NOT_FOUND: i64 = -32_002;

/// Does in this process what a scenario asks for: is a server of the Model Context Protocol, until its input ends. Does
/// nothing where no scenario asks.
///
/// It speaks the protocol versions 2025-11-25 and 2025-06-18, which begin with `initialize`, or 2026-07-28, which does not.
pub fn serve() -> Outcome {
    process::work(|job| async move {
        let name = job.words.first().map(String::as_str).unwrap_or_default();
        let script = scripts::script(name)
            .ok_or_else(|| broken("looked for a script", "one of this name", name))?;
        run(script, Journal(job.journal))
    })
}

fn run(script: Script, journal: Journal) -> Outcome {
    journal.note(&Seen::Started(Some(std::process::id())))?;
    if script.start == Start::Exits {
        return Ok(());
    }
    let failed = |error: io::Error| broken("served on standard output", "success", error);
    let out = File::options().write(true).open(OUTPUT).map_err(failed)?;
    let stubborn = script.stubborn;
    let _child = match stubborn {
        Stubborn::LeavesChild => Some(leave_child(&journal)?),
        Stubborn::Complains => complain().map(|()| None).map_err(failed)?,
        Stubborn::No | Stubborn::Stays => None,
    };
    let mut server = Server::new(script, journal, out);
    for line in io::stdin().lock().lines() {
        let line = line.map_err(failed)?;
        match server.take(&line) {
            Ok(()) => {}
            Err(Stop::Dies) => return Ok(()),
            Err(Stop::Failed(halt)) => return Err(halt),
        }
    }
    if stubborn == Stubborn::Stays {
        std::thread::sleep(LONGEST);
    }
    server.journal.note(&Seen::Ended)
}

fn leave_child(journal: &Journal) -> Result<Child, Halt> {
    let child = Command::new("sleep")
        .arg(LONGEST.as_secs().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| broken("started a process of the server's own", "success", error))?;
    journal.note(&Seen::Child(child.id()))?;
    Ok(child)
}

/// Writes everything it knows to standard error.
fn complain() -> io::Result<()> {
    let mut known: String = std::env::vars()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    known = known.repeat(COMPLAINT.div_ceil(known.len().max(1)));
    io::stderr().write_all(known.as_bytes())
}

/// Why a server does not go on.
pub(super) enum Stop {
    Dies,
    Failed(Halt),
}

impl From<Halt> for Stop {
    fn from(halt: Halt) -> Self {
        Self::Failed(halt)
    }
}

/// A call that is not answered yet.
pub(super) struct Open {
    pub(super) id: Value,
    pub(super) tool: String,
    /// What is answered if it is cancelled.
    pub(super) late: Option<Value>,
}

/// What a server remembers.
pub(super) struct Server<W> {
    pub(super) script: Script,
    journal: Journal,
    pub(super) out: W,
    pub(super) open: Vec<Open>,
    /// Answers that wait for more calls.
    held: Vec<(Value, Value)>,
    /// The server's own questions, with the call each belongs to.
    pub(super) asked: BTreeMap<u64, Asking>,
    pub(super) questions: u64,
    /// Whether the client takes questions to the user, to a model, and for folders.
    pub(super) may_ask: [bool; 3],
    /// The requests of those who want to be told of changes.
    pub(super) listeners: Vec<Value>,
    pub(super) tasks: Tasks,
}

impl<W: Write> Server<W> {
    pub(super) fn new(script: Script, journal: Journal, out: W) -> Self {
        Self {
            script,
            journal,
            out,
            open: Vec::new(),
            held: Vec::new(),
            asked: BTreeMap::new(),
            questions: 0,
            may_ask: [false; 3],
            listeners: Vec::new(),
            tasks: Tasks::default(),
        }
    }

    fn write(&mut self, line: &str) -> Result<(), Stop> {
        // Whoever no longer reads has gone.
        let written = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
        written.map_err(|_gone| Stop::Dies)
    }

    pub(super) fn send(&mut self, mut message: Value) -> Result<(), Stop> {
        if let Some(message) = message.as_object_mut() {
            message.insert("jsonrpc".to_owned(), "2.0".into());
        }
        self.write(&message.to_string())
    }

    pub(super) fn answer(&mut self, id: &Value, result: Value) -> Result<(), Stop> {
        self.open.retain(|open| open.id != *id);
        let result = if self.is_stateless() {
            whole(result)
        } else {
            result
        };
        self.send(json!({"id": id, "result": result}))
    }

    pub(super) fn refuse(&mut self, id: &Value, code: i64, message: &str) -> Result<(), Stop> {
        self.open.retain(|open| open.id != *id);
        self.send(json!({"id": id, "error": {"code": code, "message": message}}))
    }

    pub(super) fn note(&self, seen: &Seen) -> Result<(), Stop> {
        Ok(self.journal.note(seen)?)
    }

    /// Tells the client something that wants no answer.
    pub(super) fn tell(&mut self, method: &str, params: &Value) -> Result<(), Stop> {
        self.send(json!({"method": method, "params": params}))
    }

    pub(super) fn script(&self) -> &Script {
        &self.script
    }

    pub(super) fn tool(&self, name: &str) -> Option<Tool> {
        let mut tools = self.script.tools.iter();
        tools.find(|tool| tool.name == name).cloned()
    }

    /// Takes one message of the client's.
    pub(super) fn take(&mut self, line: &str) -> Result<(), Stop> {
        let message: Value = serde_json::from_str(line)
            .map_err(|error| broken("read a client's message", "JSON", error))?;
        if self.script.start == Start::Silent {
            return Ok(());
        }
        let part = |name: &str| message.get(name).cloned();
        let params = part("params").unwrap_or_default();
        match (part("method"), part("id")) {
            (Some(method), Some(id)) => {
                self.request(method.as_str().unwrap_or_default(), &id, &params)
            }
            (Some(method), None) => self.notified(method.as_str().unwrap_or_default(), &params),
            (None, Some(id)) => self.answered(&id, part("result")),
            (None, None) => Ok(()),
        }
    }

    fn request(&mut self, method: &str, id: &Value, params: &Value) -> Result<(), Stop> {
        let named = |name: &str| {
            let text = params.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        if self.is_stateless() && self.stands_alone(method, id, params)? {
            return Ok(());
        }
        match method {
            "initialize" => {
                self.may_ask = ["elicitation", "sampling", "roots"]
                    .map(|kind| params.pointer(&format!("/capabilities/{kind}")).is_some());
                let result = self.initialized(&named("protocolVersion"));
                self.answer(id, result)
            }
            "ping" => self.answer(id, json!({})),
            "tools/list" => {
                let all = self.script.tools.iter().map(wire::tool).collect();
                self.list(id, params, "tools", "tools", all)
            }
            "resources/list" => {
                let all = self.script.resources.iter();
                let all = all.map(|(resource, _)| wire::resource(resource)).collect();
                self.list(id, params, "resources", "resources", all)
            }
            "resources/templates/list" => {
                let all = self.script.templates.iter().map(wire::template).collect();
                self.list(id, params, "templates", "resourceTemplates", all)
            }
            "prompts/list" => {
                let all = self.script.prompts.iter();
                let all = all.map(|(prompt, _)| wire::prompt(prompt)).collect();
                self.list(id, params, "prompts", "prompts", all)
            }
            "resources/read" => self.read(id, &named("uri")),
            "prompts/get" => self.fill(id, &named("name"), params),
            "tools/call" => self.call(id, &named("name"), params),
            "tasks/get" | "tasks/result" | "tasks/cancel" => {
                self.about_task(method, id, &named("taskId"))
            }
            "completion/complete" => self.complete(id, params),
            "logging/setLevel" => self.set_level(id, named("level")),
            _ => self.refuse(id, METHOD_NOT_FOUND, "there is no such method"),
        }
    }

    pub(super) fn initialized(&self, wanted: &str) -> Value {
        let spoken = self.script.protocol.as_deref();
        let agreed = match spoken {
            Some(only) => only,
            None if [NEWEST_PROTOCOL, PREVIOUS_PROTOCOL].contains(&wanted) => wanted,
            None => NEWEST_PROTOCOL,
        };
        let mut capabilities = Map::new();
        if !self.script.tools.is_empty() {
            capabilities.insert("tools".to_owned(), json!({"listChanged": true}));
        }
        if self.script.keeps_tasks {
            let calls = json!({"requests": {"tools": {"call": {}}}, "cancel": {}});
            capabilities.insert("tasks".to_owned(), calls);
        }
        if !(self.script.resources.is_empty() && self.script.templates.is_empty()) {
            capabilities.insert("resources".to_owned(), json!({}));
        }
        if !self.script.completes.is_empty() {
            capabilities.insert("completions".to_owned(), json!({}));
        }
        if self.script.levels.is_some() {
            capabilities.insert("logging".to_owned(), json!({}));
        }
        if !self.script.prompts.is_empty() {
            capabilities.insert("prompts".to_owned(), json!({}));
        }
        let mut result = json!({
            "protocolVersion": agreed,
            "capabilities": capabilities,
            "serverInfo": {"name": self.script.name, "version": super::VERSION},
        });
        if let (Some(result), Some(words)) = (result.as_object_mut(), &self.script.instructions) {
            result.insert("instructions".to_owned(), words.clone().into());
        }
        result
    }

    fn list(
        &mut self,
        id: &Value,
        params: &Value,
        what: &str,
        member: &str,
        all: Vec<Value>,
    ) -> Result<(), Stop> {
        self.journal.note(&Seen::Listed(what.to_owned()))?;
        let cursor = params.get("cursor").and_then(Value::as_str);
        let turn: usize = cursor.and_then(|turn| turn.parse().ok()).unwrap_or(0);
        let size = match self.script.page {
            0 => all.len().max(1),
            size => size,
        };
        let many = all.len();
        let first = if self.script.is_endless {
            0
        } else {
            turn * size
        };
        let page: Vec<Value> = all.into_iter().skip(first).take(size).collect();
        let mut result = Map::from_iter([(member.to_owned(), page.into())]);
        if self.script.is_endless || first + size < many {
            result.insert("nextCursor".to_owned(), (turn + 1).to_string().into());
        }
        self.answer(id, result.into())
    }

    fn read(&mut self, id: &Value, uri: &str) -> Result<(), Stop> {
        if uri == SILENT_URI {
            return Ok(());
        }
        let known = self.script.resources.iter();
        let known = known.clone().find(|(resource, _)| resource.uri == uri);
        match known {
            Some((_, contents)) => {
                let contents: Value = contents.iter().map(wire::contents).collect();
                self.answer(id, json!({"contents": contents}))
            }
            None => self.refuse(id, RESOURCE_NOT_FOUND, "there is no such resource"),
        }
    }

    fn fill(&mut self, id: &Value, name: &str, params: &Value) -> Result<(), Stop> {
        let known = self.script.prompts.iter();
        let known = known.clone().find(|(prompt, _)| prompt.name == name);
        let Some((prompt, filled)) = known else {
            return self.refuse(id, INVALID_PARAMS, "there is no such prompt");
        };
        let is_whole = prompt.arguments.iter().all(|argument| {
            let given = params
                .get("arguments")
                .and_then(|all| all.get(&argument.name));
            !argument.required || given.is_some_and(Value::is_string)
        });
        let filled = wire::filled(filled);
        if is_whole {
            self.answer(id, filled)
        } else {
            self.refuse(id, INVALID_PARAMS, "an argument is missing")
        }
    }

    fn call(&mut self, id: &Value, name: &str, params: &Value) -> Result<(), Stop> {
        self.journal.note(&Seen::Called(name.to_owned()))?;
        let Some(tool) = self.tool(name) else {
            return self.refuse(id, INVALID_PARAMS, "there is no such tool");
        };
        if self.begin(id, &tool, params)? {
            return Ok(());
        }
        let Tool { does, .. } = tool;
        self.open.push(Open {
            id: id.clone(),
            tool: name.to_owned(),
            late: matches!(does, Does::AnswersTooLate).then(|| echo(params)),
        });
        match does {
            Does::Answers(result) => self.answer(id, wire::result(&result)),
            Does::Echoes => self.answer(id, echo(params)),
            Does::Dies => Err(Stop::Dies),
            Does::NeverAnswers | Does::AnswersTooLate => Ok(()),
            Does::AnswersTooOften => {
                self.send(json!({"id": "nobody's", "result": echo(&json!({}))}))?;
                self.answer(id, echo(params))?;
                self.answer(id, echo(&json!({"arguments": {"again": true}})))
            }
            Does::AnswersInReverse(many) => {
                self.held.push((id.clone(), echo(params)));
                if self.held.len() < many {
                    return Ok(());
                }
                while let Some((id, result)) = self.held.pop() {
                    self.answer(&id, result)?;
                }
                Ok(())
            }
            Does::AnswersWrongly => self.answer(id, json!({"content": {"type": CANARY}})),
            Does::WritesNoise => {
                self.write("{\"jsonrpc\": \"2.0\", Loading configuration...")?;
                self.answer(id, echo(params))
            }
            Does::AnswersAtLength(bytes) => {
                let text = McpContent::Text("x".repeat(bytes));
                self.answer(id, wire::result(&scripts::result(vec![text])))
            }
            Does::ReportsProgress { steps, total } => {
                let token = params.pointer("/_meta/progressToken").cloned();
                for step in steps.iter().filter(|_| token.is_some()) {
                    self.send(json!({
                        "method": "notifications/progress",
                        "params": {"progressToken": token, "progress": step, "total": total},
                    }))?;
                }
                self.answer(id, echo(params))
            }
            Does::ChangesTools => {
                self.script.tools = std::mem::take(&mut self.script.later_tools);
                self.tell_of_tools()?;
                self.answer(id, echo(params))
            }
            Does::Elicits { .. } | Does::Asks { .. } | Does::Samples { .. } | Does::AsksRoots => {
                self.go_on(Asking {
                    call: id.clone(),
                    tool: name.to_owned(),
                    heard: Vec::new(),
                })
            }
            Does::Logs(said) => {
                for said in &said {
                    self.say(said)?;
                }
                self.answer(id, echo(params))
            }
            Does::TellsWhatItMayAsk => {
                let [elicitation, sampling, roots] = self.may_ask;
                let may =
                    json!({ "elicitation": elicitation, "sampling": sampling, "roots": roots });
                self.answer(id, wire::result(&scripts::counted(&may)))
            }
            Does::Refuses(code) => {
                let words = params.get("arguments").map(Value::to_string);
                self.refuse(id, code, &words.unwrap_or_default())
            }
        }
    }

    fn notified(&mut self, method: &str, params: &Value) -> Result<(), Stop> {
        if method != "notifications/cancelled" {
            return Ok(());
        }
        let id = params.get("requestId").cloned().unwrap_or_default();
        let at = self.open.iter().position(|open| open.id == id);
        if let Some(at) = at {
            let Open { tool, late, .. } = self.open.remove(at);
            self.journal.note(&Seen::Cancelled(tool))?;
            if let Some(late) = late {
                self.answer(&id, late)?;
            }
        }
        Ok(())
    }
}

/// What a tool that echoes answers.
fn echo(params: &Value) -> Value {
    let mut meta = params.get("_meta").cloned().unwrap_or(json!({}));
    if let Some(meta) = meta.as_object_mut() {
        meta.retain(|name, _value| name != "progressToken" && !name.starts_with(NAMESPACE));
    }
    let arguments = params.get("arguments").cloned().unwrap_or(json!({}));
    wire::result(&echoed(&arguments, &meta))
}

/// What a tool answers that [`Does::Echoes`].
#[must_use]
pub fn echoed(arguments: &Value, meta: &Value) -> McpCallResult {
    scripts::counted(&json!({"arguments": arguments, "meta": meta}))
}

/// What a tool answers that asked a question.
pub fn told(answered: &Answered) -> Result<McpCallResult, Halt> {
    let data = serde_json::to_value(answered)
        .map_err(|error| broken("wrote what became of a question", "JSON", error))?;
    Ok(scripts::counted(&data))
}
