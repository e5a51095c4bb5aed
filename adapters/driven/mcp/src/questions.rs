//! What a server asks: its host answers, or it is refused. Nothing it asks is waited for longer than its own calls are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rmcp::model as wire;
use seaworthy_ports::ServerAlias;
use seaworthy_ports::mcp::{
    Elicitation, Elicited, McpHost, McpRoot, McpServer, Sampled, Sampling, TaskId,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::answers;
use crate::connection::Outbox;
use crate::error::Fault;
use crate::roots;
use crate::schema::Schema;

/// The most questions that a server may have open; more are refused.
pub(crate) const MOST_OPEN: usize = 16;
/// The most answers to questions that wait to be sent; a server that asks on is not answered.
const MOST_REPLIES: usize = 64;
/// How long a question waits that belongs to no call.
const UNCALLED: Duration = Duration::from_secs(10);
/// How long after the last of its calls a question is refused that nobody answered: a server that was told first that its
/// call is called off does not answer that for want of an answer of its own.
const AFTER_CALLS: Duration = Duration::from_secs(1);
/// The longest name of a question that is remembered, in bytes as it is written.
const LONGEST_ID: usize = 256;

const METHOD_NOT_FOUND: i64 = -32_601;
const INVALID_PARAMS: i64 = -32_602;
const TOO_MANY: i64 = -32_000;
/// What the protocol says when a user does not want a model called.
const REJECTED: i64 = -1;

/// The questions of one connection.
pub(crate) struct Questions {
    server: ServerAlias,
    host: Option<Arc<dyn McpHost>>,
    roots: Vec<McpRoot>,
    /// Whether questions come in answers alone.
    in_answers: AtomicBool,
    replies: Arc<Semaphore>,
    open: Arc<Mutex<BTreeMap<String, AbortHandle>>>,
}

impl fmt::Debug for Questions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Questions({})", self.server)
    }
}

/// Why a question is not answered, by its JSON-RPC error.
type Refused = (i64, &'static str);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ElicitParams {
    mode: Option<String>,
    message: String,
    requested_schema: Option<Value>,
    #[serde(rename = "_meta")]
    meta: Option<Meta>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SampleParams {
    messages: Vec<SampleMessage>,
    system_prompt: Option<String>,
    max_tokens: u32,
    tools: Option<Vec<Value>>,
    #[serde(rename = "_meta")]
    meta: Option<Meta>,
}

/// What a question is about that came with a task.
pub(crate) struct About {
    pub(crate) task: TaskId,
    /// What the server calls the question.
    pub(crate) key: String,
}

/// What a question carries along.
#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/related-task")]
    task: Option<RelatedTask>,
}

/// The task that a question is about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RelatedTask {
    task_id: TaskId,
}

impl Meta {
    fn task(self) -> Option<TaskId> {
        self.task.map(|related| related.task_id)
    }
}

#[derive(Deserialize)]
struct SampleMessage {
    role: wire::Role,
    content: OneOrMore,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Box<wire::ContentBlock>),
    More(Vec<wire::ContentBlock>),
}

fn open(
    questions: &Mutex<BTreeMap<String, AbortHandle>>,
) -> MutexGuard<'_, BTreeMap<String, AbortHandle>> {
    questions.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Questions {
    pub(crate) fn new(server: &McpServer) -> Self {
        Self {
            server: server.alias.clone(),
            host: server.host.clone(),
            roots: server.roots.clone(),
            in_answers: AtomicBool::new(false),
            replies: Arc::new(Semaphore::new(MOST_REPLIES)),
            open: Arc::default(),
        }
    }

    /// Has a question answered, in time for the calls that wait `until` then.
    pub(crate) fn ask(
        &self,
        id: &RawValue,
        method: &str,
        params: Option<&RawValue>,
        until: Option<Instant>,
        outbox: &Arc<dyn Outbox>,
    ) {
        let Ok(permit) = Arc::clone(&self.replies).try_acquire_owned() else {
            return;
        };
        if id.get().len() > LONGEST_ID {
            return;
        }
        let id = id.get().to_owned();
        let question = if self.in_answers.load(Ordering::Relaxed) {
            Err((METHOD_NOT_FOUND, "nothing is asked but in answers"))
        } else {
            self.question(method, params)
        };
        let until = until.unwrap_or_else(|| Instant::now() + UNCALLED);
        let outbox = Arc::clone(outbox);
        let opened = Arc::clone(&self.open);
        let name = id.clone();
        let task = async move {
            let _permit = permit;
            let answer = match question {
                Ok(question) => question.answer(until).await,
                Err(refused) => Some(Err(refused)),
            };
            open(&opened).remove(&name);
            if let Some(answer) = answer {
                let _gone = outbox.send(reply(&name, answer)).await;
            }
        };
        // Nothing can be withdrawn before it is entered: the lock is held until it is.
        let mut open = open(&self.open);
        let task = tokio::spawn(task);
        open.insert(id, task.abort_handle());
    }

    /// From now on questions come in answers alone.
    pub(crate) fn come_in_answers(&self) {
        self.in_answers.store(true, Ordering::Relaxed);
    }

    /// Answers a question that came in an answer. A form can be declined, whatever is wrong with it; there is no answer
    /// that declines anything else.
    pub(crate) async fn answered(
        &self,
        method: &str,
        params: Option<&RawValue>,
        about: Option<About>,
        until: Instant,
    ) -> Result<Value, Fault> {
        let question = self.question(method, params);
        let answer = match question.map(|question| question.about(about)) {
            // It is a method of connections that last.
            Ok(Question::Ping) => return Err(Fault::Unanswered),
            Ok(question) => question.answer(until).await.ok_or(Fault::Timeout)?,
            Err(refused) => Err(refused),
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(_refused) if method == "elicitation/create" => Ok(json!({"action": "decline"})),
            Err(_refused) => Err(Fault::Unanswered),
        }
    }

    fn question(&self, method: &str, params: Option<&RawValue>) -> Result<Question, Refused> {
        const UNREADABLE: Refused = (INVALID_PARAMS, "the question cannot be read");
        fn read<'a, T: Deserialize<'a>>(params: Option<&'a RawValue>) -> Result<T, Refused> {
            let params = params.map_or("{}", RawValue::get);
            serde_json::from_str(params).map_err(|_error| UNREADABLE)
        }
        if method == "ping" {
            return Ok(Question::Ping);
        }
        if method == roots::LIST && !self.roots.is_empty() {
            return Ok(Question::Roots(roots::answer(&self.roots)));
        }
        let Some(host) = &self.host else {
            return Err((METHOD_NOT_FOUND, "nobody answers questions here"));
        };
        if open(&self.open).len() >= MOST_OPEN {
            return Err((TOO_MANY, "too many questions at once"));
        }
        let host = Arc::clone(host);
        let takes = host.takes();
        match method {
            "elicitation/create" if takes.elicitation => {
                let params: ElicitParams = read(params)?;
                if params.mode.is_some_and(|mode| mode != "form") {
                    return Err((INVALID_PARAMS, "only forms can be shown"));
                }
                let schema = params.requested_schema.ok_or(UNREADABLE)?;
                let question = Elicitation {
                    server: self.server.clone(),
                    message: params.message,
                    schema,
                    task: params.meta.and_then(Meta::task),
                    key: None,
                };
                Ok(Question::User(host, question))
            }
            "sampling/createMessage" if takes.sampling => {
                let params: SampleParams = read(params)?;
                if params.tools.is_some_and(|tools| !tools.is_empty()) {
                    return Err((INVALID_PARAMS, "a model is called without tools here"));
                }
                let mut messages = Vec::new();
                for message in params.messages {
                    let role = answers::role(&message.role);
                    let blocks = match message.content {
                        OneOrMore::One(block) => vec![*block],
                        OneOrMore::More(blocks) => blocks,
                    };
                    for block in blocks {
                        let content = answers::content(block).map_err(|_fault| UNREADABLE)?;
                        messages.push((role, content));
                    }
                }
                let question = Sampling {
                    server: self.server.clone(),
                    instructions: params.system_prompt,
                    messages,
                    max_tokens: params.max_tokens,
                    task: params.meta.and_then(Meta::task),
                    key: None,
                };
                Ok(Question::Model(host, question))
            }
            "elicitation/create" | "sampling/createMessage" => {
                Err((METHOD_NOT_FOUND, "nobody answers such questions here"))
            }
            _ => Err((METHOD_NOT_FOUND, "there is no such method")),
        }
    }

    /// The server no longer wants to know.
    pub(crate) fn withdraw(&self, params: Option<&RawValue>) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Cancelled<'a> {
            #[serde(borrow)]
            request_id: &'a RawValue,
        }
        let params =
            params.and_then(|params| serde_json::from_str::<Cancelled<'_>>(params.get()).ok());
        if let Some(params) = params
            && let Some(task) = open(&self.open).remove(params.request_id.get())
        {
            task.abort();
        }
    }

    /// There is nobody left to answer.
    pub(crate) fn withdraw_all(&self) {
        for (_id, task) in std::mem::take(&mut *open(&self.open)) {
            task.abort();
        }
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        self.withdraw_all();
    }
}

enum Question {
    Ping,
    /// The answer needs nobody.
    Roots(Value),
    User(Arc<dyn McpHost>, Elicitation),
    Model(Arc<dyn McpHost>, Sampling),
}

impl Question {
    /// The question, which is about this if it says so itself or not.
    fn about(mut self, about: Option<About>) -> Self {
        let Some(About {
            task: id,
            key: name,
        }) = about
        else {
            return self;
        };
        if let Self::User(_, Elicitation { task, key, .. })
        | Self::Model(_, Sampling { task, key, .. }) = &mut self
        {
            *task = Some(id);
            *key = Some(name);
        }
        self
    }

    /// What is answered by then. `None`: nothing, because nobody has answered a question about a task. To refuse would be to
    /// answer for the user; the server may ask again, over any session.
    async fn answer(self, until: Instant) -> Option<Result<Value, Refused>> {
        match self {
            Self::Ping => Some(Ok(json!({}))),
            Self::Roots(answer) => Some(Ok(answer)),
            Self::User(host, question) => {
                let schema = Schema::compile(&question.schema);
                let is_of_task = question.task.is_some();
                let answer = answered(until, is_of_task, host.elicit(question)).await;
                let answer = match answer {
                    None if is_of_task => return None,
                    answer => answer.unwrap_or(Elicited::Cancelled),
                };
                Some(Ok(match answer {
                    Elicited::Accepted(content)
                        if content.is_object()
                            && schema.is_some_and(|schema| schema.fits(&content)) =>
                    {
                        json!({"action": "accept", "content": content})
                    }
                    Elicited::Accepted(_) | Elicited::Declined => json!({"action": "decline"}),
                    Elicited::Cancelled => json!({"action": "cancel"}),
                }))
            }
            Self::Model(host, question) => {
                let is_of_task = question.task.is_some();
                let answer = answered(until, is_of_task, host.sample(question)).await;
                if answer.is_none() && is_of_task {
                    return None;
                }
                let refused = Some(Err((REJECTED, "the host does not make this model call")));
                let Some(Sampled::Answered { model, content }) = answer else {
                    return refused;
                };
                match answers::block(&content) {
                    Some(content) => Some(Ok(
                        json!({"role": "assistant", "model": model, "content": content}),
                    )),
                    None => refused,
                }
            }
        }
    }
}

/// What a host answers in time. That it does not is known a moment later, unless nobody is told.
async fn answered<T>(until: Instant, is_of_task: bool, host: impl Future<Output = T>) -> Option<T> {
    match timeout_at(until, host).await {
        Ok(answer) => Some(answer),
        Err(_late) => {
            if !is_of_task {
                sleep(AFTER_CALLS).await;
            }
            None
        }
    }
}

/// An answer to the question `id`, which is JSON already.
fn reply(id: &str, answer: Result<Value, Refused>) -> Bytes {
    let (what, value) = match answer {
        Ok(result) => ("result", result),
        Err((code, message)) => ("error", json!({"code": code, "message": message})),
    };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"{what}":{value}}}"#).into()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use seaworthy_ports::mcp::{Authorization, Beginning, Endpoint, HostTakes, Transport};

    use super::*;

    /// A host that never answers.
    #[derive(Debug)]
    struct Nobody;

    #[async_trait::async_trait]
    impl McpHost for Nobody {
        fn takes(&self) -> HostTakes {
            HostTakes::ALL
        }

        async fn elicit(&self, _question: Elicitation) -> Elicited {
            pending().await
        }

        async fn sample(&self, _question: Sampling) -> Sampled {
            pending().await
        }
    }

    fn asked(method: &str, meta: &Value) -> Result<Question, Refused> {
        let questions = Questions::new(&McpServer {
            alias: ServerAlias::new("desk").unwrap(),
            transport: Transport::StreamableHttp(Endpoint {
                url: "http://127.0.0.1:9/mcp".to_owned(),
                authorization: Authorization::None,
                headers: BTreeMap::new(),
            }),
            connect_timeout: Duration::ZERO,
            request_timeout: Duration::ZERO,
            host: Some(Arc::new(Nobody)),
            roots: Vec::new(),
            log: None,
            beginning: Beginning::Automatic,
        });
        let params = json!({
            "message": "Who?", "requestedSchema": {"type": "object"},
            "messages": [], "maxTokens": 7, "_meta": meta,
        });
        let params = serde_json::value::to_raw_value(&params).unwrap();
        questions.question(method, Some(&params))
    }

    fn about(task: &Value) -> Value {
        json!({"progressToken": 7, "io.modelcontextprotocol/related-task": task})
    }

    const METHODS: [&str; 2] = ["elicitation/create", "sampling/createMessage"];

    #[tokio::test]
    async fn a_question_about_a_task_that_nobody_answers_in_time_is_not_answered() {
        for method in METHODS {
            let question = asked(method, &about(&json!({"taskId": "a"}))).ok().unwrap();
            let answer = question.answer(Instant::now()).await;
            assert!(answer.is_none(), "{method}: {answer:?}");
        }
    }

    #[test]
    fn a_question_about_a_task_that_cannot_be_named_is_refused() {
        for method in METHODS {
            for task in [
                json!({}),
                json!({"taskId": ""}),
                json!({"taskId": 7}),
                json!("a"),
            ] {
                let refused = asked(method, &about(&task)).err();
                assert_eq!(refused.map(|(code, _why)| code), Some(INVALID_PARAMS));
            }
            for none in [Value::Null, json!({}), about(&Value::Null)] {
                assert!(asked(method, &none).is_ok(), "{none}");
            }
        }
    }
}
