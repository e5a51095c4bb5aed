//! Renews leases, whatever the turns do.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_ports::Timestamp;
use seaworthy_ports::clock::Clock;

use crate::held::Held;
use crate::storage::LeaseStorage;

/// Renews all held leases in one call every third of their life, and revokes those whose time ends without an answer.
/// Never returns.
pub(crate) async fn keep<S: LeaseStorage + ?Sized>(
    storage: Arc<S>,
    clock: Arc<dyn Clock>,
    held: Arc<Held>,
    ttl: Duration,
) {
    let pace = (ttl / 3).max(Duration::from_millis(1));
    let mut next = clock.now().plus(pace);
    loop {
        clock
            .sleep_until(held.first_expiry().map_or(next, |expiry| expiry.min(next)))
            .await;
        let now = clock.now();
        held.expire(now);
        if now < next {
            continue;
        }
        let asked = held.keys();
        if asked.is_empty() {
            next = now.plus(pace);
            continue;
        }
        let mut renewal = pin!(storage.renew(&asked, ttl));
        let answer = loop {
            tokio::select! {
                answer = &mut renewal => break answer,
                () = until(&*clock, held.first_expiry()) => held.expire(clock.now()),
            }
        };
        let pause = match answer {
            Ok(renewed) => {
                held.renewed(&asked, &renewed);
                pace
            }
            Err(error) => {
                tracing::warn!(%error, leases = asked.len(), "leases could not be renewed");
                (pace / 4).max(Duration::from_millis(1))
            }
        };
        // Counted from when it was asked for: a slow answer must not stretch the rhythm.
        next = now.plus(pause);
    }
}

async fn until(clock: &dyn Clock, instant: Option<Timestamp>) {
    match instant {
        Some(instant) => clock.sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
