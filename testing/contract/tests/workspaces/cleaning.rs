//! Snapshots that go, with what they alone need.

use super::*;

impl Store {
    /// Removes snapshots, one after the other, with what they alone need.
    pub(super) async fn remove(
        &self,
        known: &mut Known,
        snapshots: Vec<SnapshotId>,
        takes_shared: bool,
    ) -> Result<u64, WorkspaceError> {
        let mut free = 0;
        let half = snapshots.len() / 2;
        for (place, snapshot) in snapshots.iter().enumerate() {
            if place == half && self.breaks.swap(false, Ordering::Relaxed) {
                return Err(error(
                    Kind::Unavailable,
                    "cleanup",
                    "the connection is lost",
                ));
            }
            if takes_shared {
                let manifest = self
                    .disk
                    .manifest(&known.snapshots.get(snapshot).unwrap().record.manifest);
                free += manifest
                    .contents()
                    .map(|(blob, _)| self.disk.remove_blob(&blob))
                    .sum::<u64>();
            }
            known.snapshots.remove(snapshot);
            self.disk.keep(known);
            if self.bug == FORGETS_PENDING {
                // Long enough for a death.
                tokio::time::sleep(Duration::from_millis(2)).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        Ok(free + self.disk.sweep(known))
    }

    pub(super) async fn clean_one(
        &self,
        known: &mut Known,
        id: &WorkspaceId,
        cleaned: &mut Cleaned,
    ) -> Result<(), WorkspaceError> {
        let Some(works) = known.workspaces.get_mut(id) else {
            return Ok(());
        };
        match works.state {
            State::Active if self.bug != CLEANS_ACTIVE => {
                return Err(error(Kind::Rejected, "cleanup", "it is active"));
            }
            State::Cleaned => return Ok(()),
            _ => {}
        }
        works.state = if self.bug == FORGETS_PENDING {
            State::Cleaned
        } else {
            State::CleanupPending
        };
        let left = works.clone();
        works.directory = None;
        self.disk.keep(known);
        self.leave(&left);
        let (pinned, goes): (Vec<&Kept>, Vec<&Kept>) = known
            .snapshots_of(id)
            .into_iter()
            .partition(|kept| kept.pinned && self.bug != CLEANS_PINNED);
        cleaned.pinned += pinned.len() as u64;
        let goes: Vec<SnapshotId> = goes.iter().map(|kept| kept.record.id.clone()).collect();
        cleaned.snapshots += goes.len() as u64;
        cleaned.bytes += self.remove(known, goes, self.bug == CLEANS_SHARED).await?;
        if let Some(works) = known.workspaces.get_mut(id) {
            works.state = State::Cleaned;
        }
        self.disk.keep(known);
        cleaned.workspaces += 1;
        Ok(())
    }

    pub(super) async fn sweep_orphans(
        &self,
        known: &mut Known,
        id: &WorkspaceId,
        named: &BTreeSet<SnapshotId>,
        taken_before: Timestamp,
    ) -> Result<Cleaned, WorkspaceError> {
        let (pinned, goes): (Vec<&Kept>, Vec<&Kept>) = known
            .snapshots_of(id)
            .into_iter()
            .filter(|kept| !named.contains(&kept.record.id))
            .filter(|kept| kept.record.taken_at < taken_before || self.bug == SWEEPS_YOUNG)
            .partition(|kept| kept.pinned && self.bug != CLEANS_PINNED);
        let pinned = pinned.len() as u64;
        let goes: Vec<SnapshotId> = goes.iter().map(|kept| kept.record.id.clone()).collect();
        let snapshots = goes.len() as u64;
        let bytes = self.remove(known, goes, self.bug == SWEEPS_SHARED).await?;
        Ok(Cleaned {
            snapshots,
            bytes,
            pinned,
            workspaces: 0,
        })
    }
}
