//! The errors of this crate. There is no driver whose codes could be classified: every refusal is its own.

use seaworthy_ports::blob_store::{BlobError, Kind as BlobKind};
use seaworthy_ports::checkpoint_store::{CheckpointError, Kind as CheckpointKind};
use seaworthy_ports::state_store::{Kind as StateStoreKind, StateStoreError};

const ADAPTER: &str = crate::INFO.id;

pub(crate) fn state_store(
    kind: StateStoreKind,
    operation: &'static str,
    message: impl Into<String>,
) -> StateStoreError {
    StateStoreError::new(kind, ADAPTER, operation, message)
}

pub(crate) fn blob(
    kind: BlobKind,
    operation: &'static str,
    message: impl Into<String>,
) -> BlobError {
    BlobError::new(kind, ADAPTER, operation, message)
}

pub(crate) fn checkpoint(
    kind: CheckpointKind,
    operation: &'static str,
    message: impl Into<String>,
) -> CheckpointError {
    CheckpointError::new(kind, ADAPTER, operation, message)
}
