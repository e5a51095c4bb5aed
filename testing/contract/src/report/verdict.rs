//! What became of one scenario.

use serde::Serialize;

use crate::outcome::Violation;

/// What became of one scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// The clause holds as far as the scenario looks.
    Passed {
        /// The clause.
        clause: &'static str,
        /// The scenario's sentence.
        scenario: &'static str,
    },
    /// The clause is broken.
    Failed(Violation),
    /// The clause belongs to a capability that the adapter does not declare, and was not seen to hold.
    NotDeclared {
        /// The clause.
        clause: &'static str,
        /// The scenario's sentence.
        scenario: &'static str,
        /// What is not declared.
        capability: &'static str,
        /// What shows that it does not hold.
        reason: &'static str,
    },
    /// The harness cannot do what the scenario needs.
    NotCheckable {
        /// The clause.
        clause: &'static str,
        /// The scenario's sentence.
        scenario: &'static str,
        /// What is missing.
        reason: &'static str,
    },
}

impl Verdict {
    /// The clause.
    #[must_use]
    pub const fn clause(&self) -> &'static str {
        match self {
            Self::Passed { clause, .. }
            | Self::Failed(Violation { clause, .. })
            | Self::NotDeclared { clause, .. }
            | Self::NotCheckable { clause, .. } => clause,
        }
    }

    /// The scenario's sentence, as the name of its function.
    #[must_use]
    pub const fn scenario(&self) -> &'static str {
        match self {
            Self::Passed { scenario, .. }
            | Self::Failed(Violation { scenario, .. })
            | Self::NotDeclared { scenario, .. }
            | Self::NotCheckable { scenario, .. } => scenario,
        }
    }

    /// Replaces why it came to no judgement, if it did not.
    pub(crate) const fn explain(&mut self, why: &'static str) {
        match self {
            Self::NotDeclared { reason, .. } | Self::NotCheckable { reason, .. } => *reason = why,
            Self::Passed { .. } | Self::Failed(_) => {}
        }
    }
}

/// How many scenarios came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// They passed.
    pub passed: usize,
    /// They failed.
    pub failed: usize,
    /// They belong to a capability that is not declared.
    pub not_declared: usize,
    /// They could not be checked.
    pub not_checkable: usize,
}

impl Counts {
    pub(super) const fn count(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed { .. } => self.passed += 1,
            Verdict::Failed(_) => self.failed += 1,
            Verdict::NotDeclared { .. } => self.not_declared += 1,
            Verdict::NotCheckable { .. } => self.not_checkable += 1,
        }
    }
}
