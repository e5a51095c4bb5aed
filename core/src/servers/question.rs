//! What servers ask while they work on a call, and what they are answered, as the log keeps it.

use seaworthy_ports::mcp::{Elicitation, MAX_KEY_BYTES, McpContent, Sampling};
use seaworthy_ports::model_provider::Role;
use seaworthy_ports::{Digest, ServerAlias};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical_json;
use crate::gateway::compile;

/// The most questions of one call; more are refused.
pub const MAX_QUESTIONS: usize = 32;
/// The most bytes of what a server asks the user.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// The most bytes of the schema that an answer must fit.
pub const MAX_ANSWER_SCHEMA_BYTES: usize = 64 * 1024;
/// The most bytes of a person's answer.
pub const MAX_REPLY_BYTES: usize = 64 * 1024;
/// The most bytes of a conversation that a server wants a model to go on with, and of the model's answer.
pub const MAX_CONVERSATION_BYTES: usize = 256 * 1024;
/// The most faults of an answer that are told.
const MAX_FAULTS: usize = 10;

/// A question of a server. Its words are the server's and not to be trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The digest of everything else: an answer is for just this question.
    pub digest: Digest,
    /// What the server calls it, where it calls no other question of the call so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Who asks.
    pub server: ServerAlias,
    /// What for.
    pub wants: Wants,
}

/// What a server wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Wants {
    /// To know something from the user.
    Input {
        /// The question.
        message: String,
        /// The JSON schema that the answer must fit.
        schema: Value,
    },
    /// The run's model to be called, on the account of whoever runs the agent.
    Model {
        /// What the model is told before everything else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instructions: Option<String>,
        /// The most tokens of the answer.
        max_tokens: u32,
        /// The conversation, oldest first.
        messages: Vec<Said>,
    },
}

/// A message of a conversation that a server wants a model to go on with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// Who says it.
    pub role: Role,
    /// What.
    pub text: String,
}

/// A person's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// What the server wanted to know.
    Given {
        /// It, as the question's schema demands.
        content: Value,
    },
    /// The model may be called.
    Granted,
    /// No.
    Declined,
    /// Neither yes nor no.
    Dismissed,
}

/// What a model answered for a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The model, as asked for.
    pub model: String,
    /// What it said.
    pub text: String,
}

/// Why an answer is none to the question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReply {
    /// It is of another kind.
    #[error("{0}")]
    Kind(&'static str),
    /// It does not fit the question's schema.
    #[error("the answer does not fit what the server asks for: {}", .0.join("; "))]
    Faults(Vec<String>),
    /// It is too large.
    #[error("the answer has {0} bytes; it may have {MAX_REPLY_BYTES}")]
    TooLarge(usize),
}

impl Question {
    /// What is asked of the user; `None`: nobody could answer it, because it is too large or its schema is none.
    pub(crate) fn input(asked: &Elicitation) -> Option<Self> {
        let schema = asked.schema.to_string().len();
        let fits = asked.message.len() <= MAX_MESSAGE_BYTES
            && schema <= MAX_ANSWER_SCHEMA_BYTES
            && is_callable(asked.key.as_deref());
        let is_answerable = fits && compile(&asked.schema).is_ok();
        is_answerable.then(|| {
            let wants = Wants::Input {
                message: asked.message.clone(),
                schema: asked.schema.clone(),
            };
            Self::new(&asked.server, asked.key.as_ref(), wants)
        })
    }

    /// What is asked of a model; `None`: it holds something other than text, or is too large.
    pub(crate) fn model(asked: &Sampling) -> Option<Self> {
        let mut messages = Vec::new();
        let mut bytes = asked.instructions.as_ref().map_or(0, String::len);
        for (role, content) in &asked.messages {
            let McpContent::Text(text) = content else {
                return None;
            };
            bytes = bytes.saturating_add(text.len());
            messages.push(Said {
                role: *role,
                text: text.clone(),
            });
        }
        let is_askable = bytes <= MAX_CONVERSATION_BYTES
            && !messages.is_empty()
            && is_callable(asked.key.as_deref());
        is_askable.then(|| {
            let wants = Wants::Model {
                instructions: asked.instructions.clone(),
                max_tokens: asked.max_tokens,
                messages,
            };
            Self::new(&asked.server, asked.key.as_ref(), wants)
        })
    }

    fn new(server: &ServerAlias, key: Option<&String>, wants: Wants) -> Self {
        let content = (server, &wants);
        let written = match key {
            None => canonical_json::to_vec(&content),
            Some(key) => canonical_json::to_vec(&(server, key, &wants)),
        };
        // Every JSON value can be written; a digest that nothing else has is better than a panic.
        let digest = match written {
            Ok(bytes) => Digest::of(&bytes),
            Err(_never) => Digest::of(format!("{key:?} {content:?}").as_bytes()),
        };
        Self {
            digest,
            key: key.cloned(),
            server: server.clone(),
            wants,
        }
    }

    /// Whether `reply` answers it.
    ///
    /// # Errors
    ///
    /// [`InvalidReply`] with what is wrong.
    pub fn check(&self, reply: &Reply) -> Result<(), InvalidReply> {
        match (&self.wants, reply) {
            (Wants::Input { schema, .. }, Reply::Given { content }) => {
                let bytes = content.to_string().len();
                if bytes > MAX_REPLY_BYTES {
                    return Err(InvalidReply::TooLarge(bytes));
                }
                fits(schema, content)
            }
            (_, Reply::Declined | Reply::Dismissed) | (Wants::Model { .. }, Reply::Granted) => {
                Ok(())
            }
            (Wants::Input { .. }, Reply::Granted) => Err(InvalidReply::Kind(
                "the server asks for an answer, not for leave; give one, decline or dismiss",
            )),
            (Wants::Model { .. }, Reply::Given { .. }) => Err(InvalidReply::Kind(
                "the server asks for leave to call the model, not for an answer; grant or decline it",
            )),
        }
    }
}

/// Whether a question may be called so.
fn is_callable(key: Option<&str>) -> bool {
    key.is_none_or(|key| key.len() <= MAX_KEY_BYTES)
}

/// Whether an answer is an object, as the protocol wants it, that has the schema.
fn fits(schema: &Value, content: &Value) -> Result<(), InvalidReply> {
    if !content.is_object() {
        let fault = "an answer is an object with the fields that are asked for".to_owned();
        return Err(InvalidReply::Faults(vec![fault]));
    }
    let faults: Vec<String> = match compile(schema) {
        Ok(validator) => validator
            .iter_errors(content)
            .take(MAX_FAULTS)
            .map(|fault| match fault.instance_path().as_str() {
                "" => fault.to_string(),
                path => format!("{path}: {fault}"),
            })
            .collect(),
        Err(fault) => vec![fault.to_string()],
    };
    if faults.is_empty() {
        Ok(())
    } else {
        Err(InvalidReply::Faults(faults))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn alias() -> ServerAlias {
        ServerAlias::new("desk").unwrap()
    }

    fn asked(message: &str) -> Elicitation {
        Elicitation {
            server: alias(),
            message: message.to_owned(),
            schema: json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}),
            task: None,
            key: None,
        }
    }

    fn wanted(content: McpContent) -> Sampling {
        Sampling {
            server: alias(),
            instructions: None,
            messages: vec![(Role::User, content)],
            max_tokens: 10,
            task: None,
            key: None,
        }
    }

    #[test]
    fn other_words_are_another_question() {
        let question = Question::input(&asked("Who?")).unwrap();
        assert_eq!(Question::input(&asked("Who?")), Some(question.clone()));
        assert_ne!(
            Question::input(&asked("Whose?")).unwrap().digest,
            question.digest
        );
        let called = |key: &str| {
            let mut asked = asked("Who?");
            asked.key = Some(key.to_owned());
            Question::input(&asked)
        };
        let [first, second] = ["a", "b"].map(|key| called(key).unwrap().digest);
        assert!(first != second && first != question.digest);
        assert_eq!(called("a").unwrap().digest, first);
    }

    #[test]
    fn what_nobody_could_answer_is_no_question() {
        assert_eq!(
            Question::input(&asked(&"x".repeat(MAX_MESSAGE_BYTES + 1))),
            None
        );
        let mut endless = asked("Who?");
        endless.key = Some("x".repeat(MAX_KEY_BYTES + 1));
        assert_eq!(Question::input(&endless), None);
        let mut senseless = asked("Who?");
        senseless.schema = json!({"type": "nothing"});
        assert_eq!(Question::input(&senseless), None);
        let picture = McpContent::Image {
            media_type: "image/png".to_owned(),
            bytes: bytes::Bytes::new(),
        };
        assert_eq!(Question::model(&wanted(picture)), None);
        let long = "x".repeat(MAX_CONVERSATION_BYTES + 1);
        assert_eq!(Question::model(&wanted(McpContent::Text(long))), None);
    }

    #[test]
    fn an_answer_must_fit_and_be_of_the_kind_that_is_asked_for() {
        let question = Question::input(&asked("Who?")).unwrap();
        let given = |content| Reply::Given { content };
        assert_eq!(question.check(&given(json!({"name": "Ada"}))), Ok(()));
        assert_eq!(question.check(&Reply::Declined), Ok(()));
        assert_eq!(question.check(&Reply::Dismissed), Ok(()));
        for wrong in [json!({}), json!({"name": 7}), json!("Ada")] {
            let refused = question.check(&given(wrong.clone()));
            assert!(matches!(refused, Err(InvalidReply::Faults(_))), "{wrong}");
        }
        assert!(matches!(
            question.check(&Reply::Granted),
            Err(InvalidReply::Kind(_))
        ));
        let large = given(json!({"name": "x".repeat(MAX_REPLY_BYTES)}));
        assert!(matches!(
            question.check(&large),
            Err(InvalidReply::TooLarge(_))
        ));
        let model = Question::model(&wanted(McpContent::Text("Say.".to_owned()))).unwrap();
        assert_eq!(model.check(&Reply::Granted), Ok(()));
        assert!(matches!(
            model.check(&given(json!({}))),
            Err(InvalidReply::Kind(_))
        ));
    }
}
