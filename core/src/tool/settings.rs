//! How the gateway treats a tool, as descriptors say it and logs keep it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ApprovalRule, Risk, SideEffect};

/// How the gateway treats a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What repeating a call does.
    pub side_effect: SideEffect,
    /// How much harm a call can do.
    pub risk: Risk,
    /// Whether a person must agree.
    pub approval: ApprovalRule,
    /// How long a call may take; kept in milliseconds.
    #[serde(rename = "timeout_ms", with = "millis")]
    pub timeout: Duration,
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
