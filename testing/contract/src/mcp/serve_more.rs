//! What a server suggests for arguments, and what it says of its own work.

use std::io::Write;

use seaworthy_ports::mcp::{McpCompleted, McpCompleting, McpCompletion};
use serde_json::{Value, json};

use super::completions::suggested;
use super::script::{Completes, Levels, Said, Seen};
use super::serve::{INVALID_PARAMS, METHOD_NOT_FOUND, Server, Stop};
use super::stage::CANARY;

impl<W: Write> Server<W> {
    /// Answers a question for what could be written.
    pub(super) fn complete(&mut self, id: &Value, params: &Value) -> Result<(), Stop> {
        if self.script().completes.is_empty() {
            return self.refuse(id, METHOD_NOT_FOUND, "it completes nothing");
        }
        let text = |pointer: &str| {
            let text = params.pointer(pointer).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let argument = text("/argument/name");
        self.note(&Seen::Completed(argument.clone()))?;
        let completes = self.script().completes.iter();
        let completes = completes.clone().find(|(name, _does)| *name == argument);
        let Some((_name, does)) = completes.cloned() else {
            return self.refuse(id, INVALID_PARAMS, CANARY);
        };
        let completed = match does {
            Completes::Echoes => {
                let given = params.pointer("/context/arguments").cloned();
                let given = given.and_then(|given| serde_json::from_value(given).ok());
                suggested(&McpCompletion {
                    of: match text("/ref/type").as_str() {
                        "ref/prompt" => McpCompleting::Prompt(text("/ref/name")),
                        _ => McpCompleting::Template(text("/ref/uri")),
                    },
                    argument,
                    value: text("/argument/value"),
                    given: given.unwrap_or_default(),
                })
            }
            Completes::With { values, bytes } => McpCompleted {
                values: vec!["x".repeat(bytes); values],
                total: None,
                has_more: false,
            },
            Completes::Wrongly => {
                return self.answer(id, json!({"completion": {"values": CANARY}}));
            }
            Completes::Never => return Ok(()),
        };
        let McpCompleted {
            values,
            total,
            has_more,
        } = completed;
        let mut completion = json!({"values": values, "hasMore": has_more});
        if let (Some(completion), Some(total)) = (completion.as_object_mut(), total) {
            completion.insert("total".to_owned(), total.into());
        }
        self.answer(id, json!({"completion": completion}))
    }

    /// Is told which log messages are wanted. It logs all the same: what is wanted is the client's to sort out.
    pub(super) fn set_level(&mut self, id: &Value, level: String) -> Result<(), Stop> {
        match self.script().levels {
            None => self.refuse(id, METHOD_NOT_FOUND, "it does not log"),
            Some(levels) => {
                self.note(&Seen::LogLevel(level))?;
                match levels {
                    Levels::Set => self.answer(id, json!({})),
                    Levels::Unanswered => Ok(()),
                }
            }
        }
    }

    /// Says something of its own work.
    pub(super) fn say(&mut self, said: &Said) -> Result<(), Stop> {
        let params = match said {
            Said::Message {
                level,
                logger,
                data,
            } => {
                let mut params = json!({"level": level, "data": data});
                if let (Some(params), Some(logger)) = (params.as_object_mut(), logger) {
                    params.insert("logger".to_owned(), logger.clone().into());
                }
                params
            }
            Said::Noise(params) => params.clone(),
        };
        self.tell("notifications/message", &params)
    }
}
