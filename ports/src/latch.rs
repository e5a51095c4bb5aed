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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Poll, Wake, Waker};

    use futures_util::FutureExt as _;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_latch_wakes_everybody_who_waits() {
        let (setter, latch) = Latch::new();
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let other = setter.latch();
        let (mut first, mut second) = (pin!(latch.wait()), pin!(other.wait()));
        assert_eq!(first.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(second.as_mut().poll(&mut context), Poll::Pending);
        setter.set();
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
        assert_eq!(first.as_mut().poll(&mut context), Poll::Ready(()));
        assert_eq!(second.as_mut().poll(&mut context), Poll::Ready(()));
    }

    #[test]
    fn a_latch_that_is_set_stays_so() {
        let (setter, latch) = Latch::new();
        assert!(!latch.is_set());
        setter.set();
        setter.set();
        drop(setter);
        assert!(latch.is_set());
        assert_eq!(latch.wait().now_or_never(), Some(()));
        assert_eq!(latch.clone().wait().now_or_never(), Some(()));
    }

    #[test]
    fn a_latch_whose_setter_is_dropped_is_never_set() {
        let (setter, latch) = Latch::new();
        drop(setter);
        assert_eq!(latch.wait().now_or_never(), None);
        assert_eq!(Latch::never().wait().now_or_never(), None);
    }

    #[test]
    fn no_waiter_misses_a_latch_set_by_another_thread() {
        for _round in 0..200 {
            let (setter, latch) = Latch::new();
            let thread = std::thread::spawn(move || setter.set());
            let mut context = Context::from_waker(Waker::noop());
            let mut wait = pin!(latch.wait());
            let early = wait.as_mut().poll(&mut context);
            thread.join().unwrap();
            assert!(early.is_ready() || wait.as_mut().poll(&mut context).is_ready());
        }
    }
}
