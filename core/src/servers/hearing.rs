//! Hears what a server asks while it works on a call: answers it from the record, or has it put on record and waits.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::{mpsc, oneshot};
use seaworthy_ports::mcp::{
    Elicitation, Elicited, HostTakes, McpContent, McpHost, Sampled, Sampling,
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
    /// Call the model for a question that a person has granted. Dropping `sample` says that it could not be.
    Model {
        call: CallId,
        question: Question,
        sample: oneshot::Sender<Sample>,
    },
}

/// The questions of one call, while it is made. The same question may be asked again: it is answered from the record as
/// often as it was answered there.
pub(crate) struct Hearing {
    call: CallId,
    known: Mutex<Vec<Known>>,
    /// How many questions may still be asked that are not on record.
    left: Mutex<usize>,
    asks: mpsc::UnboundedSender<Ask>,
    /// One question after the other: a person answers one.
    turn: futures_util::lock::Mutex<()>,
}

impl Hearing {
    /// Of a call that has `known` on record.
    pub(crate) fn new(call: CallId, known: Vec<Known>, asks: mpsc::UnboundedSender<Ask>) -> Self {
        Self {
            call,
            left: Mutex::new(MAX_QUESTIONS.saturating_sub(known.len())),
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
        self.asks.unbounded_send(ask).ok()?;
        let reply = replied.await.ok()?;
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
        self.asks.unbounded_send(ask).ok()?;
        sampled.await.ok()
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

    fn hearing(&self) -> Option<Arc<Hearing>> {
        locked(&self.hearing).clone()
    }
}

/// A call is being made whose questions are heard.
#[derive(Debug)]
pub(crate) struct Heard(Arc<Desk>);

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
        let Some(hearing) = self.hearing() else {
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
        let heard = self.hearing().zip(Question::model(&asked));
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
