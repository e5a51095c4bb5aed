//! Snapshots of a run's state, so that resuming does not begin at its first record.
//!
//! A snapshot holds what came behind the one before it and names that one, down to the first, which holds everything.
//! What one costs depends on the records it is about, however long the run is, so they follow each other closely and
//! little is left to be folded. A snapshot is never trusted: what does not fit the log or the snapshot before it is
//! ignored, and a run without snapshots is folded from its records.

use std::sync::Arc;

use futures_util::StreamExt as _;
use seaworthy_ports::checkpoint_store::{Checkpoint, CheckpointKind, DeleteCheckpoints};
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{Digest, RunId};
use serde::{Deserialize, Serialize};

use super::run_log;
use crate::record::{self, Link};
use crate::stack::Ports;
use crate::state::{CallNumber, RunState, call_number};

/// The least number of records between two snapshots.
pub(super) const EVERY: u64 = 256;

/// As it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    v: u32,
    /// The one that this one continues; without it, this one is the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<Link>,
    /// The state, with only those messages and calls that the snapshots before do not have as they are now.
    state: RunState,
}

/// How far the snapshots of a run go; by default there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// The newest record that they are made from.
    link: Option<Link>,
    /// How many messages they have.
    messages: usize,
    /// Calls before this one do not change any more.
    calls: CallNumber,
}

impl Covered {
    /// What a snapshot of `state` covers, with those before it.
    fn of(state: &RunState) -> Self {
        let open = state.open_calls().next();
        Self {
            link: Some(state.link),
            messages: state.messages.len(),
            calls: open
                .and_then(|call| call_number(&call.proposal.call))
                .unwrap_or_else(|| state.next_call()),
        }
    }

    /// The position of the newest record; [`Seq::ZERO`] where there is no snapshot.
    pub(super) fn seq(&self) -> Seq {
        self.link.map_or(Seq::ZERO, |link| link.seq)
    }
}

/// The state in the newest snapshot, and what the snapshots cover.
pub(super) async fn load(ports: &Ports, run: &RunId) -> Option<(RunState, Covered)> {
    let mut earliest = read(ports, run, Seq(u64::MAX)).await?;
    if !is_of_log(ports, run, earliest.state.link).await {
        return None;
    }
    let mut later = Vec::new();
    while let Some(after) = earliest.after {
        if after.seq >= earliest.state.link.seq {
            return None;
        }
        let before = read(ports, run, after.seq).await?;
        if before.state.link != after {
            return None;
        }
        later.push(earliest.state);
        earliest = before;
    }
    let mut state = earliest.state;
    while let Some(next) = later.pop() {
        state = join(state, next);
    }
    let covered = Covered::of(&state);
    Some((state, covered))
}

/// The newest snapshot at or before `seq`, if it is one.
async fn read(ports: &Ports, run: &RunId, seq: Seq) -> Option<Snapshot> {
    let found = ports
        .checkpoint_store
        .latest(run, CheckpointKind::Fold, seq)
        .await
        .ok()??;
    let snapshot: Snapshot = serde_json::from_slice(&found.content).ok()?;
    let fits = snapshot.v == record::VERSION
        && snapshot.state.run() == run
        && snapshot.state.link.seq == found.seq;
    fits.then_some(snapshot)
}

/// Whether the log has the record that a state was folded up to.
async fn is_of_log(ports: &Ports, run: &RunId, link: Link) -> bool {
    let before = Seq(link.seq.0.saturating_sub(1));
    let stored = ports.state_store.read(&run_log(run), before).next().await;
    matches!(stored, Some(Ok(stored)) if Some(Digest::of(&stored.body)) == link.digest)
}

/// Writes the snapshot of `state` that continues those that cover `covered`. Returns what they cover then, or `None`
/// where it could not be written: a run goes on without it.
pub(super) async fn save(ports: &Ports, state: &RunState, covered: Covered) -> Option<Covered> {
    let snapshot = Snapshot {
        v: record::VERSION,
        after: covered.link,
        state: behind(state, covered),
    };
    let content = serde_json::to_vec(&snapshot).ok()?;
    let run = state.run().clone();
    let seq = state.link.seq;
    let checkpoint = Checkpoint {
        run: run.clone(),
        session: state.submitted.session.clone(),
        kind: CheckpointKind::Fold,
        seq,
        content: content.into(),
    };
    ports.checkpoint_store.write(checkpoint).await.ok()?;
    if covered.link.is_none() {
        // It holds everything: no other is needed.
        let older = DeleteCheckpoints {
            run,
            kind: Some(CheckpointKind::Fold),
            before: Some(seq),
        };
        let _kept_if_it_fails = ports.checkpoint_store.delete(older).await;
    }
    Some(Covered::of(state))
}

/// The state without the messages and calls that are covered.
fn behind(state: &RunState, covered: Covered) -> RunState {
    let messages = state.messages.get(covered.messages..).unwrap_or_default();
    let calls = state.calls.range(covered.calls..);
    RunState {
        submitted: state.submitted.clone(),
        created_at: state.created_at,
        updated_at: state.updated_at,
        link: state.link,
        attempt: state.attempt,
        barren: state.barren,
        session_through: state.session_through,
        catalogue: state.catalogue.clone(),
        messages: Arc::new(messages.to_vec()),
        context: state.context.clone(),
        turns: state.turns,
        deferrals: state.deferrals,
        rejected: state.rejected,
        reopened: state.reopened,
        calls: calls
            .map(|(number, call)| (*number, call.clone()))
            .collect(),
        phase: state.phase.clone(),
        waiting: state.waiting,
        outcome: state.outcome.clone(),
        usage: state.usage,
    }
}

/// The later state, with what only the earlier one has.
fn join(earlier: RunState, later: RunState) -> RunState {
    let (mut messages, mut calls) = (earlier.messages, earlier.calls);
    Arc::make_mut(&mut messages).extend(Arc::unwrap_or_clone(later.messages));
    calls.extend(later.calls);
    RunState {
        messages,
        calls,
        ..later
    }
}
