//! What comes from a server: answers go to whoever waits for them, notifications are noted, questions are asked.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use seaworthy_ports::mcp::{McpServer, Progress, ProgressSink};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::connection::Outbox;
use crate::error::Fault;
use crate::frame::Envelope;
use crate::logs::{self, Logs};
use crate::questions::Questions;
use crate::subscription::Changes;

/// What became of a request: its result, as it was written.
pub(crate) type Answer = Result<Bytes, Fault>;

/// Whoever waits for an answer.
struct Waiting {
    answer: oneshot::Sender<Answer>,
    progress: Option<ProgressSink>,
    until: Instant,
}

#[derive(Default)]
struct Table {
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// Why nothing comes any more.
    end: Option<Fault>,
}

/// Takes messages of one connection, until it ends.
pub(crate) struct Inbox {
    table: Mutex<Table>,
    questions: Questions,
    logs: Logs,
    has_answered: AtomicBool,
    pub(crate) changes: Changes,
}

impl fmt::Debug for Inbox {
    /// Without messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table();
        f.debug_struct("Inbox")
            .field("waiting", &table.waiting.len())
            .field("end", &table.end)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Refusal>,
}

/// Its words and data may quote anything, and are not read.
#[derive(Deserialize)]
struct Refusal {
    code: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProgressParams {
    progress_token: u64,
    progress: f64,
    total: Option<f64>,
}

impl Inbox {
    pub(crate) fn new(server: &McpServer) -> Self {
        Self {
            table: Mutex::default(),
            questions: Questions::new(server),
            logs: Logs::new(server.log.clone()),
            has_answered: AtomicBool::new(false),
            changes: Changes::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the server asks nothing but in its answers.
    pub(crate) fn asks_nothing(&self) {
        self.questions.come_in_answers();
    }

    pub(crate) fn questions(&self) -> &Questions {
        &self.questions
    }

    /// Whether nothing comes any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.table().end.is_some()
    }

    /// Whether the server ever answered anything, right or wrong, after it was greeted.
    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// The server was greeted: what it answers from now on counts.
    pub(crate) fn greeted(&self) {
        self.has_answered.store(false, Ordering::Relaxed);
    }

    /// Enters a request that will be sent, and gives it its number.
    pub(crate) fn enter(
        &self,
        progress: Option<ProgressSink>,
        until: Instant,
    ) -> Result<(u64, oneshot::Receiver<Answer>), Fault> {
        let (answer, receiver) = oneshot::channel();
        let mut table = self.table();
        if table.end.is_some() {
            return Err(Fault::Unreachable("the connection has just ended"));
        }
        table.last += 1;
        let id = table.last;
        let waiting = Waiting {
            answer,
            progress,
            until,
        };
        table.waiting.insert(id, waiting);
        Ok((id, receiver))
    }

    /// Nobody waits for this any longer. Whether somebody did.
    pub(crate) fn strike(&self, id: u64) -> bool {
        self.table().waiting.remove(&id).is_some()
    }

    /// Nothing comes any more: everybody who waits is told why.
    pub(crate) fn end(&self, why: Fault) {
        let waiting = {
            let mut table = self.table();
            table.end.get_or_insert(why);
            std::mem::take(&mut table.waiting)
        };
        self.questions.withdraw_all();
        for (_id, waiting) in waiting {
            let _nobody = waiting.answer.send(Err(why));
        }
    }

    /// An answer, or what is left of one.
    pub(crate) fn answered(&self, id: u64, answer: Answer) {
        let waiting = self.table().waiting.remove(&id);
        // Whoever asked has gone, or never was, or has been answered before.
        if let Some(waiting) = waiting {
            self.has_answered.store(true, Ordering::Relaxed);
            let _nobody = waiting.answer.send(answer);
        }
    }

    /// Takes a message, or a batch of them. What is none is left alone, unless it can be told whom it was for.
    pub(crate) fn take(&self, frame: &Bytes, outbox: &Arc<dyn Outbox>) {
        if frame.trim_ascii_start().first() == Some(&b'[') {
            // Servers of the protocol version 2025-03-26 may write several at once.
            let batch: Vec<&RawValue> = serde_json::from_slice(frame).unwrap_or_default();
            for message in batch {
                self.take_one(&frame.slice_ref(message.get().as_bytes()), outbox);
            }
        } else {
            self.take_one(frame, outbox);
        }
    }

    fn take_one(&self, frame: &Bytes, outbox: &Arc<dyn Outbox>) {
        let Ok(message) = serde_json::from_slice::<Message<'_>>(frame) else {
            if let Some(id) = Envelope::of(frame).answers() {
                let why = "the server's answer is no message of the protocol";
                self.answered(id, Err(Fault::Malformed(why)));
            }
            return;
        };
        match (message.method, message.id) {
            (Some(method), Some(id)) => {
                let until = self
                    .table()
                    .waiting
                    .values()
                    .map(|waiting| waiting.until)
                    .max();
                self.questions
                    .ask(id, &method, message.params, until, outbox);
            }
            (Some(method), None) => self.notified(&method, message.params),
            (None, Some(id)) => {
                let Ok(id) = id.get().parse::<u64>() else {
                    return;
                };
                let answer = match (message.result, message.error) {
                    (Some(result), None) => Ok(frame.slice_ref(result.get().as_bytes())),
                    (None, Some(refusal)) => Err(Fault::Refused(refusal.code)),
                    _ => {
                        let why = "the server's answer is neither a result nor an error, or both";
                        Err(Fault::Malformed(why))
                    }
                };
                self.answered(id, answer);
            }
            (None, None) => {}
        }
    }

    fn notified(&self, method: &str, params: Option<&RawValue>) {
        let changed = match method {
            "notifications/tools/list_changed" => &self.changes.tools,
            "notifications/resources/list_changed" => &self.changes.resources,
            "notifications/prompts/list_changed" => &self.changes.prompts,
            "notifications/subscriptions/acknowledged" => {
                return self.changes.acknowledged(params);
            }
            "notifications/progress" => return self.progressed(params),
            logs::MESSAGE => return self.logs.take(params),
            "notifications/cancelled" => return self.questions.withdraw(params),
            _ => return,
        };
        changed.changed();
    }

    fn progressed(&self, params: Option<&RawValue>) {
        let params = params.and_then(|params| serde_json::from_str(params.get()).ok());
        let Some(ProgressParams {
            progress_token,
            progress,
            total,
        }) = params
        else {
            return;
        };
        let sink = {
            let table = self.table();
            let waiting = table.waiting.get(&progress_token);
            waiting.and_then(|waiting| waiting.progress.clone())
        };
        if let Some(sink) = sink {
            sink(Progress {
                done: progress,
                total,
            });
        }
    }
}
