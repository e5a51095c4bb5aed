//! SS-2, SS-3, SS-6 and SS-14 among many clients at once: what they saw must have an order.
//!
//! A bug shows in one of these by its name. Where the appends alone contradict each other, SS-3 says so, and the others
//! hold their peace.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use seaworthy_ports::state_store::{
    Append, Appended, Expected, Kind, Record, Seq, StateStore, StateStoreError,
};
use seaworthy_ports::{AppendId, Effect, LogId};

use super::leaning::{LeansOn, leaning};
use super::linear::{Call, NoOrder, Seen, order};
use super::{Harness, append, log};
use crate::chance::{Chance, seed};
use crate::outcome::{Halt, Outcome, at_once, broken, id, ok, time_given};

const CLIENTS: usize = 6;
/// Of each client. Short histories are judged at once, and many find more than a long one.
const CALLS: u64 = 10;
const LEAST_ROUNDS: u64 = 20;

/// What a client does beside appending.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looks {
    Never,
    AtRecords,
    AtRecordsAndHead,
}

/// SS-3.
pub async fn appends_of_many_clients_have_one_order<H: Harness>(harness: H) -> Outcome {
    let stores = [harness.store()];
    let outcome = histories(&stores, Looks::Never, |history| {
        judge("appended", &only_appends(history))
    })
    .await;
    leaning(outcome, &harness.store(), &[LeansOn::Heads]).await
}

/// SS-2.
pub async fn conflicts_among_many_clients_tell_a_head_of_their_moment<H: Harness>(
    harness: H,
) -> Outcome {
    let stores = [harness.store()];
    histories(&stores, Looks::Never, |history| {
        if order(&only_appends(history)).is_err() {
            return Ok(());
        }
        judge("appended and met with conflicts", history)
    })
    .await
}

/// SS-6.
pub async fn what_many_clients_read_has_an_order<H: Harness>(harness: H) -> Outcome {
    let stores = [harness.store()];
    let outcome = histories(&stores, Looks::AtRecords, |history| {
        judge_looks("read while others appended", history)
    })
    .await;
    leaning(outcome, &harness.store(), &[LeansOn::Heads]).await
}

/// SS-14.
pub async fn what_clients_of_two_handles_see_has_an_order<H: Harness>(harness: H) -> Outcome {
    let other = harness
        .second_handle()
        .await
        .ok_or(Halt::NotCheckable("there is one handle only"))?;
    let stores = [harness.store(), other];
    let outcome = histories(&stores, Looks::AtRecordsAndHead, |history| {
        judge_looks("looked through two handles while others appended", history)
    })
    .await;
    leaning(outcome, &harness.store(), &[LeansOn::Heads, LeansOn::Reads]).await
}

fn judge_looks(did: &str, history: &[Call]) -> Outcome {
    if order(&only_appends(history)).is_err() {
        return Ok(());
    }
    judge(did, &without_told_heads(history))
}

fn judge(did: &str, history: &[Call]) -> Outcome {
    let Err(NoOrder {
        explained,
        stuck_at,
    }) = order(history)
    else {
        return Ok(());
    };
    Err(broken(
        format!(
            "with the seed {}, {CLIENTS} clients at once {did} ({} calls on one log)",
            seed(),
            history.len()
        ),
        "an order in which a log that does one thing at a time answers the same",
        format!("{explained} calls in order, and then none of {stuck_at:?}"),
    ))
}

/// Appends alone; that a conflict tells the true head is SS-2.
fn only_appends(history: &[Call]) -> Vec<Call> {
    let appends = history
        .iter()
        .filter(|call| !matches!(call.seen, Seen::Head(_) | Seen::Values(_)))
        .cloned()
        .collect::<Vec<Call>>();
    without_told_heads(&appends)
}

fn without_told_heads(history: &[Call]) -> Vec<Call> {
    let mut history = history.to_vec();
    for call in &mut history {
        if let Seen::Conflict { told, .. } = &mut call.seen {
            *told = None;
        }
    }
    history
}

/// Records histories, each of a log of its own, for as long as there is time.
async fn histories(
    stores: &[Arc<dyn StateStore>],
    looks: Looks,
    judge: impl Fn(&[Call]) -> Outcome,
) -> Outcome {
    let began = Instant::now();
    let mut round = 0;
    while round < LEAST_ROUNDS || began.elapsed() < time_given() / 2 {
        let log = log(&format!("history{round}"))?;
        let clock = Arc::new(AtomicU64::new(0));
        let clients = (0..CLIENTS)
            .zip(stores.iter().cycle())
            .map(|(number, store)| {
                let client = Client {
                    number,
                    store: Arc::clone(store),
                    log: log.clone(),
                    clock: Arc::clone(&clock),
                    chance: Chance::new(seed() ^ (round << 8) ^ number as u64),
                    known: None,
                    calls: Vec::new(),
                };
                client.work(looks)
            });
        let mut history = Vec::new();
        for calls in at_once(clients).await? {
            history.extend(calls?);
        }
        history.sort_by_key(|call| call.began);
        judge(&history)?;
        round += 1;
    }
    Ok(())
}

struct Client {
    number: usize,
    store: Arc<dyn StateStore>,
    log: LogId,
    clock: Arc<AtomicU64>,
    chance: Chance,
    /// The head as it last heard of it.
    known: Option<u64>,
    calls: Vec<Call>,
}

impl Client {
    async fn work(mut self, looks: Looks) -> Result<Vec<Call>, Halt> {
        for number in 0..CALLS {
            let began = self.clock.fetch_add(1, Ordering::SeqCst);
            let seen = match (looks, self.chance.below(4)) {
                (Looks::AtRecords | Looks::AtRecordsAndHead, 0) => Some(self.read().await?),
                (Looks::AtRecordsAndHead, 1) => Some(self.head().await?),
                _ => self.append(number).await?,
            };
            let ended = match seen {
                Some(Seen::Lost { .. }) => u64::MAX,
                _ => self.clock.fetch_add(1, Ordering::SeqCst),
            };
            // What had no effect and said nothing explains nothing.
            if let Some(seen) = seen {
                self.calls.push(Call {
                    client: self.number,
                    seen,
                    began,
                    ended,
                });
            }
            tokio::task::yield_now().await;
        }
        Ok(self.calls)
    }

    async fn append(&mut self, number: u64) -> Result<Option<Seen>, Halt> {
        // No value comes twice.
        let value = self.number as u64 * 1_000 + number;
        let expected = self.known;
        let append = Append {
            id: id(AppendId::new(format!("{}.{value}", self.log.name)))?,
            expected: expected.map_or(Expected::Absent, |head| Expected::Head(Seq(head))),
            bodies: vec![Bytes::from(value.to_string())],
            ..append(&self.log, 0, &[])?
        };
        Ok(match self.store.append(append).await {
            Ok(Appended { head }) => {
                self.known = Some(head.0);
                Some(Seen::Appended {
                    expected,
                    value,
                    head: head.0,
                })
            }
            Err(error) => match error.kind() {
                Kind::Conflict { head } => {
                    let told = head.map(|head| head.0);
                    self.known = told;
                    Some(Seen::Conflict {
                        expected,
                        told: Some(told),
                    })
                }
                _ if error.effect() == Effect::Unknown => Some(Seen::Lost { expected, value }),
                _ => None,
            },
        })
    }

    async fn head(&mut self) -> Result<Seen, Halt> {
        let head = ok("asked for the head", self.store.head(&self.log).await)?;
        self.known = head.map(|head| head.seq.0);
        Ok(Seen::Head(self.known))
    }

    async fn read(&mut self) -> Result<Seen, Halt> {
        let records: Result<Vec<Record>, StateStoreError> =
            self.store.read(&self.log, Seq::ZERO).try_collect().await;
        let values = ok("read a log", records)?.into_iter().map(|record| {
            let text = String::from_utf8_lossy(&record.body).into_owned();
            text.parse()
                .map_err(|_other| broken("read a log", "what was appended", text))
        });
        let values: Vec<u64> = values.collect::<Result<_, Halt>>()?;
        self.known = (!values.is_empty()).then_some(values.len() as u64);
        Ok(Seen::Values(values))
    }
}
