//! Wake-ups within one process.

use tokio::sync::watch;

/// Tells everybody in this process who waits that it may be worth asking the storage now.
///
/// A hint that comes while nobody waits is kept for each receiver until it looks; several become one.
#[derive(Clone, Debug)]
pub struct Hint(watch::Sender<u64>);

impl Hint {
    /// A hint that nobody has given yet.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Wakes every receiver.
    pub fn give(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Somebody to wake. It sees the hints given from now on.
    #[must_use]
    pub fn receiver(&self) -> HintReceiver {
        HintReceiver(self.0.subscribe())
    }
}

impl Default for Hint {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits for hints.
#[derive(Clone, Debug)]
pub struct HintReceiver(watch::Receiver<u64>);

impl HintReceiver {
    /// Forgets the hints given until now: what they announced is about to be looked at.
    pub fn forget(&mut self) {
        self.0.mark_unchanged();
    }

    /// Returns at the next hint, at once if one was given since the last look. Dropping the future loses no hint.
    pub async fn given(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left to give one.
            std::future::pending::<()>().await;
        }
    }
}

/// The hints of one runtime handle.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// A run may have become due.
    pub due: Hint,
    /// A signal was accepted.
    pub signal: Hint,
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn hints_given_before_the_wait_are_not_lost_and_become_one() {
        let hint = Hint::new();
        let mut receiver = hint.receiver();
        assert_eq!(receiver.given().now_or_never(), None);
        hint.give();
        hint.give();
        assert_eq!(receiver.given().now_or_never(), Some(()));
        assert_eq!(receiver.given().now_or_never(), None);
        hint.give();
        receiver.forget();
        assert_eq!(receiver.given().now_or_never(), None);
    }
}
