//! What running a whole suite comes to.

use std::fmt;

use crate::outcome::Violation;

/// What became of one scenario.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
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

/// What became of every scenario of a port, in the order of the list.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// The port, such as `state_store`.
    pub port: &'static str,
    /// One verdict for each scenario.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// The broken clauses, each once, in order.
    #[must_use]
    pub fn broken_clauses(&self) -> Vec<&'static str> {
        let mut clauses: Vec<&'static str> = self
            .violations()
            .map(|violation| violation.clause)
            .collect();
        clauses.dedup();
        clauses
    }

    /// Every violation.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Failed(violation) => Some(violation),
            Verdict::Passed { .. } | Verdict::NotCheckable { .. } => None,
        })
    }

    /// How many scenarios passed, failed and could not be checked.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |which: fn(&Verdict) -> bool| {
            self.verdicts
                .iter()
                .filter(|verdict| which(verdict))
                .count()
        };
        (
            count(|verdict| matches!(verdict, Verdict::Passed { .. })),
            count(|verdict| matches!(verdict, Verdict::Failed(_))),
            count(|verdict| matches!(verdict, Verdict::NotCheckable { .. })),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in &self.verdicts {
            match verdict {
                Verdict::Passed { clause, scenario } => {
                    writeln!(f, "{clause:<6} passed         {scenario}")?;
                }
                Verdict::Failed(violation) => {
                    let Violation {
                        clause, scenario, ..
                    } = violation;
                    writeln!(f, "{clause:<6} FAILED         {scenario}")?;
                }
                Verdict::NotCheckable {
                    clause,
                    scenario,
                    reason,
                } => {
                    writeln!(f, "{clause:<6} not checkable  {scenario}: {reason}")?;
                }
            }
        }
        for violation in self.violations() {
            writeln!(f, "\n{violation}")?;
        }
        let (passed, failed, not_checkable) = self.counts();
        write!(
            f,
            "{}: {passed} passed, {failed} failed, {not_checkable} not checkable",
            self.port
        )
    }
}
