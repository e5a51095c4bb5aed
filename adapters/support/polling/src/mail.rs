//! Brings signals to live turns.

use std::sync::Arc;

use seaworthy_ports::Timestamp;
use seaworthy_ports::clock::Clock;

use crate::held::{Held, Look};
use crate::hint::HintReceiver;
use crate::serve::{MAIL_POLL, NEW_MAIL};
use crate::storage::LeaseStorage;

/// How many signals one turn has in flight.
pub(crate) const MAILBOX: usize = 64;
/// How many signals one look takes.
const BATCH: usize = 256;

/// Looks for new signals of all held runs with one query: at once when a hint comes, else every [`MAIL_POLL`], and not
/// at all while no turn lives. For turns that begin it looks once, a moment later, without asking for the others again.
/// Never returns.
pub(crate) async fn pump<S: LeaseStorage + ?Sized>(
    storage: Arc<S>,
    clock: Arc<dyn Clock>,
    held: Arc<Held>,
    mut hint: HintReceiver,
) {
    let mut look = Look::All;
    let mut next = clock.now();
    loop {
        if held.is_empty() {
            held.added().await;
            look = Look::All;
        }
        if look == Look::All {
            hint.forget();
        }
        let wanted = held.waiting_for_mail(look);
        if !wanted.is_empty() {
            match storage.signals(&wanted, BATCH).await {
                Ok(signals) => {
                    let full = signals.len() >= BATCH;
                    held.deliver(signals);
                    if full {
                        look = Look::All;
                        tokio::task::yield_now().await;
                        continue;
                    }
                }
                Err(error) => tracing::warn!(%error, "new signals could not be read"),
            }
        }
        if look == Look::All {
            next = clock.now().plus(MAIL_POLL);
        }
        let mut new = None;
        look = loop {
            let until = new.map_or(next, |new: Timestamp| new.min(next));
            tokio::select! {
                () = hint.given() => break Look::All,
                () = held.added(), if new.is_none() => new = Some(clock.now().plus(NEW_MAIL)),
                () = clock.sleep_until(until) => {
                    break if until < next { Look::New } else { Look::All };
                }
            }
        };
    }
}
