//! What scenarios of workspaces have in common.

use std::collections::BTreeSet;
use std::time::Duration;

use seaworthy_ports::workspace_store::{
    AfterSnapshot, Cleaned, Cleanup, Kind, Quotas, ResumeFrom, ResumeWorkspace, Snapshot, Source,
    StartWorkspace, TakeSnapshot, Workspace, WorkspaceError, WorkspacePolicy, WorkspaceState,
    WorkspaceStatus, WorkspaceStore,
};
use seaworthy_ports::{RunId, SnapshotId, Timestamp, WorkspaceId};
use tokio::time::Instant;

use super::Harness;
use super::files::{Tree, tree};
use crate::outcome::{Halt, Outcome, broken, id, ok, patience, same};

pub(super) const HOUR: Duration = Duration::from_secs(3_600);
/// Later than every snapshot.
pub(super) const ALWAYS: Timestamp = Timestamp::from_millis(i64::MAX / 2);
/// Between two looks at the same thing.
const LOOK_AGAIN: Duration = Duration::from_millis(3);

pub(super) type Store = dyn WorkspaceStore;

pub(super) fn workspace(name: &str) -> Result<WorkspaceId, Halt> {
    id(WorkspaceId::new(name))
}

pub(super) fn snapshot(name: &str) -> Result<SnapshotId, Halt> {
    id(SnapshotId::new(name))
}

/// What starts a workspace without limits for a run of the same name.
pub(super) fn starting(name: &str, source: Source) -> Result<StartWorkspace, Halt> {
    Ok(StartWorkspace {
        id: workspace(name)?,
        run: id(RunId::new(format!("run-{name}")))?,
        source,
        policy: WorkspacePolicy::default(),
    })
}

/// The same with quotas.
pub(super) fn limited(name: &str, source: Source, quotas: Quotas) -> Result<StartWorkspace, Halt> {
    let mut start = starting(name, source)?;
    start.policy.quotas = quotas;
    Ok(start)
}

/// A workspace that is kept for an hour once it waits.
pub(super) fn kept_for_an_hour(name: &str) -> Result<StartWorkspace, Halt> {
    let mut start = starting(name, Source::Empty)?;
    start.policy.retention = Some(HOUR);
    Ok(start)
}

pub(super) async fn start(store: &Store, start: StartWorkspace) -> Result<Workspace, Halt> {
    ok(
        format!("started {} from {:?}", start.id, start.source),
        store.start(start).await,
    )
}

/// An empty workspace without limits.
pub(super) async fn empty(store: &Store, name: &str) -> Result<Workspace, Halt> {
    start(store, starting(name, Source::Empty)?).await
}

/// A workspace that begins with a snapshot.
pub(super) async fn copy_of(store: &Store, name: &str, of: &SnapshotId) -> Result<Workspace, Halt> {
    start(store, starting(name, Source::Snapshot(of.clone()))?).await
}

pub(super) fn taking(workspace: &WorkspaceId, name: &str) -> Result<TakeSnapshot, Halt> {
    Ok(TakeSnapshot {
        id: snapshot(name)?,
        workspace: workspace.clone(),
        then: AfterSnapshot::Continue,
        pinned: false,
    })
}

pub(super) fn pausing(workspace: &WorkspaceId, name: &str) -> Result<TakeSnapshot, Halt> {
    Ok(TakeSnapshot {
        then: AfterSnapshot::Pause,
        ..taking(workspace, name)?
    })
}

/// Takes a snapshot of files that nobody changes: for a moment a store may not know that nobody does.
pub(super) async fn try_take(
    store: &Store,
    take: &TakeSnapshot,
) -> Result<Snapshot, WorkspaceError> {
    let deadline = Instant::now() + patience();
    loop {
        match store.snapshot(take.clone()).await {
            Err(error) if error.kind() == Kind::Unavailable && Instant::now() < deadline => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            other => return other,
        }
    }
}

pub(super) async fn take_as(store: &Store, take: TakeSnapshot) -> Result<Snapshot, Halt> {
    ok(
        format!("took the snapshot {} of {}", take.id, take.workspace),
        try_take(store, &take).await,
    )
}

pub(super) async fn take(
    store: &Store,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<Snapshot, Halt> {
    take_as(store, taking(workspace, name)?).await
}

pub(super) async fn pause(
    store: &Store,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<Snapshot, Halt> {
    take_as(store, pausing(workspace, name)?).await
}

pub(super) fn resuming(workspace: &WorkspaceId, from: ResumeFrom) -> ResumeWorkspace {
    ResumeWorkspace {
        workspace: workspace.clone(),
        from,
    }
}

pub(super) async fn resume(
    store: &Store,
    workspace: &WorkspaceId,
    from: ResumeFrom,
) -> Result<Workspace, Halt> {
    ok(
        format!("resumed {workspace} from {from:?}"),
        store.resume(resuming(workspace, from)).await,
    )
}

/// The files that a workspace has once it is resumed from `from`.
pub(super) async fn resumed(
    store: &Store,
    workspace: &WorkspaceId,
    from: &SnapshotId,
) -> Result<Tree, Halt> {
    let resumed = resume(store, workspace, ResumeFrom::Snapshot(from.clone())).await?;
    tree(resumed.path())
}

pub(super) async fn clean(store: &Store, cleanup: Cleanup) -> Result<Cleaned, Halt> {
    ok(format!("cleaned {cleanup:?}"), store.cleanup(cleanup).await)
}

pub(super) fn orphans<'a>(
    workspace: &WorkspaceId,
    named: impl IntoIterator<Item = &'a SnapshotId>,
    taken_before: Timestamp,
) -> Cleanup {
    Cleanup::Orphans {
        workspace: workspace.clone(),
        named: named.into_iter().cloned().collect::<BTreeSet<_>>(),
        taken_before,
    }
}

pub(super) async fn inspect(
    store: &Store,
    workspace: &WorkspaceId,
) -> Result<Option<WorkspaceStatus>, Halt> {
    ok(
        format!("inspected {workspace}"),
        store.inspect(workspace).await,
    )
}

/// What the store knows of a workspace that it must know.
pub(super) async fn status(
    store: &Store,
    workspace: &WorkspaceId,
) -> Result<WorkspaceStatus, Halt> {
    inspect(store, workspace)
        .await?
        .ok_or_else(|| broken(format!("inspected {workspace}"), "a status", "none"))
}

pub(super) async fn is_in(
    store: &Store,
    workspace: &WorkspaceId,
    state: WorkspaceState,
) -> Outcome {
    same(
        format!("inspected {workspace}"),
        status(store, workspace).await?.state,
        state,
    )
}

/// Lets time pass on the store's clock.
pub(super) async fn advance<H: Harness>(harness: &H, by: Duration) -> Outcome {
    if harness.advance(by).await {
        Ok(())
    } else {
        Err(Halt::NotCheckable("the store's time cannot be moved"))
    }
}

/// A pause before looking again.
pub(super) async fn a_moment() {
    tokio::time::sleep(LOOK_AGAIN).await;
}

/// Polls `future` at most `polls` times and drops it, with time for what runs beside it. `None`: it had not ended.
pub(super) async fn dropped_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    for poll in 0..polls {
        if let std::task::Poll::Ready(ended) = futures_util::poll!(future.as_mut()) {
            return Some(ended);
        }
        if poll % 4 == 3 {
            a_moment().await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    None
}
