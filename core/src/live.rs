//! What happens right now, for whoever watches. None of it is on record; what matters comes from the log.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use event_listener::{Event as Bell, EventListener};
use futures_util::Stream;
use seaworthy_ports::observer::RunEnd;
use seaworthy_ports::sandbox::OutputStream;
use seaworthy_ports::{CallId, RunId};

/// How many events wait for a slow watcher; then the oldest are dropped and counted. The end of the run does not count.
pub const MAX_WAITING: usize = 1024;

/// Something to show.
#[derive(Clone, PartialEq, Eq)]
pub enum Live {
    /// The model writes.
    Text {
        /// The next piece.
        delta: String,
    },
    /// The model thinks aloud.
    Reasoning {
        /// The next piece.
        delta: String,
    },
    /// A tool's command writes.
    Output {
        /// Which call.
        call: CallId,
        /// Where to.
        stream: OutputStream,
        /// The next piece; what is not UTF-8 is replaced.
        text: String,
    },
    /// The run cannot go on for now: a port fails. It is tried again, unless the log is corrupt.
    Trouble {
        /// What fails, for a person.
        message: String,
    },
    /// A slow watcher missed so many, which came before what is shown next.
    Missed {
        /// How many.
        events: u64,
    },
    /// The run has ended. Nothing comes behind it, and nothing pushes it out.
    Ended {
        /// How.
        status: RunEnd,
    },
}

impl fmt::Debug for Live {
    /// Without content: it is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text { .. } => "Text",
            Self::Reasoning { .. } => "Reasoning",
            Self::Output { .. } => "Output",
            Self::Trouble { .. } => "Trouble",
            Self::Missed { .. } => "Missed",
            Self::Ended { .. } => "Ended",
        })
    }
}

/// What becomes of a run when somebody stops watching it before its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum OnDrop {
    /// It goes on.
    #[default]
    Detach,
    /// It is cancelled, by whom it says, by a worker of this process that serves.
    Cancel {
        /// Who watched.
        by: String,
    },
}

#[derive(Debug)]
struct Queue {
    run: RunId,
    waiting: Mutex<Waiting>,
    bell: Bell,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Live>,
    missed: u64,
    ended: Option<RunEnd>,
}

/// Carries live events from the driver to watchers in the same process.
#[derive(Clone, Debug, Default)]
pub struct Relay(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    watchers: Mutex<Vec<Weak<Queue>>>,
    abandoned: Mutex<VecDeque<Abandoned>>,
    bell: Bell,
}

/// A run that is to be cancelled because its watcher went away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Abandoned {
    pub(crate) run: RunId,
    pub(crate) by: String,
}

/// One watcher's events of one run, to the run's end. What happens while the process does not advance the run is not
/// among them; what matters is in the run's log.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<Queue>,
    listener: Option<Pin<Box<EventListener>>>,
    relay: Relay,
    on_drop: OnDrop,
    finished: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds these locks can leave its data half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// Watches `run` from now on.
    #[must_use]
    pub fn watch(&self, run: &RunId) -> Watch {
        let queue = Arc::new(Queue {
            run: run.clone(),
            waiting: Mutex::default(),
            bell: Bell::new(),
        });
        let mut watchers = locked(&self.0.watchers);
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(Arc::downgrade(&queue));
        Watch {
            queue,
            listener: None,
            relay: self.clone(),
            on_drop: OnDrop::Detach,
            finished: false,
        }
    }

    /// Shows `event` to everybody who watches `run`. Never waits. What comes behind the run's end is not shown.
    pub fn show(&self, run: &RunId, event: &Live) {
        let watchers: Vec<Arc<Queue>> = locked(&self.0.watchers)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for queue in watchers.iter().filter(|queue| queue.run == *run) {
            locked(&queue.waiting).add(event);
            queue.bell.notify(usize::MAX);
        }
    }

    /// The first run that is to be cancelled; waits while there is none. It stays the first until it is settled, so that
    /// it is not lost with whoever deals with it.
    pub(crate) async fn abandoned(&self) -> Abandoned {
        loop {
            // Listen first, then look: a bell between the two is not lost.
            let bell = self.0.bell.listen();
            if let Some(abandoned) = self.first_abandoned() {
                return abandoned;
            }
            bell.await;
        }
    }

    /// The first run that is to be cancelled, without waiting for one.
    pub(crate) fn first_abandoned(&self) -> Option<Abandoned> {
        locked(&self.0.abandoned).front().cloned()
    }

    /// A run that was to be cancelled needs no more attention.
    pub(crate) fn settle(&self, settled: &Abandoned) {
        locked(&self.0.abandoned).retain(|abandoned| abandoned != settled);
    }

    /// Takes note of a run that is to be cancelled.
    fn abandon(&self, abandoned: Abandoned) {
        locked(&self.0.abandoned).push_back(abandoned);
        self.0.bell.notify(usize::MAX);
    }
}

impl Waiting {
    fn add(&mut self, event: &Live) {
        if self.ended.is_some() {
            return;
        }
        if let Live::Ended { status } = event {
            self.ended = Some(*status);
            return;
        }
        if self.events.len() >= MAX_WAITING {
            self.events.pop_front();
            self.missed = self.missed.saturating_add(1);
        }
        self.events.push_back(event.clone());
    }

    /// What is shown next. The loss comes before what was not lost, the end behind everything.
    fn next(&mut self) -> Option<Live> {
        if self.missed > 0 {
            let events = std::mem::take(&mut self.missed);
            return Some(Live::Missed { events });
        }
        self.events
            .pop_front()
            .or_else(|| self.ended.map(|status| Live::Ended { status }))
    }
}

impl Watch {
    /// The same, with what becomes of the run if this is dropped before the run's end.
    #[must_use]
    pub fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.on_drop = on_drop;
        self
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let ended = self.finished || locked(&self.queue.waiting).ended.is_some();
        if let OnDrop::Cancel { by } = std::mem::take(&mut self.on_drop)
            && !ended
        {
            let run = self.queue.run.clone();
            self.relay.abandon(Abandoned { run, by });
        }
    }
}

impl Stream for Watch {
    type Item = Live;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Live>> {
        if self.finished {
            return Poll::Ready(None);
        }
        loop {
            let next = locked(&self.queue.waiting).next();
            if let Some(event) = next {
                self.finished = matches!(event, Live::Ended { .. });
                return Poll::Ready(Some(event));
            }
            // Listen first, look again, and only then sleep: a bell between the look and the sleep is not lost.
            match &mut self.listener {
                None => self.listener = Some(Box::pin(self.queue.bell.listen())),
                Some(listener) => match listener.as_mut().poll(context) {
                    Poll::Ready(()) => self.listener = None,
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}
