//! Hears what a server asks while it works on a call: answers it from the record, or has it put on record and waits.

use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::{mpsc, oneshot};
use seaworthy_ports::mcp::{
    Elicitation, Elicited, HostTakes, McpContent, McpHost, Sampled, Sampling, TaskId,
};
use seaworthy_ports::{CallId, Digest, async_trait};

use super::question::{MAX_QUESTIONS, Question, Reply, Sample};

/// A question and what is known of its answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    /// Which question.
    pub(crate) question: Digest,
    /// What a person answered.
    pub(crate) reply: Reply,
    /// What the model said, where it was to be called and has been.
    pub(crate) sample: Option<Sample>,
}

/// Something that the holder of the run has to do for a server.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Put a question on record and have it answered. Dropping `reply` says that nobody answers it.
    Person {
        call: CallId,
        question: Question,
        reply: oneshot::Sender<Reply>,
    },
    /// Call the model for a question that a person has granted. `None`: it could not be.
    Model {
        call: CallId,
        question: Question,
        sample: oneshot::Sender<Option<Sample>>,
    },
}

/// The questions of one call, while it is made or its task is asked after. The same question may be asked again: it is
/// answered from the record as often as it was answered there.
pub(crate) struct Hearing {
    call: CallId,
    /// What the call has become: such a server gets an answer or none, and no refusal for want of one.
    task: Option<TaskId>,
    known: Mutex<Vec<Known>>,
    /// How many questions may still be asked that are not on record.
    left: Mutex<usize>,
    asks: mpsc::UnboundedSender<Ask>,
    /// One question after the other: a person answers one.
    turn: futures_util::lock::Mutex<()>,
}

impl Hearing {
    /// Of a call whose server has asked `asked` questions, of which it may ask again those that are `known`.
    pub(crate) fn new(
        call: CallId,
        task: Option<TaskId>,
        asked: usize,
        known: Vec<Known>,
        asks: mpsc::UnboundedSender<Ask>,
    ) -> Self {
        Self {
            call,
            task,
            left: Mutex::new(MAX_QUESTIONS.saturating_sub(asked)),
            known: Mutex::new(known),
            asks,
            turn: futures_util::lock::Mutex::new(()),
        }
    }

    /// What the record says of the question, once for each time that it was answered.
    fn recall(&self, question: Digest) -> Option<Known> {
        let mut known = locked(&self.known);
        let at = known.iter().position(|known| known.question == question)?;
        Some(known.remove(at))
    }

    fn may_ask(&self) -> bool {
        let mut left = locked(&self.left);
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }

    /// What a person answers, and what the model said if it was called for this before. Nobody answers: `None`.
    async fn put(&self, question: &Question) -> Option<Known> {
        if let Some(known) = self.recall(question.digest) {
            return Some(known);
        }
        if !self.may_ask() {
            return None;
        }
        let (reply, replied) = oneshot::channel();
        let ask = Ask::Person {
            call: self.call.clone(),
            question: question.clone(),
            reply,
        };
        let reply = match self.asks.unbounded_send(ask) {
            Ok(()) => replied.await.ok(),
            Err(_gone) => None,
        };
        let reply = self.or_nothing(reply).await?;
        Some(Known {
            question: question.digest,
            reply,
            sample: None,
        })
    }

    async fn sample(&self, question: Question) -> Option<Sample> {
        let (sample, sampled) = oneshot::channel();
        let ask = Ask::Model {
            call: self.call.clone(),
            question,
            sample,
        };
        let sample = match self.asks.unbounded_send(ask) {
            Ok(()) => sampled.await.ok(),
            Err(_gone) => None,
        };
        self.or_nothing(sample).await?
    }

    /// What was told. Where nobody holds the run any more, the server of a task is told nothing: it may ask again.
    async fn or_nothing<T>(&self, told: Option<T>) -> Option<T> {
        if told.is_none() && self.task.is_some() {
            pending::<()>().await;
        }
        told
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a server's questions arrive, for as long as it is connected: with the call that it works on.
pub(crate) struct Desk {
    takes: HostTakes,
    hearing: Mutex<Option<Arc<Hearing>>>,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("takes", &self.takes)
            .finish_non_exhaustive()
    }
}

impl Desk {
    pub(crate) fn new(takes: HostTakes) -> Self {
        Self {
            takes,
            hearing: Mutex::default(),
        }
    }

    /// From now on, until what is returned is dropped, the server's questions belong to this call.
    pub(crate) fn hear(self: &Arc<Self>, hearing: Hearing) -> Heard {
        *locked(&self.hearing) = Some(Arc::new(hearing));
        Heard(Arc::clone(self))
    }

    /// The call that a question belongs to, which may name a task. One about a task that is not being asked after waits to be
    /// asked again.
    async fn hearing(&self, task: Option<&TaskId>) -> Option<Arc<Hearing>> {
        let hearing = locked(&self.hearing).clone();
        let is_of_it = |hearing: &Arc<Hearing>| task.is_none() || hearing.task.as_ref() == task;
        let hearing = hearing.filter(is_of_it);
        if hearing.is_none() && task.is_some() {
            pending::<()>().await;
        }
        hearing
    }
}

/// A call is being made whose questions are heard.
#[derive(Debug)]
pub(crate) struct Heard(Arc<Desk>);

impl Heard {
    /// Whether the server waits for an answer.
    pub(crate) fn is_asked(&self) -> bool {
        let hearing = locked(&self.0.hearing).clone();
        hearing.is_some_and(|hearing| hearing.turn.try_lock().is_none())
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        *locked(&self.0.hearing) = None;
    }
}

#[async_trait]
impl McpHost for Desk {
    fn takes(&self) -> HostTakes {
        self.takes
    }

    async fn elicit(&self, asked: Elicitation) -> Elicited {
        let Some(hearing) = self.hearing(asked.task.as_ref()).await else {
            return Elicited::Cancelled;
        };
        let Some(question) = Question::input(&asked) else {
            return Elicited::Declined;
        };
        let _turn = hearing.turn.lock().await;
        match hearing.put(&question).await.map(|known| known.reply) {
            Some(Reply::Given { content }) => Elicited::Accepted(content),
            Some(Reply::Declined) => Elicited::Declined,
            Some(Reply::Dismissed | Reply::Granted) | None => Elicited::Cancelled,
        }
    }

    async fn sample(&self, asked: Sampling) -> Sampled {
        let hearing = self.hearing(asked.task.as_ref()).await;
        let heard = hearing.zip(Question::model(&asked));
        let Some((hearing, question)) = heard else {
            return Sampled::Refused;
        };
        let _turn = hearing.turn.lock().await;
        let sample = match hearing.put(&question).await {
            Some(Known {
                reply: Reply::Granted,
                sample,
                ..
            }) => match sample {
                Some(sample) => Some(sample),
                None => hearing.sample(question).await,
            },
            Some(_) | None => None,
        };
        match sample {
            Some(Sample { model, text }) => Sampled::Answered {
                model,
                content: McpContent::Text(text),
            },
            None => Sampled::Refused,
        }
    }
}
