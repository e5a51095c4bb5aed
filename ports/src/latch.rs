//! A condition that becomes true once and stays so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use event_listener::Event;

#[derive(Debug, Default)]
struct Inner {
    set: AtomicBool,
    event: Event,
}

/// The side that waits: `stop`, `revoked` and `cancel` are latches.
#[derive(Clone, Debug)]
pub struct Latch(Arc<Inner>);

/// The side that sets the latch. Dropping it without setting leaves the latch unset for ever.
#[derive(Clone, Debug)]
pub struct LatchSetter(Arc<Inner>);

impl Latch {
    /// A latch that is not set, and its setter.
    #[must_use]
    pub fn new() -> (LatchSetter, Self) {
        let inner = Arc::<Inner>::default();
        (LatchSetter(Arc::clone(&inner)), Self(inner))
    }

    /// A latch that nobody will set.
    #[must_use]
    pub fn never() -> Self {
        Self(Arc::default())
    }

    /// Whether it is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.set.load(Ordering::Acquire)
    }

    /// Returns once it is set; at once if it is already. Dropping the future leaves nothing behind.
    pub async fn wait(&self) {
        while !self.is_set() {
            let listener = self.0.event.listen();
            if self.is_set() {
                return;
            }
            listener.await;
        }
    }
}

impl LatchSetter {
    /// Sets the latch and wakes everybody who waits. Setting twice is fine.
    pub fn set(&self) {
        self.0.set.store(true, Ordering::Release);
        self.0.event.notify(usize::MAX);
    }

    /// Another handle to wait on the same latch.
    #[must_use]
    pub fn latch(&self) -> Latch {
        Latch(Arc::clone(&self.0))
    }
}
