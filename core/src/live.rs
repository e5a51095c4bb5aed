//! What happens right now, for whoever watches. None of it is on record; what matters comes from the log.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use event_listener::{Event as Bell, EventListener};
use futures_util::Stream;
use seaworthy_ports::sandbox::OutputStream;
use seaworthy_ports::{CallId, RunId};

/// How many events wait for a slow watcher; then the oldest are dropped and counted.
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
    /// A slow watcher missed so many.
    Missed {
        /// How many.
        events: u64,
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
        })
    }
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
}

/// Carries live events from the driver to watchers in the same process.
#[derive(Clone, Debug, Default)]
pub struct Relay(Arc<Mutex<Vec<Weak<Queue>>>>);

/// One watcher's events of one run. The stream does not end by itself; dropping it detaches.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<Queue>,
    listener: Option<Pin<Box<EventListener>>>,
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
        let mut watchers = locked(&self.0);
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(Arc::downgrade(&queue));
        Watch {
            queue,
            listener: None,
        }
    }

    /// Shows `event` to everybody who watches `run`. Never waits.
    pub fn show(&self, run: &RunId, event: &Live) {
        let watchers: Vec<Arc<Queue>> = locked(&self.0).iter().filter_map(Weak::upgrade).collect();
        for queue in watchers.iter().filter(|queue| queue.run == *run) {
            let mut waiting = locked(&queue.waiting);
            if waiting.events.len() >= MAX_WAITING {
                waiting.events.pop_front();
                waiting.missed = waiting.missed.saturating_add(1);
            }
            waiting.events.push_back(event.clone());
            drop(waiting);
            queue.bell.notify(usize::MAX);
        }
    }
}

impl Stream for Watch {
    type Item = Live;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Live>> {
        loop {
            {
                let mut waiting = locked(&self.queue.waiting);
                if waiting.missed > 0 {
                    let events = std::mem::take(&mut waiting.missed);
                    return Poll::Ready(Some(Live::Missed { events }));
                }
                if let Some(event) = waiting.events.pop_front() {
                    return Poll::Ready(Some(event));
                }
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
