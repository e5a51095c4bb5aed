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
    #[serde(rename = "timeout_ms", with = "crate::millis")]
    pub timeout: Duration,
}
