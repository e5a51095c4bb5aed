//! The database's time, as far as this process can tell it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use event_listener::Event;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::{AdapterInfo, Timestamp};

/// How far a reading may be from what is known before it is believed to be news, in milliseconds: both are rounded.
const GRAIN: i64 = 1;
/// How much longer a sleep may take because the database's clock turned out to be behind.
const GRACE: Duration = Duration::from_secs(1);

/// The database's clock: the local clock and how far the database's is ahead of it, which every answer that carries a time
/// corrects. Nothing that decides about a lease relies on it; it tells when to ask, and when a lease that nobody renews
/// is over.
///
/// It follows the database's clock back, too, as after a failover to a machine whose clock is behind. Sleeps do not grow
/// by that: one ends when it would have ended, and whoever slept asks again.
pub(crate) struct DatabaseClock {
    local: Arc<dyn Clock>,
    ahead: AtomicI64,
    corrected: Event,
}

impl fmt::Debug for DatabaseClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseClock")
            .field("local", &self.local)
            .field("ahead", &self.ahead)
            .finish_non_exhaustive()
    }
}

impl DatabaseClock {
    /// The clock of a database that said `database` between the local times `asked` and `answered`.
    pub(crate) fn new(
        local: Arc<dyn Clock>,
        asked: Timestamp,
        database: Timestamp,
        answered: Timestamp,
    ) -> Self {
        let (asked, answered) = (asked.as_millis(), answered.as_millis());
        let middle = asked.saturating_add(answered.saturating_sub(asked) / 2);
        Self {
            local,
            ahead: AtomicI64::new(database.as_millis().saturating_sub(middle)),
            corrected: Event::new(),
        }
    }

    pub(crate) fn local(&self) -> Timestamp {
        self.local.now()
    }

    /// Takes in that the database said `database` at some time between `asked` and now. An answer says between which
    /// bounds the difference lies; what is known changes only as far as it lies outside.
    pub(crate) fn learn(&self, asked: Timestamp, database: Timestamp) {
        let database = database.as_millis();
        let least = database
            .saturating_sub(self.local().as_millis())
            .saturating_sub(GRAIN);
        let most = database
            .saturating_sub(asked.as_millis())
            .saturating_add(GRAIN);
        let ahead = self.ahead.load(Ordering::Acquire);
        let learned = ahead.max(least).min(most.max(least));
        if learned != ahead {
            self.ahead.store(learned, Ordering::Release);
            self.corrected.notify(usize::MAX);
        }
    }
}

#[async_trait]
impl Clock for DatabaseClock {
    fn info(&self) -> AdapterInfo {
        crate::INFO
    }

    fn now(&self) -> Timestamp {
        let ahead = self.ahead.load(Ordering::Acquire);
        Timestamp::from_millis(self.local().as_millis().saturating_add(ahead))
    }

    async fn sleep_until(&self, until: Timestamp) {
        let last = self.local().plus(until.since(self.now())).plus(GRACE);
        loop {
            let corrected = self.corrected.listen();
            let (now, local) = (self.now(), self.local());
            if now >= until || local >= last {
                return;
            }
            let wake = local.plus(until.since(now)).min(last);
            tokio::select! {
                () = self.local.sleep_until(wake) => {}
                () = corrected => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use seaworthy_fakes::FakeClock;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn ahead_by(local: &FakeClock, ahead: i64) -> DatabaseClock {
        let now = local.now();
        let database = at(now.as_millis() + ahead);
        DatabaseClock::new(Arc::new(local.clone()), now, database, now)
    }

    #[test]
    fn it_tells_the_databases_time_whatever_the_local_clock_says() {
        let local = FakeClock::new();
        for ahead in [HOUR, 0, -HOUR] {
            let clock = ahead_by(&local, ahead);
            assert_eq!(clock.now().as_millis(), local.now().as_millis() + ahead);
        }
    }

    #[test]
    fn an_answer_that_fits_what_is_known_changes_nothing() {
        let local = FakeClock::new();
        let clock = ahead_by(&local, HOUR);
        let asked = local.now();
        local.advance(Duration::from_secs(5));
        // It was said somewhere between the question and the answer.
        for seconds in 0..=5 {
            clock.learn(asked, at(asked.as_millis() + HOUR + seconds * 1_000));
            assert_eq!(clock.now().as_millis(), local.now().as_millis() + HOUR);
        }
    }

    #[test]
    fn a_database_that_moved_is_followed_both_ways() {
        let local = FakeClock::new();
        let clock = ahead_by(&local, 0);
        for ahead in [HOUR, -HOUR] {
            let now = local.now();
            clock.learn(now, at(now.as_millis() + ahead));
            let off = clock.now().as_millis() - now.as_millis() - ahead;
            assert!(off.abs() <= GRAIN, "{off}");
        }
    }

    #[test]
    fn a_sleep_ends_early_when_the_time_turns_out_to_be_later() {
        let local = FakeClock::new();
        let clock = ahead_by(&local, 0);
        let now = local.now();
        let mut sleep = pin!(clock.sleep_until(now.plus(Duration::from_secs(60))));
        assert_eq!(sleep.as_mut().now_or_never(), None);
        clock.learn(now, at(now.as_millis() + 2 * HOUR));
        assert_eq!(sleep.as_mut().now_or_never(), Some(()));
    }

    #[test]
    fn a_sleep_does_not_grow_by_an_hour_when_the_databases_clock_is_put_back() {
        let local = FakeClock::new();
        let clock = ahead_by(&local, 0);
        let now = local.now();
        let mut sleep = pin!(clock.sleep_until(now.plus(Duration::from_secs(60))));
        assert_eq!(sleep.as_mut().now_or_never(), None);
        clock.learn(now, at(now.as_millis() - HOUR));
        local.advance(Duration::from_secs(60));
        assert_eq!(sleep.as_mut().now_or_never(), None);
        local.advance(GRACE);
        assert_eq!(sleep.as_mut().now_or_never(), Some(()));
    }
}
