//! The leases that one worker holds now.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use seaworthy_ports::durable_runtime::Signal;
use seaworthy_ports::{Latch, LatchSetter, RunId, Timestamp};
use tokio::sync::{Notify, mpsc};

use crate::storage::{Lease, LeaseKey, Renewed, SignalsAfter, WaitingSignal};

#[derive(Debug)]
struct Entry {
    run: RunId,
    expires: Timestamp,
    revoked: LatchSetter,
    lost: bool,
    mail: Option<Mail>,
}

#[derive(Debug)]
struct Mail {
    sender: mpsc::Sender<Signal>,
    position: u64,
    /// Nobody has looked for signals of it yet.
    is_new: bool,
}

/// Whose signals are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Those of every turn.
    All,
    /// Those of turns that nobody has looked for yet.
    New,
}

/// The leases by fence. The lock is never held across an await.
#[derive(Debug, Default)]
pub(crate) struct Held {
    entries: Mutex<HashMap<u64, Entry>>,
    added: Notify,
}

impl Held {
    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        // No code panics while it holds the lock, and every step leaves the map whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to watch over a lease and returns the latch that tells its turn of the loss.
    pub(crate) fn add(&self, lease: &Lease) -> Latch {
        let (revoked, latch) = Latch::new();
        let entry = Entry {
            run: lease.run.clone(),
            expires: lease.expires,
            revoked,
            lost: false,
            mail: None,
        };
        self.entries().insert(lease.fence, entry);
        latch
    }

    /// From now on signals after `position` go to `sender`.
    pub(crate) fn open_mail(&self, fence: u64, sender: mpsc::Sender<Signal>, position: u64) {
        if let Some(entry) = self.entries().get_mut(&fence) {
            entry.mail = Some(Mail {
                sender,
                position,
                is_new: true,
            });
        }
        self.added.notify_one();
    }

    pub(crate) fn remove(&self, fence: u64) {
        self.entries().remove(&fence);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Returns when a turn may have opened its mail.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    /// The leases worth renewing.
    pub(crate) fn keys(&self) -> Vec<LeaseKey> {
        let entries = self.entries();
        entries
            .iter()
            .filter(|(_, entry)| !entry.lost)
            .map(|(fence, entry)| LeaseKey {
                run: entry.run.clone(),
                fence: *fence,
            })
            .collect()
    }

    /// When the first lease ends unless renewed.
    pub(crate) fn first_expiry(&self) -> Option<Timestamp> {
        let entries = self.entries();
        entries
            .values()
            .filter(|entry| !entry.lost)
            .map(|entry| entry.expires)
            .min()
    }

    /// Gives up every lease whose time is over, without asking anybody.
    pub(crate) fn expire(&self, now: Timestamp) {
        for entry in self.entries().values_mut() {
            if entry.expires <= now {
                entry.lose();
            }
        }
    }

    /// Takes in a renewal's answer: a lease that was asked for and is not in it is gone.
    pub(crate) fn renewed(&self, asked: &[LeaseKey], renewed: &[Renewed]) {
        let expiries: HashMap<u64, Timestamp> = renewed
            .iter()
            .map(|lease| (lease.fence, lease.expires))
            .collect();
        let mut entries = self.entries();
        for key in asked {
            if let Some(entry) = entries.get_mut(&key.fence) {
                match expiries.get(&key.fence) {
                    Some(expires) => entry.expires = entry.expires.max(*expires),
                    None => entry.lose(),
                }
            }
        }
    }

    /// Whether the lease is gone, as far as this worker can tell.
    pub(crate) fn is_lost(&self, fence: u64, now: Timestamp) -> bool {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(&fence) else {
            return true;
        };
        if entry.expires <= now {
            entry.lose();
        }
        entry.lost
    }

    /// The turns to look for that can take mail now, and from where on. They are not new from then on.
    pub(crate) fn waiting_for_mail(&self, look: Look) -> Vec<SignalsAfter> {
        let mut entries = self.entries();
        entries
            .values_mut()
            .filter(|entry| !entry.lost)
            .filter_map(|entry| {
                let mail = entry.mail.as_mut()?;
                let is_wanted = look == Look::All || mail.is_new;
                (is_wanted && !mail.sender.is_closed() && mail.sender.capacity() > 0).then(|| {
                    mail.is_new = false;
                    SignalsAfter {
                        run: entry.run.clone(),
                        position: mail.position,
                    }
                })
            })
            .collect()
    }

    /// Hands signals to their turns. What a full turn cannot take comes again.
    pub(crate) fn deliver(&self, signals: Vec<WaitingSignal>) {
        let mut entries = self.entries();
        let mut fences: HashMap<RunId, u64> = HashMap::new();
        for (fence, entry) in entries.iter() {
            if !entry.lost {
                fences.insert(entry.run.clone(), *fence);
            }
        }
        for waiting in signals {
            let Some(mail) = fences
                .get(&waiting.run)
                .and_then(|fence| entries.get_mut(fence))
                .and_then(|entry| entry.mail.as_mut())
            else {
                continue;
            };
            if waiting.position <= mail.position {
                continue;
            }
            if mail.sender.try_send(waiting.signal).is_ok() {
                mail.position = waiting.position;
            } else {
                // Later ones must not overtake it.
                fences.remove(&waiting.run);
            }
        }
    }
}

impl Entry {
    fn lose(&mut self) {
        self.lost = true;
        self.revoked.set();
    }
}
