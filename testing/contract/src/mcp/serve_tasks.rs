//! What a server says of the tasks of its tools.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use seaworthy_ports::mcp::{MAX_TASK_ID_BYTES, TaskStatus, TaskSupport};
use serde_json::{Value, json};

use super::script::{Begins, Does, Poll, Seen, Task, Tool};
use super::serve::{INVALID_PARAMS, METHOD_NOT_FOUND, Open, Server, Stop};
use super::serve_extension::MISSING_CAPABILITY;
use super::serve_questions::{Asking, question};
use super::stage::CANARY;
use super::wire;

/// What a server remembers of its tasks.
#[derive(Default)]
pub(super) struct Tasks {
    /// How often the task of a tool was asked after.
    asked: BTreeMap<String, usize>,
    /// The tools whose task was ended.
    pub(super) ended: BTreeSet<String>,
    /// The tools that ask something in the middle of a task, by their open questions.
    asking: BTreeMap<u64, String>,
    /// What the tasks of such tools came to.
    pub(super) heard: BTreeMap<String, Value>,
}

/// What a question carries that is about a task.
const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

impl Tasks {
    /// A question has been answered, one way or the other: the task it was about goes on.
    pub(super) fn heard(&mut self, question: u64, result: &Value) {
        if let Some(tool) = self.asking.remove(&question) {
            self.heard.insert(tool, result.clone());
        }
    }

    pub(super) fn told(&mut self, tool: &str, task: &Task) -> Poll {
        if self.ended.contains(tool) {
            return Poll::Stands(TaskStatus::Cancelled);
        }
        if self.heard.contains_key(tool) {
            return Poll::Stands(TaskStatus::Completed);
        }
        let asked = self.asked.entry(tool.to_owned()).or_default();
        let told = task.polls.get(*asked).or_else(|| task.polls.last());
        *asked += 1;
        told.copied().unwrap_or(Poll::Garbage)
    }
}

impl<W: Write> Server<W> {
    /// Begins a task where the call becomes one, and says whether that was the answer to it.
    pub(super) fn begin(&mut self, id: &Value, tool: &Tool, params: &Value) -> Result<bool, Stop> {
        let Some(task) = &tool.task else {
            return Ok(false);
        };
        let is_asked = if self.is_stateless() {
            self.hears_of_tasks(params)
        } else {
            params.get("task").is_some_and(Value::is_object)
        };
        if !is_asked && task.support == TaskSupport::Required {
            let code = if self.is_stateless() {
                MISSING_CAPABILITY
            } else {
                METHOD_NOT_FOUND
            };
            self.refuse(id, code, "its calls become tasks")?;
            return Ok(true);
        }
        let name = match (task.begins, is_asked) {
            (Begins::Never, _) | (_, false) if task.begins != Begins::Unasked => return Ok(false),
            (Begins::Nameless, _) => String::new(),
            (Begins::Endless, _) => CANARY.repeat(MAX_TASK_ID_BYTES),
            _ => Task::name(&tool.name),
        };
        let answer = if self.is_stateless() {
            let mut kept = wire::kept(task, &name, "working");
            if let Some(kept) = kept.as_object_mut() {
                kept.insert("resultType".to_owned(), "task".into());
            }
            kept
        } else {
            json!({"task": wire::task(task, &name, "working")})
        };
        self.answer(id, answer)?;
        Ok(true)
    }

    /// Answers a question about a task.
    pub(super) fn about_task(&mut self, method: &str, id: &Value, name: &str) -> Result<(), Stop> {
        let tool = self.tool_of(name);
        let Some((tool, task)) = tool else {
            return self.refuse(id, INVALID_PARAMS, CANARY);
        };
        match method {
            "tasks/cancel" => {
                self.note(&Seen::CalledOff(tool.name.clone()))?;
                self.tasks.ended.insert(tool.name.clone());
                self.answer(id, wire::task(&task, name, "cancelled"))
            }
            "tasks/result" => match &tool.does {
                Does::Elicits { .. } | Does::Samples { .. } => self.input(id, &tool, name),
                Does::Answers(result) => self.answer(id, wire::result(result)),
                Does::Refuses(code) => self.refuse(id, *code, CANARY),
                _ => self.answer(id, json!({"content": {"type": CANARY}})),
            },
            _ => {
                let (name, status) = match self.tasks.told(&tool.name, &task) {
                    Poll::Stands(status) => (name, wire::status(status)),
                    Poll::Another => (CANARY, "working"),
                    Poll::Garbage => (name, CANARY),
                };
                self.answer(id, wire::task(&task, name, status))
            }
        }
    }

    /// Asks what must be known before a task is done, each time that its result is wanted; with the answer it is done.
    fn input(&mut self, id: &Value, tool: &Tool, name: &str) -> Result<(), Stop> {
        if let Some(result) = self.tasks.heard.get(&tool.name).cloned() {
            return self.answer(id, result);
        }
        let Some((method, mut params)) = question(&tool.does, 0) else {
            return Ok(());
        };
        if let Some(params) = params.as_object_mut() {
            let about = json!({RELATED_TASK: {"taskId": name}});
            params.insert("_meta".to_owned(), about);
        }
        self.open.push(Open {
            id: id.clone(),
            tool: tool.name.clone(),
            late: None,
        });
        let asking = Asking {
            call: id.clone(),
            tool: tool.name.clone(),
            heard: Vec::new(),
        };
        let asked = self.ask(asking, method, &params)?;
        self.tasks.asking.insert(asked, tool.name.clone());
        Ok(())
    }

    pub(super) fn tool_of(&self, name: &str) -> Option<(Tool, Task)> {
        let tool = self.tool(Task::tool(name))?;
        let task = tool.task.clone()?;
        Some((tool, task))
    }
}
