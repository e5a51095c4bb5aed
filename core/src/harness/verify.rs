//! A run's log, held against its own rules.

use futures_util::StreamExt as _;
use seaworthy_ports::state_store::Seq;
use seaworthy_ports::{Digest, RunId};

use super::{Harness, HarnessError};
use crate::log::{self, LogError};
use crate::record::Link;
use crate::state::Status;

/// A run's log held against its own rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many records there are.
    pub records: u64,
    /// The digest of the newest.
    pub head: Option<Digest>,
    /// How the run stands by its records.
    pub status: Status,
    /// What is wrong, if anything is.
    pub faults: Vec<String>,
}

impl Harness {
    /// Reads the whole log without trusting any snapshot and says what is wrong with it.
    ///
    /// # Errors
    ///
    /// [`HarnessError::UnknownRun`], or a failing store. A corrupt log is an answer, not an error.
    pub async fn verify(&self, run: &RunId) -> Result<Verified, HarnessError> {
        let mut faults = Vec::new();
        let (mut records, mut head) = (0_u64, None);
        let mut stored = self.records(run, Link::default());
        while let Some(loaded) = stored.next().await {
            match loaded {
                Ok(loaded) => {
                    records = records.saturating_add(1);
                    head = loaded.link.digest;
                }
                Err(error) if is_damage(&error) => {
                    faults.push(error.to_string());
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if records == 0 && faults.is_empty() {
            return Err(HarnessError::UnknownRun(run.clone()));
        }
        let status = self.verify_fold(run, &mut faults).await?;
        Ok(Verified {
            records,
            head,
            status,
            faults,
        })
    }

    async fn verify_fold(
        &self,
        run: &RunId,
        faults: &mut Vec<String>,
    ) -> Result<Status, HarnessError> {
        let folded = match log::load_without_snapshot(&self.ports, run).await {
            Ok(folded) => folded,
            Err(error) if is_damage(&error) => {
                if faults.is_empty() {
                    faults.push(error.to_string());
                }
                return Ok(Status::Failed);
            }
            Err(error) => return Err(error.into()),
        };
        let Some(state) = folded else {
            return Ok(Status::Failed);
        };
        if log::load(&self.ports, run).await.ok().flatten().as_ref() != Some(&state) {
            faults.push(
                "the state from the newest snapshot is not the state from all records".to_owned(),
            );
        }
        let head = self.ports.state_store.head(&log::run_log(run)).await?;
        let label = head.as_ref().and_then(|head| head.labels.get("status"));
        if label.map(String::as_str) != Some(state.status().as_str()) {
            faults.push(format!(
                "the store lists it as {label:?}, its records say {}",
                state.status().as_str()
            ));
        }
        if head.as_ref().map_or(Seq::ZERO, |head| head.seq) != state.link.seq {
            faults.push("the head is not the last record".to_owned());
        }
        Ok(state.status())
    }
}

pub(crate) fn is_damage(error: &LogError) -> bool {
    use seaworthy_ports::{blob_store, state_store};
    match error {
        LogError::Record { .. } | LogError::Fold { .. } | LogError::Json(_) => true,
        LogError::Store(error) => error.kind() == state_store::Kind::Corrupt,
        LogError::Blob(error) => {
            matches!(
                error.kind(),
                blob_store::Kind::Corrupt | blob_store::Kind::NotFound
            )
        }
    }
}
