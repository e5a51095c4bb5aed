//! What a server asks while it works on a call: as a request of its own, or as the answer to the call where the protocol
//! version knows no other way.

use std::io::Write;

use seaworthy_ports::mcp::McpCallResult;
use serde_json::{Value, json};

use super::script::{Answered, Does, Root, Then};
use super::serve::{INVALID_PARAMS, Server, Stop, told};
use super::{scripts, wire};
use crate::outcome::Halt;

/// The name of a question in an answer.
const KEY: &str = "the question";

/// A call that asks.
pub(super) struct Asking {
    pub(super) call: Value,
    pub(super) tool: String,
    /// What became of the questions so far.
    pub(super) heard: Vec<Answered>,
}

/// The question that a tool asks when it has heard so many answers.
pub(super) fn question(does: &Does, heard: usize) -> Option<(&'static str, Value)> {
    let form = |message: &str, schema: &Value| {
        let params = json!({"mode": "form", "message": message, "requestedSchema": schema});
        ("elicitation/create", params)
    };
    match does {
        Does::Elicits { message, schema } => (heard == 0).then(|| form(message, schema)),
        Does::Asks { questions, .. } => {
            let question = questions.get(heard)?;
            Some(form(question, &answer_schema()))
        }
        Does::Samples {
            instructions,
            text,
            max_tokens,
        } => (heard == 0).then(|| {
            let params = json!({
                "systemPrompt": instructions,
                "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
                "maxTokens": max_tokens,
            });
            ("sampling/createMessage", params)
        }),
        Does::AsksRoots => (heard == 0).then(|| ("roots/list", json!({}))),
        _ => None,
    }
}

/// What the answers to the questions of [`Does::Asks`] look like.
pub(super) fn answer_schema() -> Value {
    json!({
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
    })
}

/// What a tool answers that [`Does::Asks`].
pub fn told_all(answered: &[Answered]) -> Result<McpCallResult, Halt> {
    let all: Result<Vec<_>, _> = answered.iter().map(told).collect();
    let all = all?.into_iter().filter_map(|each| each.structured);
    Ok(scripts::counted(&json!({"all": all.collect::<Vec<_>>()})))
}

/// What became of a question; without a result, it was refused.
pub(super) fn heard(result: &Value) -> Answered {
    let text = |pointer: &str| {
        let text = result.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    if text("/action") == "accept" {
        Answered::Accepted(result.get("content").cloned().unwrap_or_default())
    } else if result.get("model").is_some() {
        let model = text("/model");
        let single = text("/content/text");
        let text = if single.is_empty() {
            text("/content/0/text")
        } else {
            single
        };
        Answered::Sampled { model, text }
    } else if let Some(roots) = result.get("roots").cloned() {
        let roots = serde_json::from_value::<Vec<Root>>(roots);
        roots.map_or(Answered::Refused, Answered::Roots)
    } else {
        Answered::Refused
    }
}

impl<W: Write> Server<W> {
    /// Asks the next question of a call, or answers the call.
    pub(super) fn go_on(&mut self, mut asking: Asking) -> Result<(), Stop> {
        let Some(tool) = self.tool(&asking.tool) else {
            return self.refuse(&asking.call, INVALID_PARAMS, "there is no such tool");
        };
        let Some((method, params)) = question(&tool.does, asking.heard.len()) else {
            return self.conclude(&tool.does, &asking);
        };
        if !self.is_stateless() {
            return self.ask(asking, method, &params).map(|_asked| ());
        }
        let [may_elicit, may_sample, has_roots] = self.may_ask;
        let may = match tool.does {
            Does::Samples { .. } => may_sample,
            Does::AsksRoots => has_roots,
            _ => may_elicit,
        };
        if !may {
            asking.heard.push(Answered::Refused);
            return self.go_on(asking);
        }
        let state = json!({"tool": asking.tool, "heard": asking.heard}).to_string();
        let result = json!({
            "resultType": "input_required",
            "inputRequests": {KEY: {"method": method, "params": params}},
            "requestState": state,
        });
        self.answer(&asking.call, result)
    }

    /// Asks the client something on behalf of a request, and says which question it is.
    pub(super) fn ask(
        &mut self,
        asking: Asking,
        method: &str,
        params: &Value,
    ) -> Result<u64, Stop> {
        self.questions += 1;
        self.asked.insert(self.questions, asking);
        self.send(json!({"id": self.questions, "method": method, "params": params}))?;
        Ok(self.questions)
    }

    fn conclude(&mut self, does: &Does, asking: &Asking) -> Result<(), Stop> {
        match does {
            Does::Asks {
                then: Then::Dies, ..
            } => Err(Stop::Dies),
            Does::Asks { .. } => {
                let all = told_all(&asking.heard)?;
                self.answer(&asking.call, wire::result(&all))
            }
            _ => {
                let only = asking.heard.first().unwrap_or(&Answered::Refused);
                self.answer(&asking.call, wire::result(&told(only)?))
            }
        }
    }

    /// The client answered a question; without a result, it refused.
    pub(super) fn answered(&mut self, question: &Value, result: Option<Value>) -> Result<(), Stop> {
        let asked = question.as_u64();
        let asking = asked.and_then(|asked| Some((asked, self.asked.remove(&asked)?)));
        let Some((asked, mut asking)) = asking else {
            return Ok(());
        };
        let heard = heard(&result.unwrap_or_default());
        self.tasks.heard(asked, &wire::result(&told(&heard)?));
        asking.heard.push(heard);
        self.go_on(asking)
    }

    /// Goes on with a call that is made again with an answer. Whether it is one.
    pub(super) fn goes_on(&mut self, id: &Value, tool: &str, params: &Value) -> Result<bool, Stop> {
        let member = |name: &str| params.get(name);
        let (Some(answers), state) = (member("inputResponses"), member("requestState")) else {
            return Ok(false);
        };
        let state = state.and_then(Value::as_str).unwrap_or_default();
        let state: Value = serde_json::from_str(state).unwrap_or_default();
        let so_far = state.get("heard").cloned().unwrap_or_default();
        let is_of_tool = state.get("tool").and_then(Value::as_str) == Some(tool);
        let (Ok(mut so_far), Some(answer), true) = (
            serde_json::from_value::<Vec<Answered>>(so_far),
            answers.get(KEY),
            is_of_tool,
        ) else {
            self.refuse(id, INVALID_PARAMS, "that was not asked")?;
            return Ok(true);
        };
        so_far.push(heard(answer));
        self.go_on(Asking {
            call: id.clone(),
            tool: tool.to_owned(),
            heard: so_far,
        })?;
        Ok(true)
    }
}
