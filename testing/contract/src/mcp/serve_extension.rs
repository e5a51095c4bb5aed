//! What a server says of tasks that begins without `initialize`: it decides which calls become one, and tells everything in
//! the answer to `tasks/get`.

use std::collections::BTreeMap;
use std::io::Write;

use seaworthy_ports::mcp::TaskStatus;
use serde_json::{Value, json};

use super::script::{Answered, Does, Poll, Seen, Tool};
use super::scripts::QUESTION;
use super::serve::{INVALID_PARAMS, Server, Stop, told};
use super::serve_questions::{answer_schema, heard, question, told_all};
use super::stage::CANARY;
use super::wire;

/// What the protocol calls tasks.
pub(super) const TASKS: &str = "io.modelcontextprotocol/tasks";
pub(super) const MISSING_CAPABILITY: i64 = -32_021;

/// What a server calls the question of a task that it asks as this one, from 1 on.
pub(super) fn key(number: usize) -> String {
    format!("question {number}")
}

/// Everything that a tool asks in the middle of its task, at once.
fn questions(does: &Does) -> BTreeMap<String, Value> {
    let asked = (0..).map_while(|number| question(does, number));
    let mut asked: BTreeMap<_, _> = asked
        .enumerate()
        .map(|(number, (method, params))| {
            (key(number + 1), json!({"method": method, "params": params}))
        })
        .collect();
    if asked.is_empty() {
        let params =
            json!({"mode": "form", "message": QUESTION, "requestedSchema": answer_schema()});
        let question = json!({"method": "elicitation/create", "params": params});
        asked.insert(key(1), question);
    }
    asked
}

impl<W: Write> Server<W> {
    /// Whether whoever sends a request can be answered with a task, and asks about tasks.
    pub(super) fn hears_of_tasks(&self, params: &Value) -> bool {
        let takes = params.pointer("/_meta/io.modelcontextprotocol~1clientCapabilities/extensions");
        let declared = takes.and_then(|extensions| extensions.get(TASKS));
        self.script.keeps_tasks && declared.is_some_and(Value::is_object)
    }

    /// Answers a request about a task.
    pub(super) fn about_kept(
        &mut self,
        method: &str,
        id: &Value,
        params: &Value,
    ) -> Result<(), Stop> {
        if !self.hears_of_tasks(params) {
            return self.refuse(
                id,
                MISSING_CAPABILITY,
                "it does not say that it knows tasks",
            );
        }
        let name = params.get("taskId").and_then(Value::as_str);
        let name = name.unwrap_or_default();
        let Some((tool, task)) = self.tool_of(name) else {
            return self.refuse(id, INVALID_PARAMS, CANARY);
        };
        match method {
            "tasks/cancel" => {
                self.note(&Seen::CalledOff(tool.name.clone()))?;
                self.tasks.ended.insert(tool.name);
                self.answer(id, json!({}))
            }
            "tasks/update" => {
                self.updated(&tool, params.get("inputResponses").unwrap_or(&Value::Null))?;
                self.answer(id, json!({}))
            }
            _ => {
                let poll = self.tasks.told(&tool.name, &task);
                let told = match poll {
                    Poll::Another => wire::kept(&task, CANARY, "working"),
                    Poll::Garbage => wire::kept(&task, name, CANARY),
                    Poll::Stands(status) => {
                        let (status, detail) = self.detail(&tool, status);
                        let mut told = wire::kept(&task, name, wire::status(status));
                        if let (Some(told), Some((member, detail))) = (told.as_object_mut(), detail)
                        {
                            told.insert(member.to_owned(), detail);
                        }
                        told
                    }
                };
                self.answer(id, told)
            }
        }
    }

    /// Takes the answers, if all are there: a server need not take some of them.
    fn updated(&mut self, tool: &Tool, answers: &Value) -> Result<(), Stop> {
        let asked = questions(&tool.does);
        let given: Option<Vec<Answered>> = asked
            .keys()
            .map(|key| answers.get(key).map(heard))
            .collect();
        let Some(given) = given else {
            return Ok(());
        };
        let result = match (&tool.does, given.first()) {
            (Does::Asks { .. }, _) => told_all(&given)?,
            (_, only) => told(only.unwrap_or(&Answered::Refused))?,
        };
        let result = wire::result(&result);
        self.tasks.heard.insert(tool.name.clone(), result);
        Ok(())
    }

    /// What is told of a task beside where it stands. One whose tool failed is completed: there is a result.
    fn detail(
        &self,
        tool: &Tool,
        status: TaskStatus,
    ) -> (TaskStatus, Option<(&'static str, Value)>) {
        let heard = self.tasks.heard.get(&tool.name).cloned();
        match (status, &tool.does, heard) {
            (TaskStatus::InputRequired, does, _) => {
                (status, Some(("inputRequests", json!(questions(does)))))
            }
            (TaskStatus::Completed, _, Some(heard)) => (status, Some(("result", heard))),
            (TaskStatus::Completed | TaskStatus::Failed, Does::Answers(result), None) => {
                let result = wire::result(result);
                (TaskStatus::Completed, Some(("result", result)))
            }
            (TaskStatus::Failed, Does::Refuses(code), _) => {
                let error = json!({"code": code, "message": CANARY});
                (status, Some(("error", error)))
            }
            _ => (status, None),
        }
    }
}
