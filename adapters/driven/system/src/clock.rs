//! [`SystemClock`]: wall time that never goes back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use seaworthy_ports::clock::Clock;
use seaworthy_ports::{AdapterInfo, Timestamp};
use tokio::time::Instant;

/// The longest single sleep. A machine that was suspended, or whose wall clock was put forward, is noticed after at most
/// this long; the timers of most systems do not count time spent suspended.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);

/// The system's wall clock, kept from going back.
///
/// `now` follows the wall clock forward. When the wall clock is put back, `now` goes on from where it was at the pace of
/// the monotonic clock, so that sleeps still end; it meets the wall clock again once that has caught up. Clones share
/// their state: together they are one clock.
///
/// `sleep_until` needs a tokio runtime with its timer enabled.
#[derive(Clone, Debug)]
pub struct SystemClock(Arc<Mutex<Anchor>>);

/// A pair of instants that belong together: `wall` (milliseconds since the epoch) was shown at `at`.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    at: Instant,
    wall: i64,
}

impl Anchor {
    /// What to show, given both clocks' readings. Takes the later of the wall clock and the anchored monotonic clock, and
    /// moves the anchor only when the wall clock is ahead: a whole millisecond is the unit, so nothing is lost to rounding.
    fn show(&mut self, at: Instant, wall: i64) -> i64 {
        let elapsed = at.saturating_duration_since(self.at).as_millis();
        let monotonic = self
            .wall
            .saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX));
        if wall > monotonic {
            // Two threads may arrive here in the other order than they read the clocks; the anchor stays at the later.
            *self = Self {
                at: self.at.max(at),
                wall,
            };
            return wall;
        }
        monotonic
    }
}

impl SystemClock {
    /// A clock that starts at the wall clock's time.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Anchor {
            at: Instant::now(),
            wall: wall_millis(),
        })))
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

/// A wall clock before 1970 counts as 1970; the monotonic clock takes it from there.
fn wall_millis() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[async_trait]
impl Clock for SystemClock {
    fn info(&self) -> AdapterInfo {
        crate::INFO
    }

    fn now(&self) -> Timestamp {
        // Reading under the lock orders the readings, so a later caller never sees an earlier time.
        let mut anchor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Timestamp::from_millis(anchor.show(Instant::now(), wall_millis()))
    }

    async fn sleep_until(&self, until: Timestamp) {
        loop {
            let left = until.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_put_back_neither_stops_nor_reverses_the_time() {
        let start = Instant::now();
        let mut anchor = Anchor {
            at: start,
            wall: 1_000_000,
        };
        assert_eq!(anchor.show(start, 1_000_000), 1_000_000);
        // An hour back, 5 ms later by the monotonic clock, then 7 ms.
        assert_eq!(
            anchor.show(start + Duration::from_millis(5), -2_600_000),
            1_000_005
        );
        assert_eq!(
            anchor.show(start + Duration::from_millis(7), -2_600_000),
            1_000_007
        );
    }

    #[test]
    fn a_wall_clock_put_forward_is_followed_at_once() {
        let start = Instant::now();
        let mut anchor = Anchor {
            at: start,
            wall: 1_000_000,
        };
        assert_eq!(
            anchor.show(start + Duration::from_millis(1), 4_600_000),
            4_600_000
        );
        assert_eq!(
            anchor.show(start + Duration::from_millis(3), 4_600_001),
            4_600_002
        );
    }
}
